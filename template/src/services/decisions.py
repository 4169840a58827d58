"""Decisions on applications for credit."""

import hashlib
import logging
from typing import Annotated
from uuid import UUID

from annotated_types import Predicate
from pydantic import TypeAdapter

from src.clients.cache import Cache
from src.clients.decisions import DecisionRepository
from src.clients.redis import BaseRedisClient
from src.config import Settings
from src.connectors.postgres import PostgresConnector
from src.connectors.redis import RedisConnector
from src.models.credit_score import CreditApplication, Decision, Features, Scorecard
from src.services.readiness import OutageLog

logger = logging.getLogger(__name__)


class DecisionService:
    """Scores applications and stores the decisions.

    Args:
        model: scores applications.
        cache: for the features of applications.
        decisions: where decisions are stored.
        ttl: of cached features, in seconds.
    """

    def __init__(
        self,
        model: Scorecard,
        cache: Cache,
        decisions: DecisionRepository,
        ttl: int,
    ) -> None:
        self._model = model
        self._cache = cache
        self._decisions = decisions
        self._ttl = ttl
        # Others write to the cache, too: what this model cannot have given counts as missing.
        self._adapter = TypeAdapter(Annotated[Features, Predicate(model.could_give)])

    async def decide(self, application: CreditApplication) -> Decision:
        """Score an application and store the decision."""
        features = await self._compute_features(application)
        score = self._model.score(features)
        decision = await self._decisions.add(score, features)
        fields = {"decision_id": decision.id, "outcome": decision.outcome}
        logger.info("decision stored", extra=fields)
        return decision

    async def get(self, decision_id: UUID) -> Decision:
        """Return an earlier decision; raises DecisionNotFoundError."""
        return await self._decisions.get(decision_id)

    async def _compute_features(self, application: CreditApplication) -> Features:
        """Return the features of an application, which are cached."""

        async def compute() -> Features:
            return self._model.features(application)

        digest = hashlib.sha256(application.model_dump_json().encode()).hexdigest()
        key = f"{self._model.name}:{digest}"
        return await self._cache.cached(key, self._ttl, compute, self._adapter)


def build_decision_service(
    settings: Settings, postgres: PostgresConnector, redis: RedisConnector, outages: OutageLog
) -> DecisionService:
    """Build the service of its parts."""
    return DecisionService(
        Scorecard.load(settings.model_path),
        Cache(BaseRedisClient(redis, settings.redis_prefix), outages),
        DecisionRepository(postgres),
        settings.features_ttl,
    )
