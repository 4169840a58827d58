"""The facade goes its steps in order, and takes expected outcomes for what they are."""

import logging
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from src.models.order import Receipt
from src.services.orders import OrderFacade
from src.utils.errors import (
    APIError,
    OrderAlreadyEmittedError,
    OrderAlreadyInProgressError,
    OrderNotFoundError,
    ReceiptEmissionFailedError,
    ReceiptGenerationFailedError,
)

ORDER = uuid4()
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


class FakeParts:
    """All parts of a facade at once: they note what they are asked for, and one of them may fail."""

    def __init__(self, failing: str = "", failure: Exception | None = None) -> None:
        self.calls: list[str] = []
        self._failing, self._failure = failing, failure

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call == self._failing and self._failure:
            raise self._failure

    async def ensure_order_unlocked(self, order_id: UUID) -> datetime:
        self._note("ensure_order_unlocked")
        return SINCE

    async def create(self, order_id: UUID) -> Receipt:
        self._note("create")
        return Receipt(order_id=order_id, total=Decimal(1), text="")

    async def emit_receipt_note(self, receipt: Receipt) -> None:
        assert receipt.order_id == ORDER
        self._note("emit_receipt_note")

    async def get_order_status(self, order_id: UUID) -> str:
        self._note("get_order_status")
        return "emitted"

    async def release(self, order_id: UUID, since: datetime) -> None:
        assert since == SINCE
        self._note("release")


def facade(parts: FakeParts) -> OrderFacade:
    """Return a facade of fake parts."""
    return OrderFacade(parts, parts, parts)  # type: ignore[arg-type]


async def test_emission_goes_its_steps_in_order() -> None:
    """An emission locks, prints, registers, and asks how far it has come."""
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
async def test_expected_outcome_is_an_answer(
    caplog: pytest.LogCaptureFixture, outcome: type[APIError], status: str
) -> None:
    """An emission that goes on, or is over, is answered with the status, and told as INFO without a traceback."""
    caplog.set_level(logging.INFO)
    parts = FakeParts("ensure_order_unlocked", outcome(ORDER))
    assert await facade(parts).emit(ORDER) == status
    assert parts.calls == ["ensure_order_unlocked"]
    (told,) = caplog.records
    assert (told.levelname, told.exc_info, vars(told)["order_id"]) == ("INFO", None, ORDER)


@pytest.mark.parametrize(
    ("failing", "failure", "released"),
    [
        ("ensure_order_unlocked", OrderNotFoundError(ORDER), False),
        ("create", ReceiptGenerationFailedError(ORDER), True),
        ("emit_receipt_note", ReceiptEmissionFailedError(ORDER, "no answer"), True),
        ("emit_receipt_note", KeyError("bug"), True),
        ("get_order_status", OrderNotFoundError(ORDER), False),
    ],
)
async def test_failure_is_passed_on_and_the_order_released(
    caplog: pytest.LogCaptureFixture, failing: str, failure: Exception, released: bool
) -> None:
    """What fails is raised as it is, told by nobody yet, and the order can be tried again."""
    parts = FakeParts(failing, failure)
    with pytest.raises(type(failure)) as caught:
        await facade(parts).emit(ORDER)
    assert caught.value is failure
    assert (parts.calls[-1] == "release") is released
    assert caplog.records == []
