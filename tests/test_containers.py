"""What is rendered runs in containers, on a real engine: `make up` is right the first time, and nothing is lost."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.services import ENVIRONMENT, free_port, make, wait_until
from tests.support.template import Answers, Render, values

LIMIT = 120_000_000  # bytes that an image may add to its base
STORES: dict[str, Answers] = {
    "-".join(stores) or "nothing": {"stores": stores} for stores in values("stores")[:-1]
}
PYTHONS = values("python_version")[
    :-1
]  # the last one is the default, which everything else here runs on
BODY = {
    "checking_account": "none",
    "duration_months": 24,
    "credit_history": "paid_so_far",
    "purpose": "used_car",
    "amount": 3500,
    "savings": "below_500",
    "employment": "below_7_years",
    "installment_rate": 2,
}
EVERYTHING = bool(os.environ.get("EVERYTHING"))
Record = dict[str, Any]


class Containers:
    """A rendered service and its containers.

    Args:
        folder: where it was rendered.
        slug: the name of its image and of its project.
        port: where the service is published.
    """

    def __init__(self, folder: Path, slug: str, port: int) -> None:
        self.folder, self.slug, self.port = folder, slug, port

    def docker(self, *arguments: str, check: bool = True) -> str:
        """Run docker and return what it says."""
        done = subprocess.run(
            ["docker", *arguments],
            cwd=self.folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def compose(self, *arguments: str) -> str:
        """Run docker compose and return what it says."""
        return self.docker("compose", *arguments)

    def inspect(self, service: str, form: str) -> Any:
        """Return what the engine knows of a service's container."""
        name = f"{self.slug}-{service}-1"
        return json.loads(self.docker("inspect", "--format", f"{{{{json {form}}}}}", name))

    def records(self) -> list[Record]:
        """Return what the service has logged."""
        lines = self.compose("logs", "--no-log-prefix", "--no-color", "service").splitlines()
        return [json.loads(line) for line in lines]

    def of(self, correlation_id: str) -> list[Record]:
        """Return what was logged of a request, from the most to the least urgent."""
        order = ["CRITICAL", "ERROR", "WARNING", "INFO"]
        found = [r for r in self.records() if r["correlation_id"] == correlation_id]
        return sorted(found, key=lambda record: order.index(record["level"]))

    def request(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, str, dict[str, Any]]:
        """Send a request; return status, correlation id and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(
                method, path, json.dumps(body), {"Content-Type": "application/json"} | sent
            )
            response = connection.getresponse()
            return response.status, response.headers["X-Request-ID"], json.loads(response.read())

    def decide(self, **headers: str) -> tuple[int, str, dict[str, Any]]:
        """Send a good application."""
        return self.request("POST", "/decisions", BODY, **headers)

    def healthy(self) -> bool:
        """Tell what the image's own health check says right now."""
        command = self.inspect("service", ".Config.Healthcheck.Test")[1:]
        done = subprocess.run(
            ["docker", "compose", "exec", "--no-TTY", "service", *command],
            cwd=self.folder,
            env=ENVIRONMENT,
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def refused(self, *targets: str, **environment: str) -> str:
        """Run make, expect it to fail, and return what it says, without make's own line."""
        done = subprocess.run(
            ["make", f"PYTHON={sys.executable}", *targets],
            cwd=self.folder,
            env=ENVIRONMENT | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        noise = ("make: ", "installing dependencies ")
        return "".join(
            line for line in done.stderr.splitlines(keepends=True) if not line.startswith(noise)
        )


Start = Callable[..., Containers]


@pytest.fixture
def start(render: Render) -> Iterator[Start]:
    """A function that renders a service of which nothing is left afterwards."""
    started: list[Containers] = []

    def run(**answers: Any) -> Containers:
        slug, port = f"airtight-{secrets.token_hex(4)}", free_port()
        containers = Containers(render(project_slug=slug, **answers), slug, port)
        (containers.folder / ".env").write_text(
            f"# mine\nPORT={port}\nFORWARDED_ALLOW_IPS=*", encoding="utf-8"
        )
        started.append(containers)
        return containers

    yield run
    for containers in started:
        passwords = {"POSTGRES_PASSWORD": "unused", "REDIS_PASSWORD": "unused"}
        subprocess.run(
            ["docker", "compose", "--profile", "tests", "down", "--volumes", "--timeout", "1"],
            cwd=containers.folder,
            env=ENVIRONMENT | passwords,
            capture_output=True,
            check=True,
        )
        containers.docker(
            "image", "rm", "--force", containers.slug, f"{containers.slug}-tests", check=False
        )


def test_first_turn_in_containers(start: Start) -> None:
    """From nothing to a 201; stores come and go; a stop loses nothing; data stays."""
    it = start()
    with (it.folder / ".env").open("a", encoding="utf-8") as file:
        file.write("\nDATABASE_TIMEOUT=10")
    said = make(it.folder, "up")
    assert f"http://127.0.0.1:{it.port}" in said.splitlines()[-1]
    check_what_was_written(it)
    check_image(it)
    check_hardening(it)

    assert " 201 Created" in make(it.folder, "request")
    status, first_id, decision = it.decide(X_Forwarded_For="203.0.113.9")
    assert (status, decision["outcome"]) == (201, "approved")
    stored, told = it.of(first_id)
    assert (stored["message"], stored["decision_id"]) == ("decision stored", decision["id"])
    assert (told["logger"], told["client"]) == ("access", "203.0.113.9")

    for store, error in {
        "redis": "RedisConnectionError",
        "postgres": "PostgresConnectionError",
    }.items():
        check_outage(it, store, error)
    check_stop_under_load(it)

    make(it.folder, "up")
    assert it.request("GET", f"/decisions/{decision['id']}")[::2] == (200, decision)
    check_tests_on_these_stores(it)
    check_suite(it)
    make(it.folder, "down")
    assert (
        it.docker(
            "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={it.slug}"
        )
        == ""
    )
    check_lost_password_and_down_all(it)


def check_what_was_written(it: Containers) -> None:
    """`make up` has made up passwords, which only the owner reads, and a lock file; what stood in `.env` still does."""
    file = it.folder / ".env"
    written = file.read_text(encoding="utf-8")
    assert written.startswith(
        f"# mine\nPORT={it.port}\nFORWARDED_ALLOW_IPS=*\nDATABASE_TIMEOUT=10\n"
    )
    assert (
        len(set(re.findall(r"^(?:POSTGRES|REDIS)_PASSWORD=([\w-]{32})$", written, re.MULTILINE)))
        == 2
    )
    assert file.stat().st_mode & 0o777 == 0o600
    assert (it.folder / "uv.lock").exists()


def check_image(it: Containers) -> None:
    """The image adds little to its base, runs as nobody in particular, and holds no tool, cache or secret."""
    dockerfile = (it.folder / "Dockerfile").read_text(encoding="utf-8")
    (base,) = re.findall(r"^FROM (\S+) AS base$", dockerfile, re.MULTILINE)
    size, base_size = (
        int(it.docker("image", "inspect", "--format", "{{.Size}}", name))
        for name in (it.slug, base)
    )
    assert size - base_size < LIMIT
    config = json.loads(it.docker("image", "inspect", "--format", "{{json .Config}}", it.slug))
    assert (config["User"], config["Cmd"]) == ("10001:10001", ["python", "-m", "src.main"])
    assert config["Labels"]["org.opencontainers.image.title"] == it.slug
    held = it.compose(
        "exec",
        "--no-TTY",
        "service",
        "sh",
        "-c",
        "ls -A /app /app/.venv/bin; command -v uv gcc; true",
    )
    assert set(held.split()) >= {"src", "migrations", "pyproject.toml", "uvicorn"}
    assert not {".env", "uv", "tests", "dev", "pytest", "ruff", "uv.lock"} & {
        Path(path).name for path in held.split()
    }
    password = re.findall(r"PASSWORD=(.+)", (it.folder / ".env").read_text(encoding="utf-8"))[0]
    assert password not in it.docker("history", "--no-trunc", it.slug) + json.dumps(config)


def check_hardening(it: Containers) -> None:
    """No container may write to its image, gain rights, take all memory, or be reached from other machines."""
    for service in ("service", "postgres", "redis", "migrate"):
        host = it.inspect(service, ".HostConfig")
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (
            True,
            ["ALL"],
            False,
        )
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["Memory"] > 0
        assert host["LogConfig"]["Config"]["max-size"] == "10m"
        published = (it.inspect(service, ".NetworkSettings.Ports") or {}).values()
        assert {binding["HostIp"] for bindings in published for binding in bindings or []} <= {
            "127.0.0.1"
        }
    it.compose("exec", "--no-TTY", "postgres", "touch", "/run/postgresql/own")
    processes = it.compose(
        "exec",
        "--no-TTY",
        "service",
        "sh",
        "-c",
        "cat /proc/[0-9]*/status | grep -E '^(Uid|CapEff)'",
    )
    assert set(re.findall(r"Uid:\s+(\d+)", processes)) == {"10001"}
    assert set(re.findall(r"CapEff:\s+(\w+)", processes)) == {"0" * 16}


def check_outage(it: Containers, store: str, error: str) -> None:
    """While a store is dead there are 503s, each told once; then all is well without a restart of the service."""
    began = it.inspect("service", ".State.StartedAt")
    it.compose("kill", store)
    status, correlation_id, _ = it.decide()
    assert status == 503
    assert [(r["level"], r.get("error")) for r in it.of(correlation_id)] == [
        ("ERROR", error),
        ("INFO", None),
    ]
    assert not it.healthy()
    it.compose("start", store)
    wait_until(lambda: it.inspect(store, ".State.Health.Status") == "healthy")
    assert it.decide()[0] == 201
    assert it.healthy()
    assert it.inspect("service", ".State.StartedAt") == began
    outages = [r["level"] for r in it.records() if r.get("store") == store]
    assert outages == ["ERROR", "INFO"]


def psql(*arguments: str) -> list[str]:
    """Return the arguments of docker compose that run psql where the password is known."""
    command = 'PGPASSWORD=$POSTGRES_PASSWORD exec psql -h 127.0.0.1 -U app -d app --quiet --no-align --tuples-only "$@"'
    return ["exec", "--no-TTY", "postgres", "sh", "-c", command, "psql", *arguments]


@contextlib.contextmanager
def locked_table(it: Containers) -> Iterator[Callable[[], None]]:
    """Hold back every statement on the decisions, until the function that is given is called."""
    command = ["docker", "compose", *psql()]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=it.folder, env=ENVIRONMENT, stdin=pipe, stdout=pipe, text=True
    ) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write("BEGIN; LOCK TABLE decisions; SELECT 'locked';\n")
        session.stdin.flush()
        assert session.stdout.readline() == "locked\n"
        yield session.stdin.close  # ends the session, and the transaction with it


def check_stop_under_load(it: Containers) -> None:
    """Under load, requests that have arrived are finished, exit code 0 comes within the time, no record is lost."""
    name, ids = f"{it.slug}-service-1", [f"load-{number}" for number in range(8)]

    def arrived() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return int(it.compose(*psql("-c", query))) == len(ids)

    with concurrent.futures.ThreadPoolExecutor(len(ids) + 1) as pool, locked_table(it) as release:
        answers = [pool.submit(it.decide, X_Request_ID=one) for one in ids]
        wait_until(arrived)
        began = time.monotonic()
        stopped = pool.submit(it.docker, "stop", name)
        wait_until(lambda: [r for r in it.records() if r["message"] == "Shutting down"])
        with pytest.raises(OSError):  # noqa: PT011 - refused or cut, as the engine likes
            it.decide()
        release()
        assert [answer.result()[0] for answer in answers] == [201] * len(ids)
        stopped.result()
    grace = it.inspect("service", ".Config.StopTimeout")
    assert time.monotonic() - began < grace
    assert it.inspect("service", ".State.ExitCode") == 0
    records = it.records()
    assert (
        sorted(
            r["correlation_id"]
            for r in records
            if r["logger"] == "access" and r["path"] == "/decisions"
        )[-8:]
        == ids
    )
    assert sum(
        r["message"] == "decision stored" and r["correlation_id"] in ids for r in records
    ) == len(ids)
    assert records[-1]["message"].startswith("Finished server process")


def check_tests_on_these_stores(it: Containers) -> None:
    """The service's own tests run from outside on the stores in containers, and leave nothing there."""
    secrets_ = dict(
        re.findall(r"(\w+)_PASSWORD=(.+)", (it.folder / ".env").read_text(encoding="utf-8"))
    )
    postgres, redis = (
        it.compose("port", "postgres", "5432").strip(),
        it.compose("port", "redis", "6379").strip(),
    )
    urls = {
        "DATABASE_URL": f"postgresql://app:{secrets_['POSTGRES']}@{postgres}/app",
        "REDIS_URL": f"redis://:{secrets_['REDIS']}@{redis}/0",
    }
    python = it.folder / ".venv" / "bin" / "python"
    command = [str(python), "-m", "dev", "test", "-q", "-n0", "tests/integration/test_decisions.py"]
    done = subprocess.run(
        command, cwd=it.folder, env=ENVIRONMENT | urls, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]


def check_lost_password_and_down_all(it: Containers) -> None:
    """A database whose password is lost is not touched; it goes where that is confirmed, and nowhere else."""
    volumes = ("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={it.slug}")
    (it.folder / ".env").rename(it.folder / "kept")
    assert "put it back as POSTGRES_PASSWORD" in it.refused("up")
    assert not (it.folder / ".env").exists()
    assert it.refused("down-all") == "nothing was deleted\n"
    assert {*it.docker(*volumes).split()} == {
        f"{it.slug}_{name}" for name in ("logs", "postgres", "redis")
    }
    subprocess.run(
        ["make", f"PYTHON={sys.executable}", "down-all"],
        cwd=it.folder,
        env=ENVIRONMENT,
        input="yes\n",
        text=True,
        check=True,
    )
    assert it.docker(*volumes) == ""


@pytest.mark.parametrize("answers", STORES.values(), ids=STORES)
def test_other_stores_in_containers(start: Start, answers: Answers) -> None:
    """Whatever stores there are, all comes up and serves, on several processes, and stops with exit code 0."""
    it = start(example="none", **answers)
    with (it.folder / ".env").open("a", encoding="utf-8") as file:
        file.write("\nWORKERS=2")
    make(it.folder, "up")
    stores = json.loads(make(it.folder, "request").splitlines()[-1])["stores"]
    assert stores == dict.fromkeys(answers["stores"], True)
    assert len([r for r in it.records() if r["message"].startswith("Started server process")]) == 2
    if EVERYTHING:
        check_suite(it)
    it.docker("stop", f"{it.slug}-service-1")
    assert it.inspect("service", ".State.ExitCode") == 0


def test_worker_in_containers(start: Start) -> None:
    """With the orders a worker comes up as well: it hears of an order, and prints its receipt where it may write."""
    it = start(example="orders")
    make(it.folder, "up")
    order = json.loads(make(it.folder, "request").splitlines()[-1])["id"]
    wait_until(lambda: f"{order}.txt" in it.compose("exec", "--no-TTY", "worker", "ls", "receipts"))
    check_log_for_loki(it)
    it.docker("stop", f"{it.slug}-worker-1")
    assert it.inspect("worker", ".State.ExitCode") == 0


def check_log_for_loki(it: Containers) -> None:
    """With the profile `observability` each container has a file for its log that Alloy's user can read."""
    with (it.folder / ".env").open("a", encoding="utf-8") as file:
        file.write("\nCOMPOSE_PROFILES=observability\n")
    it.compose(
        "up", "--detach", "--wait", "service", "worker"
    )  # what else it has cannot be pulled everywhere
    alloy = json.loads(it.compose("config", "--format", "json"))["services"]["alloy"]
    (volume,) = (
        f"{it.slug}_{v['source']}:{v['target']}:ro"
        for v in alloy["volumes"]
        if v["type"] == "volume"
    )
    read = "import json, pathlib; print(json.dumps({f.name: f.read_text() for f in pathlib.Path('/logs').glob('*.json')}))"
    command = [
        "run",
        "--rm",
        f"--user={alloy['user']}",
        "--cap-drop=ALL",
        f"--volume={volume}",
        it.slug,
        "python",
        "-c",
    ]
    order = {"items": [{"name": "tea", "price": "1.50", "quantity": 2}]}
    _, correlation_id, _ = it.request("POST", "/orders", order, Idempotency_Key=secrets.token_hex())

    def logs() -> dict[str, str]:
        return dict(json.loads(it.docker(*command, read)))

    files = "service.json", f"{it.inspect('worker', '.Config.Hostname')}.json"
    wait_until(
        lambda: all(f'"correlation_id":"{correlation_id}"' in text for text in logs().values())
    )
    assert sorted(logs()) == sorted(files)


@pytest.mark.parametrize("observability", values("observability"), ids="+".join)
@pytest.mark.parametrize(
    ("example", "stores"),
    [("decisions", None), ("orders", None), ("none", []), ("none", ["redis"])],
)
def test_containers_for_observability(
    render: Render, example: str, stores: Any, observability: list[str]
) -> None:
    """Whatever is chosen, Compose takes the file; what the profile adds is as hardened as the rest."""
    folder = render(
        example=example,
        observability=observability,
        **({} if stores is None else {"stores": stores}),
    )
    passwords = {"POSTGRES_PASSWORD": "x", "REDIS_PASSWORD": "x"}
    services: dict[str, dict[str, Any]] = {}
    for profile in ("", "observability"):
        done = subprocess.run(
            ["docker", "compose", "config", "--format", "json"],
            cwd=folder,
            env=ENVIRONMENT | passwords | {"COMPOSE_PROFILES": profile},
            capture_output=True,
            check=True,
        )
        assert done.stderr == b""
        services[profile] = json.loads(done.stdout)["services"]
    added = {"prometheus", "grafana", "loki", "alloy"} if "prometheus" in observability else set()
    added |= {"tempo"} if added and "opentelemetry" in observability else set()
    assert services["observability"].keys() - services[""].keys() == added
    for name in added:
        one = services["observability"][name]
        assert (one["read_only"], one["cap_drop"], one["security_opt"]) == (
            True,
            ["ALL"],
            ["no-new-privileges:true"],
        )
        mounted = [
            Path(volume["source"]) for volume in one.get("volumes", ()) if volume["type"] == "bind"
        ]
        assert [path for path in mounted if not path.exists() or folder not in path.parents] == []
    facts = [services[profile]["service"]["environment"].get("LOG_FILE") for profile in services]
    assert facts == (["", "/logs/service.json"] if added else [None, None])


@pytest.mark.skipif(not EVERYTHING, reason="takes minutes; EVERYTHING=1 runs it")
@pytest.mark.parametrize("version", PYTHONS)
def test_other_pythons_in_containers(start: Start, version: str) -> None:
    """The image is made from the Python that was asked for, and the tests pass on it."""
    it = start(python_version=version)
    make(it.folder, "up")
    assert " 201 Created" in make(it.folder, "request")
    assert it.compose("exec", "--no-TTY", "service", "python", "--version").startswith(
        f"Python {version}."
    )
    check_suite(it)


def check_suite(it: Containers) -> None:
    """The service's own tests pass in its image, on the stores in containers."""
    said = it.compose("run", "--build", "--rm", "--no-TTY", "tests")
    assert re.search(r"=+ \d+ passed in [\d.]+s.* =+\s*\Z", said), said[-3000:]


def test_what_is_missing_is_told_in_one_line(start: Start, tmp_path: Path) -> None:
    """No lock file, a port that is taken, no engine, no docker, a wrong setting: one line that says so."""
    it = start(example="none", stores=[])
    command = ["docker", "compose", "build", "service"]
    built = subprocess.run(
        command, cwd=it.folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert built.returncode != 0
    assert "To create a lockfile, run `uv lock`" in built.stdout + built.stderr

    with socket.create_server(("127.0.0.1", it.port)):
        (line,) = it.refused("up").splitlines()
    assert f"port {it.port} is taken" in line
    (line,) = it.refused("up", DOCKER_HOST=f"unix://{tmp_path}/none").splitlines()
    assert line.startswith("no Docker engine answers")
    for program in (shutil.which("make") or "make", Path(sys.executable).with_name("uv")):
        (tmp_path / Path(program).name).symlink_to(program)
    (line,) = it.refused("up", PATH=str(tmp_path)).splitlines()
    assert line.startswith("there is no `docker` here")

    (it.folder / ".env").write_text(f"PORT={it.port}\nLOG_LEVEL=loud\n", encoding="utf-8")
    wrong = [line for line in it.refused("up").splitlines() if "wrong settings" in line]
    assert [line.split(":")[1] for line in wrong] == [" log_level"]
    command = ["docker", "run", "--rm", "--env", "LOG_LEVEL=loud", it.slug]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (3, "", 1)

    check_rebuild(it)


def check_rebuild(it: Containers) -> None:
    """After a change of the code an image is made in which nothing but the code is new."""

    def layers() -> list[str]:
        shown: list[str] = json.loads(
            it.docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", it.slug)
        )
        return shown

    before = layers()
    (it.folder / ".env").write_text(f"PORT={it.port}\n", encoding="utf-8")
    (it.folder / "src" / "new.py").write_text("", encoding="utf-8")
    make(it.folder, "up")
    after = layers()
    assert (after[:-1], after[-1] != before[-1]) == (before[:-1], True)
    assert it.compose("exec", "--no-TTY", "service", "ls", "src/new.py") == "src/new.py\n"


def test_dependencies_are_listed_and_audited(render: Render) -> None:
    """`make audit` writes a bill of materials in the form of CycloneDX that holds what the image does."""
    folder = render()
    make(folder, "audit")
    bill = json.loads((folder / "sbom.json").read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    names = {component["name"] for component in bill["components"]}
    assert {"fastapi", "uvicorn", "asyncpg", "redis"} <= names
    assert "pytest" not in names
