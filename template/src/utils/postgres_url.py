"""The URL of PostgreSQL: what libpq, SQLAlchemy and providers write, in the driver's terms."""

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, quote, urlencode

from pydantic import AfterValidator, PostgresDsn, Secret

from src.utils.urls import (
    InvalidUrlError,
    before_parsing,
    check_files,
    check_parameters,
    query_of,
    refuse_placeholder,
    split_url,
)

# SQLAlchemy names its driver in the scheme.
SCHEME = re.compile(r"\s*postgres(ql)?(\+\w+)?(?=://)", re.IGNORECASE)
EXAMPLE = "postgresql://user:password@host:5432/database"
TLS_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
ALIASES = {"true": "require", "false": "disable"}  # of `ssl` in the URLs of other drivers
KNOWN = {
    # libpq's
    "application_name": (),
    "channel_binding": ("disable", "prefer", "require"),
    "connect_timeout": (),
    "database": (),
    "dbname": (),
    "host": (),
    "krbsrvname": (),
    "options": (),
    "passfile": (),
    "password": (),
    "port": (),
    "sslcert": (),
    "sslcrl": (),
    "sslkey": (),
    "sslmode": TLS_MODES,
    "sslnegotiation": ("postgres", "direct"),
    "sslpassword": (),
    "sslrootcert": (),
    "ssl_max_protocol_version": ("TLSv1.2", "TLSv1.3"),
    "ssl_min_protocol_version": ("TLSv1.2", "TLSv1.3"),
    "target_session_attrs": (
        "any",
        "primary",
        "standby",
        "prefer-standby",
        "read-write",
        "read-only",
    ),
    "user": (),
    # Prisma's
    "pgbouncer": ("true", "false"),
    # SQLAlchemy's, for asyncpg
    "ssl": (*TLS_MODES, *ALIASES),
    # of the server
    "idle_in_transaction_session_timeout": (),
    "jit": ("on", "off"),
    "lock_timeout": (),
    "search_path": (),
    "statement_timeout": (),
    "timezone": (),
}
INSTEAD = {
    "command_timeout": "set DATABASE_TIMEOUT",
    "connection_limit": "set DATABASE_POOL_SIZE",
    "max_connections": "set DATABASE_POOL_SIZE",
    "pool_size": "set DATABASE_POOL_SIZE",
    "pool_timeout": "set DATABASE_TIMEOUT",
    "prepared_statement_cache_size": "set DATABASE_STATEMENT_CACHE_SIZE",
    "schema": "write search_path=",
    "statement_cache_size": "set DATABASE_STATEMENT_CACHE_SIZE",
}
DEFAULT_ROOT = Path.home() / ".postgresql" / "root.crt"  # libpq's
FILES = ("passfile", "sslcert", "sslcrl", "sslkey", "sslrootcert")


@dataclass(frozen=True)
class PostgresOptions:
    """What a URL says, for asyncpg.

    Attributes:
        dsn: the URL with those parameters that the driver knows.
        pgbouncer: whether statements cannot stay prepared.
        connect_timeout: in seconds; None where the URL does not say.
    """

    dsn: str
    pgbouncer: bool
    connect_timeout: float | None


def normalise_postgres_url(url: str) -> str:
    """Return a URL with the scheme that the driver knows, and the address in front of the path.

    Raises:
        InvalidUrlError: The URL cannot be used.
    """
    if not SCHEME.match(url):
        raise InvalidUrlError(f"it must have the form {EXAMPLE}")
    parts = split_url(SCHEME.sub("postgresql", url.strip(), count=1))
    if re.search("[&;=]", parts.path):
        raise InvalidUrlError("the first parameter after the database must follow a ?")
    parts = _move_address(parts)
    postgres_options(parts.geturl())
    return parts.geturl()


def postgres_options(url: str) -> PostgresOptions:
    """Return what the URL of a database means; raises InvalidUrlError."""
    parts = split_url(url)
    parameters = query_of(parts)
    check_parameters(parameters, KNOWN, INSTEAD)
    pgbouncer = parameters.pop("pgbouncer", "false") == "true"
    connect_timeout = _parse_timeout(parameters.pop("connect_timeout", "0"))
    tls_mode = _tls_mode(parameters)
    if tls_mode:
        parameters["sslmode"] = tls_mode
    _check_files(parameters)
    dsn = _with_parameters(parts, parameters).geturl()
    return PostgresOptions(dsn, pgbouncer, connect_timeout)


def _with_parameters(parts: SplitResult, parameters: dict[str, str]) -> SplitResult:
    return parts._replace(query=urlencode(parameters, quote_via=quote))


def _move_address(parts: SplitResult) -> SplitResult:
    """Move what parameters say of the address to where it is expected, in front of them.

    Providers write the folder of a socket as `?host=`, since it holds slashes.
    """
    parameters = query_of(parts)
    credentials, _, address = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    database = parts.path.removeprefix("/")
    written = {
        "user": user,
        "password": password,
        "host": address,
        "port": address,
        "dbname": database,
        "database": database,
    }
    moved = {}
    for name, value in written.items():
        if value and name in parameters:
            raise InvalidUrlError(f"write the {name} in front of the ?, and remove the parameter")
        moved[name] = value or quote(parameters.pop(name, ""), safe="[],")
    if not address:
        address = f"{moved['host']}:{moved['port']}".removesuffix(":")
    if not address:
        raise InvalidUrlError(f"it lacks a host: write {EXAMPLE}")
    credentials = moved["user"]
    if moved["password"]:
        credentials += f":{moved['password']}"
    if credentials:
        address = f"{credentials}@{address}"
    path = f"/{moved['dbname'] or moved['database']}"
    moved_parts = parts._replace(netloc=address, path=path)
    return _with_parameters(moved_parts, parameters)


def _check_files(parameters: dict[str, str]) -> None:
    """Refuse files that do not exist, and verification without certificates."""
    if parameters.get("sslrootcert") == "system":
        parameters["sslrootcert"] = ssl.get_default_verify_paths().cafile or "system"
    check_files(parameters, FILES)
    verified = parameters.get("sslmode", "").startswith("verify-")
    if verified and "sslrootcert" not in parameters and not DEFAULT_ROOT.is_file():
        mode = parameters["sslmode"]
        raise InvalidUrlError(f"sslmode={mode} needs sslrootcert, a file or system")


def _parse_timeout(text: str) -> float | None:
    if not re.fullmatch(r"\d{1,4}", text):
        raise InvalidUrlError("connect_timeout must be a number of seconds")
    return float(text) or None  # 0 means for ever, in libpq


def _tls_mode(parameters: dict[str, str]) -> str | None:
    """Take what concerns TLS from the parameters, and return the mode.

    The driver does not bind its authentication to the channel. Where that is required there is at
    least a channel to protect.
    """
    name = parameters.pop("ssl", None)
    if name is None and parameters.get("sslrootcert") == "system":
        name = "verify-full"
    mode = parameters.pop("sslmode", ALIASES.get(name or "", name))
    if parameters.pop("channel_binding", "prefer") != "require":
        return mode
    if mode == "disable":
        raise InvalidUrlError("channel_binding=require needs TLS: write sslmode=require")
    if mode in ("verify-ca", "verify-full"):
        return mode
    return "require"


PostgresUrl = Annotated[
    Secret[PostgresDsn],
    before_parsing(normalise_postgres_url),
    AfterValidator(refuse_placeholder),
]
