"""Decisions on applications for credit."""

import hashlib
import logging
from uuid import UUID

from pydantic import ValidationError

from src.clients.decisions import DecisionRepository
from src.clients.redis import BaseRedisClient
from src.config import Settings
from src.connectors.postgres import PostgresConnector
from src.connectors.redis import RedisConnector
from src.models.credit_score import CreditApplication, Decision, Features, Scorecard
from src.services.readiness import OutageLog
from src.utils.errors import StoreRefusedError, UnavailableError

logger = logging.getLogger(__name__)


class DecisionService:
    """Scores applications and stores the decisions.

    The cache only saves time: a decision that can be made without it is made.

    Args:
        model: scores applications.
        cache: for the features of applications.
        decisions: where decisions are stored.
        ttl: of cached features, in seconds.
        outages: where outages of the cache are logged.
    """

    def __init__(
        self,
        model: Scorecard,
        cache: BaseRedisClient,
        decisions: DecisionRepository,
        ttl: int,
        outages: OutageLog,
    ) -> None:
        self._model = model
        self._cache = cache
        self._decisions = decisions
        self._ttl = ttl
        self._outages = outages

    async def decide(self, application: CreditApplication) -> Decision:
        """Score an application and store the decision."""
        key = self._cache_key(application)
        features = await self._read_features(key)
        if features is None:
            features = self._model.features(application)
            await self._write_features(key, features)
        score = self._model.score(features)
        decision = await self._decisions.add(score, features)
        fields = {"decision_id": decision.id, "outcome": decision.outcome}
        logger.info("decision stored", extra=fields)
        return decision

    async def get(self, decision_id: UUID) -> Decision:
        """Return an earlier decision; raises DecisionNotFoundError."""
        return await self._decisions.get(decision_id)

    def _cache_key(self, application: CreditApplication) -> str:
        digest = hashlib.sha256(application.model_dump_json().encode()).hexdigest()
        return f"{self._model.name}:{digest}"

    async def _read_features(self, key: str) -> dict[str, float] | None:
        try:
            cached = await self._cache.read(key)
        except UnavailableError as exc:
            self._outages.failed("redis", "read", exc)
            return None
        except StoreRefusedError as exc:  # the value is of another type; writing replaces it
            logger.warning("cached features cannot be read", exc_info=exc, extra={"key": key})
            return None
        self._outages.succeeded("redis", "read")
        return None if cached is None else self._parse_features(key, cached)

    def _parse_features(self, key: str, cached: bytes) -> dict[str, float] | None:
        """Return cached features only if the model can have given them: others write there, too."""
        try:
            features = Features.model_validate_json(cached).root
        except ValidationError:
            features = {}
        if self._model.could_give(features):
            return features
        logger.warning("cached features are not valid", extra={"key": key})
        return None

    async def _write_features(self, key: str, features: dict[str, float]) -> None:
        if self._outages.is_failing("redis", "read"):
            return  # it would only wait for the timeout once more
        try:
            await self._cache.write(key, Features(features).model_dump_json().encode(), self._ttl)
        except (UnavailableError, StoreRefusedError) as exc:
            self._outages.failed("redis", "write", exc)
        else:
            self._outages.succeeded("redis", "write")


def build_decision_service(
    settings: Settings, postgres: PostgresConnector, redis: RedisConnector, outages: OutageLog
) -> DecisionService:
    """Build the service of its parts."""
    return DecisionService(
        Scorecard.load(settings.model_path),
        BaseRedisClient(redis, settings.redis_prefix),
        DecisionRepository(postgres),
        settings.features_ttl,
        outages,
    )
