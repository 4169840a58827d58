"""Workers hear of orders, emit their receipts, and tell of each failure once, with the id of the request."""

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.tasks import ORDER
from tests.support.orders import Shop, lines, opened
from tests.support.service import Record, Service, copy_with, failures, launch

IDS = (f"request-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop of this module's own, in which three attempts are made."""
    with opened(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture(scope="module")
def worker(shop: Shop) -> Service:
    """A worker that goes on whatever happens."""
    return shop.worker()


@pytest.fixture
def one(shop: Shop) -> Iterator[str]:
    """The id of a request; afterwards the tax office does its work again."""
    yield next(IDS)
    shop.office.mode("ok")


def wait(worker: Service, one: str, outcome: str) -> list[Record]:
    """Wait until a message has come to an outcome, and return the failures that were told under its id."""
    worker.wait(lambda records: lines(records, one, outcome=outcome))
    return failures(worker.records(one))


def test_order_is_heard_of_and_emitted_under_the_id_of_its_request(
    shop: Shop, worker: Service
) -> None:
    """A worker emits the receipt of a new order; all that it and the tax office see has the request's id."""
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
    ("mode", "reason"), [("error", "status 500"), ("late", "ReadTimeout"), ("slow", "ReadTimeout")]
)
def test_tax_office_that_fails_is_asked_again(
    shop: Shop, worker: Service, one: str, mode: str, reason: str
) -> None:
    """What the tax office fails to answer is a WARNING and tried again later; in the end it is registered once."""
    shop.office.mode(mode)
    (order_id,) = shop.place(one)
    wait(worker, one, "retried")
    shop.office.mode("ok")
    told = wait(worker, one, "emitted")
    shop.assert_settled(order_id)
    assert {(r["level"], r["error"], r["reason"]) for r in told} == {
        ("WARNING", "ReceiptEmissionFailedError", reason)
    }
    assert [r["attempt"] for r in lines(worker.records(), one)] == list(range(1, len(told) + 2))


def test_tax_office_that_stays_away_makes_a_dead_letter_that_can_be_replayed(
    shop: Shop, worker: Service, one: str
) -> None:
    """After the last attempt there is one ERROR and a dead letter; replayed, it is handled like a new one."""
    shop.office.kill()
    (order_id,) = shop.place(one)
    told = wait(worker, one, "dead")
    assert [(r["level"], r["attempt"]) for r in told] == [
        ("WARNING", 1),
        ("WARNING", 2),
        ("ERROR", 3),
    ]
    assert "httpx2.ConnectError" in told[-1]["exception"]
    assert told[-1]["order_id"] == order_id
    shop.office.start()
    worker.wait(lambda _: shop.redis("XLEN", f"{shop.stream}:dead") == 1)
    replaying = shop.worker("replay")
    assert replaying.wait_for_exit() == 0
    assert [r["count"] for r in replaying.records() if r["message"] == "dead letters replayed"] == [
        1
    ]
    wait(worker, one, "emitted")
    shop.assert_settled(order_id)
    assert shop.redis("XLEN", f"{shop.stream}:dead") == 0


@pytest.mark.parametrize(
    ("mode", "reason"), [("refused", "status 422"), ("nonsense", "status 201")]
)
def test_answer_that_will_not_change_is_not_asked_for_again(
    shop: Shop, worker: Service, one: str, mode: str, reason: str
) -> None:
    """A receipt that is refused becomes a dead letter at once, with one ERROR."""
    shop.office.mode(mode)
    shop.place(one)
    (told,) = wait(worker, one, "dead")
    assert (told["level"], told["reason"], told["attempt"]) == ("ERROR", reason, 1)


def test_printer_that_fails_is_told_and_tried_again(shop: Shop, worker: Service, one: str) -> None:
    """A folder in which nothing can be written is an error of our own, and the cause of a delay only."""
    hidden = (
        shop.receipts.rename(shop.receipts.with_name("hidden")) if shop.receipts.exists() else None
    )
    shop.receipts.touch()
    (order_id,) = shop.place(one)
    wait(worker, one, "retried")
    shop.receipts.unlink()
    if hidden:
        hidden.rename(shop.receipts)
    told = wait(worker, one, "emitted")
    shop.assert_settled(order_id)
    assert {(r["level"], r["error"]) for r in told} == {("WARNING", "ReceiptGenerationFailedError")}


@pytest.mark.parametrize(
    "fields",
    [("nothing", "here"), ("order_id", b"\xff\x00"), ("order_id", "7", "attempt", "x" * 5000)],
)
def test_message_that_cannot_be_read_is_told_once_and_put_aside(
    shop: Shop, worker: Service, fields: tuple[str, ...]
) -> None:
    """Whatever somebody writes into the stream, it is one ERROR under an id of ours, and a dead letter."""
    before = shop.redis("XLEN", f"{shop.stream}:dead")
    message_id = shop.redis(
        "XADD", shop.stream, "*", "correlation_id", "some\nbody", *fields
    ).decode()
    worker.wait(lambda records: lines(records, message_id=message_id, outcome="dead"))
    worker.wait(lambda _: shop.redis("XLEN", f"{shop.stream}:dead") == before + 1)
    (told,) = [r for r in failures(worker.records()) if r.get("message_id") == message_id]
    assert (told["level"], told["error"]) == ("ERROR", "OrderNotFoundError")
    assert (len(told["correlation_id"]), told["attempt"]) == (32, 1)


def test_bug_is_critical_and_starts_at_our_code(shop: Shop, worker: Service, one: str) -> None:
    """What nobody has thought of is one CRITICAL and a dead letter, and the worker goes on."""
    (order_id,) = shop.place(one)
    wait(worker, one, "emitted")
    shop.query(
        "UPDATE orders SET status = 'new', items = '{}', due_at = now() WHERE id::text = $1",
        order_id,
    )
    (told,) = wait(worker, one, "dead")
    assert (told["level"], told["error"]) == ("CRITICAL", "ValidationError")
    assert "worker.py" in told["exception"].splitlines()[1]
    other = next(IDS)
    shop.place(other)
    assert wait(worker, other, "emitted") == []


def test_stuck_emission_is_taken_over_and_told(shop: Shop, worker: Service, one: str) -> None:
    """An emission whose process has died is done by another, and a line says how long it was stuck."""
    (order_id,) = shop.place(one)
    wait(worker, one, "emitted")
    ago = "changed_at = now() - '2 days'::interval, due_at = now()"
    shop.query(f"UPDATE orders SET status = 'emitting', {ago} WHERE id::text = $1", order_id)
    worker.wait(lambda records: len(lines(records, one, outcome="emitted")) == 2)
    (told,) = failures(worker.records(one))
    assert (told["level"], told["message"]) == ("WARNING", "stuck emission taken over")
    assert (told["order_id"], told["seconds"] >= 172_800) == (order_id, True)
    shop.assert_settled(order_id)


def test_order_that_kills_its_worker_each_time_becomes_a_dead_letter(
    shop: Shop, worker: Service, one: str
) -> None:
    """Attempts of which nothing was heard count as well, so that no order is tried for ever."""
    (order_id,) = shop.place(one)
    wait(worker, one, "emitted")
    stuck = "changed_at = now() - '1 day'::interval, due_at = now(), attempts = 3"
    shop.query(f"UPDATE orders SET status = 'emitting', {stuck} WHERE id::text = $1", order_id)
    (told,) = wait(worker, one, "dead")
    assert (told["level"], told["error"], told["attempt"]) == ("ERROR", "OrderError", 4)


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
    (told,) = [r for r in worker.records(one) if r.get("error") == "OrderAlreadyInProgressError"]
    assert (told["level"], "exception" in told) == ("INFO", False)


def test_stream_that_cannot_be_read_is_told_once(shop: Shop, worker: Service, one: str) -> None:
    """What Redis refuses is told once; the worker goes on as soon as that has changed, though all was lost."""
    shop.redis("SET", shop.stream, "no stream")
    worker.wait(lambda records: [r for r in records if r.get("error") == "StoreRefusedError"])
    (order_id,) = shop.place(one)
    shop.redis("DEL", shop.stream)
    wait(worker, one, "emitted")
    shop.assert_settled(order_id)
    worker.wait(lambda records: len([r for r in records if r["message"] == "worker is ready"]) == 2)
    assert len([r for r in worker.records() if r.get("error") == "StoreRefusedError"]) == 1


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_worker_stops_when_it_is_asked_to(shop: Shop, one: str, sent: signal.Signals) -> None:
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


def test_bug_in_the_worker_itself_is_told_once(shop: Shop, tmp_path: Path) -> None:
    """What a worker cannot go on from ends it with one CRITICAL, so that it is started again."""
    folder = copy_with(Path(__file__), tmp_path)
    clients = folder / "src" / "clients" / "orders.py"
    clients.write_text(clients.read_text(encoding="utf-8").replace("yield [", "yield [{}[1]] or ["))
    broken = launch("-m", "src.worker", cwd=folder, env=shop.env)
    assert broken.wait_for_exit() == 1
    (told,) = failures(broken.records())
    assert (told["level"], told["message"], told["error"]) == (
        "CRITICAL",
        "the service cannot run",
        "KeyError",
    )
    assert broken.errors == []
