"""The checker finds what breaks the house rules, and nothing else."""

from pathlib import Path

import pytest

from dev.house_rules import check, main

GOOD = [
    "from src.utils.errors import APIError\nraise APIError",
    "from src.utils.errors import APIError\ndef f(e):\n    raise APIError('x') from e",
    "from src.utils import errors\nraise errors.APIError('x')",
    "import src.utils.errors as own\nraise own.APIError",
    "class MineError(Exception): ...\nraise MineError",
    "try:\n    f()\nexcept KeyError as exc:\n    raise exc",
    "try:\n    f()\nexcept KeyError:\n    raise",
    "raise SystemExit(3)",
    "@field_validator('x')\ndef f(v):\n    raise ValueError('bad')",
    "@pydantic.model_validator(mode='after')\ndef f(v):\n    raise ValueError('bad')",
    "def f(v):\n    raise ValueError('bad')\nPort = Annotated[int, pydantic.AfterValidator(f)]",
    "try:\n    f()\nexcept KeyError:\n    logger.exception('x')",
    "logger.info('before')\nif x:\n    raise own",
    "math.log(2)\nraise",
]
BAD = [
    ("raise ValueError", "1: AIR001 raises ValueError"),
    ("raise ValueError('x') from e", "1: AIR001 raises ValueError"),
    (
        "from fastapi import HTTPException\nraise HTTPException(404)",
        "2: AIR001 raises HTTPException",
    ),
    ("import httpx2\nraise httpx2.HTTPError", "2: AIR001 raises httpx2.HTTPError"),
    (
        "def f(v):\n    raise ValueError('bad')\nPort = Annotated[int, AfterValidator(g)]",
        "2: AIR001 raises ValueError",
    ),
    ("def f():\n    def g():\n        raise KeyError", "3: AIR001 raises KeyError"),
    ("try:\n    f()\nexcept KeyError:\n    logger.exception('x')\n    raise", "4: AIR002"),
    ("try:\n    f()\nexcept KeyError as exc:\n    logging.error('x')\n    raise exc", "4: AIR002"),
    (
        "try:\n    f()\nexcept KeyError as exc:\n    self._log.critical('x')\n    clean()\n    raise exc",
        "4: AIR002",
    ),
]


@pytest.mark.parametrize("source", GOOD)
def test_good_code_passes(source: str) -> None:
    """Code that follows the rules is let through."""
    assert check(source) == []


@pytest.mark.parametrize(("source", "problem"), BAD)
def test_bad_code_is_found(source: str, problem: str) -> None:
    """Code that breaks a rule is named with its line."""
    (found,) = check(source, "file.py")
    assert found.startswith(f"file.py:{problem}")


def test_file_that_is_not_python_is_found() -> None:
    """A file that cannot be parsed is named with its line."""
    assert check("def broken(:\n", "file.py") == ["file.py:1: invalid syntax"]


def test_exit_code_and_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command goes through folders, and fails if anything is found."""
    (tmp_path / "good.py").write_text(GOOD[0], encoding="utf-8")
    assert main([str(tmp_path)]) == 0
    (tmp_path / "bad.py").write_text(BAD[0][0], encoding="utf-8")
    assert main([str(tmp_path)]) == 1
    assert "bad.py:1: AIR001" in capsys.readouterr().out
