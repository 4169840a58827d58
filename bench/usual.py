"""`POST /decisions` written the usual way: sessions of SQLAlchemy, redis-py's defaults, a middleware.

Models, scorecard, tables, cache and responses are those of the service in whose folder it runs.
"""

import hashlib
import logging
import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, FastAPI, Response
from pydantic import TypeAdapter
from redis.asyncio import Redis
from sqlalchemy import DateTime, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from src.config import load_settings
from src.models.credit_score import CreditApplication, Decision, Features, Scorecard

from bench.peers import with_handlers, with_usual_layers

URL = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
settings = load_settings()
scorecard = Scorecard.load(settings.model_path)
engine = create_async_engine(URL)
open_session = async_sessionmaker(engine, expire_on_commit=False)
redis = Redis.from_url(os.environ["REDIS_URL"])
router = APIRouter(prefix="/decisions")
features_adapter = TypeAdapter(Features)
logger = logging.getLogger(__name__)


class Base(DeclarativeBase):
    """The parent of tables."""


class StoredDecision(Base):
    """A row of the table of decisions."""

    __tablename__ = "decisions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    score: Mapped[int]
    default_probability: Mapped[float]
    outcome: Mapped[str]
    model: Mapped[str]
    features: Mapped[dict[str, float]] = mapped_column(JSONB)


async def get_session() -> AsyncIterator[AsyncSession]:
    """Yield a session for one request."""
    async with open_session() as session:
        yield session


async def find_features(application: CreditApplication) -> dict[str, float]:
    """Return the features of an application, from the cache if it has them."""
    digest = hashlib.sha256(application.model_dump_json().encode()).hexdigest()
    key = f"usual:{digest}"
    cached = await redis.get(key)
    if cached is not None:
        return features_adapter.validate_json(cached)
    features = scorecard.features(application)
    await redis.set(key, features_adapter.dump_json(features), ex=settings.features_ttl)
    return features


@router.post("", status_code=201)
async def create_decision(
    application: CreditApplication,
    session: Annotated[AsyncSession, Depends(get_session)],
    response: Response,
) -> Decision:
    """Score an application for credit and store the decision."""
    features = await find_features(application)
    score = scorecard.score(features)
    stored = StoredDecision(**score.model_dump(), features=features)
    session.add(stored)
    await session.commit()
    await session.refresh(stored)
    fields = {"decision_id": stored.id, "outcome": stored.outcome}
    logger.info("decision stored", extra=fields)
    response.headers["Location"] = f"{router.prefix}/{stored.id}"
    return Decision.model_validate(stored, from_attributes=True)


def build() -> FastAPI:
    """Return an app with the usual layers and handlers."""
    app = with_handlers(with_usual_layers(FastAPI()))
    app.include_router(router)
    return app
