"""What Prometheus reads is what has happened, in all workers together."""

import os
import re
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.service import FAULTY, ROOT, Service, copy_with, running

# copier: if example == "orders"
OF_WORKERS = {"message_duration_seconds_count", "worker_lag_seconds", "dead_letters"}
# copier: endif
OF_PROMETHEUS = {"up"}  # what Prometheus itself adds
REQUESTS = "http_request_duration_seconds_count"
IN_FLIGHT = ("http_requests_in_flight",)
Labels = tuple[str, ...]
Samples = dict[Labels, float]


def scrape(service: Service, **headers: str) -> Samples:
    """Return all samples by their name and the values of their labels.

    Each scrape is a new connection, since several workers take turns to accept them.
    """
    response = httpx2.get(f"{service.url}/metrics", headers=headers, verify=False)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    samples: Samples = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            labels = [sample.labels[name] for name in sorted(sample.labels)]
            samples[(sample.name, *labels)] = sample.value
    return samples


def increases(before: Samples, after: Samples, name: str) -> Samples:
    """Return by how much the samples of one name have grown, by their labels."""
    found: Samples = {}
    for key, value in after.items():
        increase = value - before.get(key, 0)
        if key[0] == name and increase:
            found[key[1:]] = increase
    return found


FAILING_PATHS = [
    "/crash/async",
    "/crash/async",
    "/crash/logged-by-library",
    "/own/logged-by-library",
    "/own/unavailable",
    "/own/teapot",
    "/http/500",
    "/http/dependency",
    "/after/background",
    "/crash/buggy-handler",
    "/nowhere",
    "/log",
]


def test_failures_are_counted_as_they_are_logged(
    faulty: Service,
) -> None:
    """Each record of a failure is counted once, by own class or as unexpected, and by its level."""
    before = scrape(faulty)
    responses = [faulty.get(path) for path in FAILING_PATHS]
    responses.append(faulty.request("POST", "/body", json={}))
    logged = Counter[str]()
    for response in responses:
        for record in faulty.records_of(response):
            if record["logger"] != "access":
                logged[record["level"]] += 1
    counted = increases(before, scrape(faulty), "errors_total")
    assert counted == {
        ("unexpected", "CRITICAL"): 4,
        ("unexpected", "ERROR"): 3,
        ("UnavailableError", "ERROR"): 1,
        ("HTTPException", "ERROR"): 1,
        ("TeapotError", "INFO"): 1,
        ("RequestValidationError", "WARNING"): 1,
    }
    levels = Counter[str]()
    for (_, level), count in counted.items():
        levels[level] += int(count)
    assert levels == logged


def test_failures_that_can_come_start_at_zero(faulty: Service) -> None:
    """A first failure is an increase, which it would not be if its number appeared as 1."""
    samples = scrape(faulty)
    assert ("errors_total", "unexpected", "CRITICAL") in samples
    assert samples["errors_total", "BuggyError", "ERROR"] >= 0


def test_requests_are_counted_by_few_names(faulty: Service) -> None:
    """Requests go by the template of their path, whatever clients send."""
    before = scrape(faulty)
    for method in ("PROPFIND", "MKCOL", "LOCK", "REPORT", "SEARCH"):
        faulty.get(f"/slow?seconds=0&method={method}")
        faulty.get(f"/nowhere/{method}")
        faulty.request(method, "/slow")
    after = scrape(faulty)
    assert increases(before, after, REQUESTS) == {
        ("GET", "/metrics", "200"): 1,
        ("GET", "/slow", "200"): 5,
        ("GET", "unmatched", "404"): 5,
        ("OTHER", "/slow", "405"): 5,
    }
    assert after[IN_FLIGHT] == 1  # the scrape itself


def test_metrics_are_no_part_of_the_api_and_may_need_a_token() -> None:
    """They are not in the OpenAPI document; with a token set, they are not for everybody."""
    wrong: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer hunter1"},
        {"Authorization": "hunter2"},
    ]
    with running(env={"METRICS_TOKEN": "hunter2"}) as service:
        openapi = service.get("/openapi.json").json()
        assert "/metrics" not in openapi["paths"]
        for headers in wrong:
            refused = service.get("/metrics", headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
        assert scrape(service, Authorization="Bearer hunter2")


def workers(service: Service) -> list[int]:
    """Return the ids of the processes that have served."""
    messages = [record["message"] for record in service.records()]
    pattern = r"Started server process \[(\d+)\]"
    return [int(pid) for pid in re.findall(pattern, "\n".join(messages))]


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_metrics_are_those_of_all_workers(tmp_path: Path) -> None:
    """Each worker shows the requests of all, also of one that has died, but not its open ones."""
    env = {"WORKERS": "2", "TMPDIR": str(tmp_path)}
    with running(env=env) as service:
        service.wait(lambda _: len(workers(service)) >= 2)
        for _ in range(40):
            httpx2.get(f"{service.url}/nowhere", verify=False)
        assert_unmatched(service, 40)
        killed = workers(service)[0]
        (gauge,) = tmp_path.glob(f"metrics-*/gauge_livesum_{killed}.db")
        os.kill(killed, signal.SIGKILL)
        service.wait(lambda _: len(workers(service)) >= 3)
        service.wait(lambda _: not gauge.exists())
        assert_unmatched(service, 40)
        assert scrape(service)[IN_FLIGHT] == 1
    assert list(tmp_path.glob("metrics-*")) == []


def assert_unmatched(service: Service, count: int) -> None:
    """Assert that each worker shows so many requests to paths that do not exist."""
    for _ in range(8):
        samples = scrape(service)
        assert samples[REQUESTS, "GET", "unmatched", "404"] == count


def test_open_requests_of_all_workers_are_shown(
    tmp_path: Path,
) -> None:
    """Each worker shows how many requests all of them are serving."""
    folder = copy_with(FAULTY, tmp_path)
    command = [
        "-m",
        "uvicorn",
        "src.faulty:app",
        "--port",
        "PORT",
        "--workers",
        "2",
        "--timeout-worker-healthcheck",
        "60",
    ]
    env = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
    with (
        running(*command, cwd=folder, env=env) as service,
        ThreadPoolExecutor(6) as pool,
    ):
        service.wait(lambda _: len(workers(service)) == 2)
        slow = [pool.submit(service.get, "/slow?seconds=2") for _ in range(6)]
        while scrape(service)[IN_FLIGHT] < len(slow) + 1:
            assert not any(request.done() for request in slow)
        for request in slow:
            assert request.result().status_code == 200
        assert scrape(service)[IN_FLIGHT] == 1


# copier: if stores
def test_unavailable_store_is_shown() -> None:
    """A store is up or down, as of now."""
    unavailable = {
        # copier: if "postgres" in stores
        "DATABASE_URL": "postgresql://app:x@127.0.0.1:1/app",
        # copier: endif
        # copier: if "redis" in stores
        "REDIS_URL": "redis://127.0.0.1:1/0",
        # copier: endif
    }
    with running() as service:
        assert store_states(service) == {1}
    with running(env=unavailable) as service:
        assert store_states(service) == {0}


def store_states(service: Service) -> set[float]:
    """Return the states of all stores: 1 is up, 0 is down."""
    samples = scrape(service)
    return {value for key, value in samples.items() if key[0] == "store_up"}


# copier: endif
def test_rules_and_dashboard_use_metrics_that_exist(
    faulty: Service,
) -> None:
    """Each name in the rules and in the dashboard is that of a metric."""
    folder = ROOT / "deploy" / "observability"
    names = {name for name, *_ in scrape(faulty)}
    for file in ("alerts.yml", "grafana/dashboards/service.json"):
        text = (folder / file).read_text(encoding="utf-8")
        used = set(re.findall(r"([a-z_:]+)\W{1,2}job=", text))
        used -= OF_PROMETHEUS
        assert used >= {
            "errors_total",
            "http_request_duration_seconds_bucket",
        }
        # copier: if example == "orders"
        used -= OF_WORKERS
        # copier: endif
        assert used <= names


MUCH_TO_LOG = """
import logging, src.main, uvicorn
for _ in range(3_000):
    logging.getLogger("much").warning("a" * 3_000)
uvicorn.run(src.main.app, port=PORT, log_config=None, access_log=False)
"""


def test_dropped_log_records_are_counted() -> None:
    """What nobody reads is dropped beyond a buffer, and the number of records is a metric."""
    reader, writer = os.pipe()
    with running("-c", MUCH_TO_LOG, stdout=writer) as service:
        os.close(writer)
        dropped = scrape(service)[("log_records_dropped_total",)]
    os.close(reader)
    assert 0 < dropped < 3_000
