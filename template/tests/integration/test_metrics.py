"""What Prometheus reads is what has happened."""

# copier: if false
# fmt: off
# isort: off
# copier: endif
# copier: if stores
import asyncio
# copier: endif
import os
import re
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

# copier: if stores
from src.config import load_settings
# copier: endif
# copier: if "postgres" in stores
from src.connectors.postgres import PostgresConnector
# copier: endif
# copier: if "redis" in stores
from src.connectors.redis import RedisConnector
# copier: endif
from tests.support.service import FAULTY, ROOT, Service, copy_with, running

# copier: if false
# isort: on
# fmt: on
# copier: endif
# copier: if example == "orders"
OF_WORKERS = {"message_duration_seconds_count", "worker_lag_seconds", "dead_letters"}
# copier: endif
OWN = {"up"}  # of Prometheus itself


def scrape(service: Service, **headers: str) -> dict[tuple[str, ...], float]:
    """Return all numbers by their name and the values of their labels; several workers take turns to answer."""
    response = httpx2.get(f"{service.url}/metrics", headers=headers)
    assert (response.status_code, response.headers["content-type"][:10]) == (200, "text/plain")
    families = text_string_to_metric_families(response.text)
    return {
        (s.name, *(s.labels[name] for name in sorted(s.labels))): s.value
        for f in families
        for s in f.samples
    }


def new(
    before: dict[tuple[str, ...], float], after: dict[tuple[str, ...], float], name: str
) -> dict[Any, float]:
    """Return by how much the numbers of one name have grown."""
    grown = {key[1:]: value - before.get(key, 0) for key, value in after.items() if key[0] == name}
    return {labels: value for labels, value in grown.items() if value}


def test_failures_are_counted_as_they_are_told(faulty: Service) -> None:
    """Each record of a failure is counted once, by own class or as unexpected, and by its level."""
    paths = [
        "/crash/async",
        "/crash/logged-by-library",
        "/own/logged-by-library",
        "/own/unavailable",
        "/own/teapot",
    ]
    paths += [
        "/http/500",
        "/http/dependency",
        "/after/background",
        "/crash/buggy-handler",
        "/nowhere",
        "/log",
    ]
    before = scrape(faulty)
    ids = [faulty.get(path).headers["x-request-id"] for path in [*paths, "/crash/async"]]
    ids.append(faulty.request("POST", "/body", json={}).headers["x-request-id"])
    told = [
        record
        for one in ids
        for record in faulty.wait_for_request(one)
        if record["logger"] != "access"
    ]
    counted = new(before, scrape(faulty), "errors_total")
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
    assert levels == Counter(record["level"] for record in told)


def test_failures_that_can_come_start_at_zero(faulty: Service) -> None:
    """A first failure is an increase, which it would not be if its number appeared as 1."""
    numbers = scrape(faulty)
    assert ("errors_total", "unexpected", "CRITICAL") in numbers
    assert numbers["errors_total", "BuggyError", "ERROR"] >= 0


def test_requests_are_counted_by_few_names(faulty: Service) -> None:
    """Requests go by the template of their path, whatever clients send."""
    before = scrape(faulty)
    for method in ("PROPFIND", "MKCOL", "LOCK", "REPORT", "SEARCH"):
        faulty.get(f"/slow?seconds=0&method={method}")
        faulty.get(f"/nowhere/{method}")
        faulty.request(method, "/slow")
    after = scrape(faulty)
    assert new(before, after, "http_request_duration_seconds_count") == {
        ("GET", "/metrics", "200"): 1,
        ("GET", "/slow", "200"): 5,
        ("GET", "unmatched", "404"): 5,
        ("OTHER", "/slow", "405"): 5,
    }
    assert after["http_requests_in_flight",] == 1  # this one


def test_the_page_is_no_part_of_the_api_and_may_ask_for_a_token() -> None:
    """It is not in the OpenAPI document; with a token set, it is not for everybody."""
    with running(env={"METRICS_TOKEN": "hunter2"}) as service:
        assert "/metrics" not in service.get("/openapi.json").json()["paths"]
        for given in ({}, {"Authorization": "Bearer hunter1"}, {"Authorization": "hunter2"}):
            refused = service.get("/metrics", headers=given)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert scrape(service, Authorization="Bearer hunter2")


def workers(service: Service) -> list[int]:
    """Return the ids of the processes that have served."""
    started = (
        re.fullmatch(r"Started server process \[(\d+)\]", r["message"]) for r in service.records()
    )
    return [int(found[1]) for found in started if found]


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_workers_count_together(tmp_path: Path) -> None:
    """Whichever worker is asked tells the numbers of all, also of one that has died, but not what that was doing."""

    def served() -> float:
        return scrape(service)["http_request_duration_seconds_count", "GET", "unmatched", "404"]

    with running(env={"WORKERS": "2", "TMPDIR": str(tmp_path)}) as service:
        service.wait(lambda _: len(workers(service)) == 2)
        for _ in range(40):
            httpx2.get(f"{service.url}/nowhere")
        assert {served() for _ in range(8)} == {40}
        dead = workers(service)[0]
        (doing,) = tmp_path.glob(f"metrics-*/gauge_livesum_{dead}.db")
        os.kill(dead, signal.SIGKILL)
        service.wait(lambda _: len(workers(service)) == 3 and not doing.exists())
        assert {served() for _ in range(8)} == {40}
        assert scrape(service)["http_requests_in_flight",] == 1
    assert list(tmp_path.glob("metrics-*")) == []


def test_what_all_workers_serve_now_is_shown(tmp_path: Path) -> None:
    """Whichever worker is asked tells what all of them are doing."""
    folder = copy_with(FAULTY, tmp_path)
    command = ("-m", "uvicorn", "src.faulty:app", "--port", "PORT", "--workers", "2")
    env = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
    with running(*command, cwd=folder, env=env) as service, ThreadPoolExecutor(6) as pool:
        service.wait(lambda _: len(workers(service)) == 2)
        slow = [pool.submit(service.get, "/slow?seconds=2") for _ in range(6)]
        while scrape(service)["http_requests_in_flight",] < len(slow) + 1:
            assert not any(request.done() for request in slow)
        assert {request.result().status_code for request in slow} == {200}
        assert scrape(service)["http_requests_in_flight",] == 1


# copier: if stores
def test_store_that_is_away_is_shown() -> None:
    """A store is up or down, as of now."""
    away = {
        # copier: if "postgres" in stores
        "DATABASE_URL": "postgresql://app:x@127.0.0.1:1/app",
        # copier: endif
        # copier: if "redis" in stores
        "REDIS_URL": "redis://127.0.0.1:1/0",
        # copier: endif
    }
    with running() as service:
        assert {value for key, value in scrape(service).items() if key[0] == "store_up"} == {1}
    with running(env=away) as service:
        assert {value for key, value in scrape(service).items() if key[0] == "store_up"} == {0}


# copier: endif
# copier: if "postgres" in stores
async def test_pool_of_postgres_is_shown() -> None:
    """Connections in use and idle, and callers that wait, are counted."""
    postgres = PostgresConnector(load_settings().database_url.get_secret_value(), 1, 5)
    assert postgres.pool() == {"in_use": 0, "idle": 0, "waiting": 0}
    async with postgres.connection():
        waiting = asyncio.create_task(postgres.is_alive())
        await asyncio.sleep(0)
        assert postgres.pool() == {"in_use": 1, "idle": 0, "waiting": 1}
    await waiting
    assert postgres.pool() == {"in_use": 0, "idle": 1, "waiting": 0}
    await postgres.aclose()


# copier: endif
# copier: if "redis" in stores
async def test_pool_of_redis_is_shown() -> None:
    """Connections in use and idle, and callers that wait, are counted."""
    redis = RedisConnector(load_settings().redis_url.get_secret_value(), 1, 5)
    assert redis.pool() == {"in_use": 0, "idle": 0, "waiting": 0}
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(redis.call("BLPOP", "no-such-list", 0.5))
        while redis.pool() != {"in_use": 1, "idle": 0, "waiting": 2}:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    assert redis.pool() == {"in_use": 0, "idle": 1, "waiting": 0}
    await redis.aclose()


# copier: endif
def test_rules_and_pictures_use_numbers_that_exist(faulty: Service) -> None:
    """Each name in the rules and in the dashboard is on the page."""
    names = {name for name, *_ in scrape(faulty)}
    for file in ("alerts.yml", "grafana/dashboards/service.json"):
        text = (ROOT / "deploy" / "observability" / file).read_text(encoding="utf-8")
        used = {*re.findall(r"([a-z_:]+)\W{1,2}job=", text)} - OWN
        assert used >= {"errors_total", "http_request_duration_seconds_bucket"}
        # copier: if example == "orders"
        used -= OF_WORKERS
        # copier: endif
        assert used <= names
