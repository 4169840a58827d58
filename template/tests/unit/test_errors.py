"""Errors say what happened, carry their facts, and know their level."""

import copy
import logging
import pickle

import pytest

from src.utils import errors
from src.utils.errors import APIError, UnavailableError

OWN = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, APIError)]


class QuotaError(APIError):
    """Nothing is left for this customer."""

    status_code = 429

    def __init__(self, customer: str) -> None:
        self.customer = customer
        super().__init__(f"Quota exceeded for {customer=}.")


@pytest.mark.parametrize("kind", OWN)
def test_every_own_error_is_named_documented_and_levelled(kind: type[APIError]) -> None:
    """The name ends in Error, the docstring says what happened, the level follows from the status."""
    assert kind.__name__.endswith("Error")
    assert kind.__doc__
    level = kind.__new__(kind).level
    assert level == {413: logging.WARNING}.get(
        kind.status_code, logging.ERROR if kind.status_code >= 500 else logging.INFO
    )
    assert kind.status_code < 500 or kind.detail is None


def test_error_without_facts_says_its_text_or_its_docstring() -> None:
    """An error can be raised bare, or with a text."""
    assert str(UnavailableError()) == "The service cannot answer now, but may soon."
    assert str(APIError("no paper")) == "no paper"


# copier: if "redis" in stores
def test_facts_are_attributes_and_part_of_the_text() -> None:
    """An error of a store says which one, and when to come back."""
    error = errors.RedisConnectionError("cache", port=6379)
    assert (error.host, error.port, error.status_code) == ("cache", 6379, 503)
    assert dict(error.headers or {}) == {"Retry-After": "5"}
    assert (
        str(error)
        == "Unable to connect to Redis, or to hold the connection. host='cache' port=6379"
    )
    assert str(errors.RedisConnectionNotAliveError("cache", 1)).startswith(
        "The connection to Redis is not alive. host="
    )


# copier: endif
# copier: if "postgres" in stores
def test_error_of_postgres_says_where() -> None:
    """An error of PostgreSQL has all parts of its address but the password."""
    error = errors.PostgresConnectionError("app", "me", "db", 5432)
    assert vars(error) == {"database": "app", "user": "me", "host": "db", "port": 5432}


# copier: endif
def test_error_with_an_init_of_its_own_keeps_its_facts() -> None:
    """Attributes are facts, whatever `__init__` looks like, also on the other side of a process boundary."""
    error = QuotaError("ann")
    assert (str(error), vars(error), error.level) == (
        "Quota exceeded for customer='ann'.",
        {"customer": "ann"},
        logging.INFO,
    )
    for same in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(same), vars(same)) == (str(error), vars(error))
