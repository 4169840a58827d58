"""Callers are known by their keys, of which the settings have the hashes alone."""

import json
import stat
from pathlib import Path

import pytest

from dev import api_keys
from src.config import load_settings
from src.services.api_keys import ApiKeys, require_keys
from src.services.callers import Principal
from src.utils.api_keys import ApiKey, hash_key
from src.utils.errors import NotAuthenticatedError
from tests.support.settings import refuse_settings

OLD = hash_key("old")
NEW = hash_key("new")
WRONG = [
    "hunter2",
    "[]",
    "{",
    '{"reports": {}}',
    '{"reports": {"sha256": "hunter2"}}',
    '{"reports": {"sha256": []}}',
    json.dumps({"": {"sha256": OLD}}),
    json.dumps({"two\nlines": {"sha256": OLD}}),
    json.dumps({"reports": {"sha256": OLD, "scopes": ["a b"]}}),
    json.dumps({"reports": {"sha256": OLD, "role": "admin"}}),
    json.dumps({"reports": {"sha256": OLD}, "others": {"sha256": OLD}}),
]


def test_caller_is_known_by_each_of_its_keys() -> None:
    """While a caller changes to a new key, both hold; the name and the scopes are the same."""
    keys = ApiKeys({"reports": ApiKey(sha256=[OLD, NEW], scopes=["read"])})
    expected = Principal("reports", frozenset({"read"}))
    assert keys.find("old") == expected
    assert keys.find("new") == expected


@pytest.mark.parametrize("key", ["", "ol", "OLD", OLD, "x" * 30_000, "\u00fc"])
def test_unknown_key_is_refused(key: str) -> None:
    """A key that nobody has is refused, and the error does not repeat it."""
    with pytest.raises(NotAuthenticatedError) as caught:
        ApiKeys({"reports": ApiKey(sha256=[OLD])}).find(key)
    assert caught.value.fields == {"reason": "unknown key"}


@pytest.mark.parametrize("value", WRONG)
def test_wrong_setting_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    """What cannot be a setting ends the start, and is not repeated."""
    monkeypatch.setenv("API_KEYS", value)
    assert refuse_settings(capsys).startswith("wrong settings: api_keys: ")


def test_setting_does_not_show_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printed settings show neither keys nor their hashes."""
    monkeypatch.setenv("API_KEYS", json.dumps({"reports": {"sha256": OLD}}))
    settings = load_settings()
    assert OLD not in f"{settings!r} {settings}"


@pytest.mark.parametrize("key", ["", "change-me", "secret", "TOKEN"])
def test_placeholder_is_refused_in_production(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    """Outside development a key that everybody knows ends the start."""
    value = json.dumps({"reports": {"sha256": hash_key(key)}})
    monkeypatch.setenv("API_KEYS", value)
    assert load_settings().api_keys
    monkeypatch.setenv("ENVIRONMENT", "production")
    assert "placeholder" in refuse_settings(capsys)


def test_production_needs_a_caller(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service that nobody could call does not start in production."""
    monkeypatch.setenv("API_KEYS", "")
    settings = load_settings()
    require_keys(settings)
    with pytest.raises(SystemExit) as caught:
        require_keys(settings.model_copy(update={"environment": "production"}))
    assert caught.value.code == 3
    assert "api-key NAME" in capsys.readouterr().err


def printed_by_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """Return the key and the setting that `python -m dev api-key` prints."""
    api_keys.run(*arguments)
    lines = capsys.readouterr().out.splitlines()
    return lines[0].split()[-1], lines[-1].removeprefix("API_KEYS=")


def test_command_adds_callers_and_changes_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each call prints a new key, and the setting with all callers."""
    monkeypatch.setenv("API_KEYS", "")
    first, value = printed_by_command(capsys, "reports", "read write")
    monkeypatch.setenv("API_KEYS", value)
    second, value = printed_by_command(capsys, "reports")
    monkeypatch.setenv("API_KEYS", value)
    third, value = printed_by_command(capsys, "others")
    monkeypatch.setenv("API_KEYS", value)
    assert not any(key in value for key in (first, second, third))
    keys = ApiKeys(load_settings().api_keys)
    reports = Principal("reports", frozenset({"read", "write"}))
    assert [keys.find(key) for key in (first, second)] == [reports, reports]
    assert keys.find(third) == Principal("others")


@pytest.mark.parametrize(
    ("arguments", "words"), [([], "usage"), (["two words"], "the name of a caller has letters")]
)
def test_command_says_what_is_wrong(arguments: list[str], words: str) -> None:
    """A name that cannot be one ends the command with one line."""
    with pytest.raises(SystemExit) as caught:
        api_keys.run(*arguments)
    assert words in str(caught.value.code)


def test_developer_has_a_key_that_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is made up once, for its owner alone, and only where no caller is set."""
    monkeypatch.setattr(api_keys, "OWN", tmp_path)
    monkeypatch.setattr(api_keys, "FILE", tmp_path / "api-key")
    key = api_keys.developer_key()
    assert api_keys.developer_key() == key
    assert stat.S_IMODE((tmp_path / "api-key").stat().st_mode) == 0o600
    assert api_keys.developer_setting() == {}
    monkeypatch.setenv("API_KEYS", "")
    api_keys.let_developer_in()
    assert ApiKeys(load_settings().api_keys).find(key) == Principal("developer")
