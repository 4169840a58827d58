"""The URL of Redis: what providers write, checked before it is used."""

import re
from typing import Annotated

from pydantic import AfterValidator, RedisDsn, Secret

from src.utils.urls import (
    InvalidUrlError,
    before_parsing,
    check_files,
    check_parameters,
    query_of,
    refuse_placeholder,
    split_url,
)

# Valkey, which speaks Redis's protocol, has schemes of its own.
SCHEME = re.compile(r"\s*(?:redis|valkey)(s?)(?=://)", re.IGNORECASE)
FORM = "redis://:password@host:6379/0, or rediss:// for TLS"
KNOWN = {
    "client_name": (),
    "db": (),
    "health_check_interval": (),
    "password": (),
    "protocol": ("2", "3"),
    "socket_keepalive": ("true", "false"),
    "username": (),
}
KNOWN_WITH_TLS = {
    "ssl_ca_certs": (),
    "ssl_ca_path": (),
    "ssl_cert_reqs": ("none", "optional", "required"),
    "ssl_certfile": (),
    "ssl_check_hostname": ("true", "false"),
    "ssl_keyfile": (),
}
INSTEAD = {
    "max_connections": "set REDIS_POOL_SIZE",
    "socket_connect_timeout": "set REDIS_TIMEOUT",
    "socket_timeout": "set REDIS_TIMEOUT",
    "ssl": "write rediss:// for TLS",
    "timeout": "set REDIS_TIMEOUT",
    "tls": "write rediss:// for TLS",
}
NEEDS_TLS = dict.fromkeys(KNOWN_WITH_TLS, "write rediss:// for TLS")
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
NUMBERS = ("db", "health_check_interval")


def check_redis_url(url: str) -> str:
    """Return a URL of Redis that the driver understands; raises InvalidUrlError."""
    if not SCHEME.match(url):
        raise InvalidUrlError(f"it must have the form {FORM}")
    url = SCHEME.sub(r"redis\1", url.strip(), count=1)
    parts = split_url(url)
    if not parts.hostname:
        raise InvalidUrlError(f"it lacks a host: write {FORM}")
    parameters = query_of(parts)
    if parts.scheme == "rediss":
        check_parameters(parameters, KNOWN | KNOWN_WITH_TLS, INSTEAD)
    else:
        check_parameters(parameters, KNOWN, INSTEAD | NEEDS_TLS)
    for name in NUMBERS:
        if not parameters.get(name, "0").isdigit():
            raise InvalidUrlError(f"{name} must be a number")
    check_files(parameters, FILES)
    if not re.fullmatch(r"/?\d*", parts.path):
        raise InvalidUrlError("the database after the / must be a number, such as 0")
    return url


RedisUrl = Annotated[
    Secret[RedisDsn],
    before_parsing(check_redis_url),
    AfterValidator(refuse_placeholder),
]
