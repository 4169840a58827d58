"""What observes a worker sees of three failures: an order that is given up, and a broken stream."""

from pathlib import Path

from dev.requests import ORDER
from tests.support.orders import Shop, lines, opened
from tests.support.service import Record, Service, levels_and_errors

SETTINGS = {"MAX_ATTEMPTS": "2"}
STREAM_REFUSED = "StoreRefusedError"
EMISSION_FAILED = "ReceiptEmissionFailedError"


def place_good_and_bad_order(shop: Shop, worker: Service, **headers: str) -> None:
    """Place an order that is emitted, and one that the tax office fails to register.

    Args:
        shop: with the API.
        worker: reads the orders.
        headers: of the request for the good one.
    """
    service = shop.service()
    place(service, "good", headers)
    worker.wait(lambda records: lines(records, "good", outcome="emitted"))
    shop.office.mode("error")
    place(service, "bad", {})
    worker.wait(lambda records: lines(records, "bad", outcome="dead"))
    service.stop()


def place(service: Service, name: str, headers: dict[str, str]) -> None:
    """Place an order under an id."""
    response = service.request(
        "POST", "/orders", json=ORDER, headers={"X-Request-ID": name, **headers}
    )
    assert response.status_code == 201


def break_stream(shop: Shop, worker: Service) -> None:
    """Have Redis refuse what the worker asks for, and wait until that is logged."""
    shop.redis("SET", shop.stream, "no stream")
    worker.wait(refusals)


def refusals(records: list[Record]) -> list[Record]:
    """Return the records of what a store has refused."""
    return [record for record in records if record.get("error") == STREAM_REFUSED]


def stop(worker: Service) -> list[Record]:
    """Stop a worker that has logged each failure once, and return its records."""
    assert worker.stop() == 0
    assert worker.errors == []
    records = worker.records()
    assert levels_and_errors(records) == [
        ("WARNING", EMISSION_FAILED),
        ("ERROR", EMISSION_FAILED),
        ("ERROR", STREAM_REFUSED),
    ]
    return records


def run_worker(folder: Path, settings: dict[str, str], **headers: str) -> list[Record]:
    """Run a worker that meets all of the failures, and return its records.

    Args:
        folder: for its shop.
        settings: of what observes it.
        headers: of the request for the good order.
    """
    with opened(folder, **SETTINGS | settings) as shop:
        worker = shop.worker()
        place_good_and_bad_order(shop, worker, **headers)
        break_stream(shop, worker)
        return stop(worker)
