"""The settings: read from the environment and `.env`, checked once, when the service starts."""

# copier: if false
# fmt: off
# isort: off
# copier: endif
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import BeforeValidator, Field, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

# copier: if "sentry" in observability
from src.airtight.sentry import SentryDsn
# copier: endif
from src.airtight.tracebacks import invalid_values

# copier: if false
# isort: on
# fmt: on
# copier: endif

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SERVICE_NAME = PYPROJECT["project"]["name"]
APP_METADATA = PYPROJECT["tool"]["service"] | {
    key: PYPROJECT["project"][key] for key in ("description", "version")
}
STARTUP_FAILURE = 3  # the exit code at which uvicorn's supervisor gives up instead of trying again
Lower = BeforeValidator(lambda value: str(value).lower())


# copier: if stores
def no_placeholder(url: pydantic.Secret[pydantic.AnyUrl], info: pydantic.ValidationInfo) -> object:
    """Refuse, outside development, a password that everybody knows."""
    secret = str(url.get_secret_value())
    if info.data.get("environment") == "production" and any(
        f":{word}@" in secret for word in PLACEHOLDERS
    ):
        raise ValueError("it holds a placeholder instead of a password")
    return url


# copier: endif
# copier: if "postgres" in stores
PostgresUrl = Annotated[
    pydantic.Secret[pydantic.PostgresDsn], pydantic.AfterValidator(no_placeholder)
]
# copier: endif
# copier: if "redis" in stores
RedisUrl = Annotated[pydantic.Secret[pydantic.RedisDsn], pydantic.AfterValidator(no_placeholder)]
# copier: endif
# copier: if stores
PLACEHOLDERS = ("change-me", "changeme", "password", "secret")
Seconds = Annotated[float, Field(gt=0, le=60)]


# copier: endif
def check_file(path: Path | None, info: pydantic.ValidationInfo) -> Path | None:
    """Refuse a log file that cannot be written, or that several workers would rotate under each other."""
    if path is None:
        return None
    if info.data.get("workers") != 1:
        raise ValueError("several workers cannot share a file, so leave it out or set WORKERS=1")
    try:
        path.open("ab").close()
    except OSError as exc:
        raise ValueError(f"it cannot be written: {exc.strerror}") from exc
    return path


class Settings(BaseSettings):
    """What differs between the places where the service runs."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, validate_default=True
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: PositiveInt = 1
    shutdown_timeout: PositiveInt = 10  # seconds
    environment: Annotated[Literal["development", "production"], Lower] = "development"
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], Lower] = "info"
    log_format: Annotated[Literal["console", "ecs", "json"], Lower] = "json"
    log_file: Annotated[Path | None, pydantic.AfterValidator(check_file)] = None
    # copier: if "postgres" in stores
    database_url: PostgresUrl = pydantic.Secret(
        pydantic.PostgresDsn("postgresql://app:change-me@127.0.0.1:5432/app")
    )
    database_pool_size: PositiveInt = 10
    database_timeout: Seconds = 2
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
    # copier: if "prometheus" in observability
    metrics_token: pydantic.SecretStr | None = None  # asked for by /metrics where one is set
    # copier: endif
    # copier: if "prometheus" in observability and example == "orders"
    worker_metrics_port: int = Field(default=0, ge=0, le=65535)  # 0: nowhere
    # copier: endif
    # copier: if "sentry" in observability
    sentry_dsn: SentryDsn | None = None
    # copier: endif
    # copier: if "opentelemetry" in observability
    otel_exporter_otlp_endpoint: pydantic.AnyHttpUrl | None = (
        None  # of a collector, for OTLP over HTTP
    )
    # copier: endif
    request_id_header: str = Field(default="X-Request-ID", pattern=r"^[A-Za-z0-9-]+$")
    cors_origins: list[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$")]] = []
    max_body_size: PositiveInt = 1_000_000  # bytes


def load_settings() -> Settings:
    """Return the settings; a wrong one ends the process with one line that names it."""
    try:
        return Settings()
    except (pydantic.ValidationError, SettingsError) as exc:
        reasons = [": ".join([*map(str, e["loc"][:1]), e["msg"]]) for e in invalid_values(exc)] or [
            str(exc)
        ]
    sys.stderr.write(f"wrong settings: {'; '.join(reasons)}\n")
    raise SystemExit(STARTUP_FAILURE)
