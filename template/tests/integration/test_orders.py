"""Orders are placed, found and emitted over HTTP, on real stores."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx2
import pytest

from dev.requests import ORDER
from tests.support.orders import TOO_LATE, Shop, opened
from tests.support.service import Record, Service, assert_fields, failures


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Open a shop of this module's own, without a worker."""
    with opened(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture(scope="module")
def service(shop: Shop) -> Service:
    """The service of the shop."""
    return shop.service()


def place(service: Service) -> str:
    """Place an order and return its path."""
    response = service.request("POST", "/orders", json=ORDER)
    assert response.status_code == 201
    return response.headers["location"]


def place_with_key(service: Service, key: str) -> httpx2.Response:
    """Place an order with an idempotency key."""
    headers = {"Idempotency-Key": key}
    return service.request("POST", "/orders", json=ORDER, headers=headers)


def emit(service: Service, location: str) -> httpx2.Response:
    """Request the receipt of an order."""
    return service.request("POST", f"{location}/receipt")


def id_in(location: str) -> str:
    """Return the id of the order at this path."""
    return location.rpartition("/")[-1]


def assert_one_own_error(records: list[Record], error: str) -> None:
    """Assert that the only error is an own one that needs no attention."""
    (record,) = [record for record in records if "error" in record]
    assert_fields(record, level="INFO", error=error)
    assert "exception" not in record


def test_order_is_stored_and_found_again(service: Service) -> None:
    """The response to a new order is a 201 with the path at which it is found again."""
    response = service.request("POST", "/orders", json=ORDER)
    order = response.json()
    assert response.status_code == 201
    assert order["status"] == "new"
    assert order["items"] == ORDER["items"]
    again = service.get(response.headers["location"])
    assert again.status_code == 200
    assert again.json() == order


def test_order_is_stored_once_for_each_key(service: Service) -> None:
    """Requests with one idempotency key are one order; a different order is refused."""
    key = str(uuid4())
    with ThreadPoolExecutor() as pool:
        placing = [pool.submit(place_with_key, service, key) for _ in range(8)]
    responses = [placed.result() for placed in placing]
    assert {response.status_code for response in responses} == {201}
    assert len({response.json()["id"] for response in responses}) == 1
    refused = service.request(
        "POST",
        "/orders",
        json={"items": ORDER["items"][:1]},
        headers={"Idempotency-Key": key},
    )
    assert refused.status_code == 409
    assert "This idempotency key was used for a different order." in refused.text


@pytest.mark.parametrize(
    ("changes", "loc"),
    [
        ({"quantity": 0}, "quantity"),
        ({"price": "1.999"}, "price"),
        ({"price": "NaN"}, "price"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_order_that_does_not_fit_is_refused(
    service: Service, changes: dict[str, object], loc: str
) -> None:
    """A wrong value is a 422 that names its field."""
    item = ORDER["items"][0] | changes
    response = service.request("POST", "/orders", json={"items": [item]})
    assert response.status_code == 422
    assert f'"loc":["body","items",0,"{loc}"]' in response.text


@pytest.mark.parametrize("key", ["", "a b", "x" * 201])
def test_key_that_is_not_valid_is_refused(service: Service, key: str) -> None:
    """An idempotency key that is empty, too long or has blanks is a 422."""
    assert place_with_key(service, key).status_code == 422


@pytest.mark.parametrize("send", [Service.get, emit])
def test_unknown_order_is_an_error_of_our_own(
    service: Service, send: Callable[[Service, str], httpx2.Response]
) -> None:
    """An order that does not exist is a 404 that says so, and one record without a traceback."""
    response = send(service, f"/orders/{uuid4()}")
    assert response.status_code == 404
    assert "There is no order with this id." in response.text
    assert_one_own_error(service.records_of(response), "OrderNotFoundError")


def test_receipt_is_emitted_once_however_many_request_it(shop: Shop, service: Service) -> None:
    """Of several requests at the same time one emits; the others, and later ones, say so."""
    location = place(service)
    with ThreadPoolExecutor() as pool:
        emitting = [pool.submit(emit, service, location) for _ in range(10)]
    responses = [emitted.result() for emitted in emitting]
    assert set(map(outcome, responses)) <= {EMITTED, (202, "emitting")}
    later = emit(service, location)
    assert outcome(later) == EMITTED
    shop.assert_settled(id_in(location))
    assert_one_own_error(service.records_of(later), "OrderAlreadyEmittedError")


EMITTED = (200, "emitted")


def outcome(response: httpx2.Response) -> tuple[int, str]:
    """Return the status of a response and that of its order."""
    return response.status_code, response.json()["order_status"]


FAILED = "ReceiptEmissionFailedError"
UNAVAILABLE = "TaxOfficeUnavailableError"
REFUSED = "ReceiptEmissionRefusedError"
LONG_REGISTRATION = '{"registration": "%s"}' % ("x" * 201)


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("error", FAILED),
        ("late", FAILED),
        ("drip", FAILED),
        ("endless", FAILED),
        ("unavailable", UNAVAILABLE),
        ("refused", REFUSED),
        ('{"registration": null}', REFUSED),
        ('{"registration": ""}', REFUSED),
        ('{"registration": []}', REFUSED),
        ('{"registration": {"number": 1}}', REFUSED),
        ('{"registration": "\\u0000"}', REFUSED),
        (LONG_REGISTRATION, REFUSED),
        ('["registration"]', REFUSED),
        ("[" * 200_000, REFUSED),
    ],
    ids=lambda value: value[:30],
)
def test_tax_office_that_fails_is_an_error_of_our_own(
    shop: Shop, service: Service, mode: str, error: str
) -> None:
    """A failed emission says whether to come back, is one ERROR, and can be tried again."""
    location = place(service)
    shop.office.mode(mode)
    failed = emit(service, location)
    shop.office.mode("ok")
    assert_says_when_to_retry(failed, is_final=error == REFUSED)
    (record,) = failures(service.records_of(failed))
    assert_fields(record, level="ERROR", error=error, order_id=id_in(location))
    assert len(str(record)) < 8_000
    assert service.get(location).json()["status"] == "new"
    assert outcome(emit(service, location)) == EMITTED
    shop.assert_settled(id_in(location))


def assert_says_when_to_retry(response: httpx2.Response, *, is_final: bool) -> None:
    """Assert that a failure is a 503 with the time to retry, or a 500 if it is final."""
    retry_after = response.headers.get("retry-after")
    if is_final:
        assert response.status_code == 500
        assert retry_after is None
    else:
        assert response.status_code == 503
        assert retry_after == "5"


def test_tax_office_that_fails_gets_no_requests_for_a_while(
    shop: Shop,
) -> None:
    """After some failures the circuit opens: nobody waits for what is known to fail."""
    service = shop.service()
    shop.office.mode("late")
    responses = [emit(service, place(service)) for _ in range(7)]
    shop.office.mode("ok")
    reasons = []
    for response in responses:
        assert response.status_code == 503
        record = failures(service.records_of(response))[0]
        reasons.append(record["reason"])
    assert reasons[:5] == [TOO_LATE] * 5
    assert reasons[5:] == ["circuit open"] * 2
