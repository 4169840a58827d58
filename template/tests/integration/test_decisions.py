"""Applications are scored, and decisions are kept, on real stores."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest
from pydantic import RedisDsn

from dev.tasks import APPLICATION
from src.clients.decisions import DecisionRepository
from src.clients.redis import BaseRedisClient
from src.connectors.redis import RedisConnector
from src.main import create_app
from src.models.credit_score import Scorecard
from src.services.decisions import DecisionService
from src.services.readiness import OutageLog

MODEL = Scorecard.load(Path("src/models/credit_score.json"))


class RollbackConnector:
    """Lends the one connection of a transaction that is never committed."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.one = connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        async with self.one.transaction():
            yield self.one


class World:
    """The service in this process, on real stores."""

    def __init__(
        self, client: httpx2.AsyncClient, connection: asyncpg.Connection, redis: RedisConnector
    ) -> None:
        self.client, self.connection, self.redis = client, connection, redis


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The service on a connection whose transaction is rolled back after each test."""
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    redis = RedisConnector(RedisDsn(os.environ["REDIS_URL"]), 2, 1)
    transaction = connection.transaction()
    await transaction.start()
    app = create_app()
    cache = BaseRedisClient(redis, f"{os.environ['REDIS_PREFIX']}{uuid4()}:")
    repository = DecisionRepository(RollbackConnector(connection))  # type: ignore[arg-type]
    app.state.decisions = DecisionService(MODEL, cache, repository, 60, OutageLog())
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://test"
    ) as client:
        yield World(client, connection, redis)
    await transaction.rollback()
    await connection.close()
    await redis.aclose()


async def test_decision_is_made_stored_and_read_back(world: World) -> None:
    """An application is answered with 201, a score, and the place where the decision is found again."""
    response = await world.client.post("/decisions", json=APPLICATION)
    assert response.status_code == 201
    decision = response.json()
    assert (decision["outcome"], decision["model"]) == ("approved", MODEL.name)
    assert decision["score"] > 500
    assert response.headers["location"] == f"/decisions/{decision['id']}"
    again = await world.client.get(response.headers["location"])
    assert (again.status_code, again.json()) == (200, decision)
    row = await world.connection.fetchrow(
        "SELECT * FROM decisions WHERE id = $1", UUID(decision["id"])
    )
    assert row is not None
    assert set(json.loads(row["features"])) == {*APPLICATION, "other_debtors", "other_installments"}


async def test_features_are_cached_for_a_time(world: World) -> None:
    """The features of an application are kept in Redis, with an end, and used again."""
    first, second = [
        (await world.client.post("/decisions", json=APPLICATION)).json() for _ in range(2)
    ]
    assert (first["score"], first["id"] == second["id"]) == (second["score"], False)
    keys = await world.redis.call("KEYS", f"{os.environ['REDIS_PREFIX']}*{MODEL.name}:*")
    assert 0 < await world.redis.call("TTL", keys[0]) <= 60
    for key in keys:
        await world.redis.call("SET", key, json.dumps({"other": 9.0}))
    worse = (await world.client.post("/decisions", json=APPLICATION)).json()
    assert (worse["outcome"], worse["score"] < first["score"]) == ("declined", True)


async def test_unknown_decision_is_an_error_of_our_own(world: World) -> None:
    """A decision that does not exist is a 404 that says so."""
    response = await world.client.get(f"/decisions/{uuid4()}")
    assert response.status_code == 404
    assert "There is no decision with this id." in response.text


@pytest.mark.parametrize(
    ("changes", "loc"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": "a lot"}, "amount"),
        ({"purpose": "yacht"}, "purpose"),
        ({"installment_rate": 5}, "installment_rate"),
        ({"surprise": 1}, "surprise"),
        ({"savings": None}, "savings"),
    ],
)
async def test_application_that_does_not_fit_is_refused(
    world: World, changes: dict[str, object], loc: str
) -> None:
    """A wrong value is a 422 that names its field."""
    response = await world.client.post("/decisions", json=APPLICATION | changes)
    assert response.status_code == 422
    assert f'"loc":["body","{loc}"]' in response.text
