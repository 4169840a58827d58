"""Workers emit the receipts of orders, and log each failure as one record with the request's id."""

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.requests import ORDER
from tests.support.orders import Shop, lines, opened, ready
from tests.support.service import Record, Service, copy_with, failures, launch

IDS = (f"request-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Open a shop of this module's own, in which three attempts are made."""
    with opened(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture(scope="module")
def worker(shop: Shop) -> Service:
    """Run a worker that goes on whatever happens."""
    return shop.worker()


@pytest.fixture
def one(shop: Shop) -> Iterator[str]:
    """Yield the id of a request; afterwards the tax office does its work again."""
    yield next(IDS)
    shop.office.mode("ok")


def wait(worker: Service, one: str, outcome: str) -> list[Record]:
    """Wait until a message has come to an outcome, and return the failures under its id."""
    worker.wait(lambda records: lines(records, one, outcome=outcome))
    return failures(worker.records(one))


def test_order_is_emitted_under_the_id_of_its_request(shop: Shop, worker: Service) -> None:
    """A worker emits the receipt of a new order; all records have the id of the request."""
    service = shop.service()
    response = service.request("POST", "/orders", json=ORDER, headers={"X-Request-ID": "from-afar"})
    assert response.status_code == 201
    assert wait(worker, "from-afar", "emitted") == []
    order_id = response.json()["id"]
    shop.assert_settled(order_id)
    assert f"{order_id} R1 from-afar\n" in shop.office.book.read_text()
    (line,) = lines(worker.records("from-afar"))
    assert (line["level"], line["logger"], line["stream"], line["attempt"]) == (
        "INFO",
        "access",
        shop.stream,
        1,
    )
    assert (line["message_id"].count("-"), line["duration_ms"] > 0) == (1, True)
    assert service.get(response.headers["location"]).json()["status"] == "emitted"
    again = service.request("POST", f"{response.headers['location']}/receipt")
    assert (again.status_code, again.json()) == (
        200,
        {"order_id": order_id, "order_status": "emitted"},
    )
    shop.assert_settled(order_id)
    assert "    2 x       3.50  tea\n" in (shop.receipts / f"{order_id}.txt").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("mode", "error", "reason"),
    [
        ("error", "ReceiptEmissionFailedError", "status 500"),
        ("late", "ReceiptEmissionFailedError", "longer than 0.4 s"),
        ("slow", "ReceiptEmissionFailedError", "longer than 0.4 s"),
        ("drip", "ReceiptEmissionFailedError", "longer than 0.4 s"),
        ("unavailable", "TaxOfficeUnavailableError", "status 503"),
    ],
)
def test_tax_office_that_fails_is_called_again(
    shop: Shop, worker: Service, one: str, mode: str, error: str, reason: str
) -> None:
    """A failure of the tax office is a WARNING and a later attempt; one receipt is registered."""
    shop.office.mode(mode)
    (order_id,) = shop.place(one)
    wait(worker, one, "retried")
    shop.office.mode("ok")
    records = wait(worker, one, "emitted")
    shop.assert_settled(order_id)
    assert {(r["level"], r["error"], r["reason"]) for r in records} == {("WARNING", error, reason)}
    assert [r["attempt"] for r in lines(worker.records(), one)] == list(range(1, len(records) + 2))


def test_tax_office_that_keeps_failing_makes_a_dead_letter_that_can_be_replayed(
    shop: Shop, worker: Service, one: str
) -> None:
    """After the last attempt there is one ERROR and a dead letter; it can be replayed."""
    shop.office.mode("error")
    (order_id,) = shop.place(one)
    records = wait(worker, one, "dead")
    assert [(r["level"], r["attempt"]) for r in records] == [
        ("WARNING", 1),
        ("WARNING", 2),
        ("ERROR", 3),
    ]
    assert records[-1]["order_id"] == order_id
    shop.office.mode("ok")
    worker.wait(lambda _: shop.dead_letters() == 1)
    (letter,) = shop.query("SELECT order_id::text, message, error FROM dead_letters")
    assert (letter["order_id"], letter["error"]) == (order_id, "ReceiptEmissionFailedError")
    assert f"'correlation_id': b'{one}'" in letter["message"]
    shop.replay(count=1)
    wait(worker, one, "emitted")
    shop.assert_settled(order_id)
    assert shop.dead_letters() == 0


def test_order_that_was_given_up_is_remembered_whatever_redis_loses(
    shop: Shop, worker: Service, one: str
) -> None:
    """Dead letters outlive all data of Redis, and a receipt that is emitted by hand ends one."""
    other = next(IDS)
    shop.office.mode("refused")
    by_replay, by_hand = shop.place(one, other)
    wait(worker, one, "dead")
    wait(worker, other, "dead")
    shop.office.mode("ok")
    shop.redis("DEL", shop.stream)
    service = shop.service()
    response = service.request("POST", f"/orders/{by_hand}/receipt")
    assert response.json()["order_status"] == "emitted"
    assert shop.dead_letters() == 1
    shop.replay(count=1)
    wait(worker, one, "emitted")
    shop.assert_settled(by_replay, by_hand)


def test_tax_office_that_is_unreachable_uses_up_no_attempt(
    shop: Shop, worker: Service, one: str
) -> None:
    """While nobody can reach the tax office orders wait, however often they are tried."""
    shop.office.kill()
    (order_id,) = shop.place(one)
    attempts = 5  # though an order has three
    worker.wait(lambda records: len(lines(records, one, outcome="retried")) == attempts)
    row = shop.query("SELECT attempts, postponements FROM orders WHERE id::text = $1", order_id)[0]
    assert row["attempts"] <= 1  # one more may be going on
    assert row["postponements"] >= attempts
    records = failures(worker.records(one))
    assert {(r["level"], r["error"]) for r in records} == {("WARNING", "TaxOfficeUnavailableError")}
    assert {r["reason"] for r in records} <= {"ConnectError", "circuit open"}
    shop.office.start()
    shop.query("UPDATE orders SET due_at = now() WHERE id::text = $1", order_id)
    wait(worker, one, "emitted")
    shop.assert_settled(order_id)


@pytest.mark.parametrize(
    ("earlier", "expected"), [(1, 0.2), (8, 25.6), (60, 600)], ids=["second", "ninth", "later"]
)
def test_delay_grows_with_each_attempt(
    shop: Shop, worker: Service, one: str, earlier: int, expected: float
) -> None:
    """Each delay is about twice as long as that before, up to ten minutes."""
    (order_id,) = shop.place(one)
    wait(worker, one, "emitted")
    shop.office.mode("error")
    shop.query(
        "UPDATE orders SET status = 'new', due_at = now(), attempts = 0, postponements = $2"
        " WHERE id::text = $1",
        order_id,
        earlier,
    )
    worker.wait(lambda records: lines(records, one, outcome="retried", attempt=earlier + 1))
    row = shop.query(
        "SELECT due_at - changed_at AS delay FROM orders WHERE id::text = $1", order_id
    )
    emission = 1  # second, at most, which is part of what is measured
    assert 0.75 * expected <= row[0]["delay"].total_seconds() <= 1.25 * expected + emission


@pytest.mark.parametrize(
    ("mode", "reason"), [("refused", "status 422"), ("<html>", "status 201, invalid body")]
)
def test_response_that_will_not_change_is_final(
    shop: Shop, worker: Service, one: str, mode: str, reason: str
) -> None:
    """A receipt that is refused becomes a dead letter at the first attempt, with one ERROR."""
    shop.office.mode(mode)
    shop.place(one)
    (record,) = wait(worker, one, "dead")
    assert (record["level"], record["reason"], record["attempt"]) == ("ERROR", reason, 1)


def test_printer_that_fails_is_tried_again(shop: Shop, worker: Service, one: str) -> None:
    """A folder in which nothing can be written is an error of our own, and a delay."""
    hidden = (
        shop.receipts.rename(shop.receipts.with_name("hidden")) if shop.receipts.exists() else None
    )
    shop.receipts.touch()
    (order_id,) = shop.place(one)
    wait(worker, one, "retried")
    shop.receipts.unlink()
    if hidden:
        hidden.rename(shop.receipts)
    records = wait(worker, one, "emitted")
    shop.assert_settled(order_id)
    assert {(r["level"], r["error"]) for r in records} == {
        ("WARNING", "ReceiptGenerationFailedError")
    }


@pytest.mark.parametrize(
    "fields",
    [("nothing", "here"), ("order_id", b"\xff\x00"), ("order_id", "7", "attempt", "x" * 5000)],
)
def test_message_that_cannot_be_read_is_one_error_and_put_aside(
    shop: Shop, worker: Service, fields: tuple[str, ...]
) -> None:
    """Whatever is written into the stream, it is one ERROR with an id, and a dead letter."""
    before = shop.dead_letters()
    message_id = shop.redis(
        "XADD", shop.stream, "*", "correlation_id", "some\nbody", *fields
    ).decode()
    worker.wait(lambda records: lines(records, message_id=message_id, outcome="dead"))
    worker.wait(lambda _: shop.dead_letters() == before + 1)
    (record,) = [r for r in failures(worker.records()) if r.get("message_id") == message_id]
    assert (record["level"], record["error"]) == ("ERROR", "OrderNotFoundError")
    assert (len(record["correlation_id"]), record["attempt"]) == (32, 1)


def test_bug_is_critical_and_starts_at_our_code(shop: Shop, worker: Service, one: str) -> None:
    """What nobody has thought of is one CRITICAL and a dead letter, and the worker goes on."""
    (order_id,) = shop.place(one)
    wait(worker, one, "emitted")
    shop.query(
        "UPDATE orders SET status = 'new', items = '{}', due_at = now() WHERE id::text = $1",
        order_id,
    )
    (record,) = wait(worker, one, "dead")
    assert (record["level"], record["error"]) == ("CRITICAL", "ValidationError")
    assert "worker.py" in record["exception"].splitlines()[1]
    other = next(IDS)
    shop.place(other)
    assert wait(worker, other, "emitted") == []


def test_stuck_emission_is_taken_over_with_a_warning(shop: Shop, worker: Service, one: str) -> None:
    """An emission whose process has died is done by another, and a WARNING says how old it was."""
    (order_id,) = shop.place(one)
    wait(worker, one, "emitted")
    ago = "changed_at = now() - '2 days'::interval, due_at = now()"
    shop.query(f"UPDATE orders SET status = 'emitting', {ago} WHERE id::text = $1", order_id)
    worker.wait(lambda records: len(lines(records, one, outcome="emitted")) == 2)
    (record,) = failures(worker.records(one))
    assert (record["level"], record["message"]) == ("WARNING", "stuck emission taken over")
    assert (record["order_id"], record["seconds"] >= 172_800) == (order_id, True)
    shop.assert_settled(order_id)


def test_order_that_kills_its_worker_each_time_becomes_a_dead_letter(
    shop: Shop, worker: Service, one: str
) -> None:
    """Attempts of which nothing was heard count as well, so that no order is tried for ever."""
    (order_id,) = shop.place(one)
    wait(worker, one, "emitted")
    stuck = "changed_at = now() - '1 day'::interval, due_at = now(), attempts = 3"
    shop.query(f"UPDATE orders SET status = 'emitting', {stuck} WHERE id::text = $1", order_id)
    (record,) = wait(worker, one, "dead")
    assert (record["level"], record["error"], record["attempt"]) == ("ERROR", "OrderError", 4)


def test_emission_elsewhere_is_left_alone_and_looked_after(
    shop: Shop, worker: Service, one: str
) -> None:
    """A worker does not touch what another one does, but sees to it that it comes to an end."""
    (order_id,) = shop.place(one)
    wait(worker, one, "emitted")
    ahead = "changed_at = now() + '1 s'::interval, due_at = now()"
    shop.query(f"UPDATE orders SET status = 'emitting', {ahead} WHERE id::text = $1", order_id)
    wait(worker, one, "emitting")
    worker.wait(lambda records: len(lines(records, one, outcome="emitted")) == 2)
    shop.assert_settled(order_id)
    (record,) = [r for r in worker.records(one) if r.get("error") == "OrderAlreadyInProgressError"]
    assert (record["level"], "exception" in record) == ("INFO", False)


def test_stream_that_cannot_be_read_is_one_error(shop: Shop, worker: Service, one: str) -> None:
    """What Redis refuses is one ERROR; the worker goes on when it can, though all was lost."""
    before = len(refusals(worker.records()))
    readiness = len(ready(worker.records()))
    shop.redis("SET", shop.stream, "no stream")
    worker.wait(lambda records: len(refusals(records)) > before)
    (order_id,) = shop.place(one)
    shop.redis("DEL", shop.stream)
    wait(worker, one, "emitted")
    shop.assert_settled(order_id)
    worker.wait(lambda records: len(ready(records)) == readiness + 1)
    assert len(refusals(worker.records())) == before + 1


def refusals(records: list[Record]) -> list[Record]:
    """Return the records of what a store has refused."""
    return [r for r in records if r.get("error") == "StoreRefusedError"]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_worker_stops_on_a_signal(shop: Shop, one: str, sent: signal.Signals) -> None:
    """A worker ends what it does, says so, and leaves nothing behind."""
    other = shop.worker()
    assert (
        other.stop(sent),
        other.errors,
        [r for r in other.records() if r["level"] == "CRITICAL"],
    ) == (0, [], [])
    assert [r["message"] for r in other.records()] == ["worker is ready", "worker stopped"]
    assert other.errors == []


def test_wrong_setting_ends_the_start_with_one_line(shop: Shop) -> None:
    """A wrong setting ends the worker, and is named in one line."""
    wrong = launch("-m", "src.worker", env=shop.env | {"MAX_ATTEMPTS": "many"})
    assert wrong.wait_for_exit() == 3
    assert (wrong.lines, [line[:29] for line in wrong.errors]) == (
        [],
        ["wrong settings: max_attempts:"],
    )


def test_unknown_argument_is_refused_with_a_line_that_helps() -> None:
    """A worker that is asked for what it cannot do says what it can."""
    wrong = launch("-m", "src.worker", "play")
    assert wrong.wait_for_exit() == 1
    assert (wrong.lines, wrong.errors) == ([], ["usage: python -m src.worker [replay]\n"])


def test_bug_in_the_worker_itself_is_one_critical(shop: Shop, tmp_path: Path) -> None:
    """What a worker cannot go on from ends it with one CRITICAL, so that it is started again."""
    folder = copy_with(Path(__file__), tmp_path)
    clients = folder / "src" / "clients" / "orders.py"
    clients.write_text(clients.read_text(encoding="utf-8").replace("yield [", "yield [{}[1]] or ["))
    broken = launch("-m", "src.worker", cwd=folder, env=shop.env)
    assert broken.wait_for_exit() == 1
    (record,) = failures(broken.records())
    assert (record["level"], record["message"], record["error"]) == (
        "CRITICAL",
        "the service cannot run",
        "KeyError",
    )
    assert broken.errors == []
