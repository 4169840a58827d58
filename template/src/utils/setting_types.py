"""Types of settings, each with what it accepts and refuses."""

import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_settings import NoDecode

FIELD_NAME = re.compile(r"[\w .-]*[A-Za-z0-9][\w .-]*")
LEVELS_ARE_WRONG = 'write a JSON object, such as {"httpx2": "warning"}'
ORIGIN = re.compile(r"\*|https?://[^/\s,]+")


def split_list(value: object) -> object:
    """Read a list from JSON, or from a text with commas between the values."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return [item.strip() for item in value.split(",") if item.strip()]
    try:
        return json.loads(value)
    except json.JSONDecodeError as exc:
        raise ValueError("write the values with commas between them") from exc


def read_levels(value: object) -> object:
    """Read the levels of loggers from a JSON object."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("{"):
        raise ValueError(LEVELS_ARE_WRONG)
    try:
        return json.loads(value)
    except json.JSONDecodeError as exc:
        raise ValueError(LEVELS_ARE_WRONG) from exc


def check_origin(origin: str) -> str:
    """Refuse what no browser sends as an origin."""
    if not ORIGIN.fullmatch(origin):
        raise ValueError("an origin has a scheme and no path, as https://app.example.com, or is *")
    return origin


def check_field_name(name: str) -> str:
    """Refuse a name that would match no field."""
    if not FIELD_NAME.fullmatch(name):
        raise ValueError("the name of a field consists of letters and digits, as customer_number")
    return name


def check_log_file(path: Path | None, info: ValidationInfo) -> Path | None:
    """Refuse a log file that cannot be written, or that several workers would rotate."""
    if path is None:
        return None
    if info.data.get("workers") != 1:
        raise ValueError("several workers cannot share a file, so leave it out or set WORKERS=1")
    try:
        path.open("ab").close()
    except OSError as exc:
        raise ValueError(f"it cannot be written: {exc.strerror}") from exc
    return path


Lower = BeforeValidator(lambda value: str(value).lower())
Separated = BeforeValidator(split_list)
Level = Annotated[Literal["debug", "info", "warning", "error", "critical"], Lower]
Environment = Annotated[Literal["development", "production"], Lower]
LogFormat = Annotated[Literal["console", "ecs", "json"], Lower]
LogLevels = Annotated[dict[str, Level], NoDecode, BeforeValidator(read_levels)]
LogFile = Annotated[Path | None, AfterValidator(check_log_file)]
Origins = Annotated[list[Annotated[str, AfterValidator(check_origin)]], NoDecode, Separated]
FieldName = Annotated[str, AfterValidator(check_field_name)]
FieldNames = Annotated[list[FieldName], NoDecode, Separated]
Seconds = Annotated[float, Field(gt=0, le=60)]
