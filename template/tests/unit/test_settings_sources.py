"""Settings in the forms in which people write them, from the environment and from `.env`."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.airtight.logging import configure_logging, redact
from src.config import Settings, load_settings
from src.main import create_app
from tests.support.settings import refuse_settings


@pytest.fixture
def env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The `.env` of a folder that has nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOG_LEVEL")
    return tmp_path / ".env"


@pytest.mark.parametrize(
    "text",
    [
        "LOG_LEVEL=warning\n".encode("utf-16"),
        "LOG_LEVEL=warning\n".encode("utf-16-le"),
        "LOG_LEVEL=warning\n".encode("utf-16-be"),
        "LOG_LEVEL=warning\n# für Köln\n".encode("latin-1"),
        "# für Köln\nLOG_LEVEL=warning\n".encode("latin-1"),
        b"LOG_LEVEL=warning\nREQUEST_ID_HEADER=caf\xe9\n",
    ],
    ids=["utf-16", "utf-16-le", "utf-16-be", "latin-1-end", "latin-1-start", "latin-1-value"],
)
def test_env_file_in_another_encoding_is_named(
    env_file: Path, text: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """A `.env` that is not UTF-8 ends the start with one line that names the file and the cure."""
    env_file.write_bytes(text)
    assert refuse_settings(capsys) == "wrong settings: .env is not UTF-8 text: save it as UTF-8"


@pytest.mark.parametrize(
    "text",
    [
        b"LOG_LEVEL=warning\n",
        b"\xef\xbb\xbfLOG_LEVEL=warning\n",
        b"LOG_LEVEL=warning\r\n",
        "# für Köln\nLOG_LEVEL='warning'\n".encode(),
    ],
    ids=["plain", "byte-order-mark", "windows-line-ends", "umlauts"],
)
def test_env_file_is_read(env_file: Path, text: bytes) -> None:
    """A `.env` is read as editors on any machine write it."""
    env_file.write_bytes(text)
    assert load_settings().log_level == "warning"


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("https://a.example", ["https://a.example"]),
        ("https://a.example,https://b.example", ["https://a.example", "https://b.example"]),
        (
            "https://a.example, http://b.example:3000,",
            ["https://a.example", "http://b.example:3000"],
        ),
        ('["https://a.example", "https://b.example"]', ["https://a.example", "https://b.example"]),
        ("*", ["*"]),
        ('["*"]', ["*"]),
        ("[]", []),
        ("", []),
    ],
)
def test_origins_are_accepted(
    monkeypatch: pytest.MonkeyPatch, text: str, origins: list[str]
) -> None:
    """Origins are separated by commas, or a JSON list, or a star."""
    monkeypatch.setenv("CORS_ORIGINS", text)
    assert load_settings().cors_origins == origins


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a.example", "an origin has a scheme and no path"),
        ("https://a.example/", "an origin has a scheme and no path"),
        ("https://a.example https://b.example", "an origin has a scheme and no path"),
        ("*.example.com", "an origin has a scheme and no path"),
        ('["https://a.example"', "write the values with commas between them"),
        ("[1]", "should be a valid string"),
    ],
)
def test_wrong_origin_says_how_to_write_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, problem: str
) -> None:
    """What no browser sends as an origin ends the start with one line."""
    monkeypatch.setenv("CORS_ORIGINS", text)
    line = refuse_settings(capsys)
    assert line.startswith("wrong settings: cors_origins: ")
    assert problem in line


def test_origin_star_from_env_file(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list in `.env` has the same forms as one in the environment."""
    monkeypatch.delenv("CORS_ORIGINS")
    env_file.write_text("CORS_ORIGINS=https://a.example,https://b.example\n", encoding="utf-8")
    assert load_settings().cors_origins == ["https://a.example", "https://b.example"]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("LOG_LEVELS", "httpx2=warning", 'write a JSON object, such as {"httpx2": "warning"}'),
        ("LOG_LEVELS", "{httpx2: warning}", 'write a JSON object, such as {"httpx2": "warning"}'),
        ("LOG_LEVELS", '["httpx2"]', 'write a JSON object, such as {"httpx2": "warning"}'),
        ("LOG_LEVELS", '{"httpx2": "loud"}', "should be 'debug', 'info', 'warning'"),
        ("REDACT_FIELDS", "customer,!!", "the name of a field consists of letters and digits"),
        ("REDACT_FIELDS", '["customer"', "write the values with commas between them"),
        ("REDACT_FIELDS", "[1]", "should be a valid string"),
    ],
)
def test_wrong_logging_setting_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str,
    problem: str,
) -> None:
    """A level that does not exist, or a name that can match no field, ends the start."""
    monkeypatch.setenv(name, text)
    line = refuse_settings(capsys)
    assert line.startswith(f"wrong settings: {name.lower()}: ")
    assert problem in line


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Leave the levels and the names of secrets as they were."""
    handlers = logging.root.handlers[:]
    yield
    defaults = Settings()
    configure_logging(defaults.log_level, defaults.log_format)
    logging.root.handlers = handlers
    for name in ("noisy", "noisy.child", "quiet"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.usefixtures("logging_restored")
def test_levels_of_single_loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    """`LOG_LEVELS` holds for a logger and those below it; all others have `LOG_LEVEL`."""
    monkeypatch.setenv("LOG_LEVELS", '{"noisy": "WARNING", "quiet": "debug"}')
    create_app()
    assert logging.getLogger("noisy.child").getEffectiveLevel() == logging.WARNING
    assert logging.getLogger("quiet").getEffectiveLevel() == logging.DEBUG
    assert logging.getLogger("other").getEffectiveLevel() == logging.INFO
    assert logging.getLogger("httpx2").getEffectiveLevel() == logging.WARNING


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("text", ["customer_number, taxId", '["customer_number", "taxId"]'])
def test_fields_of_the_team_are_redacted(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """`REDACT_FIELDS` adds names, in any spelling, to those that everybody expects."""
    monkeypatch.setenv("REDACT_FIELDS", text)
    create_app()
    fields = {"customerNumber": "4711", "main_tax_id": 12, "password": "x", "customer": "ann"}
    assert redact(fields) == {
        "customerNumber": "***",
        "main_tax_id": "***",
        "password": "***",
        "customer": "ann",
    }
    assert redact("customer_number=4711 for ann") == "customer_number=*** for ann"
