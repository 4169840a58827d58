"""Settings that are wrong."""

import pytest

from src.config import load_settings


def refuse_settings(capsys: pytest.CaptureFixture[str]) -> str:
    """Load settings that are wrong, and return the one line with which the process would end."""
    with pytest.raises(SystemExit) as caught:
        load_settings()
    assert caught.value.code == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "hunter2" not in line
    return line
