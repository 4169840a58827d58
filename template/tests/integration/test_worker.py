"""Workers emit the receipts of orders, and log each failure as one record with the request's id."""

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.requests import ORDER
from tests.support.orders import EMISSION_TIMEOUT, TOO_LATE, Shop, lines, opened, ready
from tests.support.service import (
    Record,
    Service,
    assert_fields,
    copy_with,
    failures,
    launch,
    levels_and_errors,
)

FAILED = "ReceiptEmissionFailedError"
REFUSED = "StoreRefusedError"
UNAVAILABLE = "TaxOfficeUnavailableError"
NUMBERS = itertools.count()


def new_id() -> str:
    """Return the id of another request."""
    return f"request-{next(NUMBERS)}"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Open a shop of this module's own, in which three attempts are made."""
    with opened(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture(scope="module")
def worker(shop: Shop) -> Service:
    """Run a worker that continues after each failure."""
    return shop.worker()


@pytest.fixture
def name(shop: Shop) -> Iterator[str]:
    """Yield the id of a request; afterwards the tax office works again."""
    yield new_id()
    shop.office.mode("ok")


def wait(worker: Service, name: str, outcome: str) -> list[Record]:
    """Wait until a message has an outcome, and return the failures under its id."""
    worker.wait(lambda records: lines(records, name, outcome=outcome))
    return failures(worker.records(name))


def place_and_emit(shop: Shop, worker: Service, name: str) -> str:
    """Place an order, wait until it is emitted, and return its number."""
    (order_id,) = shop.place(name)
    wait(worker, name, "emitted")
    return order_id


def wait_until_emitted_again(worker: Service, name: str) -> None:
    """Wait until an order has been emitted for the second time."""
    worker.wait(lambda records: len(lines(records, name, outcome="emitted")) == 2)


def test_order_is_emitted_under_the_id_of_its_request(shop: Shop, worker: Service) -> None:
    """A worker emits the receipt of a new order; all records have the id of the request."""
    service = shop.service()
    headers = {"X-Request-ID": "from-afar"}
    response = service.request("POST", "/orders", json=ORDER, headers=headers)
    assert response.status_code == 201
    location = response.headers["location"]
    order_id = response.json()["id"]
    assert wait(worker, "from-afar", "emitted") == []
    shop.assert_settled(order_id)
    assert f"{order_id} R1 from-afar\n" in shop.office.book.read_text()
    assert service.get(location).json()["status"] == "emitted"

    again = service.request("POST", f"{location}/receipt")
    assert again.status_code == 200
    assert again.json() == {"order_id": order_id, "order_status": "emitted"}
    shop.assert_settled(order_id)
    receipt = shop.receipts / f"{order_id}.txt"
    assert "    2 x       3.50  tea\n" in receipt.read_text(encoding="utf-8")


def test_message_has_one_line(shop: Shop, worker: Service, name: str) -> None:
    """The line of a message has the stream, the message, the attempt and the time it took."""
    place_and_emit(shop, worker, name)
    (line,) = lines(worker.records(name))
    assert_fields(
        line,
        level="INFO",
        logger="access",
        stream=shop.stream,
        attempt=1,
    )
    assert line["message_id"].count("-") == 1
    assert line["duration_ms"] > 0


@pytest.mark.parametrize(
    ("mode", "error", "reason"),
    [
        ("error", FAILED, "status 500"),
        ("late", FAILED, TOO_LATE),
        ("slow", FAILED, TOO_LATE),
        ("drip", FAILED, TOO_LATE),
        ("unavailable", UNAVAILABLE, "status 503"),
    ],
)
def test_tax_office_that_fails_is_called_again(
    shop: Shop,
    worker: Service,
    name: str,
    mode: str,
    error: str,
    reason: str,
) -> None:
    """A failure of the tax office is a WARNING and a later attempt; one receipt is registered."""
    shop.office.mode(mode)
    (order_id,) = shop.place(name)
    wait(worker, name, "retried")
    shop.office.mode("ok")
    records = wait(worker, name, "emitted")
    shop.assert_settled(order_id)
    for record in records:
        assert_fields(record, level="WARNING", error=error, reason=reason)
    attempts = [line["attempt"] for line in lines(worker.records(), name)]
    assert records
    assert attempts == list(range(1, len(records) + 2))


def test_tax_office_that_keeps_failing_makes_a_dead_letter_that_can_be_replayed(
    shop: Shop, worker: Service, name: str
) -> None:
    """After the last attempt there is one ERROR and a dead letter; it can be replayed."""
    shop.office.mode("error")
    (order_id,) = shop.place(name)
    first, second, last = wait(worker, name, "dead")
    assert_fields(first, level="WARNING", attempt=1)
    assert_fields(second, level="WARNING", attempt=2)
    assert_fields(last, level="ERROR", attempt=3, order_id=order_id)

    shop.office.mode("ok")
    worker.wait(lambda _: shop.dead_letters() == 1)
    (letter,) = shop.query("SELECT order_id::text, message, error FROM dead_letters")
    assert letter["order_id"] == order_id
    assert letter["error"] == FAILED
    assert f"'correlation_id': b'{name}'" in letter["message"]

    shop.replay(count=1)
    wait(worker, name, "emitted")
    shop.assert_settled(order_id)
    assert shop.dead_letters() == 0


def test_order_that_was_given_up_is_stored_whatever_redis_loses(
    shop: Shop, worker: Service, name: str
) -> None:
    """Dead letters outlive all data of Redis, and a receipt that is emitted by hand ends one."""
    other = new_id()
    shop.office.mode("refused")
    by_replay, by_hand = shop.place(name, other)
    wait(worker, name, "dead")
    wait(worker, other, "dead")
    shop.office.mode("ok")
    shop.redis("DEL", shop.stream)
    service = shop.service()
    response = service.request("POST", f"/orders/{by_hand}/receipt")
    assert response.json()["order_status"] == "emitted"
    assert shop.dead_letters() == 1
    shop.replay(count=1)
    wait(worker, name, "emitted")
    shop.assert_settled(by_replay, by_hand)


def wait_for_retries(worker: Service, name: str, count: int) -> None:
    """Wait until an order has been tried in vain so often."""
    worker.wait(lambda records: len(lines(records, name, outcome="retried")) >= count)


def test_tax_office_that_is_unreachable_uses_up_no_attempt(
    shop: Shop, worker: Service, name: str
) -> None:
    """While nobody can reach the tax office orders wait, however often they are tried."""
    shop.office.kill()
    (order_id,) = shop.place(name)
    attempts = 4  # though an order has three
    for number in range(attempts):
        wait_for_retries(worker, name, number + 1)
        shop.update(order_id, "due_at = now()")  # it would be tried later and later
    (row,) = shop.query(
        "SELECT attempts, postponements FROM orders WHERE id::text = $1",
        order_id,
    )
    assert row["attempts"] <= 1  # one more may be in progress
    assert row["postponements"] >= attempts
    records = failures(worker.records(name))
    assert set(levels_and_errors(records)) == {("WARNING", UNAVAILABLE)}
    reasons = {record["reason"] for record in records}
    assert reasons <= {"ConnectError", "circuit open"}

    shop.office.start()
    shop.update(order_id, "due_at = now()")
    wait(worker, name, "emitted")
    shop.assert_settled(order_id)


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [(1, 0.2), (8, 25.6), (60, 600)],
    ids=["second", "ninth", "later"],
)
def test_delay_grows_with_each_attempt(
    shop: Shop, worker: Service, name: str, earlier: int, expected: float
) -> None:
    """Each delay is about twice as long as that before, up to ten minutes."""
    order_id = place_and_emit(shop, worker, name)
    shop.office.mode("error")
    shop.update(
        order_id,
        "status = 'new', due_at = now(), attempts = 0, postponements = $2",
        earlier,
    )
    attempt = earlier + 1
    worker.wait(lambda records: lines(records, name, outcome="retried", attempt=attempt))
    (row,) = shop.query(
        "SELECT due_at - changed_at AS delay FROM orders WHERE id::text = $1",
        order_id,
    )
    # The delay is measured from the start of the emission.
    seconds = row["delay"].total_seconds()
    assert 0.75 * expected <= seconds
    assert seconds <= 1.25 * expected + EMISSION_TIMEOUT


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("refused", "status 422"), ("<html>", "status 201, invalid body")],
)
def test_response_that_will_not_change_is_final(
    shop: Shop, worker: Service, name: str, mode: str, reason: str
) -> None:
    """A receipt that is refused becomes a dead letter at the first attempt, with one ERROR."""
    shop.office.mode(mode)
    shop.place(name)
    (record,) = wait(worker, name, "dead")
    assert_fields(record, level="ERROR", reason=reason, attempt=1)


def test_printer_that_fails_is_tried_again(shop: Shop, worker: Service, name: str) -> None:
    """A folder in which nothing can be written is an error of our own, and a delay."""
    hidden = shop.receipts.with_name("hidden")
    shop.receipts.mkdir(exist_ok=True)
    shop.receipts.rename(hidden)
    shop.receipts.touch()
    (order_id,) = shop.place(name)
    wait(worker, name, "retried")
    shop.receipts.unlink()
    hidden.rename(shop.receipts)
    records = wait(worker, name, "emitted")
    shop.assert_settled(order_id)
    assert set(levels_and_errors(records)) == {("WARNING", "ReceiptGenerationFailedError")}


@pytest.mark.parametrize(
    "fields",
    [
        ("nothing", "here"),
        ("order_id", b"\xff\x00"),
        ("order_id", "7", "attempt", "x" * 5000),
    ],
)
def test_message_that_cannot_be_read_becomes_a_dead_letter(
    shop: Shop, worker: Service, fields: tuple[str, ...]
) -> None:
    """Whatever is written into the stream, it is one ERROR with an id, and a dead letter."""
    before = shop.dead_letters()
    command = ["XADD", shop.stream, "*", "correlation_id", "some\nbody"]
    message_id = shop.redis(*command, *fields).decode()
    worker.wait(lambda records: lines(records, message_id=message_id, outcome="dead"))
    worker.wait(lambda _: shop.dead_letters() == before + 1)
    (record,) = [
        record for record in failures(worker.records()) if record.get("message_id") == message_id
    ]
    assert_fields(record, level="ERROR", error="OrderNotFoundError", attempt=1)
    assert len(record["correlation_id"]) == 32


def test_bug_is_critical_and_starts_at_our_code(shop: Shop, worker: Service, name: str) -> None:
    """What nobody has foreseen is one CRITICAL and a dead letter, and the worker continues."""
    order_id = place_and_emit(shop, worker, name)
    shop.update(order_id, "status = 'new', items = '{}', due_at = now()")
    (record,) = wait(worker, name, "dead")
    assert_fields(record, level="CRITICAL", error="ValidationError")
    assert "worker.py" in record["exception"].splitlines()[1]
    other = new_id()
    shop.place(other)
    assert wait(worker, other, "emitted") == []


def test_stuck_emission_is_taken_over_with_a_warning(
    shop: Shop, worker: Service, name: str
) -> None:
    """An emission whose process has died is done by another, and a WARNING says how old it was."""
    order_id = place_and_emit(shop, worker, name)
    shop.update(
        order_id,
        "status = 'emitting', due_at = now(), changed_at = now() - '2 days'::interval",
    )
    wait_until_emitted_again(worker, name)
    (record,) = failures(worker.records(name))
    assert_fields(
        record,
        level="WARNING",
        message="stuck emission taken over",
        order_id=order_id,
    )
    assert record["seconds"] >= 172_800
    shop.assert_settled(order_id)


def test_order_that_kills_its_worker_each_time_becomes_a_dead_letter(
    shop: Shop, worker: Service, name: str
) -> None:
    """Attempts without a result count as well, so that no order is tried for ever."""
    order_id = place_and_emit(shop, worker, name)
    shop.update(
        order_id,
        "status = 'emitting', due_at = now(), attempts = 3, changed_at = now() - '1 day'::interval",
    )
    (record,) = wait(worker, name, "dead")
    assert_fields(record, level="ERROR", error="OrderError", attempt=4)


def test_emission_elsewhere_is_not_touched_but_finished(
    shop: Shop, worker: Service, name: str
) -> None:
    """A worker leaves an emission to the one that has started it, unless that never finishes."""
    order_id = place_and_emit(shop, worker, name)
    shop.update(
        order_id,
        "status = 'emitting', due_at = now(), changed_at = now() + '1 s'::interval",
    )
    wait(worker, name, "emitting")
    wait_until_emitted_again(worker, name)
    shop.assert_settled(order_id)
    (record,) = [
        record
        for record in worker.records(name)
        if record.get("error") == "OrderAlreadyInProgressError"
    ]
    assert record["level"] == "INFO"
    assert "exception" not in record


def test_stream_that_cannot_be_read_is_one_error(shop: Shop, worker: Service, name: str) -> None:
    """What Redis refuses is one ERROR; the worker continues when it can, though all was lost."""
    before = len(refusals(worker.records()))
    starts = len(ready(worker.records()))
    shop.redis("SET", shop.stream, "no stream")
    worker.wait(lambda records: len(refusals(records)) > before)
    (order_id,) = shop.place(name)
    shop.redis("DEL", shop.stream)
    wait(worker, name, "emitted")
    shop.assert_settled(order_id)
    worker.wait(lambda records: len(ready(records)) == starts + 1)
    assert len(refusals(worker.records())) == before + 1


def refusals(records: list[Record]) -> list[Record]:
    """Return the records of what a store has refused."""
    return [record for record in records if record.get("error") == REFUSED]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_worker_stops_on_a_signal(shop: Shop, sent: signal.Signals) -> None:
    """A worker finishes what it does, says so, and leaves nothing behind."""
    other = shop.worker()
    assert other.stop(sent) == 0
    messages = [record["message"] for record in other.records()]
    assert messages == ["worker is ready", "worker stopped"]
    for record in other.records():
        assert record["level"] != "CRITICAL"
    assert other.errors == []


def test_wrong_setting_ends_the_start_with_one_line(shop: Shop) -> None:
    """A wrong setting ends the worker, and is named in one line."""
    env = shop.env | {"MAX_ATTEMPTS": "many"}
    wrong = launch("-m", "src.worker", env=env)
    assert wrong.wait_for_exit() == 3
    assert wrong.lines == []
    (line,) = wrong.errors
    assert line.startswith("wrong settings: max_attempts:")


def test_unknown_argument_is_refused_with_a_line_that_helps() -> None:
    """A worker with an unknown argument says which ones there are."""
    wrong = launch("-m", "src.worker", "play")
    assert wrong.wait_for_exit() == 1
    assert wrong.lines == []
    assert wrong.errors == ["usage: python -m src.worker [replay]\n"]


def test_bug_in_the_worker_itself_is_one_critical(shop: Shop, tmp_path: Path) -> None:
    """What a worker cannot continue after ends it with one CRITICAL, so that it is restarted."""
    folder = copy_with(Path(__file__), tmp_path)
    clients = folder / "src" / "clients" / "orders.py"
    source = clients.read_text(encoding="utf-8")
    broken_source = source.replace("yield [", "yield [{}[1]] or [")
    clients.write_text(broken_source, encoding="utf-8")
    broken = launch("-m", "src.worker", cwd=folder, env=shop.env)
    assert broken.wait_for_exit() == 1
    (record,) = failures(broken.records())
    assert_fields(
        record,
        level="CRITICAL",
        message="the service cannot run",
        error="KeyError",
    )
    assert broken.errors == []
