"""URLs of PostgreSQL are accepted as people have them, and what is wrong says how to fix it."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from src.config import load_settings
from src.utils import postgres_url
from src.utils.postgres_url import PostgresOptions, postgres_options
from tests.support.settings import refuse_settings

ADDRESS = "app:hunter2@db.example:5433/app"
URL = f"postgresql://{ADDRESS}"


def options_of(url: str, monkeypatch: pytest.MonkeyPatch) -> PostgresOptions:
    """Return what the driver gets if this is the setting."""
    monkeypatch.setenv("DATABASE_URL", url)
    return postgres_options(str(load_settings().database_url.get_secret_value()))


def parameters_of(options: PostgresOptions) -> dict[str, list[str]]:
    """Return the parameters that the driver gets."""
    return parse_qs(urlsplit(options.dsn).query)


def refusal(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Load a wrong setting, and return what its one line says."""
    monkeypatch.setenv("DATABASE_URL", url)
    line = refuse_settings(capsys)
    start = "wrong settings: database_url: "
    assert line.startswith(start)
    return line.removeprefix(start).removeprefix("Value error, ")


@pytest.mark.parametrize(
    "scheme",
    [
        "postgres",
        "postgresql",
        "postgresql+asyncpg",
        "postgresql+psycopg",
        "postgresql+psycopg2",
        "POSTGRES",
        " postgres",
    ],
)
def test_scheme_of_any_tool_is_accepted(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schemes of libpq, of providers and of SQLAlchemy mean the same."""
    options = options_of(f"{scheme}://{ADDRESS}", monkeypatch)
    assert options == PostgresOptions(URL, pgbouncer=False, connect_timeout=None)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("sslmode=require", {"sslmode": ["require"]}),
        ("sslmode=disable", {"sslmode": ["disable"]}),
        ("sslmode=require&channel_binding=require", {"sslmode": ["require"]}),
        ("channel_binding=require", {"sslmode": ["require"]}),
        ("sslmode=prefer&channel_binding=require", {"sslmode": ["require"]}),
        ("channel_binding=prefer", {}),
        ("ssl=true", {"sslmode": ["require"]}),
        ("ssl=false", {"sslmode": ["disable"]}),
        ("ssl=prefer", {"sslmode": ["prefer"]}),
        ("application_name=a%20b", {"application_name": ["a b"]}),
        ("options=endpoint%3Dx", {"options": ["endpoint=x"]}),
        ("target_session_attrs=read-write", {"target_session_attrs": ["read-write"]}),
        (
            "search_path=sales&statement_timeout=9",
            {"search_path": ["sales"], "statement_timeout": ["9"]},
        ),
    ],
)
def test_parameter_means_what_it_says(
    query: str, expected: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver gets the parameters of libpq and of the server, in its own terms."""
    assert parameters_of(options_of(f"{URL}?{query}", monkeypatch)) == expected


def test_pgbouncer_and_timeout_are_not_for_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the driver would send to the server as a setting becomes an option."""
    options = options_of(f"{URL}?pgbouncer=true&connect_timeout=7", monkeypatch)
    assert options == PostgresOptions(URL, pgbouncer=True, connect_timeout=7.0)
    options = options_of(f"{URL}?pgbouncer=false&connect_timeout=0", monkeypatch)
    assert options == PostgresOptions(URL, pgbouncer=False, connect_timeout=None)


@pytest.mark.parametrize(
    ("url", "dsn"),
    [
        ("postgresql:///app?user=app&password=hunter2&host=db.example&port=5433", URL),
        (
            "postgresql://app:hunter2@/app?host=/run/x:y",
            "postgresql://app:hunter2@%2Frun%2Fx%3Ay/app",
        ),
        ("postgresql://app:hunter2@db.example:5433/?dbname=app", URL),
        ("postgresql://app:hunter2@a:1,b:2/app", "postgresql://app:hunter2@a:1,b:2/app"),
        ("postgresql://app:hunter2@[::1]:5433/app", "postgresql://app:hunter2@[::1]:5433/app"),
        ("postgresql://app:p%23%2F@db/app", "postgresql://app:p%23%2F@db/app"),
        ("postgresql://app:p@w:x@db/app", "postgresql://app:p%40w%3Ax@db/app"),
    ],
)
def test_address_is_found(url: str, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts, sockets and encoded passwords reach the driver where it looks for them."""
    assert options_of(url, monkeypatch).dsn == dsn


MODES = "sslmode must be disable, allow, prefer, require, verify-ca or verify-full"
FORM = "postgresql://user:password@host:5432/database"


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("sslmode=required", MODES),
        ("sslmode=REQUIRE", MODES),
        ("sslmode=", MODES),
        ("sslmode", MODES),
        ("sslmode=require?connect_timeout=5", MODES),
        ("channel_binding=yes", "channel_binding must be disable, prefer or require"),
        (
            "channel_binding=require&sslmode=disable",
            "channel_binding=require needs TLS: write sslmode=require",
        ),
        ("connect_timeout=10s", "connect_timeout must be a number of seconds"),
        ("connect_timeout=-1", "connect_timeout must be a number of seconds"),
        ("pgbouncer=yes", "pgbouncer must be true or false"),
        ("colour=blue", "the parameter colour is unknown: remove it"),
        ("sslrootcert=/no/file", "sslrootcert names a file that does not exist"),
        ("pool_size=5", "the parameter pool_size has no effect: set DATABASE_POOL_SIZE"),
        (
            "prepared_statement_cache_size=0",
            "the parameter prepared_statement_cache_size has no effect: "
            "set DATABASE_STATEMENT_CACHE_SIZE",
        ),
        ("schema=sales", "the parameter schema has no effect: write search_path="),
        ("host=other", "write the host in front of the ?, and remove the parameter"),
        ("user=other", "write the user in front of the ?, and remove the parameter"),
    ],
)
def test_wrong_parameter_says_how_to_fix_it(
    query: str,
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A parameter that is wrong, unknown or without effect ends the start with one line."""
    assert refusal(f"{URL}?{query}", monkeypatch, capsys) == problem


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql://app:hun#ter2@db/app", "a # in the password must be written as %23"),
        ("postgresql://app:hun/ter2@db/app", "a / in the password must be written as %2F"),
        ("postgresql://app:hun?ter2@db/app", "a ? in the password must be written as %3F"),
        ("postgresql://app:hun[ter2@db/app", "a [ in the password must be written as %5B"),
        ("postgresql://app:1234/5@db/app", "a / in the password must be written as %2F"),
        ("postgresql://app:hunter2@/app", f"it lacks a host: write {FORM}"),
        ("mysql://app:hunter2@db/app", f"it must have the form {FORM}"),
        ("app:hunter2@db/app", f"it must have the form {FORM}"),
        ("'postgresql://app:hunter2@db/app'", f"it must have the form {FORM}"),
        ("jdbc:postgresql://app:hunter2@db/app", f"it must have the form {FORM}"),
        ("host=db user=app password=hunter2", f"it must have the form {FORM}"),
        (f"{URL}&sslmode=require", "the first parameter after the database must follow a ?"),
        (
            "postgresql://app:hunter2@db:port/app",
            "Input should be a valid URL, invalid port number",
        ),
        (
            "postgresql://app:hunter2@db:99999/app",
            "Input should be a valid URL, invalid port number",
        ),
    ],
)
def test_wrong_url_says_how_to_fix_it(
    url: str,
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A URL that the driver would misread ends the start with one line without its password."""
    assert refusal(url, monkeypatch, capsys) == problem


def test_verification_needs_certificates(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A server's name is verified by a file of certificates, or by those of the system."""
    monkeypatch.setattr(postgres_url, "DEFAULT_ROOT", tmp_path / "root.crt")
    url = f"{URL}?sslmode=verify-full"
    problem = "sslmode=verify-full needs sslrootcert, a file or system"
    assert refusal(url, monkeypatch, capsys) == problem
    (tmp_path / "ca.crt").touch()
    options = options_of(f"{url}&sslrootcert={tmp_path}/ca.crt", monkeypatch)
    assert parameters_of(options)["sslrootcert"] == [f"{tmp_path}/ca.crt"]
    (tmp_path / "root.crt").touch()
    assert parameters_of(options_of(url, monkeypatch)) == {"sslmode": ["verify-full"]}


def test_certificates_of_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`sslrootcert=system` means the certificates of this machine, and verifies the name."""
    certificates = tmp_path / "cert.pem"
    certificates.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
    options = options_of(f"{URL}?sslrootcert=system", monkeypatch)
    expected = {"sslmode": ["verify-full"], "sslrootcert": [str(certificates)]}
    assert parameters_of(options) == expected
