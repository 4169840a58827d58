"""Sentry has an event for each failure of a worker."""

from pathlib import Path

from tests.integration.test_sentry import dsn, events
from tests.support import sink
from tests.support.failing_orders import (
    EMISSION_FAILED,
    SETTINGS,
    STREAM_REFUSED,
    break_stream,
    place_good_and_bad_order,
    stop,
)
from tests.support.orders import opened


def test_failed_message_is_one_event(tmp_path: Path) -> None:
    """A failure from ERROR on is sent once; an attempt that is repeated is not."""
    with sink.receiving() as received:
        settings = SETTINGS | {"SENTRY_DSN": dsn(received)}
        with opened(tmp_path, **settings) as shop:
            worker = shop.worker()
            place_good_and_bad_order(shop, worker)
            break_stream(shop, worker)
            stop(worker)
        sent = events(received)
    emission, refusal = sorted(sent, key=lambda event: event["tags"]["error"])
    assert emission["level"] == "error"
    assert emission["tags"]["error"] == EMISSION_FAILED
    assert emission["tags"]["correlation_id"] == "bad"
    assert emission["contexts"]["facts"]["attempt"] == 2
    assert refusal["level"] == "error"
    assert refusal["tags"]["error"] == STREAM_REFUSED
    assert "correlation_id" not in refusal["tags"]
