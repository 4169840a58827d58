"""The keys of an issuer are fetched rarely, replaced in time, and serve while it is away."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import HttpUrl

from dev.issuer import Issuer, KeyServer
from dev.ports import free_port
from src.clients.http import UpstreamClient
from src.clients.jwks import MAX_KEYS, MAX_SIZE, JwksClient
from src.services.issuer_keys import MAX_AGE, MAX_OUTAGE, PAUSE, IssuerKeys
from src.services.readiness import OutageLog
from src.utils.errors import KeysUnavailableError
from tests.unit.test_http_client import (
    Handler,
    disconnect,
    send_nothing,
    sends,
    sends_body,
    serving,
)

ALGORITHMS = ["ES256", "RS256"]
TIMEOUT = 0.3  # seconds


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class World:
    """The keys of an issuer, and a server of the test's own that has them."""

    def __init__(self) -> None:
        self.issuer = Issuer()
        self.clock = Clock()
        self.port = free_port()
        url = f"http://127.0.0.1:{self.port}/keys"
        self.client = UpstreamClient(url)
        jwks = JwksClient(self.client, HttpUrl(url))
        self.keys = IssuerKeys(jwks, ALGORITHMS, OutageLog(), self.clock)
        self._running = contextlib.ExitStack()

    def start(self) -> None:
        """Start the server, also after it was stopped."""
        self._running.enter_context(KeyServer(self.issuer, self.port).running())

    def stop(self) -> None:
        """Stop the server."""
        self._running.close()

    async def aclose(self) -> None:
        """Stop the server, and close all connections."""
        self.stop()
        await self.client.aclose()

    async def knows(self, key_id: str | None) -> bool:
        """Return whether the issuer is known to have a key."""
        return await self.keys.find(key_id, "ES256") is not None

    def rotate(self) -> str:
        """Have the issuer sign with a new key, and return the id of the one before."""
        before = self.issuer.key_id
        self.issuer.use(ec.generate_private_key(ec.SECP256R1()))
        return before


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Run an issuer whose keys nobody has fetched yet."""
    world = World()
    world.start()
    yield world
    await world.aclose()


async def test_many_callers_fetch_the_keys_once(world: World) -> None:
    """The first tokens wait for one fetch; later ones for none, until the keys are old."""
    known = await asyncio.gather(*(world.knows(world.issuer.key_id) for _ in range(200)))
    assert all(known)
    world.clock.now += MAX_AGE - 1
    assert await world.knows(world.issuer.key_id)
    assert world.issuer.fetches == 1
    world.clock.now += 2
    assert await world.knows(world.issuer.key_id)
    assert world.issuer.fetches == 2


async def test_new_key_is_known_at_once(world: World) -> None:
    """The first token of a new key has the keys fetched; the old key is gone with that."""
    assert await world.knows(world.issuer.key_id)
    old = world.rotate()
    assert await world.knows(world.issuer.key_id)
    assert world.issuer.fetches == 2
    assert not await world.knows(old)


async def test_key_that_the_issuer_has_withdrawn_is_forgotten(world: World) -> None:
    """It is known for as long as keys are cached, and no longer."""
    old = world.issuer.key_id
    assert await world.knows(old)
    world.rotate()
    assert await world.knows(old)
    world.clock.now += MAX_AGE + 1
    await world.knows(old)
    assert not await world.knows(old)


async def test_unknown_keys_do_not_flood_the_issuer(world: World) -> None:
    """Whatever ids tokens name, the keys are fetched once in a while, and good tokens hold."""
    assert await world.knows(world.issuer.key_id)
    for number in range(50):
        assert not await world.knows(f"made-up-{number}")
    assert world.issuer.fetches == 2
    world.clock.now += PAUSE + 1
    found = await asyncio.gather(*(world.knows(f"more-{number}") for number in range(50)))
    assert not any(found)
    assert world.issuer.fetches == 3
    assert await world.knows(world.issuer.key_id)


async def test_issuer_that_is_away_has_one_record(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Each token is refused with a 503 of which nobody hears but for the start and the end."""
    caplog.set_level(logging.INFO)
    world.stop()
    for _ in range(3):
        for _ in range(20):
            with pytest.raises(KeysUnavailableError) as caught:
                await world.knows("any")
            assert caught.value.fields["host"] == "127.0.0.1"
        world.clock.now += PAUSE + 1
    world.start()
    assert await world.knows(world.issuer.key_id)
    outages = [record for record in caplog.records if "store" in vars(record)]
    assert [record.levelname for record in outages] == ["ERROR", "INFO"]
    assert vars(outages[0])["error"] == "KeysUnavailableError"


async def test_known_keys_serve_while_the_issuer_is_away(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Good tokens hold for a day; one of an unknown key may be good as well, so that is a 503."""
    assert await world.knows(world.issuer.key_id)
    world.stop()
    world.clock.now += MAX_AGE + 1
    for _ in range(20):
        assert await world.knows(world.issuer.key_id)
    with pytest.raises(KeysUnavailableError):
        await world.knows("new")
    assert [r.levelname for r in caplog.records if r.levelno > logging.INFO] == ["ERROR"]
    world.clock.now += MAX_OUTAGE
    with pytest.raises(KeysUnavailableError):
        await world.knows(world.issuer.key_id)


@pytest.mark.parametrize(
    "handler",
    [
        disconnect,
        send_nothing,
        sends(b"nonsense\r\n\r\n"),
        sends_body(b"<html>"),
        sends_body(b"[]"),
        sends_body(b'{"keys": 7}'),
        sends_body(b'{"keys": []}'),
        sends_body(b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "any"}]}'),
        sends_body(b'{"keys": [' + b"[" * 50_000 + b"]}"),
        sends_body(b" " * MAX_SIZE + b'{"keys": []}'),
        sends_body(json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode()),
        sends(b"HTTP/1.1 500 -\r\nContent-Length: 0\r\n\r\n"),
        sends(b"HTTP/1.1 302 -\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
    ],
)
async def test_what_is_no_key_set_counts_as_an_outage(handler: Handler) -> None:
    """Whatever an issuer sends, a token is refused in time, and the keys before are not lost."""
    async with serving(handler) as url, UpstreamClient(url, timeout=TIMEOUT) as client:
        jwks = JwksClient(client, HttpUrl(url))
        keys = IssuerKeys(jwks, ALGORITHMS, OutageLog(), Clock())
        with pytest.raises(KeysUnavailableError):
            await keys.find("any", "ES256")


async def test_slow_issuer_holds_up_one_caller() -> None:
    """While one token waits for keys that are due, others take those that are known."""
    issuer = Issuer()
    body = json.dumps({"keys": issuer.public_keys}).encode()
    clock = Clock()
    begun = asyncio.Event()
    released = asyncio.Event()
    released.set()

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await released.wait()
        await sends_body(body)(request, writer)

    async with serving(handler) as url, UpstreamClient(url) as client:
        keys = IssuerKeys(JwksClient(client, HttpUrl(url)), ALGORITHMS, OutageLog(), clock)
        first = await keys.find(issuer.key_id, "ES256")
        clock.now += MAX_AGE + 1
        begun.clear()
        released.clear()
        waiting = asyncio.create_task(keys.find(issuer.key_id, "ES256"))
        await begun.wait()
        assert await keys.find(issuer.key_id, "ES256") is first
        assert not waiting.done()
        released.set()
        assert await waiting


def rsa_key() -> dict[str, Any]:
    """Return an RSA key without an id or an algorithm."""
    key = rsa.generate_private_key(65_537, 2_048)
    return RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)


async def test_keys_of_all_sorts(world: World) -> None:
    """Those that are of use are known by their ids, or without one where that says enough."""
    elliptic = ECAlgorithm.to_jwk(world.issuer.key.public_key(), as_dict=True)
    world.issuer.public_keys = [
        {**elliptic, "kid": "plain"},
        {**elliptic, "kid": "encryption", "use": "enc"},
        {**elliptic, "kid": "other", "alg": "RS256"},
        {**elliptic, "kid": "post-quantum", "kty": "AKP"},
        {**elliptic, "kid": "broken", "x": "!"},
        {**rsa_key(), "d": "AAAA"},
    ]
    assert await world.knows("plain")
    assert await world.knows(None)
    for key_id in ("encryption", "other", "post-quantum", "broken"):
        assert not await world.knows(key_id)
    assert await world.keys.find(None, "RS256")
    assert await world.keys.find("plain", "RS256") is None
