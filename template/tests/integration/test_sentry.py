"""Sentry gets one event for each failure, and nothing that is secret."""

import base64
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2

from tests.integration.test_escapes import CASES
from tests.support.service import FAULTY, ROOT, copy_with, launch, running


def events(sink: str) -> list[dict[str, Any]]:
    """Return the events of all envelopes; anything else that was sent is not wanted."""
    found = []
    for kept in httpx2.get(f"http://{sink}").json():
        assert kept["path"] == "/api/1/envelope/"
        _, header, event, *rest = base64.b64decode(kept["body"]).split(b"\n")
        assert (json.loads(header)["type"], rest) == ("event", [b""])
        found.append(json.loads(event))
    return found


def test_one_failure_is_one_event(sink: str, tmp_path: Path) -> None:
    """Each ERROR and each CRITICAL is told once, with level, class and id as in the log; nothing else is."""
    folder = copy_with(FAULTY, tmp_path)
    env = {"SENTRY_DSN": f"http://key@{sink}/1", "CORS_ORIGINS": '["http://a.example"]'}
    expected = {}
    with running(
        "-m", "uvicorn", "src.faulty:app", "--port", "PORT", cwd=folder, env=env
    ) as service:
        for case in CASES:
            response = service.request(
                case.method, case.path, headers={"X-Request-ID": f"{case.method}{case.path}"}
            )
            level = {"ERROR": "error", "CRITICAL": "fatal"}.get(case.level or "")
            if level:
                expected[response.headers["x-request-id"]] = (level, case.error)
        service.get("/crash/secret", headers={"X-Request-ID": "secret"})
        expected["secret"] = ("fatal", "ConnectionError")
        service.get("/after/background", headers={"X-Request-ID": "after"})
        expected["after"] = ("fatal", "KeyError")
        service.request(
            "POST",
            "/body",
            json={"name": 1, "password": "hunter2"},
            headers={"X-Request-ID": "invalid"},
        )
        service.get("/log", headers={"X-Request-ID": "tell", "Authorization": "hunter2"})
        expected["tell"] = ("error", None)
        service.wait_for_request("tell")
    told = events(sink)
    assert Counter(event["tags"]["correlation_id"] for event in told) == Counter(list(expected))
    for event in told:
        level, error = expected[event["tags"]["correlation_id"]]
        assert event["level"] == level
        assert error in (None, event["tags"].get("error"))
        assert event["environment"] == "development"
    for event in told:
        for value in event.get("exception", {}).get("values", ()):
            for frame in value.get("stacktrace", {}).get("frames", ()):
                assert "vars" not in frame
                del (
                    frame["context_line"],
                    frame["pre_context"],
                    frame["post_context"],
                )  # of the source
    assert "hunter" not in str(told)
    frames = next(e for e in told if e["tags"]["correlation_id"] == "GET/crash/async")["exception"][
        "values"
    ][0]
    assert (frames["type"], frames["value"]) == ("ZeroDivisionError", "division by zero")
    assert frames["stacktrace"]["frames"][-1]["module"] == "src.faulty"
    assert frames["stacktrace"]["frames"][-1]["in_app"] is True


def test_what_keeps_it_from_starting_is_sent(sink: str) -> None:
    """The last event is sent also when the service ends at once."""
    code = "import src.main as m, uvicorn; m.Readiness = None; uvicorn.run(m.app, log_config=None, port=0)"
    service = launch("-c", code, env={"SENTRY_DSN": f"http://key@{sink}/1"})
    assert service.wait_for_exit() != 0
    (event,) = events(sink)
    assert (event["level"], event["tags"]["error"]) == ("fatal", "TypeError")


def test_nothing_is_sent_without_a_dsn() -> None:
    """Where nothing is configured, nothing is on."""
    code = "import src.main, sentry_sdk; print(sentry_sdk.get_client().is_active())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
