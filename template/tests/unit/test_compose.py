"""Compose gives the service each setting that it has."""

import re
from pathlib import Path

import pytest

from src.config import Settings

COMPOSE = Path(__file__).resolve().parents[2] / "compose.yaml"


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_setting_reaches_the_containers(name: str) -> None:
    """A setting that `.env` sets has its line under `x-settings` in compose.yaml."""
    text = COMPOSE.read_text(encoding="utf-8")
    assert re.search(rf"^ +{name}:", text, re.MULTILINE), f"add {name} to x-settings"
