"""Workers hear of orders, emit their receipts, and tell of each failure once, with the id of the request."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.tasks import ORDER
from tests.integration.orders import Shop, has, lines, opened
from tests.service import Record, failures


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop of the test's own."""
    with opened(tmp_path) as shop:
        yield shop


def test_order_is_heard_of_and_emitted_under_the_id_of_its_request(shop: Shop) -> None:
    """A worker emits the receipt of a new order; all that it and the tax office see has the request's id."""
    service, worker = shop.service(), shop.worker()
    response = service.request("POST", "/orders", json=ORDER, headers={"X-Request-ID": "from-afar"})
    assert response.status_code == 201
    worker.wait(has(1, outcome="emitted"))
    shop.assert_settled(1)
    (line,) = lines(worker.records("from-afar"))
    assert (line["level"], line["logger"], line["stream"], line["attempt"]) == ("INFO", "access", shop.stream, 1)
    assert (line["message_id"].count("-"), line["duration_ms"] > 0) == (1, True)
    assert failures(worker.records()) == []
    assert [r["message"] for r in worker.records("from-afar")] == ["HTTP Request", "message"][-1:]
    assert service.get(response.headers["location"]).json()["status"] == "emitted"
    again = service.request("POST", f"{response.headers['location']}/receipt")
    assert (again.status_code, again.json()["order_status"]) == (200, "emitted")
    shop.assert_settled(1)
    assert shop.redis("XLEN", shop.stream) == 0
    assert "tea" in next(shop.receipts.glob("*.txt")).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("mode", "reason"), [("error", "status 500"), ("late", "ReadTimeout"), ("slow", "ReadTimeout")]
)
def test_tax_office_that_fails_is_asked_again(shop: Shop, mode: str, reason: str) -> None:
    """What the tax office fails to answer is a WARNING and tried again later; in the end it is registered once."""
    shop.office.mode(mode)
    worker = shop.worker()
    shop.place()
    worker.wait(has(1, outcome="retried"))
    shop.office.mode("ok")
    worker.wait(has(1, outcome="emitted"))
    shop.assert_settled(1)
    told = failures(worker.records())
    assert {(r["level"], r["error"], r["reason"]) for r in told} == {("WARNING", "ReceiptEmissionFailedError", reason)}
    assert [r["attempt"] for r in told] == [r["attempt"] for r in lines(worker.records(), outcome="retried")]
    assert lines(worker.records())[-1]["attempt"] == len(told) + 1


def test_tax_office_that_stays_away_makes_a_dead_letter_that_can_be_replayed(shop: Shop) -> None:
    """After the last attempt there is one ERROR and a dead letter; replayed, it is handled like a new one."""
    shop.office.kill()
    worker = shop.worker()
    (order_id,) = shop.place()
    worker.wait(has(1, outcome="dead"))
    worker.wait(lambda _: shop.redis("XLEN", f"{shop.stream}:dead") == 1)
    assert [(r["level"], r["attempt"]) for r in failures(worker.records())] == [
        ("WARNING", 1),
        ("WARNING", 2),
        ("ERROR", 3),
    ]
    assert "httpx2.ConnectError" in failures(worker.records())[-1]["exception"]
    assert failures(worker.records())[-1]["order_id"] == order_id
    shop.office.start()
    replaying = shop.worker("replay")
    assert replaying.wait_for_end() == 0
    assert [r["count"] for r in replaying.records() if r["message"] == "dead letters replayed"] == [1]
    worker.wait(has(1, outcome="emitted"))
    shop.assert_settled(1)
    assert shop.redis("XLEN", f"{shop.stream}:dead") == 0


@pytest.mark.parametrize(("mode", "reason"), [("refused", "status 422"), ("nonsense", "status 201")])
def test_answer_that_will_not_change_is_not_asked_for_again(shop: Shop, mode: str, reason: str) -> None:
    """A receipt that is refused becomes a dead letter at once, with one ERROR."""
    shop.office.mode(mode)
    worker = shop.worker()
    shop.place()
    worker.wait(has(1, outcome="dead"))
    (told,) = failures(worker.records())
    assert (told["level"], told["reason"], told["attempt"]) == ("ERROR", reason, 1)


def test_printer_that_fails_is_told_and_tried_again(shop: Shop) -> None:
    """A folder in which nothing can be written is an error of our own, and the cause of a delay only."""
    shop.receipts.touch()
    worker = shop.worker()
    shop.place()
    worker.wait(has(1, outcome="retried"))
    shop.receipts.unlink()
    worker.wait(has(1, outcome="emitted"))
    shop.assert_settled(1)
    assert {r["error"] for r in failures(worker.records())} == {"ReceiptGenerationFailedError"}


@pytest.mark.parametrize(
    "fields", [("nothing", "here"), ("order_id", b"\xff\x00"), ("order_id", "7", "attempt", "x" * 5000)]
)
def test_message_that_cannot_be_read_is_told_once_and_put_aside(shop: Shop, fields: tuple[str, ...]) -> None:
    """Whatever somebody writes into the stream, it is one ERROR and a dead letter."""
    worker = shop.worker()
    shop.redis("XADD", shop.stream, "*", "correlation_id", "some\nbody", *fields)
    worker.wait(has(1, outcome="dead"))
    worker.wait(lambda _: shop.redis("XLEN", f"{shop.stream}:dead") == 1)
    (told,) = failures(worker.records())
    assert (told["level"], told["error"]) == ("ERROR", "OrderNotFoundError")
    assert (len(told["correlation_id"]), told["attempt"]) == (32, 1)


def test_bug_is_critical_and_starts_at_our_code(shop: Shop) -> None:
    """What nobody has thought of is one CRITICAL and a dead letter, and the worker goes on."""
    worker = shop.worker()
    (order_id, _) = shop.place(2)
    worker.wait(has(2, outcome="emitted"))
    shop.query("UPDATE orders SET status = 'new', items = '{}', due_at = now() WHERE id::text = $1", order_id)
    worker.wait(has(1, outcome="dead"))
    (told,) = failures(worker.records())
    assert (told["level"], told["error"]) == ("CRITICAL", "ValidationError")
    assert "worker.py" in told["exception"].splitlines()[1]
    shop.place()
    worker.wait(has(3, outcome="emitted"))


def test_stuck_emission_is_taken_over_and_told(shop: Shop) -> None:
    """An emission whose process has died is done by another, and a line says how long it was stuck."""
    (order_id,) = shop.place()
    shop.query("UPDATE orders SET status = 'emitting', changed_at = now() - '7 s'::interval")
    worker = shop.worker()
    worker.wait(has(1, outcome="emitted"))
    (told,) = failures(worker.records())
    assert (told["level"], told["message"]) == ("WARNING", "stuck emission taken over")
    assert (told["order_id"], told["seconds"] >= 7) == (order_id, True)
    shop.assert_settled(1)


def test_emission_elsewhere_is_left_alone_and_looked_after(shop: Shop) -> None:
    """A worker does not touch what another one does, but sees to it that it comes to an end."""
    shop.place()
    shop.query("UPDATE orders SET status = 'emitting', changed_at = now()")
    worker = shop.worker()
    worker.wait(has(1, outcome="emitting"))
    worker.wait(has(1, outcome="emitted"))
    shop.assert_settled(1)
    (told,) = [r for r in worker.records() if r.get("error") == "OrderAlreadyInProgressError"]
    assert (told["level"], "exception" in told) == ("INFO", False)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_worker_stops_when_it_is_asked_to(shop: Shop, sent: signal.Signals) -> None:
    """A worker ends what it does, says so, and leaves nothing behind."""
    worker = shop.worker()
    shop.place(5)
    worker.wait(has(1, outcome="emitted"))
    assert worker.stop(sent) == 0
    assert [r["message"] for r in worker.records()][-1] == "worker stopped"
    assert worker.errors == []
    assert shop.redis("XPENDING", shop.stream, "workers")["pending"] == 0


def test_what_keeps_a_worker_from_running_is_told_once(shop: Shop) -> None:
    """A worker that cannot run ends with an exit code and one CRITICAL; a wrong setting with one line."""
    shop.redis("SET", shop.stream, "no stream")
    wrong = shop.worker("--wrong", MAX_ATTEMPTS="many")
    assert wrong.wait_for_end() == 3
    assert (wrong.lines, len(wrong.errors)) == ([], 1)


def test_redis_that_is_no_stream_is_told_once(shop: Shop) -> None:
    """What Redis refuses is told once, and the worker goes on as soon as that has changed."""
    shop.redis("SET", shop.stream, "no stream")
    worker = shop.worker()
    shop.place()
    worker.wait(failures)
    shop.redis("DEL", shop.stream)
    worker.wait(has(1, outcome="emitted"))

    def told(records: list[Record]) -> list[str]:
        return [r["error"] if "error" in r else r["message"] for r in records if r["logger"] in ("errors", "__main__")]

    assert told(worker.records()) == ["worker started", "StoreRefusedError", "stores are back"]
    assert json.loads(worker.lines[0])["level"] == "INFO"
