"""The DSN of a project in Sentry."""

from typing import Annotated

from pydantic import AfterValidator, SecretStr
from sentry_sdk.utils import Dsn


def check_dsn(dsn: SecretStr | None) -> SecretStr | None:
    """Refuse what Sentry's client cannot use."""
    if dsn is not None:
        Dsn(dsn.get_secret_value())
    return dsn


SentryDsn = Annotated[SecretStr | None, AfterValidator(check_dsn)]
