"""Every error that this service raises on purpose; any other is a bug: 500 and CRITICAL.

Error, status, and level of the record:

    APIError                              500  ERROR
      UnavailableError                    503  ERROR
        OverloadedError                   503  WARNING
# copier: if auth == "jwt"
        KeysUnavailableError              503  DEBUG
# copier: endif
# copier: if "postgres" in stores
        PostgresConnectionError           503  ERROR
          PostgresConnectionNotAliveError 503  ERROR
        PostgresTimeoutError              503  ERROR
        SchemaOutdatedError               503  ERROR
        TransactionConflictError          503  ERROR
# copier: endif
# copier: if "redis" in stores
        RedisConnectionError              503  ERROR
          RedisConnectionNotAliveError    503  ERROR
# copier: endif
# copier: if stores
        StoreUnavailableError             503  ERROR
# copier: endif
      UpstreamError                       500  ERROR
        UpstreamResponseError             502  ERROR
        UpstreamUnreachableError          503  ERROR
        UpstreamTimeoutError              504  ERROR
      InvalidHTTPError                    400  WARNING
      RequestTimeoutError                 408  WARNING
      RequestTooLargeError                413  WARNING
      HeadersTooLargeError                431  WARNING
# copier: if auth != "none"
      NotAuthenticatedError               401  INFO
# copier: endif
# copier: if auth == "jwt"
        InvalidTokenError                 401  INFO
# copier: endif
# copier: if auth != "none"
      MissingScopeError                   403  INFO
# copier: endif
# copier: if "prometheus" in observability
      WrongTokenError                     401  INFO
# copier: endif
# copier: if example == "decisions"
      CreditScoringModelNotFoundError     500  ERROR
      DecisionNotFoundError               404  INFO
# copier: endif
# copier: if example == "orders"
      OrderError                          500  ERROR
        OrderNotFoundError                404  INFO
        OrderConflictError                409  INFO
        OrderAlreadyInProgressError       202  INFO
        OrderAlreadyEmittedError          200  INFO
        OrderEmissionTimeoutError         503  ERROR
        ReceiptGenerationFailedError      503  ERROR
        ReceiptEmissionFailedError        503  ERROR
          TaxOfficeUnavailableError       503  ERROR
          ReceiptEmissionRefusedError     500  ERROR
# copier: endif
# copier: if stores
      StoreRefusedError                   500  ERROR
# copier: endif
"""

import copyreg
import dataclasses
import logging
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class APIError(Exception):
    """Something that this service knows can go wrong."""

    status_code = 500  # from 500 on it is logged as an ERROR with a traceback, below as an INFO
    detail: str | None = None  # what the client may read, below 500 only
    headers: Mapping[str, str] | None = None

    def __str__(self) -> str:
        """Say what happened: the docstring of the class, and the facts."""
        if dataclasses.is_dataclass(self):
            fields = [f" {name}={value!r}" for name, value in self.fields.items()]
            return f"{self.__doc__}{''.join(fields)}"
        return super().__str__() or str(self.__doc__)

    def __reduce__(self) -> tuple[Any, ...]:
        """Be the same in another process, whatever `__init__` takes."""
        return copyreg.__newobj__, (type(self), *self.args), self.fields  # type: ignore[attr-defined]

    @classmethod
    def problem_type(cls) -> str:
        """Return the stable URI reference of this kind of error."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__.removesuffix("Error"))
        return f"/errors/{words.lower()}"

    @property
    def fields(self) -> dict[str, Any]:
        """The facts of the error, which its record holds as fields."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    @property
    def level(self) -> int:
        """The level of its record."""
        return logging.ERROR if self.status_code >= 500 else logging.INFO


class UnavailableError(APIError):
    """The service cannot answer now, but may soon."""

    status_code = 503
    headers = MappingProxyType({"Retry-After": "5"})


class OverloadedError(UnavailableError):
    """All connections that are allowed are busy."""

    headers = MappingProxyType({"Retry-After": "5", "Connection": "close"})
    level = logging.WARNING


# copier: if auth == "jwt"
@dataclasses.dataclass(eq=False)
class KeysUnavailableError(UnavailableError):
    """The keys of the issuer of tokens cannot be fetched."""

    host: str
    reason: str
    level = logging.DEBUG  # the outage has one record; else each request would add its own


# copier: endif
@dataclasses.dataclass(eq=False)
class UpstreamError(APIError):
    """A call to another service failed."""

    host: str
    reason: str


class UpstreamResponseError(UpstreamError):
    """Another service has sent a response that cannot be used."""

    status_code = 502


class UpstreamUnreachableError(UpstreamError, UnavailableError):
    """Another service cannot be reached."""


class UpstreamTimeoutError(UpstreamError):
    """Another service takes too long to respond."""

    status_code = 504


# copier: if "postgres" in stores
@dataclasses.dataclass(eq=False)
class PostgresConnectionError(UnavailableError):
    """Unable to connect to PostgreSQL, or to hold the connection."""

    database: str
    user: str
    host: str
    port: int


class PostgresConnectionNotAliveError(PostgresConnectionError):
    """The connection to PostgreSQL is not alive."""


@dataclasses.dataclass(eq=False)
class PostgresTimeoutError(UnavailableError):
    """A statement took too long, so PostgreSQL was asked to cancel it."""

    database: str
    user: str
    host: str
    port: int


@dataclasses.dataclass(eq=False)
class SchemaOutdatedError(UnavailableError):
    """The tables in PostgreSQL are older than the service: migrations have to be run."""

    revision: str | None
    expected: str


@dataclasses.dataclass(eq=False)
class TransactionConflictError(UnavailableError):
    """Other transactions got in the way of this one, each time it was tried."""

    attempts: int
    reason: str


# copier: endif
# copier: if "redis" in stores
@dataclasses.dataclass(eq=False)
class RedisConnectionError(UnavailableError):
    """Unable to connect to Redis, or to hold the connection."""

    host: str
    port: int


class RedisConnectionNotAliveError(RedisConnectionError):
    """The connection to Redis is not alive."""


# copier: endif
# copier: if stores
@dataclasses.dataclass(eq=False)
class StoreRefusedError(APIError):
    """A store has refused what was asked of it."""

    store: str
    reason: str


@dataclasses.dataclass(eq=False)
class StoreUnavailableError(UnavailableError):
    """A store refuses for a while what was asked of it."""

    store: str
    reason: str


# copier: endif
# copier: if example == "decisions"
@dataclasses.dataclass(eq=False)
class CreditScoringModelNotFoundError(APIError):
    """Unable to find a credit scoring model."""

    path: object


@dataclasses.dataclass(eq=False)
class DecisionNotFoundError(APIError):
    """There is no such decision."""

    decision_id: object
    status_code = 404
    detail = "There is no decision with this id."


# copier: endif
# copier: if example == "orders"
@dataclasses.dataclass(eq=False)
class OrderError(APIError):
    """The receipt of this order cannot be emitted."""

    order_id: object


class OrderNotFoundError(OrderError):
    """There is no such order."""

    status_code = 404
    detail = "There is no order with this id."


class OrderConflictError(OrderError):
    """The idempotency key belongs to a different order."""

    status_code = 409
    detail = "This idempotency key was used for a different order."


class OrderAlreadyInProgressError(OrderError):
    """The receipt of this order is being emitted."""

    status_code = 202


class OrderAlreadyEmittedError(OrderError):
    """The receipt of this order has been emitted."""

    status_code = 200


class OrderEmissionTimeoutError(OrderError, UnavailableError):
    """The emission of the receipt takes too long."""


class ReceiptGenerationFailedError(OrderError, UnavailableError):
    """The receipt could not be printed."""


@dataclasses.dataclass(eq=False)
class ReceiptEmissionFailedError(OrderError, UnavailableError):
    """The tax office did not register the receipt, but it may yet."""

    reason: str


class TaxOfficeUnavailableError(ReceiptEmissionFailedError):
    """The tax office was not reached, which does not count as an attempt."""


class ReceiptEmissionRefusedError(ReceiptEmissionFailedError):
    """The tax office does not register this receipt."""

    status_code = 500
    headers = MappingProxyType({})


# copier: endif
# copier: if auth != "none"
@dataclasses.dataclass(eq=False)
class NotAuthenticatedError(APIError):
    """It is not known who calls."""

    reason: str
    # copier: if auth == "api_key"
    detail = "A valid API key is needed."
    headers = MappingProxyType({"WWW-Authenticate": "ApiKey"})
    # copier: endif
    # copier: if auth == "jwt"
    detail = "A valid token is needed."
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})
    # copier: endif
    status_code = 401


# copier: endif
# copier: if auth == "jwt"
class InvalidTokenError(NotAuthenticatedError):
    """The token proves nothing."""

    headers = MappingProxyType({"WWW-Authenticate": 'Bearer error="invalid_token"'})


# copier: endif
# copier: if auth != "none"
@dataclasses.dataclass(eq=False)
class MissingScopeError(APIError):
    """The caller may not do this."""

    scope: str
    # copier: if auth == "jwt"
    headers = MappingProxyType({"WWW-Authenticate": 'Bearer error="insufficient_scope"'})
    # copier: endif
    status_code = 403
    detail = "This needs a scope that the caller does not have."


# copier: endif
# copier: if "prometheus" in observability
class WrongTokenError(APIError):
    """The token is missing or wrong."""

    status_code, detail = 401, "A valid token is needed."
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


# copier: endif
class RequestTooLargeError(APIError):
    """The body is larger than allowed."""

    status_code = 413
    detail = "The body is too large."
    level = logging.WARNING


class HeadersTooLargeError(APIError):
    """The headers are larger or more than allowed."""

    status_code = 431
    detail = "The headers are too large."
    headers = MappingProxyType({"Connection": "close"})
    level = logging.WARNING


class RequestTimeoutError(APIError):
    """The client has not sent the whole request in time."""

    status_code = 408
    detail = "The request did not arrive in time."
    headers = MappingProxyType({"Connection": "close"})
    level = logging.WARNING


class InvalidHTTPError(APIError):
    """The client does not speak HTTP."""

    status_code = 400
    detail = "This is not a valid HTTP request."
    headers = MappingProxyType({"Connection": "close"})
    level = logging.WARNING
