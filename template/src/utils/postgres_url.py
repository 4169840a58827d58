"""The URL of PostgreSQL: what libpq, SQLAlchemy and providers write, in the driver's terms."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from src.utils.urls import InvalidUrlError, check_parameters, query_of, split_url

# SQLAlchemy names its driver in the scheme.
SCHEME = re.compile(r"postgres(ql)?(\+\w+)?(?=://)")
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
    """Return a URL with the scheme that the driver knows; raises InvalidUrlError."""
    url = SCHEME.sub("postgresql", url, count=1)
    postgres_options(url)
    return url


def postgres_options(url: str) -> PostgresOptions:
    """Return what the URL of a database means; raises InvalidUrlError."""
    parts = split_url(SCHEME.sub("postgresql", url, count=1))
    parameters = query_of(parts)
    check_parameters(parameters, KNOWN, INSTEAD)
    for name in FILES:
        if name in parameters and not Path(parameters[name]).is_file():
            raise InvalidUrlError(f"{name} names a file that does not exist")
    pgbouncer = parameters.pop("pgbouncer", "false") == "true"
    connect_timeout = _parse_timeout(parameters.pop("connect_timeout", "0"))
    tls_mode = _tls_mode(parameters)
    if tls_mode:
        parameters["sslmode"] = tls_mode
    query = urlencode(parameters, quote_via=quote)
    return PostgresOptions(parts._replace(query=query).geturl(), pgbouncer, connect_timeout)


def _parse_timeout(text: str) -> float | None:
    if not re.fullmatch(r"\d{1,4}", text):
        raise InvalidUrlError("connect_timeout must be a number of seconds")
    return float(text) or None  # 0 means for ever, in libpq


def _tls_mode(parameters: dict[str, str]) -> str | None:
    """Take what concerns TLS from the parameters, and return the mode.

    The driver does not bind its authentication to the channel. Where that is required there is at
    least a channel to protect.
    """
    ssl = parameters.pop("ssl", None)
    mode = parameters.pop("sslmode", ALIASES.get(ssl or "", ssl))
    if parameters.pop("channel_binding", "prefer") != "require":
        return mode
    if mode == "disable":
        raise InvalidUrlError("channel_binding=require needs TLS: write sslmode=require")
    if mode in ("verify-ca", "verify-full"):
        return mode
    return "require"
