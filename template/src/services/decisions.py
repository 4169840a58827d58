"""Deciding on applications for credit."""

import hashlib
import json
import logging
from uuid import UUID

from src.clients.decisions import DecisionRepository
from src.clients.redis import BaseRedisClient
from src.models.credit_score import CreditApplication, Decision, Scorecard

logger = logging.getLogger(__name__)


class DecisionService:
    """Scores applications and keeps what it decides; features are cached for `ttl` seconds."""

    def __init__(
        self, model: Scorecard, cache: BaseRedisClient, decisions: DecisionRepository, ttl: int
    ) -> None:
        self._model, self._cache, self._decisions, self._ttl = model, cache, decisions, ttl

    async def decide(self, application: CreditApplication) -> Decision:
        """Score an application and keep the decision."""
        key = f"{self._model.name}:{hashlib.sha256(application.model_dump_json().encode()).hexdigest()}"
        cached = await self._cache.read(key)
        features = json.loads(cached) if cached else self._model.features(application)
        if not cached:
            await self._cache.write(key, json.dumps(features).encode(), self._ttl)
        decision = await self._decisions.add(self._model.score(features), features)
        logger.info(
            "decision stored", extra={"decision_id": decision.id, "outcome": decision.outcome}
        )
        return decision

    async def get(self, decision_id: UUID) -> Decision:
        """Return an earlier decision."""
        return await self._decisions.get(decision_id)
