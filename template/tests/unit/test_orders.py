"""The facade goes its steps in order, and takes expected outcomes for what they are."""

import asyncio
import logging
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from src.clients.tax_office import CircuitBreaker
from src.models.order import EmissionLock, Receipt
from src.services.orders import OrderFacade
from src.utils.errors import (
    APIError,
    OrderAlreadyEmittedError,
    OrderAlreadyInProgressError,
    OrderEmissionTimeoutError,
    OrderNotFoundError,
    ReceiptEmissionFailedError,
    ReceiptGenerationFailedError,
    TaxOfficeUnavailableError,
)

ORDER = uuid4()
LOCK = EmissionLock(ORDER, datetime(2026, 1, 1, tzinfo=UTC))


class FakeParts:
    """All parts of a facade at once: they note how they are called, and one of them may fail."""

    def __init__(self, failing: str = "", failure: BaseException | None = None) -> None:
        self.calls: list[str] = []
        self.postponed: bool | None = None
        self._failing = failing
        self._failure = failure

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call == self._failing and self._failure:
            raise self._failure

    async def ensure_order_unlocked(self, order_id: UUID) -> EmissionLock:
        self._note("ensure_order_unlocked")
        return LOCK

    async def create(self, order_id: UUID) -> Receipt:
        self._note("create")
        return Receipt(order_id=order_id, total=Decimal(1), text="")

    async def emit_receipt_note(self, receipt: Receipt) -> None:
        assert receipt.order_id == ORDER
        self._note("emit_receipt_note")

    async def get_order_status(self, order_id: UUID) -> str:
        self._note("get_order_status")
        return "emitted"

    async def release(self, lock: EmissionLock, *, postponed: bool) -> None:
        assert lock == LOCK
        self.postponed = postponed
        self._note("release")


def facade(parts: FakeParts, emission_timeout: float = 60) -> OrderFacade:
    """Return a facade of fake parts."""
    return OrderFacade(parts, parts, parts, emission_timeout)  # type: ignore[arg-type]


async def test_emission_goes_its_steps_in_order() -> None:
    """An emission locks, prints, registers, and looks how far the order has come."""
    parts = FakeParts()
    assert await facade(parts).emit(ORDER) == "emitted"
    assert parts.calls == [
        "ensure_order_unlocked",
        "create",
        "emit_receipt_note",
        "get_order_status",
    ]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(OrderAlreadyInProgressError, "emitting"), (OrderAlreadyEmittedError, "emitted")],
)
async def test_expected_outcome_is_no_failure(
    caplog: pytest.LogCaptureFixture, outcome: type[APIError], status: str
) -> None:
    """An emission that goes on, or is over, returns the status, with one INFO, no traceback."""
    caplog.set_level(logging.INFO)
    parts = FakeParts("ensure_order_unlocked", outcome(ORDER))
    assert await facade(parts).emit(ORDER) == status
    assert parts.calls == ["ensure_order_unlocked"]
    (record,) = caplog.records
    assert (record.levelname, record.exc_info, vars(record)["order_id"]) == ("INFO", None, ORDER)


@pytest.mark.parametrize(
    ("failing", "failure", "released"),
    [
        ("ensure_order_unlocked", OrderNotFoundError(ORDER), False),
        ("create", ReceiptGenerationFailedError(ORDER), True),
        ("emit_receipt_note", ReceiptEmissionFailedError(ORDER, "status 500"), True),
        ("emit_receipt_note", KeyError("bug"), True),
        ("get_order_status", OrderNotFoundError(ORDER), False),
    ],
)
async def test_failure_is_passed_on_and_the_order_released(
    caplog: pytest.LogCaptureFixture, failing: str, failure: Exception, released: bool
) -> None:
    """What fails is raised as it is, not logged yet, and the order can be tried again."""
    parts = FakeParts(failing, failure)
    with pytest.raises(type(failure)) as caught:
        await facade(parts).emit(ORDER)
    assert caught.value is failure
    assert (parts.calls[-1] == "release") is released
    assert caplog.records == []


@pytest.mark.parametrize(
    ("failure", "postponed"),
    [
        (TaxOfficeUnavailableError(ORDER, "ConnectError"), True),
        (asyncio.CancelledError(), True),
        (ReceiptEmissionFailedError(ORDER, "status 500"), False),
        (KeyError("bug"), False),
    ],
)
async def test_what_did_not_reach_the_tax_office_is_no_attempt(
    failure: BaseException, postponed: bool
) -> None:
    """An emission that nobody attempted, or that was cancelled, does not count."""
    parts = FakeParts("emit_receipt_note", failure)
    with pytest.raises(type(failure)):
        await facade(parts).emit(ORDER)
    assert parts.postponed is postponed


async def test_emission_that_takes_too_long_is_ended() -> None:
    """However long a part would take, an emission ends in time, and the order is released."""

    class SlowParts(FakeParts):
        async def emit_receipt_note(self, receipt: Receipt) -> None:
            await asyncio.Event().wait()

    parts = SlowParts()
    async with asyncio.timeout(30):
        with pytest.raises(OrderEmissionTimeoutError):
            await facade(parts, emission_timeout=0.01).emit(ORDER)
    assert (parts.calls[-1], parts.postponed) == ("release", False)


def test_circuit_opens_after_failures_in_a_row_and_lets_one_call_try() -> None:
    """An open circuit lets nobody through, and after the pause one call at a time."""
    closed = CircuitBreaker(threshold=2, pause=60)
    closed.record_failure()
    closed.record_success()
    closed.record_failure()
    assert closed.allows_call()
    closed.record_failure()
    assert not closed.allows_call()

    paused = CircuitBreaker(threshold=1, pause=0)
    paused.record_failure()
    paused._pause = 60
    assert [paused.allows_call(), paused.allows_call()] == [True, False]
    paused.record_success()
    assert [paused.allows_call(), paused.allows_call()] == [True, True]
