"""The decisions in PostgreSQL."""

import json
from uuid import UUID, uuid4

from src.connectors.postgres import Executor
from src.models.credit_score import Decision, Features, Score
from src.utils.errors import DecisionNotFoundError

INSERT_DECISION = """
    INSERT INTO decisions (id, score, default_probability, outcome, model, features)
    VALUES ($1, $2, $3, $4, $5, $6)
    RETURNING *
"""
SELECT_DECISION = "SELECT * FROM decisions WHERE id = $1"


class DecisionRepository:
    """Stores decisions and finds them again; raises what the connector raises.

    Args:
        database: the connector, or a connection within a transaction.
    """

    def __init__(self, database: Executor) -> None:
        self._database = database

    async def add(self, score: Score, features: Features) -> Decision:
        """Store a decision with the features that it is based on."""
        row = await self._database.fetchrow(
            INSERT_DECISION,
            uuid4(),
            score.score,
            score.default_probability,
            score.outcome,
            score.model,
            json.dumps(features),
        )
        return Decision(**row)

    async def get(self, decision_id: UUID) -> Decision:
        """Return a decision; raises DecisionNotFoundError."""
        row = await self._database.fetchrow(SELECT_DECISION, decision_id)
        if row is None:
            raise DecisionNotFoundError(decision_id)
        return Decision(**row)
