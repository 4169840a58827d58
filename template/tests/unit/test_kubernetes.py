"""The manifests give the service each setting that it has, and time to stop."""

import re
from pathlib import Path

from src.config import Settings

BASE = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "base"
OF_UVICORN = {"FORWARDED_ALLOW_IPS"}


def read(name: str) -> str:
    """Return the text of a file of the base."""
    return (BASE / name).read_text(encoding="utf-8")


def settings_env() -> dict[str, str]:
    """Return what the ConfigMap holds."""
    lines = read("settings.env").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_each_setting_has_a_place() -> None:
    """A setting is in settings.env, or comes from a Secret; nothing else is there."""
    from_secrets = set(re.findall(r"key: (\w+)", read("service.yaml")))
    names = {name.upper() for name in Settings.model_fields}
    assert settings_env().keys() - OF_UVICORN == names - from_secrets
    assert from_secrets <= names


def test_open_requests_have_their_time() -> None:
    """A replica is killed only after preStop and SHUTDOWN_TIMEOUT."""
    text = read("service.yaml")
    grace = int(re.findall(r"terminationGracePeriodSeconds: (\d+)", text)[0])
    pause = int(re.findall(r" seconds: (\d+)", text)[0])
    assert grace > pause + int(settings_env()["SHUTDOWN_TIMEOUT"])
