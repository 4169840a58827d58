"""The keys of the issuer of tokens: fetched when they are needed, and cached."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from time import monotonic

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from src.clients.jwks import JwksClient, Key
from src.services.readiness import OutageLog
from src.utils.errors import KeysUnavailableError, UpstreamError

MAX_AGE = 600.0  # seconds, after which they are fetched again
MAX_OUTAGE = 86_400.0  # seconds, for which they serve while that fails
PAUSE = 5.0  # seconds between fetches that failed, or that an unknown key has caused
# By the id of a key, or None for a token that names none, and by an algorithm.
Keys = dict[tuple[str | None, str], PyJWK]


class IssuerKeys:
    """Finds the key with which a token was signed.

    Args:
        client: of the issuer.
        algorithms: that tokens may have.
        outages: where outages of the issuer are logged, once each.
        clock: returns the seconds since some time.
    """

    def __init__(
        self,
        client: JwksClient,
        algorithms: Sequence[str],
        outages: OutageLog,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._client = client
        self._algorithms = algorithms
        self._outages = outages
        self._clock = clock
        self._lock = asyncio.Lock()
        self._keys: Keys = {}
        self._fetched_at = 0.0
        self._fetches = 0
        self._paused_until = 0.0
        self._failure: KeysUnavailableError | None = None

    async def find(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        """Return a key; None if the issuer has no such key.

        Where it is not known here the keys are fetched again, since the issuer may have new ones.

        Raises:
            KeysUnavailableError: the keys cannot be fetched.
        """
        age = self._clock() - self._fetched_at
        if age > MAX_OUTAGE:
            self._keys = {}
        key = self._keys.get((key_id, algorithm))
        if key is None or (age > MAX_AGE and not self._lock.locked()):
            await self._refresh()
        key = self._keys.get((key_id, algorithm))
        if key is None and self._failure:
            raise KeysUnavailableError(self._failure.host, self._failure.reason)
        return key

    async def _refresh(self) -> None:
        """Fetch the keys, unless that was done meanwhile or just now; log the start of an outage."""
        fetches = self._fetches
        async with self._lock:
            if self._fetches != fetches or self._clock() < self._paused_until:
                return
            try:
                keys = await self._fetch()
            except KeysUnavailableError as exc:
                # Not the one that was raised, which would keep a request alive.
                self._failure = KeysUnavailableError(exc.host, exc.reason)
                self._paused_until = self._clock() + PAUSE
                self._outages.failed("issuer", "keys", exc)
                return
            if self._keys:
                self._paused_until = self._clock() + PAUSE
            self._keys = keys
            self._failure = None
            self._fetched_at = self._clock()
            self._fetches += 1
            self._outages.succeeded("issuer", "keys")

    async def _fetch(self) -> Keys:
        try:
            found = await self._client.fetch()
        except UpstreamError as exc:
            raise KeysUnavailableError(exc.host, exc.reason) from exc
        keys = parse_keys(found, self._algorithms)
        if not keys:
            raise KeysUnavailableError(self._client.host, "it has no key that can be used")
        return keys


def parse_keys(found: Iterable[Key], algorithms: Sequence[str]) -> Keys:
    """Return keys by their ids and by the algorithms that they are for."""
    keys: Keys = {}
    for key in found:
        for algorithm in algorithms:
            if key.alg not in (None, algorithm):
                continue
            try:
                keys[key.kid, algorithm] = PyJWK(key.model_dump(exclude_none=True), algorithm)
            except PyJWTError:  # a key of another kind
                continue
    counts = Counter(algorithm for _, algorithm in keys)
    for (_, algorithm), parsed in list(keys.items()):
        if counts[algorithm] == 1:
            keys[None, algorithm] = parsed
    return keys
