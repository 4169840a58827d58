"""Orders are placed, found and emitted over HTTP, on real stores."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from dev.requests import ORDER
from tests.support.orders import Shop, opened
from tests.support.service import Service, failures


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
    """Place an order and return where it is."""
    response = service.request("POST", "/orders", json=ORDER)
    assert response.status_code == 201
    return response.headers["location"]


def test_order_is_stored_and_found_again(service: Service) -> None:
    """An order gets a 201 and the place where it is found again."""
    response = service.request("POST", "/orders", json=ORDER)
    assert (response.status_code, response.json()["status"]) == (201, "new")
    assert response.json()["items"] == ORDER["items"]
    again = service.get(response.headers["location"])
    assert (again.status_code, again.json()) == (200, response.json())


def test_order_is_stored_once_for_each_key(service: Service) -> None:
    """Requests with one idempotency key are one order; a different order is refused."""
    key = {"Idempotency-Key": str(uuid4())}
    with ThreadPoolExecutor() as pool:
        futures = [
            pool.submit(service.request, "POST", "/orders", json=ORDER, headers=key)
            for _ in range(8)
        ]
    responses = [future.result() for future in futures]
    order_id = responses[0].json()["id"]
    assert {(r.status_code, r.json()["id"]) for r in responses} == {(201, order_id)}
    other = {"items": ORDER["items"][:1]}
    refused = service.request("POST", "/orders", json=other, headers=key)
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
    response = service.request("POST", "/orders", json={"items": [ORDER["items"][0] | changes]})
    assert response.status_code == 422
    assert f'"loc":["body","items",0,"{loc}"]' in response.text


@pytest.mark.parametrize("key", ["", "a b", "x" * 201])
def test_key_that_is_not_valid_is_refused(service: Service, key: str) -> None:
    """An idempotency key of which nobody could make sense is a 422."""
    response = service.request("POST", "/orders", json=ORDER, headers={"Idempotency-Key": key})
    assert response.status_code == 422


def test_unknown_order_is_an_error_of_our_own(service: Service) -> None:
    """An order that does not exist is a 404 that says so, and one record without a traceback."""
    for method, path in (("GET", f"/orders/{uuid4()}"), ("POST", f"/orders/{uuid4()}/receipt")):
        response = service.request(method, path)
        assert response.status_code == 404
        assert "There is no order with this id." in response.text
        correlation_id = response.headers["x-request-id"]
        records = [r for r in service.wait_for_request(correlation_id) if "error" in r]
        assert [(r["level"], r["error"], "exception" in r) for r in records] == [
            ("INFO", "OrderNotFoundError", False)
        ]


def test_receipt_is_emitted_once_however_many_ask(shop: Shop, service: Service) -> None:
    """Of several at the same time one emits; the others learn so, as does who comes later."""
    location = place(service)
    with ThreadPoolExecutor() as pool:
        futures = [pool.submit(service.request, "POST", f"{location}/receipt") for _ in range(10)]
    responses = [future.result() for future in futures]
    outcomes = {(r.status_code, r.json()["order_status"]) for r in responses}
    assert outcomes <= {(200, "emitted"), (202, "emitting")}
    later = service.request("POST", f"{location}/receipt")
    assert (later.status_code, later.json()["order_status"]) == (200, "emitted")
    shop.assert_settled(location.split("/")[-1])
    records = [r for r in service.wait_for_request(later.headers["x-request-id"]) if "error" in r]
    assert [(r["level"], r["error"], "exception" in r) for r in records] == [
        ("INFO", "OrderAlreadyEmittedError", False)
    ]


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("error", "ReceiptEmissionFailedError"),
        ("late", "ReceiptEmissionFailedError"),
        ("drip", "ReceiptEmissionFailedError"),
        ("endless", "ReceiptEmissionFailedError"),
        ("unavailable", "TaxOfficeUnavailableError"),
        ("refused", "ReceiptEmissionRefusedError"),
        ('{"registration": null}', "ReceiptEmissionRefusedError"),
        ('{"registration": ""}', "ReceiptEmissionRefusedError"),
        ('{"registration": []}', "ReceiptEmissionRefusedError"),
        ('{"registration": {"number": 1}}', "ReceiptEmissionRefusedError"),
        ('{"registration": "\\u0000"}', "ReceiptEmissionRefusedError"),
        ('{"registration": "%s"}' % ("x" * 201), "ReceiptEmissionRefusedError"),
        ('["registration"]', "ReceiptEmissionRefusedError"),
        ("[" * 200_000, "ReceiptEmissionRefusedError"),
    ],
    ids=lambda value: value[:30],
)
def test_tax_office_that_fails_is_an_error_of_our_own(
    shop: Shop, service: Service, mode: str, error: str
) -> None:
    """A failed emission says whether to come back, is one ERROR, and can be tried again."""
    location = place(service)
    shop.office.mode(mode)
    failed = service.request("POST", f"{location}/receipt")
    shop.office.mode("ok")
    expected = (500, None) if error == "ReceiptEmissionRefusedError" else (503, "5")
    assert (failed.status_code, failed.headers.get("retry-after")) == expected
    (record,) = failures(service.wait_for_request(failed.headers["x-request-id"]))
    assert (record["level"], record["error"]) == ("ERROR", error)
    assert record["order_id"] == location.split("/")[-1]
    assert len(str(record)) < 8_000
    assert service.get(location).json()["status"] == "new"
    assert service.request("POST", f"{location}/receipt").json()["order_status"] == "emitted"
    shop.assert_settled(location.split("/")[-1])


def test_tax_office_that_fails_is_left_alone_for_a_while(shop: Shop) -> None:
    """After some failures the circuit opens: nobody waits for what is known to fail."""
    service = shop.service()
    shop.office.mode("late")
    responses = [service.request("POST", f"{place(service)}/receipt") for _ in range(7)]
    shop.office.mode("ok")
    assert {response.status_code for response in responses} == {503}
    records = [failures(service.wait_for_request(r.headers["x-request-id"]))[0] for r in responses]
    reasons = [record["reason"] for record in records]
    assert reasons == ["longer than 0.4 s"] * 5 + ["circuit open"] * 2
