"""Applications are scored, and decisions are stored, on real stores."""

import json
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest
from pydantic import RedisDsn

from dev.requests import APPLICATION
# copier: if auth != "none"
from src.api.authentication import authenticate
# copier: endif
from src.clients.cache import Cache
from src.clients.decisions import DecisionRepository
from src.clients.redis import BaseRedisClient
from src.connectors.redis import RedisConnector
from src.main import create_app
from src.models.credit_score import Scorecard
# copier: if auth != "none"
from src.services.callers import Principal
# copier: endif
from src.services.decisions import DecisionService
from src.services.readiness import OutageLog

MODEL = Scorecard.load(Path("src/models/credit_score.json"))


@dataclass
class World:
    """The service in this process, on real stores."""

    client: httpx2.AsyncClient
    connection: asyncpg.Connection
    redis: RedisConnector
    prefix: str

    async def decide(self) -> httpx2.Response:
        """Send an application that is good enough."""
        return await self.client.post("/decisions", json=APPLICATION)

    async def cache_keys(self) -> list[bytes]:
        """Return the keys of the features that are cached."""
        keys: list[bytes] = await self.redis.call("KEYS", f"{self.prefix}{MODEL.name}:*")
        return keys


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The service on a connection whose transaction is rolled back after each test."""
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    redis = RedisConnector(RedisDsn(os.environ["REDIS_URL"]), 2, 1)
    prefix = f"{os.environ['REDIS_PREFIX']}{uuid4()}:"
    transaction = connection.transaction()
    await transaction.start()
    app = create_app()
    cache = Cache(BaseRedisClient(redis, prefix), OutageLog())
    repository = DecisionRepository(connection)
    app.state.decisions = DecisionService(MODEL, cache, repository, 60)
    # copier: if auth != "none"
    app.dependency_overrides[authenticate] = lambda: Principal("tests")
    # copier: endif
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield World(client, connection, redis, prefix)
    await transaction.rollback()
    await connection.close()
    await redis.aclose()


def worst_features() -> dict[str, float]:
    """Return the features of an application that the model declines."""
    features = {name: max(weights.values()) for name, weights in MODEL.categories.items()}
    for name, bins in MODEL.numbers.items():
        features[name] = max(weight for _, weight in bins)
    return features


async def test_decision_is_made_stored_and_read_back(world: World) -> None:
    """An application is answered with 201, a score, and the place of the decision."""
    response = await world.decide()
    assert response.status_code == 201
    decision = response.json()
    assert decision["outcome"] == "approved"
    assert decision["model"] == MODEL.name
    assert decision["score"] > 500
    assert response.headers["location"] == f"/decisions/{decision['id']}"
    again = await world.client.get(response.headers["location"])
    assert again.status_code == 200
    assert again.json() == decision
    row = await world.connection.fetchrow(
        "SELECT * FROM decisions WHERE id = $1", UUID(decision["id"])
    )
    assert row is not None
    assert set(json.loads(row["features"])) == {*APPLICATION, "other_debtors", "other_installments"}


async def test_features_are_cached_for_a_time(world: World) -> None:
    """The features of an application are cached in Redis, with an end, and used again."""
    first = (await world.decide()).json()
    second = (await world.decide()).json()
    assert first["score"] == second["score"]
    assert first["id"] != second["id"]
    (key,) = await world.cache_keys()
    assert 0 < await world.redis.call("TTL", key) <= 60
    await world.redis.call("SET", key, json.dumps(worst_features()))
    worse = (await world.decide()).json()
    assert worse["outcome"] == "declined"
    assert worse["score"] < first["score"]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"{}",
        b'{"other": 9.0}',
        b'{"savings": "x"}',
        json.dumps(worst_features() | {"savings": 1e9}),
        json.dumps(worst_features() | {"savings": float("nan")}),
        json.dumps(worst_features() | {"other": 0.0}),
    ],
)
async def test_garbled_cache_entry_counts_as_none(
    world: World, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """What the model cannot have cached is logged, not used, and replaced."""
    expected = (await world.decide()).json()
    (key,) = await world.cache_keys()
    good = await world.redis.call("GET", key)
    await world.redis.call("SET", key, value)
    caplog.clear()
    response = await world.decide()
    assert response.status_code == 201
    assert response.json()["score"] == expected["score"]
    assert [r.levelname for r in caplog.records if r.levelno > logging.INFO] == ["WARNING"]
    assert await world.redis.call("GET", key) == good


async def test_cache_entry_of_another_type_counts_as_none(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A key that holds no text is logged with our own error, and replaced."""
    expected = (await world.decide()).json()
    (key,) = await world.cache_keys()
    await world.redis.call("DEL", key)
    await world.redis.call("LPUSH", key, "x")
    caplog.clear()
    response = await world.decide()
    assert response.status_code == 201
    assert response.json()["score"] == expected["score"]
    (record,) = [record for record in caplog.records if record.levelno > logging.INFO]
    assert record.levelname == "WARNING"
    assert record.exc_info
    assert type(record.exc_info[1]).__name__ == "StoreRefusedError"
    assert await world.redis.call("TYPE", key) == b"string"


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
