"""Sentry gets one event for each failure, and nothing that is secret."""

import base64
import copy
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.integration.test_escapes import CASES, ORIGIN
from tests.support.service import FAULTY, copy_with, launch, run, running
from tests.support.sink import receiving

LEVELS = {"ERROR": "error", "CRITICAL": "fatal"}
Event = dict[str, Any]


def events(sink: str) -> list[Event]:
    """Return the events of all envelopes; nothing else may have been sent."""
    found = []
    for kept in httpx2.get(f"http://{sink}").json():
        assert kept["path"] == "/api/1/envelope/"
        envelope = base64.b64decode(kept["body"])
        _, header, event, *rest = envelope.split(b"\n")
        assert json.loads(header)["type"] == "event"
        assert rest == [b""]
        found.append(json.loads(event))
    return found


def dsn(sink: str) -> str:
    """Return the DSN of a project at the receiver."""
    return f"http://key@{sink}/1"


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Event]:
    """Return the events of a service that has failed in every way, by the id of their request."""
    folder = copy_with(FAULTY, tmp_path_factory.mktemp("sentry"))
    with receiving() as sink:
        fail_in_every_way(folder, sink)
        found = events(sink)
    by_id = {event["tags"]["correlation_id"]: event for event in found}
    assert len(by_id) == len(found), "a failure was sent twice"
    return by_id


def fail_in_every_way(folder: Path, sink: str) -> None:
    """Run a service that sends to a receiver, and send it all requests that fail."""
    command = ["-m", "uvicorn", "src.faulty:app", "--port", "PORT"]
    env = {"SENTRY_DSN": dsn(sink), "CORS_ORIGINS": json.dumps([ORIGIN])}
    with running(*command, cwd=folder, env=env) as service:

        def send(name: str, method: str, path: str, **options: Any) -> None:
            headers = {"X-Request-ID": name, "Authorization": "hunter2"}
            service.request(method, path, headers=headers, **options)

        for case in CASES:
            send(f"{case.method}{case.path}", case.method, case.path)
        send("secret", "GET", "/crash/secret")
        send("after", "GET", "/after/background")
        body = {"name": 1, "password": "hunter2"}
        send("invalid", "POST", "/body", json=body)
        send("log", "GET", "/log")
        service.wait_for_request("log")


def test_one_failure_is_one_event(sent: dict[str, Event]) -> None:
    """Each ERROR and each CRITICAL is one event, with level, class and id as in the log."""
    expected: dict[str, tuple[str, str | None]] = {
        "secret": ("fatal", "ConnectionError"),
        "after": ("fatal", "KeyError"),
        "log": ("error", None),
    }
    for case in CASES:
        if case.level in LEVELS:
            name = f"{case.method}{case.path}"
            expected[name] = (LEVELS[case.level], case.error)
    assert set(sent) == set(expected)
    for name, (level, error) in expected.items():
        event = sent[name]
        assert event["level"] == level
        assert event["environment"] == "development"
        if error:
            assert event["tags"]["error"] == error


def test_event_has_no_secrets(sent: dict[str, Event]) -> None:
    """An event has neither variables nor headers nor bodies; lines of the source may stay."""
    without_source = copy.deepcopy(sent)
    for event in without_source.values():
        for frame in frames(event):
            assert "vars" not in frame
            for name in ("context_line", "pre_context", "post_context"):
                del frame[name]
    assert "hunter" not in str(without_source)


def frames(event: Event) -> list[dict[str, Any]]:
    """Return the frames of all exceptions of an event."""
    found = []
    for value in event.get("exception", {}).get("values", ()):
        found += value.get("stacktrace", {}).get("frames", ())
    return found


def test_event_names_the_exception_and_our_code(
    sent: dict[str, Event],
) -> None:
    """An event has the exception, and its last frame is in the service."""
    exception = sent["GET/crash/async"]["exception"]["values"][0]
    assert exception["type"] == "ZeroDivisionError"
    assert exception["value"] == "division by zero"
    last = exception["stacktrace"]["frames"][-1]
    assert last["module"] == "src.faulty"
    assert last["in_app"] is True


BROKEN_START = """
import uvicorn
import src.main

src.main.Readiness = None
uvicorn.run(src.main.app, log_config=None, port=0)
"""


def test_failed_start_is_sent(sink: str) -> None:
    """The last event is sent also when the service ends at once."""
    env = {"SENTRY_DSN": dsn(sink)}
    service = launch("-c", BROKEN_START, env=env)
    assert service.wait_for_exit() != 0
    (event,) = events(sink)
    assert event["level"] == "fatal"
    assert event["tags"]["error"] == "TypeError"


IS_ACTIVE = """
import sentry_sdk
import src.main

print(sentry_sdk.get_client().is_active())
"""


def test_nothing_is_sent_without_a_dsn() -> None:
    """Without a DSN Sentry is off."""
    done = run("-c", IS_ACTIVE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"
