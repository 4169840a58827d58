"""Errors say what happened, carry their fields, and know their level."""

import copy
import logging
import pickle

import pytest

from src.utils import errors
from src.utils.errors import APIError, UnavailableError

OWN = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, APIError)
]
WITHOUT_LEVEL = [kind for kind in OWN if kind.level is APIError.level]


class QuotaError(APIError):
    """The customer has used up the quota."""

    status_code = 429

    def __init__(self, customer: str) -> None:
        self.customer = customer
        super().__init__(f"Quota exceeded for {customer=}.")


@pytest.mark.parametrize("kind", OWN)
def test_every_own_error_has_a_name_and_a_docstring(
    kind: type[APIError],
) -> None:
    """The name ends in Error, the docstring says what happened, and a 5xx hides its detail."""
    assert kind.__name__.endswith("Error")
    assert kind.__doc__
    assert kind.status_code < 500 or kind.detail is None


@pytest.mark.parametrize("kind", WITHOUT_LEVEL)
def test_level_follows_from_the_status(kind: type[APIError]) -> None:
    """An error that does not choose its level is an ERROR from 500 on, and INFO below."""
    error = kind.__new__(kind)
    expected = logging.INFO
    if kind.status_code >= 500:
        expected = logging.ERROR
    assert error.level == expected


def test_error_may_choose_its_level() -> None:
    """A body that is too large is a WARNING."""
    assert errors.RequestTooLargeError().level == logging.WARNING


def test_error_without_fields_has_its_text_or_its_docstring() -> None:
    """An error can be raised bare, or with a text."""
    bare = UnavailableError()
    assert str(bare) == "The service cannot answer now, but may soon."
    assert str(APIError("no paper")) == "no paper"


# copier: if "redis" in stores
def test_fields_are_attributes_and_part_of_the_text() -> None:
    """An error of a store says which one, and when to retry."""
    kind = errors.RedisConnectionError
    error = kind("cache", port=6379)
    assert vars(error) == {"host": "cache", "port": 6379}
    assert error.status_code == 503
    assert dict(error.headers or {}) == {"Retry-After": "5"}
    assert str(error) == f"{kind.__doc__} host='cache' port=6379"
    not_alive = str(errors.RedisConnectionNotAliveError("cache", 1))
    assert not_alive.startswith("The connection to Redis is not alive. host=")


# copier: endif
# copier: if "postgres" in stores
def test_error_of_postgres_has_an_address() -> None:
    """An error of PostgreSQL has all parts of its address but the password."""
    error = errors.PostgresConnectionError("app", "me", "db", 5432)
    assert vars(error) == {
        "database": "app",
        "user": "me",
        "host": "db",
        "port": 5432,
    }


# copier: endif
def test_error_with_an_init_of_its_own_keeps_its_fields() -> None:
    """Attributes are fields, whatever `__init__` looks like, in another process as well."""
    error = QuotaError("ann")
    assert str(error) == "Quota exceeded for customer='ann'."
    assert vars(error) == {"customer": "ann"}
    assert error.level == logging.INFO
    copied = copy.copy(error)
    unpickled = pickle.loads(pickle.dumps(error))
    for same in (copied, unpickled):
        assert str(same) == str(error)
        assert vars(same) == vars(error)
