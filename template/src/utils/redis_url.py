"""The URL of Redis: what providers write, checked before it is used."""

import re

from src.utils.urls import InvalidUrlError, check_parameters, query_of, split_url

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
NUMBERS = ("db", "health_check_interval")


def check_redis_url(url: str) -> str:
    """Return a URL of Redis that the driver understands; raises InvalidUrlError."""
    parts = split_url(url)
    parameters = query_of(parts)
    if parts.scheme == "rediss":
        check_parameters(parameters, KNOWN | KNOWN_WITH_TLS, INSTEAD)
    else:
        check_parameters(parameters, KNOWN, INSTEAD | NEEDS_TLS)
    for name in NUMBERS:
        if not parameters.get(name, "0").isdigit():
            raise InvalidUrlError(f"{name} must be a number")
    if not re.fullmatch(r"/?\d*", parts.path):
        raise InvalidUrlError("the database after the / must be a number, such as 0")
    return url
