"""The settings: read from the environment and `.env`, checked when the service starts."""

import sys
import tomllib
from pathlib import Path
from typing import NoReturn

import pydantic
from pydantic import Field, PositiveInt
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from src.utils import env_file
# copier: if auth == "api_key"
from src.utils.api_keys import ApiKeySettings
# copier: endif
# copier: if auth == "jwt"
from src.utils.issuer import (
    DEVELOPMENT_ISSUER,
    DEVELOPMENT_KEYS,
    Algorithms,
    Leeway,
    Name,
)
# copier: endif
# copier: if "prometheus" in observability
from src.utils.metrics_token import MetricsToken
# copier: endif
# copier: if "postgres" in stores
from src.utils.postgres_url import PostgresUrl
# copier: endif
# copier: if "redis" in stores
from src.utils.redis_url import RedisUrl
# copier: endif
# copier: if "sentry" in observability
from src.utils.sentry_dsn import SentryDsn
# copier: endif
from src.utils.setting_types import (
    Environment,
    FieldNames,
    Level,
    LogFile,
    LogFormat,
    LogLevels,
    Origins,
    Seconds,
)

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SERVICE_NAME = PYPROJECT["project"]["name"]
APP_METADATA = PYPROJECT["tool"]["service"] | {
    key: PYPROJECT["project"][key] for key in ("description", "version")
}
STARTUP_FAILURE = 3  # the exit code at which uvicorn's supervisor gives up instead of trying again


class Settings(BaseSettings):
    """What differs between the places in which the service runs."""

    model_config = SettingsConfigDict(
        env_file=env_file.ENV_FILE,
        env_file_encoding=env_file.ENCODING,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_default=True,
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: PositiveInt = 1
    shutdown_timeout: PositiveInt = 10  # seconds
    limit_concurrency: PositiveInt = 200  # connections of a worker
    header_timeout: Seconds = 10
    body_timeout: Seconds = 20
    environment: Environment = "development"
    log_level: Level = "info"
    log_levels: LogLevels = {}  # of single loggers
    log_format: LogFormat = "json"
    log_file: LogFile = None
    # names of fields that are secret, besides those that everybody expects
    redact_fields: FieldNames = []
    # copier: if "postgres" in stores
    database_url: PostgresUrl = pydantic.Secret(
        pydantic.PostgresDsn("postgresql://app:change-me@127.0.0.1:5432/app")
    )
    database_pool_size: PositiveInt = 10
    database_timeout: Seconds = 2
    database_statement_cache_size: pydantic.NonNegativeInt = 100  # 0 behind PgBouncer
    # copier: endif
    # copier: if "redis" in stores
    redis_url: RedisUrl = pydantic.Secret(pydantic.RedisDsn("redis://127.0.0.1:6379/0"))
    redis_pool_size: PositiveInt = 50
    redis_timeout: Seconds = 1
    redis_prefix: str = ""
    # copier: endif
    # copier: if example == "decisions"
    model_path: Path = ROOT / "src" / "models" / "credit_score.json"
    features_ttl: PositiveInt = 3600  # seconds
    # copier: endif
    # copier: if example == "orders"
    receipts_folder: Path = ROOT / "receipts"
    tax_office_url: pydantic.HttpUrl = pydantic.HttpUrl("http://127.0.0.1:8001")
    tax_office_timeout: Seconds = 5
    emission_timeout: Seconds = 30  # after which another worker may take the order over
    retry_delay: Seconds = 1  # doubles with each attempt, up to ten minutes
    max_attempts: PositiveInt = 20
    max_retry_hours: pydantic.PositiveFloat = 24
    worker_concurrency: PositiveInt = 10
    # copier: endif
    # copier: if auth == "api_key"
    api_keys: ApiKeySettings = {}  # by the names of callers
    # copier: endif
    # copier: if auth == "jwt"
    jwt_issuer: Name = DEVELOPMENT_ISSUER
    jwt_audience: Name = SERVICE_NAME
    jwt_jwks_url: pydantic.HttpUrl = DEVELOPMENT_KEYS
    jwt_algorithms: Algorithms = ["ES256", "RS256"]
    jwt_leeway: Leeway = 30  # seconds by which clocks may differ
    jwt_timeout: Seconds = 2
    # copier: endif
    # copier: if "prometheus" in observability
    # /metrics is open where no token is set
    metrics_token: MetricsToken = None
    # copier: endif
    # copier: if "prometheus" in observability and example == "orders"
    worker_metrics_port: int = Field(default=0, ge=0, le=65535)  # 0: nowhere
    # copier: endif
    # copier: if "sentry" in observability
    sentry_dsn: SentryDsn = None
    # copier: endif
    # copier: if "opentelemetry" in observability
    # of a collector, for OTLP over HTTP
    otel_exporter_otlp_endpoint: pydantic.AnyHttpUrl | None = None
    # copier: endif
    request_id_header: str = Field(default="X-Request-ID", pattern=r"^[A-Za-z0-9-]+$")
    cors_origins: Origins = []
    max_body_size: PositiveInt = 1_000_000  # bytes


def load_settings() -> Settings:
    """Return the settings; a wrong one ends the process with one line that names it."""
    problem = env_file.find_problem()
    if problem:
        refuse(problem)
    try:
        return Settings()
    except pydantic.ValidationError as exc:
        refuse("; ".join(map(describe, exc.errors())))
    except SettingsError as exc:
        refuse(str(exc))


def describe(error: ErrorDetails) -> str:
    """Return the name of a setting, and what is wrong with it, without its value."""
    message = error["msg"]
    value = error["input"]
    if isinstance(value, str) and value and error["type"] != "literal_error":
        message = message.replace(value, "***")
    return ": ".join([*map(str, error["loc"][:1]), message])


def refuse(problem: str) -> NoReturn:
    """End the process with one line that says what to change."""
    sys.stderr.write(f"wrong settings: {problem}\n")
    raise SystemExit(STARTUP_FAILURE)
