"""The page with the last failures: for browsers on this machine alone, in development alone, and harmless there."""

import contextlib
import json
import logging
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from html import escape, unescape
from pathlib import Path

import httpx2
import pytest

from dev.errors_page import add_failure
from dev.errors_page import failures as failures_kept
from tests.support.service import FAULTY, ROOT, Service, access, copy_with, failures, run, running

UVICORN = ("-m", "uvicorn", "src.faulty:app", "--port", "PORT")
PATH = "/debug/errors"
PRODUCTION = {
    "ENVIRONMENT": "production",
    # copier: if "postgres" in stores
    "DATABASE_URL": "postgresql://app:x@127.0.0.1:1/app",
    # copier: endif
    # copier: if "redis" in stores
    "REDIS_URL": "redis://127.0.0.1:1/0",
    # copier: endif
}
TAGS = {
    "li",
    "details",
    "summary",
    "time",
    "b",
    "strong",
    "code",
    "p",
    "pre",
    "dl",
    "dt",
    "dd",
    "a",
}


def copy_of(folder: Path) -> Path:
    """Return a copy of the service in `folder` that has the page, and routes that go wrong."""
    shutil.copytree(ROOT / "dev", folder / "dev", ignore=shutil.ignore_patterns("__pycache__"))
    return copy_with(FAULTY, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service lies."""
    return copy_of(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    """A service in development."""
    with running(*UVICORN, cwd=folder, env={"CORS_ORIGINS": '["*"]'}) as service:
        yield service


def crash(service: Service, text: str, correlation_id: str) -> None:
    """Have an endpoint fail with a text, which is in its path, too."""
    assert (
        service.get(f"/crash/at/{text}", headers={"X-Request-ID": correlation_id}).status_code
        == 500
    )


def shown(service: Service, **query: str) -> list[str]:
    """Return the failures on the page, as HTML."""
    response = service.get(PATH, params=query)
    assert response.status_code == 200
    return re.findall(r"<li>.*?</li>", response.text, re.DOTALL)


@contextlib.contextmanager
def listening(service: Service, **query: str) -> Iterator[Iterator[str]]:
    """Open what a page listens to; yields its lines."""
    with (
        httpx2.Client(base_url=service.url, timeout=60, verify=False) as client,
        client.stream("GET", f"{PATH}/live", params=query) as s,
    ):
        assert (s.status_code, s.headers["content-type"]) == (
            200,
            "text/event-stream; charset=utf-8",
        )
        yield s.iter_lines()


def next_event(lines: Iterator[str]) -> tuple[int, str]:
    """Return the number of the next failure that comes, and its HTML."""
    number = next(int(line.removeprefix("id: ")) for line in lines if line.startswith("id: "))
    data = []
    while (line := next(lines)).startswith("data: "):
        data.append(line.removeprefix("data: "))
    return number, "\n".join(data)


def test_failure_is_shown_as_it_was_logged(service: Service) -> None:
    """Time, id, class, level, request and traceback are those of the record; nothing of them is markup."""
    text = "<script>evil()</script>&amp;<img src=x onerror=evil()>"
    crash(service, text, "told-and-shown")
    (record,) = failures(service.wait_for_request("told-and-shown"))
    (entry,) = shown(service, id="told-and-shown")
    facts = [
        record["timestamp"],
        record["level"],
        record["error"],
        record["message"],
        record["exception"],
        text,
    ]
    facts += [
        "told-and-shown",
        f"{record['method']} {record['path']} {record['status']}",
        record["route"],
    ]
    assert [fact for fact in facts if escape(fact) not in entry] == []
    assert "evil()" in record["exception"]
    assert set(re.findall(r"<(\w+)", entry)) == TAGS


def test_page_runs_and_loads_nothing_but_its_own(service: Service) -> None:
    """Its policy allows one script and one style, by their hash, and no host."""
    response = service.get(PATH)
    policy = dict(
        part.split(" ", 1) for part in response.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert re.fullmatch(r"'sha256-\S{44}'", policy["script-src"])
    assert re.fullmatch(r"'sha256-\S{44}'", policy["style-src"])
    assert (policy["connect-src"], policy["frame-ancestors"], policy["base-uri"]) == (
        "'self'",
        "'none'",
        "'none'",
    )
    assert not re.search(r"https?:|//", response.text.split("<ol")[0])
    assert response.headers["cache-control"] == "no-store"
    assert PATH not in service.get("/openapi.json").text


def test_search_by_id(service: Service) -> None:
    """A search finds a whole id or a part of it, newest first, and shows it open; it is echoed as text."""
    for correlation_id in ("wanted-1", "other", "wanted-2"):
        crash(service, "searched", correlation_id)
    assert [re.findall(r"\?id=(\S+?)\"", entry) for entry in shown(service, id=" wanted-")] == [
        ["wanted-2"],
        ["wanted-1"],
    ]
    assert all("<details open>" in entry for entry in shown(service, id="wanted-"))
    assert not any("<details open>" in entry for entry in shown(service))
    assert shown(service, id="nobody has this") == []
    assert (
        '"><script>'
        not in service.get(PATH, params={"id": '"><script>\udcff'.encode(errors="replace")}).text
    )


def test_only_the_last_hundred_are_kept(service: Service) -> None:
    """However much fails, page and memory stay small."""
    for number in range(101):
        crash(service, "again", f"one-of-many-{number}")
    found = [re.findall(r"\?id=one-of-many-(\d+)", entry) for entry in shown(service)]
    assert found == [[f"{n}"] for n in range(100, 0, -1)]


def test_one_failure_is_bounded() -> None:
    """However long its facts are, and however many, an entry keeps no more than someone would read."""
    facts = {f"fact-{number}": ["x" * 2_000] * 50 for number in range(50)}
    long = dict.fromkeys(("timestamp", "message", "error", "exception"), "x" * 100_000)
    add_failure(
        logging.makeLogRecord({}), facts | long | {"level": "ERROR", "correlation_id": None}
    )
    assert 35_000 < len(failures_kept.pop().html) < 45_000


def test_what_the_log_masks_is_masked(service: Service) -> None:
    """Secrets are not shown, in texts, URLs or fields; a library's record has its request, too."""
    for path in ("/log", "/crash/secret"):
        service.get(path, headers={"X-Request-ID": f"masked{path}"})
    logged, crash = (*shown(service, id="masked/log"), *shown(service, id="masked/crash/secret"))
    assert "amqp://me:***@queue/x" in logged
    assert "amqp://me:***@queue/x" in crash
    assert "<code>GET /log " in logged
    assert "hunter2" not in service.get(PATH).text


def test_text_that_no_encoding_knows_breaks_nothing(service: Service) -> None:
    """A failure with half a character, or with a character that ends lines, is shown like any other."""
    with listening(service, id="strange", after="0") as lines:
        service.get("/crash/control-characters", headers={"X-Request-ID": "strange"})
        _, html = next_event(lines)
    (entry,) = shown(service, id="strange")
    assert entry.replace("<details open>", "<details>").splitlines() == html.split("\n")
    assert "lines: 1\n2\n3\n4\n5</pre>" in html
    assert r"\udcff" in unescape(html)


def test_new_failures_come_by_themselves(service: Service) -> None:
    """What fails after the page was loaded is sent, once; who comes back gets what he has missed."""
    crash(service, "earlier", "live-0")
    (after,) = re.findall(
        r"errors/live\?id=live&amp;after=(\d+)", service.get(PATH, params={"id": "live"}).text
    )
    with listening(service, id="live", after=after) as lines:
        crash(service, "while it is open", "live-1")
        crash(service, "not looked for", "dead")
        crash(service, "while it is open", "live-2")
        (first, one), (second, two) = next_event(lines), next_event(lines)
    assert (int(after) < first < second, "live-1" in one, "live-2" in two) == (True, True, True)
    again = {"Last-Event-ID": str(first)}
    with service.client.stream("GET", f"{PATH}/live?id=live&after=0", headers=again) as response:
        assert next_event(response.iter_lines()) == (second, two)


def test_page_that_is_closed_leaves_nothing(service: Service) -> None:
    """A browser that leaves costs one access line, no failure and no task."""
    with service.client.stream("GET", f"{PATH}/live") as response:
        correlation_id = response.headers["x-request-id"]
        next(response.iter_lines())
    told = service.wait_for_request(correlation_id)
    assert [(r["logger"], r["status"], r["route"]) for r in told] == [
        ("access", 499, f"{PATH}/live")
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},
        {"Host": "127.0.0.1.attacker.example:80"},
        {"Host": ""},
        {"Origin": "https://attacker.example"},
        {"X-Forwarded-For": "192.0.2.1"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"X-Forwarded-Host": "localhost"},
        {"Via": "1.1 proxy"},
        {"CF-Connecting-IP": "127.0.0.1"},
        {"True-Client-IP": "127.0.0.1"},
    ],
    ids=str,
)
def test_others_find_nothing(service: Service, headers: dict[str, str]) -> None:
    """A rebound name, a script of another site, a client behind a proxy: for these the path is unknown."""
    for method, path in (
        ("GET", PATH),
        ("POST", PATH),
        ("GET", f"{PATH}/live"),
        ("GET", f"{PATH}/"),
    ):
        refused = service.request(method, path, headers=headers)
        unknown = service.request(method, "/unknown", headers=headers)
        own = (refused.headers["x-request-id"], unknown.headers["x-request-id"])
        assert refused.status_code == unknown.status_code == 404
        assert refused.text.replace(own[0], "") == unknown.text.replace(own[1], "")


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:8000", "[::1]:8000", "127.0.0.1"])
def test_own_names_find_it(service: Service, name: str) -> None:
    """This machine has several names for itself."""
    assert service.get(PATH, headers={"Host": name}).status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="needs a second address of this machine")
def test_clients_from_elsewhere_find_nothing(service: Service) -> None:
    """A client with any other address is refused, whatever name it uses."""
    with httpx2.Client(transport=httpx2.HTTPTransport(local_address="127.0.0.2")) as elsewhere:
        assert elsewhere.get(f"{service.url}/health/live").status_code == 200
        assert elsewhere.get(f"{service.url}{PATH}").status_code == 404


def test_page_is_there_in_development_but_not_in_production() -> None:
    """In development it is there, and each failure once; in production it is no different from an unknown path."""
    with running(env={"ENVIRONMENT": "development", "MAX_BODY_SIZE": "1"}) as service:
        service.request(
            "POST", "/health/live", content=b"two", headers={"X-Request-ID": "too-large"}
        )
        assert len(shown(service, id="too-large")) == 1
    with running(env=PRODUCTION) as service:
        answers = [
            service.get(path, headers={"X-Request-ID": "x"})
            for path in (PATH, f"{PATH}/live", "/unknown")
        ]
        assert {(a.status_code, a.text) for a in answers} == {(404, answers[2].text)}
        service.wait(lambda records: len(access(records, "x")) == 3)
    assert [r["route"] for r in access(service.records(), "x")] == [None] * 3


def test_production_imports_and_keeps_nothing() -> None:
    """Outside of development the module is not even imported, so that nothing listens for failures."""
    code = "import sys, json, src.main, src.airtight.hooks as w; "
    code += "print(json.dumps([sorted(m for m in sys.modules if m.split('.')[0] == 'dev'), len(w.request_started)]))"
    seen = {}
    for environment in (PRODUCTION, {"ENVIRONMENT": "development"}):
        done = run("-c", code, env=environment)
        assert done.returncode == 0, done.stderr
        seen[environment["ENVIRONMENT"]] = json.loads(done.stdout)
    assert seen["production"][0] == []
    assert seen["development"] == [["dev", "dev.errors_page"], seen["production"][1] + 1]


def test_open_page_does_not_keep_the_service_from_stopping(folder: Path) -> None:
    """The stream ends as the server stops, without a limit on how long it waits, and nothing is told of it."""
    with running(*UVICORN, cwd=folder) as service, listening(service) as lines:
        next(lines)  # it is open
        service.process.send_signal(signal.SIGTERM)
        assert [line for line in lines if line] == []  # to its regular end
        assert service.wait_for_exit() in (0, -signal.SIGTERM)
    assert failures(service.records()) == []
    assert [
        r["status"] for r in service.records() if r["logger"] == "access" and "live" in r["path"]
    ][-1] == 200
