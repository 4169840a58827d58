"""The token that protects the metrics."""

import os
from typing import Annotated

from dotenv import dotenv_values
from pydantic import AfterValidator, SecretStr, ValidationInfo

from src.utils.env_file import ENCODING, ENV_FILE
from src.utils.placeholders import is_placeholder


def check_token(token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    """Refuse a token that protects nothing: an empty one is a secret that was not found."""
    variables = [*dotenv_values(ENV_FILE, encoding=ENCODING), *os.environ]
    is_set = "metrics_token" in map(str.lower, variables)
    secret = token.get_secret_value() if token else ""
    if is_set and not secret.strip():
        raise ValueError("it is empty: set a token, or remove the setting to leave /metrics open")
    if info.data.get("environment") == "production" and is_placeholder(secret):
        raise ValueError("it is a placeholder instead of a secret")
    return token


MetricsToken = Annotated[SecretStr | None, AfterValidator(check_token)]
