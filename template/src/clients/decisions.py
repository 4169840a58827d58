"""The decisions in PostgreSQL."""

import json
from uuid import UUID, uuid4

from src.connectors.postgres import PostgresConnector
from src.models.credit_score import Decision, Score
from src.utils.errors import DecisionNotFoundError

ADD = "INSERT INTO decisions (id, score, default_probability, outcome, model, features) VALUES ($1, $2, $3, $4, $5, $6)"


class DecisionRepository:
    """Keeps decisions and finds them again; raises what the connector raises."""

    def __init__(self, connector: PostgresConnector) -> None:
        self._connector = connector

    async def add(self, score: Score, features: dict[str, float]) -> Decision:
        """Keep a decision and the features it was made from."""
        values = (
            uuid4(),
            score.score,
            score.default_probability,
            score.outcome,
            score.model,
            json.dumps(features),
        )
        async with self._connector.connection() as connection:
            return Decision(**await connection.fetchrow(f"{ADD} RETURNING *", *values))

    async def get(self, decision_id: UUID) -> Decision:
        """Return a decision; raises DecisionNotFoundError."""
        async with self._connector.connection() as connection:
            row = await connection.fetchrow("SELECT * FROM decisions WHERE id = $1", decision_id)
        if row is None:
            raise DecisionNotFoundError(decision_id)
        return Decision(**row)
