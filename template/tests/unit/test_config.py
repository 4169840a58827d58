"""The settings are checked before anything else happens."""

from pathlib import Path

import pytest

from src.config import load_settings
from tests.support.settings import refuse_settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "99999"),
        ("LOG_LEVEL", "loud"),
        ("CORS_ORIGINS", "a.example"),
        ("CORS_ORIGINS", '["a.example"]'),
        ("CORS_ORIGINS", "https://a.example/path"),
        ("CORS_ORIGINS", '["https://a.example"'),
        ("MAX_BODY_SIZE", "-1"),
        ("REQUEST_ID_HEADER", "X Request"),
        ("ENVIRONMENT", "staging"),
        ("LOG_FORMAT", "xml"),
        ("LOG_FILE", "/no/such/folder/log"),
        # copier: if "opentelemetry" in observability
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        # copier: endif
        # copier: if "sentry" in observability
        ("SENTRY_DSN", "https://hunter2/1"),
        # copier: endif
        # copier: if "postgres" in stores
        ("DATABASE_URL", "mysql://app:hunter2@db/app"),
        ("DATABASE_TIMEOUT", "0"),
        # copier: endif
        # copier: if "redis" in stores
        ("REDIS_URL", "redis//:hunter2@db/0"),
        # copier: endif
    ],
)
def test_wrong_setting_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    """A wrong setting is named, its value is not repeated, and the exit code is the one for a failed start."""
    monkeypatch.setenv(name, value)
    line = refuse_settings(capsys)
    assert line.startswith("wrong settings: ")
    assert name.lower() in line.lower()


# copier: if "postgres" in stores
@pytest.mark.parametrize("password", ["change-me", "changeme", "secret"])
def test_placeholder_is_refused_in_production(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], password: str
) -> None:
    """Outside development a password that everybody knows ends the start."""
    monkeypatch.setenv("DATABASE_URL", f"postgresql://app:{password}@db/app")
    assert load_settings().environment == "development"
    monkeypatch.setenv("ENVIRONMENT", "production")
    with pytest.raises(SystemExit):
        load_settings()
    assert "database_url: Value error, it holds a placeholder" in capsys.readouterr().err


def test_settings_do_not_show_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printed settings show no password."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://app:hunter2@db/app")
    settings = load_settings()
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


# copier: endif
def test_log_file_is_for_one_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Several workers would rotate a file under each other."""
    monkeypatch.setenv("LOG_FILE", str(tmp_path / "log"))
    assert load_settings().log_file == tmp_path / "log"
    monkeypatch.setenv("WORKERS", "2")
    with pytest.raises(SystemExit):
        load_settings()


def test_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set to nothing counts as not set, and names of levels may be in capitals."""
    monkeypatch.setenv("PORT", "")
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    settings = load_settings()
    assert (settings.port, settings.log_level) == (8000, "warning")
