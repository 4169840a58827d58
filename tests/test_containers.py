"""A rendered service runs in containers: `make up` works the first time, and a stop loses nothing."""

import contextlib
import json
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.attack import Attack
from tests.support.containers import Containers, Reply, locked_table
from tests.support.services import ENVIRONMENT, free_port, make, wait_until
from tests.support.template import EVERYTHING, Answers, Render, values

Start = Callable[..., Containers]

LIMIT = 120_000_000  # bytes that an image may add to its base
STORES: dict[str, Answers] = {
    "-".join(stores) or "nothing": {"stores": stores} for stores in values("stores")[:-1]
}
DEFAULT_PYTHON = values("python_version")[-1]
PYTHONS = [version for version in values("python_version") if version != DEFAULT_PYTHON]
UNUSED = {
    "POSTGRES_PASSWORD": "unused",
    "REDIS_PASSWORD": "unused",
}
HARDENED = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "pids_limit": 512,
}


@pytest.fixture
def start(render: Render) -> Iterator[Start]:
    """Return a function that renders a service, and remove its containers and images afterwards."""
    started: list[Containers] = []

    def run(**answers: Any) -> Containers:
        slug = f"airtight-{secrets.token_hex(4)}"
        containers = Containers(render(project_slug=slug, **answers), slug, free_port())
        settings = f"# mine\nPORT={containers.port}\nFORWARDED_ALLOW_IPS=*"
        containers.env_file.write_text(settings, encoding="utf-8")
        started.append(containers)
        return containers

    yield run
    for containers in started:
        down = ("down", "--volumes", "--timeout", "1")
        done = containers.run("docker", "compose", "--profile", "tests", *down, **UNUSED)
        assert done.returncode == 0, done.stderr
        images = (containers.slug, f"{containers.slug}-tests")
        containers.docker("image", "rm", "--force", *images, check=False)


def test_first_turn_in_containers(start: Start) -> None:
    """From nothing to a 201; stores fail and return; a stop loses nothing; data stays."""
    containers = start()
    containers.set(DATABASE_TIMEOUT="10")
    output = make(containers.folder, "up")
    assert f"http://127.0.0.1:{containers.port}" in output.splitlines()[-1]
    check_what_was_written(containers)
    check_image(containers)
    check_hardening(containers)

    assert " 201 Created" in make(containers.folder, "request")
    reply = containers.decide(X_Forwarded_For="203.0.113.9")
    assert reply.status == 201
    assert reply.body["outcome"] == "approved"
    stored, line = containers.records_of(reply.correlation_id)
    assert stored["message"] == "decision stored"
    assert stored["decision_id"] == reply.body["id"]
    assert line["logger"] == "access"
    assert line["client"] == "203.0.113.9"

    # Redis is a cache of the decisions, PostgreSQL stores them.
    with outage(containers, "redis"):
        uncached = containers.decide()
        assert uncached.status == 201
        assert statuses(containers, uncached) == [201]
    with outage(containers, "postgres"):
        refused = containers.decide()
        assert refused.status == 503
        assert statuses(containers, refused) == [503]
        assert failures(containers, refused) == [("ERROR", "PostgresConnectionError")]
    check_attack(containers)
    check_stop_under_load(containers)

    make(containers.folder, "up")
    again = containers.request("GET", f"/decisions/{reply.body['id']}")
    assert again.status == 200
    assert again.body == reply.body
    check_tests_on_these_stores(containers)
    check_suite(containers)
    make(containers.folder, "down")
    project = f"label=com.docker.compose.project={containers.slug}"
    assert containers.docker("ps", "--all", "--quiet", "--filter", project) == ""
    check_lost_password_and_down_all(containers)


def check_what_was_written(containers: Containers) -> None:
    """`make up` generates passwords for their owner alone and a lock file; the rest of `.env` stays."""
    written = containers.env_file.read_text(encoding="utf-8")
    before = f"# mine\nPORT={containers.port}\nFORWARDED_ALLOW_IPS=*\nDATABASE_TIMEOUT=10\n"
    assert written.startswith(before)
    passwords = re.findall(r"^(?:POSTGRES|REDIS)_PASSWORD=([\w-]{32})$", written, re.MULTILINE)
    assert len(set(passwords)) == 2
    assert containers.env_file.stat().st_mode & 0o777 == 0o600
    assert (containers.folder / "uv.lock").exists()


def check_image(containers: Containers) -> None:
    """The image adds little to its base, has a user of its own, and holds no tool, cache or secret."""
    dockerfile = (containers.folder / "Dockerfile").read_text(encoding="utf-8")
    (base,) = re.findall(r"^FROM (\S+) AS base$", dockerfile, re.MULTILINE)
    size = containers.inspect_image(containers.slug, ".Size")
    assert size - containers.inspect_image(base, ".Size") < LIMIT
    config = containers.inspect_image(containers.slug, ".Config")
    assert config["User"] == "10001:10001"
    assert config["Cmd"] == ["python", "-m", "src.main"]
    assert config["Labels"]["org.opencontainers.image.title"] == containers.slug
    listing = "ls -A /app /app/.venv/bin; command -v uv gcc; true"
    files = containers.execute("service", "sh", "-c", listing).split()
    assert {"src", "migrations", "pyproject.toml", "uvicorn"} <= set(files)
    unwanted = {".env", "uv", "tests", "dev", "pytest", "ruff", "uv.lock"}
    assert unwanted & {Path(file).name for file in files} == set()
    history = containers.docker("history", "--no-trunc", containers.slug)
    for password in passwords_of(containers).values():
        assert password not in history + json.dumps(config)


def passwords_of(containers: Containers) -> dict[str, str]:
    """Return the passwords in `.env` by the names of their stores."""
    text = containers.env_file.read_text(encoding="utf-8")
    return dict(re.findall(r"^(\w+)_PASSWORD=(.+)$", text, re.MULTILINE))


def check_hardening(containers: Containers) -> None:
    """No container can write to its image, gain rights, take all memory or be reached from elsewhere."""
    for name in ("service", "postgres", "redis", "migrate"):
        host = containers.inspect(name, ".HostConfig")
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert host["Privileged"] is False
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["Memory"] > 0
        assert host["PidsLimit"] == 512
        assert host["LogConfig"]["Config"]["max-size"] == "10m"
        published = containers.inspect(name, ".NetworkSettings.Ports") or {}
        for bindings in published.values():
            assert {binding["HostIp"] for binding in bindings or []} <= {"127.0.0.1"}
    containers.execute("postgres", "touch", "/run/postgresql/own")
    show = "cat /proc/[0-9]*/status | grep -E '^(Uid|CapEff)'"
    processes = containers.execute("service", "sh", "-c", show)
    assert set(re.findall(r"Uid:\s+(\d+)", processes)) == {"10001"}
    assert set(re.findall(r"CapEff:\s+(\w+)", processes)) == {"0" * 16}


def statuses(containers: Containers, reply: Reply) -> list[int]:
    """Return the status in each access line of a request."""
    records = containers.records_of(reply.correlation_id)
    return [record["status"] for record in records if record["logger"] == "access"]


def failures(containers: Containers, reply: Reply) -> list[tuple[str, str | None]]:
    """Return level and error of each failure of a request."""
    records = containers.records_of(reply.correlation_id)
    return [(r["level"], r.get("error")) for r in records if r["level"] != "INFO"]


@contextlib.contextmanager
def outage(containers: Containers, store: str) -> Iterator[None]:
    """Kill a store; there is one record of it, and afterwards all works without a restart.

    The record is that of a request, or of the health check if that was first to notice.
    """
    started = containers.inspect("service", ".State.StartedAt")
    containers.compose("kill", store)
    yield
    assert not containers.image_is_healthy()
    containers.compose("start", store)
    wait_until(lambda: containers.inspect(store, ".State.Health.Status") == "healthy")
    assert containers.decide().status == 201
    assert containers.image_is_healthy()
    assert containers.inspect("service", ".State.StartedAt") == started
    wait_until(lambda: levels(containers, store)[-1:] == ["INFO"])
    assert levels(containers, store) == ["ERROR", "INFO"]
    (error,) = [
        r["error"] for r in containers.records() if r.get("store") == store and "error" in r
    ]
    assert error.startswith(f"{store.capitalize()}Connection")


def levels(containers: Containers, store: str) -> list[str]:
    """Return the levels of the records of a store's outages."""
    return [r["level"] for r in containers.records() if r.get("store") == store]


def check_attack(containers: Containers) -> None:
    """One client that does its worst takes neither the memory of the container nor its time."""
    started = containers.inspect("service", ".State.StartedAt")
    attack = Attack(containers.port, "/decisions")
    with attack.running():
        for _ in range(1_000):
            assert containers.request("GET", "/health/live").status == 200
    assert containers.decide().status == 201
    assert containers.inspect("service", ".State.OOMKilled") is False
    assert containers.inspect("service", ".State.StartedAt") == started


def check_stop_under_load(containers: Containers) -> None:
    """A stop under load finishes the requests that have arrived, in time, and loses no record."""
    ids = [f"load-{number}" for number in range(8)]
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

    def all_wait() -> bool:
        return int(containers.compose(*containers.psql("-c", query))) == len(ids)

    with ThreadPoolExecutor(len(ids) + 1) as pool, locked_table(containers) as unlock:
        replies = [pool.submit(containers.decide, X_Request_ID=one) for one in ids]
        wait_until(all_wait)
        start = time.monotonic()
        stopped = pool.submit(containers.docker, "stop", f"{containers.slug}-service-1")
        wait_until(lambda: "Shutting down" in containers.messages())
        with pytest.raises(OSError):  # noqa: PT011 - refused or cut, depending on the engine
            containers.decide()
        unlock()
        assert [reply.result().status for reply in replies] == [201] * len(ids)
        stopped.result()
    assert time.monotonic() - start < containers.inspect("service", ".Config.StopTimeout")
    assert containers.inspect("service", ".State.ExitCode") == 0
    check_records_of_load(containers, ids)


def check_records_of_load(containers: Containers, ids: list[str]) -> None:
    """Each request has its access line and its decision, and the server's last record is there."""
    records = containers.records()
    lines = [r for r in records if r["logger"] == "access" and r["path"] == "/decisions"]
    assert sorted(line["correlation_id"] for line in lines)[-len(ids) :] == ids
    stored = [r["correlation_id"] for r in records if r["message"] == "decision stored"]
    assert sorted(one for one in stored if one in ids) == ids
    assert records[-1]["message"].startswith("Finished server process")


def check_tests_on_these_stores(containers: Containers) -> None:
    """The service's own tests run from outside on the stores in containers."""
    passwords = passwords_of(containers)
    postgres = containers.compose("port", "postgres", "5432").strip()
    redis = containers.compose("port", "redis", "6379").strip()
    urls = {
        "DATABASE_URL": f"postgresql://app:{passwords['POSTGRES']}@{postgres}/app",
        "REDIS_URL": f"redis://:{passwords['REDIS']}@{redis}/0",
    }
    python = str(containers.folder / ".venv" / "bin" / "python")
    tests = ("-q", "-n0", "tests/integration/test_decisions.py")
    done = containers.run(python, "-m", "dev", "test", *tests, **urls)
    assert done.returncode == 0, done.stdout[-3000:]


def check_lost_password_and_down_all(containers: Containers) -> None:
    """A database without its password is left alone; data is deleted only where that is confirmed."""
    project = f"label=com.docker.compose.project={containers.slug}"
    volumes = ("volume", "ls", "--quiet", "--filter", project)
    containers.env_file.rename(containers.folder / "kept")
    assert "put it back as POSTGRES_PASSWORD" in containers.failing_make("up")
    assert not containers.env_file.exists()
    assert containers.failing_make("down-all") == "nothing was deleted\n"
    names = ("logs", "postgres", "redis")
    assert {*containers.docker(*volumes).split()} == {f"{containers.slug}_{name}" for name in names}
    subprocess.run(
        ["make", f"PYTHON={sys.executable}", "down-all"],
        cwd=containers.folder,
        env=ENVIRONMENT,
        input="yes\n",
        text=True,
        check=True,
    )
    assert containers.docker(*volumes) == ""


@pytest.mark.parametrize("answers", STORES.values(), ids=STORES)
def test_other_stores_in_containers(start: Start, answers: Answers) -> None:
    """With other stores all starts and serves, on several processes, and stops with exit code 0."""
    containers = start(example="none", **answers)
    containers.set(WORKERS="2")
    make(containers.folder, "up")
    stores = json.loads(make(containers.folder, "request").splitlines()[-1])["stores"]
    assert stores == dict.fromkeys(answers["stores"], True)
    started = [m for m in containers.messages() if m.startswith("Started server process")]
    assert len(started) == 2
    if EVERYTHING:
        check_suite(containers)
    containers.docker("stop", f"{containers.slug}-service-1")
    assert containers.inspect("service", ".State.ExitCode") == 0


def test_worker_in_containers(start: Start) -> None:
    """With the orders a worker starts as well, emits an order and writes its receipt."""
    containers = start(example="orders")
    make(containers.folder, "up")
    order = json.loads(make(containers.folder, "request").splitlines()[-1])["id"]
    wait_until(lambda: f"{order}.txt" in containers.execute("worker", "ls", "receipts"))
    check_full_redis(containers)
    check_log_for_loki(containers)
    containers.docker("stop", f"{containers.slug}-worker-1")
    assert containers.inspect("worker", ".State.ExitCode") == 0


FILL = r"""
fill() { # the number of keys, of 1 kB each; what follows the value; the prefix of the keys
  awk -v keys="$1" -v options="$2" -v prefix="$3" 'BEGIN {
    value = sprintf("%1000s", ""); gsub(/ /, "x", value)
    for (i = 1; i <= keys; i++) printf "SET %s%d %s%s\r\n", prefix, i, value, options
  }' | redis-cli --pipe 2>&1 | tail -n 1
}
export REDISCLI_AUTH="$REDIS_PASSWORD"
"""


def check_full_redis(containers: Containers) -> None:
    """A full Redis removes what has a time to live, then refuses writes; the stream of orders stays."""

    def redis(script: str) -> str:
        return containers.execute("redis", "sh", "-c", FILL + script)

    before = redis("redis-cli XINFO GROUPS orders | grep -A1 -x name")
    output = redis("redis-cli BGSAVE; fill 100000 ' EX 3600' a; fill 100000 ' EX 3600' b")
    assert output.count("errors: 0, replies: 100000") == 2
    evicted = re.search(r"evicted_keys:(\d+)", redis("redis-cli INFO stats"))
    assert evicted is not None
    assert int(evicted[1]) > 0
    assert "errors: 0," not in redis("redis-cli BGSAVE; fill 200000 '' c")
    assert redis("redis-cli XINFO GROUPS orders | grep -A1 -x name") == before
    assert "workers" in before
    assert containers.inspect("redis", ".State.OOMKilled") is False
    assert containers.inspect("redis", ".RestartCount") == 0
    assert redis("stat -c %a /data/dump.rdb").strip() == "600"
    redis("redis-cli --scan --pattern 'c*' | xargs -n 1000 redis-cli DEL > /dev/null")


LOGS = "\n".join(
    [
        "import json, pathlib",
        "files = pathlib.Path('/logs').glob('*.json')",
        "print(json.dumps({file.name: file.read_text() for file in files}))",
    ]
)


def check_log_for_loki(containers: Containers) -> None:
    """With the profile `observability` each container has a log file that Alloy's user can read."""
    containers.set(COMPOSE_PROFILES="observability")
    # The images of the profile itself cannot be pulled everywhere.
    containers.compose("up", "--detach", "--wait", "service", "worker")
    config = json.loads(containers.compose("config", "--format", "json"))
    alloy = config["services"]["alloy"]
    (volume,) = [volume for volume in alloy["volumes"] if volume["type"] == "volume"]
    mounted = f"--volume={containers.slug}_{volume['source']}:{volume['target']}:ro"
    user = f"--user={alloy['user']}"
    read = ("run", "--rm", "--cap-drop=ALL", user, mounted, containers.slug, "python", "-c", LOGS)

    def logs() -> dict[str, str]:
        return dict(json.loads(containers.docker(*read)))

    order = {"items": [{"name": "tea", "price": "1.50", "quantity": 2}]}
    reply = containers.request("POST", "/orders", order, Idempotency_Key=secrets.token_hex())
    wanted = f'"correlation_id":"{reply.correlation_id}"'
    wait_until(lambda: all(wanted in text for text in logs().values()))
    worker = containers.inspect("worker", ".Config.Hostname")
    assert sorted(logs()) == sorted(["service.json", f"{worker}.json"])


def compose_config(folder: Path, **environment: str) -> dict[str, dict[str, Any]]:
    """Return the services of a Compose file by their names, as Compose reads it."""
    done = subprocess.run(
        ["docker", "compose", "config", "--format", "json"],
        cwd=folder,
        env=ENVIRONMENT | UNUSED | environment,
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    services: dict[str, dict[str, Any]] = json.loads(done.stdout)["services"]
    return services


@pytest.mark.parametrize("observability", values("observability"), ids="+".join)
@pytest.mark.parametrize(
    "answers",
    [
        {"example": "decisions"},
        {"example": "orders"},
        {"example": "none", "stores": []},
        {"example": "none", "stores": ["redis"]},
    ],
    ids=["decisions", "orders", "none-nothing", "none-redis"],
)
def test_containers_for_observability(
    render: Render, answers: Answers, observability: list[str]
) -> None:
    """Whatever is chosen, Compose accepts the file, and what the profile adds is hardened as well."""
    folder = render(observability=observability, **answers)
    default = compose_config(folder)
    profile = compose_config(folder, COMPOSE_PROFILES="observability")
    added = {"prometheus", "grafana", "loki", "alloy"} if "prometheus" in observability else set()
    if added and "opentelemetry" in observability:
        added.add("tempo")
    assert profile.keys() - default.keys() == added
    for name in added:
        assert {key: profile[name][key] for key in HARDENED} == HARDENED
        volumes = profile[name].get("volumes", ())
        mounted = [Path(one["source"]) for one in volumes if one["type"] == "bind"]
        assert [path for path in mounted if not path.exists() or folder not in path.parents] == []
    log_files = [one["service"]["environment"]["LOG_FILE"] for one in (default, profile)]
    assert log_files == (["", "/logs/service.json"] if added else [None, None])


SECRETS = {
    "POSTGRES_PASSWORD": {"postgres", "migrate", "service", "worker"},
    "REDIS_PASSWORD": {"redis", "service", "worker"},
    "METRICS_TOKEN": {"service"},
    "SENTRY_DSN": {"service", "worker"},
    "OTEL_EXPORTER_OTLP_HEADERS": {"service", "worker"},
    "TOKEN_OF_A_SCRIPT": set(),
}


def test_secrets_reach_only_containers_that_use_them(render: Render) -> None:
    """A password in `.env` is in the environment of the containers that use it, and of no other."""
    folder = render(example="orders", observability=values("observability")[-1])
    values_in_env = {name: f"hidden-{name.lower()}-hidden" for name in SECRETS}
    lines = "".join(f"{name}={value}\n" for name, value in values_in_env.items())
    (folder / ".env").write_text(f"{lines}COMPOSE_PROFILES=observability\n", encoding="utf-8")
    done = subprocess.run(
        ["docker", "compose", "config", "--format", "json"],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        check=True,
    )
    services = json.loads(done.stdout)["services"]
    for name, value in values_in_env.items():
        assert {key for key in services if value in json.dumps(services[key])} == SECRETS[name]


@pytest.mark.skipif(not EVERYTHING, reason="takes minutes; EVERYTHING=1 runs it")
@pytest.mark.parametrize("version", PYTHONS)
def test_other_pythons_in_containers(start: Start, version: str) -> None:
    """The image has the Python that was chosen, and the tests pass on it."""
    containers = start(python_version=version)
    make(containers.folder, "up")
    assert " 201 Created" in make(containers.folder, "request")
    shown = containers.execute("service", "python", "--version")
    assert shown.startswith(f"Python {version}.")
    check_suite(containers)


def check_suite(containers: Containers) -> None:
    """The service's own tests pass in its image, on the stores in containers."""
    some = [] if EVERYTHING else ["pytest", "tests/unit", "tests/integration/test_readiness.py"]
    output = containers.compose("run", "--build", "--rm", "--no-TTY", "tests", *some)
    assert re.search(r"=+ \d+ passed in [\d.]+s.* =+\s*\Z", output), output[-3000:]


def test_what_is_missing_is_named_in_one_line(start: Start, tmp_path: Path) -> None:
    """No lock file, a taken port, no engine, no docker, a wrong setting: one line names it."""
    containers = start(example="none", stores=[])
    built = containers.run("docker", "compose", "build", "service")
    assert built.returncode != 0
    assert "To create a lockfile, run `uv lock`" in built.stdout + built.stderr

    with socket.create_server(("127.0.0.1", containers.port)):
        (line,) = containers.failing_make("up").splitlines()
    assert f"port {containers.port} is taken" in line
    no_engine = f"unix://{tmp_path}/none"
    (line,) = containers.failing_make("up", DOCKER_HOST=no_engine).splitlines()
    assert line.startswith("no Docker engine answers")
    for program in (shutil.which("make") or "make", Path(sys.executable).with_name("uv")):
        (tmp_path / Path(program).name).symlink_to(program)
    (line,) = containers.failing_make("up", PATH=str(tmp_path)).splitlines()
    assert line.startswith("there is no `docker` here")

    containers.set(LOG_LEVEL="loud")
    lines = containers.failing_make("up").splitlines()
    wrong = [line for line in lines if "wrong settings" in line]
    assert [line.split(":")[1] for line in wrong] == [" log_level"]
    done = containers.run("docker", "run", "--rm", "--env", "LOG_LEVEL=loud", containers.slug)
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1

    check_rebuild(containers)


def check_rebuild(containers: Containers) -> None:
    """After a change of the code only the last layer of the image is new."""
    before = containers.inspect_image(containers.slug, ".RootFS.Layers")
    containers.env_file.write_text(f"PORT={containers.port}\n", encoding="utf-8")
    (containers.folder / "src" / "new.py").write_text("", encoding="utf-8")
    make(containers.folder, "up")
    after = containers.inspect_image(containers.slug, ".RootFS.Layers")
    assert after[:-1] == before[:-1]
    assert after[-1] != before[-1]
    assert containers.execute("service", "ls", "src/new.py") == "src/new.py\n"


def test_dependencies_are_listed_and_audited(render: Render) -> None:
    """`make audit` writes a bill of materials, in CycloneDX's form, of what the image holds."""
    folder = render()
    make(folder, "audit")
    bill = json.loads((folder / "sbom.json").read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    names = {component["name"] for component in bill["components"]}
    assert {"fastapi", "uvicorn", "asyncpg", "redis"} <= names
    assert "pytest" not in names
