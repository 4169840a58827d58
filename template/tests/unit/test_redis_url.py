"""URLs of Redis are accepted as people have them, and what is wrong says how to fix it."""

import pytest

from src.config import load_settings
from tests.support.settings import refuse_settings

FORM = "redis://:password@host:6379/0, or rediss:// for TLS"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://db", "redis://db:6379/0"),
        ("redis://db:6380/3", "redis://db:6380/3"),
        (" REDIS://db\n", "redis://db:6379/0"),
        ("redis://:hunter2@db/1", "redis://:hunter2@db:6379/1"),
        ("rediss://app:hunter2@db/1", "rediss://app:hunter2@db:6379/1"),
        ("valkey://db", "redis://db:6379/0"),
        ("valkeys://:hunter2@db", "rediss://:hunter2@db:6379/0"),
        ("redis://:p%23%2F@db", "redis://:p%23%2F@db:6379/0"),
        ("redis://:p@w:x@db", "redis://:p%40w%3Ax@db:6379/0"),
        ("redis://[::1]:6380", "redis://[::1]:6380/0"),
        ("redis://db?protocol=3&client_name=a", "redis://db:6379/0?protocol=3&client_name=a"),
        ("rediss://db?ssl_cert_reqs=none", "rediss://db:6379/0?ssl_cert_reqs=none"),
    ],
)
def test_url_is_accepted(url: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schemes, users and parameters that the driver knows are accepted."""
    monkeypatch.setenv("REDIS_URL", url)
    assert str(load_settings().redis_url.get_secret_value()) == expected


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://:hun#ter2@db", "a # in the password must be written as %23"),
        ("redis://:hun/ter2@db", "a / in the password must be written as %2F"),
        ("redis://:hun?ter2@db", "a ? in the password must be written as %3F"),
        ("redis://:hun[ter2@db", "a [ in the password must be written as %5B"),
        ("http://db:6379", f"it must have the form {FORM}"),
        ("db:6379/some/path", f"it must have the form {FORM}"),
        ("'redis://:hunter2@db'", f"it must have the form {FORM}"),
        ("unix:///run/redis.sock", f"it must have the form {FORM}"),
        ("redis://:hunter2@/0", f"it lacks a host: write {FORM}"),
        ("redis://db/cache", "the database after the / must be a number, such as 0"),
        ("redis://db/0&db=1", "the database after the / must be a number, such as 0"),
        ("redis://db?db=x", "db must be a number"),
        ("redis://db?protocol=4", "protocol must be 2 or 3"),
        ("redis://db?colour=blue", "the parameter colour is unknown: remove it"),
        ("redis://db?ssl=true", "the parameter ssl has no effect: write rediss:// for TLS"),
        (
            "redis://db?ssl_cert_reqs=none",
            "the parameter ssl_cert_reqs has no effect: write rediss:// for TLS",
        ),
        ("rediss://db?ssl_cert_reqs=no", "ssl_cert_reqs must be none, optional or required"),
        ("rediss://db?ssl_ca_certs=/no/file", "ssl_ca_certs names a file that does not exist"),
        (
            "redis://db?socket_timeout=5",
            "the parameter socket_timeout has no effect: set REDIS_TIMEOUT",
        ),
        (
            "redis://db?max_connections=5",
            "the parameter max_connections has no effect: set REDIS_POOL_SIZE",
        ),
        ("redis://db:port", "Input should be a valid URL, invalid port number"),
    ],
)
def test_wrong_url_says_how_to_fix_it(
    url: str,
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is wrong ends the start with one line, which shows no password."""
    monkeypatch.setenv("REDIS_URL", url)
    line = refuse_settings(capsys)
    start = "wrong settings: redis_url: "
    assert line.startswith(start)
    assert line.removeprefix(start).removeprefix("Value error, ") == problem
