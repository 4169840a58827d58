"""${Labels} are created, read, listed, changed and deleted over HTTP, on a real database."""

import os
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest

from dev.ports import free_port
from src.clients.${customers} import ${Customer}Repository
from src.config import load_settings
from src.connectors.postgres import PostgresConnector, connect_postgres
from src.models.${customer} import New${Customer}
from src.utils.errors import ${Customer}NotFoundError
% for reference in foreign:
from tests.support.${reference.plural} import create_${reference.singular}
% endfor
from tests.support.${customers} import create_${customer}, new_${customer}
from tests.support.service import Service, assert_fields, levels_and_errors, running

WRONG_VALUES: list[tuple[str, Any]] = [
% for field in fields:
    ("${field.name}", ${field.type.wrong}),
% endfor
% for field in required:
    ("${field.name}", None),
% endfor
    ("surprise", 1),
]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A service of this module's own."""
    with running() as service:
        yield service


def path_of(${customer}: dict[str, Any]) -> str:
    """Return the path of ${a} ${label}."""
    return f"/${customers}/{${customer}['id']}"


def next_page(response: httpx2.Response) -> str:
    """Return the URL to which the `Link` header of a page leads."""
    return str(response.url.join(response.links["next"]["url"]))


def assert_own_error(service: Service, response: httpx2.Response, error: str) -> None:
    """Assert that the only error is an own one that needs no attention."""
    (record,) = [record for record in service.records_of(response) if "error" in record]
    assert_fields(record, level="INFO", error=error)
    assert "exception" not in record


def test_${customer}_is_created_and_found_again(service: Service) -> None:
    """The response to a new one is a 201 with the path at which it is found again."""
    new = new_${customer}(service)
    response = service.request("POST", "/${customers}", json=new)
    assert response.status_code == 201
    ${customer} = response.json()
    assert ${customer} == ${customer} | new
    assert response.headers["location"] == path_of(${customer})
    again = service.get(path_of(${customer}))
    assert again.status_code == 200
    assert again.json() == ${customer}
    assert again.headers["etag"] == response.headers["etag"]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(("name", "value"), WRONG_VALUES)
def test_value_that_does_not_fit_is_refused(
    service: Service, method: str, name: str, value: Any
) -> None:
    """A wrong value is a 422 that names its field."""
    ${customer} = create_${customer}(service)
    path = "/${customers}" if method == "POST" else path_of(${customer})
    body = new_${customer}(service) if method == "POST" else {}
    response = service.request(method, path, json=body | {name: value})
    assert response.status_code == 422
    assert f'"loc":["body","{name}"' in response.text
% if unique:


@pytest.mark.parametrize("name", [${", ".join(f'"{field.name}"' for field in unique)}])
def test_value_that_must_be_unique_is_refused(service: Service, name: str) -> None:
    """A value that another one has is a 409, whether it is new or a change."""
    taken = create_${customer}(service)[name]
    other = create_${customer}(service)
    body = new_${customer}(service) | {name: taken}
    created = service.request("POST", "/${customers}", json=body)
    changed = service.request("PATCH", path_of(other), json={name: taken})
    for response in (created, changed):
        assert response.status_code == 409
        assert "${exists_detail}" in response.text
        assert_own_error(service, response, "${Customer}AlreadyExistsError")
    assert service.get(path_of(other)).json() == other
% endif
% if references:


@pytest.mark.parametrize("name", [${", ".join(f'"{field.name}"' for field in references)}])
def test_reference_to_nothing_is_refused(service: Service, name: str) -> None:
    """What refers to something that does not exist is a 409."""
    body = new_${customer}(service) | {name: str(uuid4())}
    response = service.request("POST", "/${customers}", json=body)
    assert response.status_code == 409
    assert_own_error(service, response, "${Customer}ReferenceError")
% endif


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_unknown_${customer}_is_an_error_of_our_own(service: Service, method: str) -> None:
    """One that does not exist is a 404 that says so, and one record without a traceback."""
    response = service.request(method, f"/${customers}/{uuid4()}", json={})
    assert response.status_code == 404
    assert "There is no ${label} with this id." in response.text
    assert_own_error(service, response, "${Customer}NotFoundError")


def test_only_what_is_sent_is_changed(service: Service) -> None:
    """Fields that are not sent stay as they are; the version grows."""
    ${customer} = create_${customer}(service)
    changes = {"${change.name}": ${change.type.distinct if change.unique else change.type.other}}
    response = service.request("PATCH", path_of(${customer}), json=changes)
    assert response.status_code == 200
    assert response.json() == ${customer} | changes | {"version": 2}
    assert response.headers["etag"] == '"2"'
    assert service.get(path_of(${customer})).json() == response.json()


def test_change_of_another_version_is_refused(service: Service) -> None:
    """Of two who have read the same version the second learns that it was changed meanwhile."""
    path = path_of(create_${customer}(service))
    seen = {"If-Match": service.get(path).headers["etag"]}
    first = service.request("PATCH", path, json={}, headers=seen)
    assert first.status_code == 200
    for method in ("PATCH", "DELETE"):
        second = service.request(method, path, json={}, headers=seen)
        assert second.status_code == 412
        assert_own_error(service, second, "Stale${Customer}Error")
    for etag in ("1", '"x"', '"01", "02"'):
        other = service.request("DELETE", path, headers={"If-Match": etag})
        assert other.status_code == 412
    seen = {"If-Match": f"W/{first.headers['etag']}"}
    assert service.request("DELETE", path, headers=seen).status_code == 204


def test_deleted_${customer}_is_gone(service: Service) -> None:
    """One that was deleted is not found any more."""
    path = path_of(create_${customer}(service))
    response = service.request("DELETE", path, headers={"If-Match": "*"})
    assert response.status_code == 204
    assert response.content == b""
    assert service.get(path).status_code == 404


async def test_${customer}_in_use_is_not_deleted(service: Service) -> None:
    """One that another table refers to is a 409."""
    ${customer} = create_${customer}(service)
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    await connection.execute(
        "CREATE TABLE referring (${customer}_id uuid REFERENCES ${escaped_table})"
    )
    await connection.execute("INSERT INTO referring VALUES ($1)", UUID(${customer}["id"]))
    response = service.request("DELETE", path_of(${customer}))
    await connection.execute("DROP TABLE referring")
    await connection.close()
    assert response.status_code == 409
    assert_own_error(service, response, "${Customer}InUseError")


def test_pages_stay_in_place_while_others_are_added(service: Service) -> None:
    """Each one is on one page, the newest first, whatever is added meanwhile."""
    created = [create_${customer}(service) for _ in range(5)]
    response = service.get("/${customers}", params={"limit": 2})
    found = response.json()["items"]
    while len(found) < len(created):
        create_${customer}(service)
        response = service.get(next_page(response))
        found += response.json()["items"]
    assert found[: len(created)] == created[::-1]


def test_last_page_leads_nowhere(service: Service) -> None:
    """The last page has no `Link` header, and no cursor."""
    create_${customer}(service)
    response = service.get("/${customers}", params={"limit": 100})
    while "link" in response.headers:
        response = service.get(next_page(response))
    assert response.status_code == 200
    assert response.json()["next_cursor"] is None


@pytest.mark.parametrize(
    ("params", "status"), [({"limit": 0}, 422), ({"limit": 101}, 422), ({"cursor": "x"}, 400)]
)
def test_page_that_cannot_be_is_refused(
    service: Service, params: dict[str, str | int], status: int
) -> None:
    """A limit out of bounds, and a cursor that no page names, are refused."""
    assert service.get("/${customers}", params=params).status_code == status


async def test_transaction_that_fails_leaves_nothing(service: Service) -> None:
    """What a repository has added in a transaction is gone where that is rolled back."""
    postgres = connect_postgres(load_settings())
    new = New${Customer}(**new_${customer}(service))
    added: list[UUID] = []
    with pytest.raises(KeyError):
        await add_and_fail(postgres, new, added)
    with pytest.raises(${Customer}NotFoundError):
        await ${Customer}Repository(postgres).get(added[0])
    await postgres.aclose()


async def add_and_fail(
    postgres: PostgresConnector, new: New${Customer}, added: list[UUID]
) -> None:
    """Add ${a} ${label} in a transaction, note its id, and raise KeyError."""
    async with postgres.transaction() as connection:
        ${customer} = await ${Customer}Repository(connection).add(new)
        added.append(${customer}.id)
        raise KeyError


def test_database_that_is_away_is_unavailable() -> None:
    """Without PostgreSQL a request is a 503, and one ERROR."""
    url = f"postgresql://app:x@127.0.0.1:{free_port()}/app"
    with running(env={"DATABASE_URL": url}) as service:
        response = service.get("/${customers}")
        assert response.status_code == 503
        failed = levels_and_errors(service.records_of(response))
        assert failed == [("ERROR", "PostgresConnectionError")]
