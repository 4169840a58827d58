"""The settings: read from the environment and `.env`, checked when the service starts."""

import json
# copier: if "prometheus" in observability
import os
# copier: endif
import re
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import pydantic
# copier: if "prometheus" in observability
from dotenv import dotenv_values
# copier: endif
from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError
# copier: if "sentry" in observability
from sentry_sdk.utils import Dsn
# copier: endif

# copier: if stores
# copier: if "postgres" in stores
from src.utils.postgres_url import normalise_postgres_url
# copier: endif
# copier: if "redis" in stores
from src.utils.redis_url import check_redis_url
# copier: endif
from src.utils.urls import find_credentials

# copier: endif
ROOT = Path(__file__).resolve().parents[1]
ENV_FILE = Path(".env")
ENCODING = "utf-8-sig"  # UTF-8, also with the mark that Windows puts in front
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SERVICE_NAME = PYPROJECT["project"]["name"]
APP_METADATA = PYPROJECT["tool"]["service"] | {
    key: PYPROJECT["project"][key] for key in ("description", "version")
}
STARTUP_FAILURE = 3  # the exit code at which uvicorn's supervisor gives up instead of trying again
FIELD_NAME = re.compile(r"[\w .-]*[A-Za-z0-9][\w .-]*")
LEVELS_ARE_WRONG = 'write a JSON object, such as {"httpx2": "warning"}'
ORIGIN = re.compile(r"\*|https?://[^/\s,]+")
PLACEHOLDERS = {
    "admin",
    "app",
    "changeme",
    "default",
    "example",
    "pass",
    "password",
    # copier: if "postgres" in stores
    "postgres",
    # copier: endif
    # copier: if "redis" in stores
    "redis",
    # copier: endif
    "root",
    "secret",
    "test",
    "token",
}


def split_list(value: object) -> object:
    """Read a list from JSON, or from a text with commas between the values."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return [item.strip() for item in value.split(",") if item.strip()]
    try:
        return json.loads(value)
    except json.JSONDecodeError as exc:
        raise ValueError("write the values with commas between them") from exc


def read_levels(value: object) -> object:
    """Read the levels of loggers from a JSON object."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("{"):
        raise ValueError(LEVELS_ARE_WRONG)
    try:
        return json.loads(value)
    except json.JSONDecodeError as exc:
        raise ValueError(LEVELS_ARE_WRONG) from exc


def check_origin(origin: str) -> str:
    """Refuse what no browser sends as an origin."""
    if not ORIGIN.fullmatch(origin):
        raise ValueError("an origin has a scheme and no path, as https://app.example.com, or is *")
    return origin


def check_field_name(name: str) -> str:
    """Refuse a name that would match no field."""
    if not FIELD_NAME.fullmatch(name):
        raise ValueError("the name of a field consists of letters and digits, as customer_number")
    return name


def check_log_file(path: Path | None, info: pydantic.ValidationInfo) -> Path | None:
    """Refuse a log file that cannot be written, or that several workers would rotate."""
    if path is None:
        return None
    if info.data.get("workers") != 1:
        raise ValueError("several workers cannot share a file, so leave it out or set WORKERS=1")
    try:
        path.open("ab").close()
    except OSError as exc:
        raise ValueError(f"it cannot be written: {exc.strerror}") from exc
    return path


# copier: if stores or "prometheus" in observability
def is_placeholder(secret: str) -> bool:
    """Return whether a secret is a word from an example, in any spelling."""
    return re.sub(r"[^a-z0-9]", "", secret.lower()) in PLACEHOLDERS


# copier: endif
# copier: if stores
def no_placeholder(url: pydantic.Secret[Any], info: pydantic.ValidationInfo) -> object:
    """Refuse, outside development, a password that everybody knows."""
    if info.data.get("environment") != "production":
        return url
    credentials = find_credentials(str(url.get_secret_value()))
    for password in credentials.passwords:
        if is_placeholder(password) or password == credentials.user:
            raise ValueError("it holds a placeholder instead of a password")
    return url


# copier: endif
# copier: if "prometheus" in observability
def check_token(
    token: pydantic.SecretStr | None, info: pydantic.ValidationInfo
) -> pydantic.SecretStr | None:
    """Refuse a token that protects nothing: an empty one is a secret that was not found."""
    variables = [*dotenv_values(ENV_FILE, encoding=ENCODING), *os.environ]
    is_set = "metrics_token" in map(str.lower, variables)
    secret = token.get_secret_value() if token else ""
    if is_set and not secret.strip():
        raise ValueError("it is empty: set a token, or remove the setting to leave /metrics open")
    if info.data.get("environment") == "production" and is_placeholder(secret):
        raise ValueError("it is a placeholder instead of a secret")
    return token


# copier: endif
# copier: if "sentry" in observability
def check_dsn(dsn: pydantic.SecretStr | None) -> pydantic.SecretStr | None:
    """Refuse what is no DSN of Sentry."""
    if dsn is not None:
        Dsn(dsn.get_secret_value())
    return dsn


# copier: endif
# copier: if "postgres" in stores
PostgresUrl = Annotated[
    pydantic.Secret[pydantic.PostgresDsn],
    BeforeValidator(lambda url: normalise_postgres_url(url) if isinstance(url, str) else url),
    AfterValidator(no_placeholder),
]
# copier: endif
# copier: if "redis" in stores
RedisUrl = Annotated[
    pydantic.Secret[pydantic.RedisDsn],
    BeforeValidator(lambda url: check_redis_url(url) if isinstance(url, str) else url),
    AfterValidator(no_placeholder),
]
# copier: endif
# copier: if stores
Seconds = Annotated[float, Field(gt=0, le=60)]
# copier: endif
Lower = BeforeValidator(lambda value: str(value).lower())
Level = Annotated[Literal["debug", "info", "warning", "error", "critical"], Lower]
Origin = Annotated[str, AfterValidator(check_origin)]
FieldName = Annotated[str, AfterValidator(check_field_name)]
Separated = BeforeValidator(split_list)


class Settings(BaseSettings):
    """What differs between the places in which the service runs."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_file_encoding=ENCODING,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_default=True,
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: PositiveInt = 1
    shutdown_timeout: PositiveInt = 10  # seconds
    environment: Annotated[Literal["development", "production"], Lower] = "development"
    log_level: Level = "info"
    # of single loggers
    log_levels: Annotated[dict[str, Level], NoDecode, BeforeValidator(read_levels)] = {}
    log_format: Annotated[Literal["console", "ecs", "json"], Lower] = "json"
    log_file: Annotated[Path | None, AfterValidator(check_log_file)] = None
    # names of fields that are secret, besides those that everybody expects
    redact_fields: Annotated[list[FieldName], NoDecode, Separated] = []
    # copier: if "postgres" in stores
    database_url: PostgresUrl = pydantic.Secret(
        pydantic.PostgresDsn("postgresql://app:change-me@127.0.0.1:5432/app")
    )
    database_pool_size: PositiveInt = 10
    database_timeout: Seconds = 2
    database_statement_cache_size: Annotated[int, Field(ge=0)] = 100  # 0 behind PgBouncer
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
    # /metrics is open where no token is set
    metrics_token: Annotated[pydantic.SecretStr | None, AfterValidator(check_token)] = None
    # copier: endif
    # copier: if "prometheus" in observability and example == "orders"
    worker_metrics_port: int = Field(default=0, ge=0, le=65535)  # 0: nowhere
    # copier: endif
    # copier: if "sentry" in observability
    sentry_dsn: Annotated[pydantic.SecretStr | None, AfterValidator(check_dsn)] = None
    # copier: endif
    # copier: if "opentelemetry" in observability
    # of a collector, for OTLP over HTTP
    otel_exporter_otlp_endpoint: pydantic.AnyHttpUrl | None = None
    # copier: endif
    request_id_header: str = Field(default="X-Request-ID", pattern=r"^[A-Za-z0-9-]+$")
    cors_origins: Annotated[list[Origin], NoDecode, Separated] = []
    max_body_size: PositiveInt = 1_000_000  # bytes


def load_settings() -> Settings:
    """Return the settings; a wrong one ends the process with one line that names it."""
    check_env_file()
    try:
        return Settings()
    except pydantic.ValidationError as exc:
        refuse("; ".join(map(describe, exc.errors())))
    except SettingsError as exc:
        refuse(str(exc))


def check_env_file() -> None:
    """End the process with one line if `.env` cannot be read as text."""
    try:
        if ENV_FILE.is_file() and "\0" in ENV_FILE.read_text(encoding=ENCODING):
            refuse(".env is not UTF-8 text: save it as UTF-8")
    except UnicodeDecodeError:
        refuse(".env is not UTF-8 text: save it as UTF-8")
    except OSError as exc:
        refuse(f".env cannot be read: {exc.strerror}")


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
