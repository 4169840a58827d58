"""Sentry has an event for each failure of a worker."""

from pathlib import Path

from tests.integration.test_sentry import dsn, events
from tests.support import sink
from tests.support.failing_orders import EMISSION_FAILED, STREAM_REFUSED, run_worker


def test_failed_message_is_one_event(tmp_path: Path) -> None:
    """A failure from ERROR on is sent once; an attempt that is repeated is not."""
    with sink.receiving() as received:
        run_worker(tmp_path, {"SENTRY_DSN": dsn(received)})
        sent = events(received)
    emission, refusal = sorted(sent, key=lambda event: event["tags"]["error"])
    assert emission["level"] == "error"
    assert emission["tags"]["error"] == EMISSION_FAILED
    assert emission["tags"]["correlation_id"] == "bad"
    assert emission["contexts"]["facts"]["attempt"] == 2
    assert refusal["level"] == "error"
    assert refusal["tags"]["error"] == STREAM_REFUSED
    assert "correlation_id" not in refusal["tags"]
