"""A rendered service in containers, on the Docker engine of this machine."""

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.services import ENVIRONMENT, wait_until

Record = dict[str, Any]

LEVELS = [
    "CRITICAL",
    "ERROR",
    "WARNING",
    "INFO",
]
DECISION = {
    "checking_account": "none",
    "duration_months": 24,
    "credit_history": "paid_so_far",
    "purpose": "used_car",
    "amount": 3500,
    "savings": "below_500",
    "employment": "below_7_years",
    "installment_rate": 2,
}
NOISE = (
    "make: ",
    "installing dependencies ",
)
# Where the password of the database is known, which is in its container.
PSQL = (
    "PGPASSWORD=$POSTGRES_PASSWORD exec psql -h 127.0.0.1 -U app -d app"
    ' --quiet --no-align --tuples-only "$@"'
)


@dataclass(frozen=True)
class Reply:
    """The response to a request.

    Args:
        status: its status.
        correlation_id: the id in its header.
        body: its body, parsed.
    """

    status: int
    correlation_id: str
    body: dict[str, Any]


class Containers:
    """A rendered service and its containers.

    Args:
        folder: the folder to which it was rendered.
        slug: the name of its image and of its Compose project.
        port: the port on which the service is published.
    """

    def __init__(self, folder: Path, slug: str, port: int) -> None:
        self.folder = folder
        self.slug = slug
        self.port = port
        self.env_file = folder / ".env"

    # Docker.

    def docker(self, *arguments: str, check: bool = True) -> str:
        """Run docker and return what it prints; fail the test if docker fails."""
        done = self.run("docker", *arguments)
        assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def compose(self, *arguments: str) -> str:
        """Run docker compose and return what it prints."""
        return self.docker("compose", *arguments)

    def execute(self, container: str, *command: str) -> str:
        """Run a command in a container and return what it prints."""
        return self.compose("exec", "--no-TTY", container, *command)

    def psql(self, *arguments: str) -> list[str]:
        """Return the arguments of docker compose that run psql in the container of the database."""
        return ["exec", "--no-TTY", "postgres", "sh", "-c", PSQL, "psql", *arguments]

    def inspect(self, container: str, field: str) -> Any:
        """Return what the engine knows of a container, such as `.State.ExitCode`."""
        name = f"{self.slug}-{container}-1"
        return json.loads(self.docker("inspect", "--format", f"{{{{json {field}}}}}", name))

    def inspect_image(self, name: str, field: str) -> Any:
        """Return what the engine knows of an image, such as `.Size`."""
        shown = self.docker("image", "inspect", "--format", f"{{{{json {field}}}}}", name)
        return json.loads(shown)

    def image_is_healthy(self) -> bool:
        """Return whether the image's own health check succeeds now."""
        command = self.inspect("service", ".Config.Healthcheck.Test")[1:]
        done = self.run("docker", "compose", "exec", "--no-TTY", "service", *command)
        return done.returncode == 0

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder of the service."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=ENVIRONMENT | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def failing_make(self, *targets: str, **environment: str) -> str:
        """Run make, which has to fail, and return its stderr without the lines of make itself."""
        done = self.run("make", f"PYTHON={sys.executable}", *targets, **environment)
        assert done.returncode != 0
        lines = done.stderr.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(NOISE))

    # Settings.

    def set(self, **settings: str) -> None:
        """Add settings to `.env`."""
        with self.env_file.open("a", encoding="utf-8") as file:
            file.writelines(f"\n{name}={value}" for name, value in settings.items())

    # Requests.

    def request(self, method: str, path: str, body: object = None, **headers: str) -> Reply:
        """Send a request to the service."""
        sent = {"Content-Type": "application/json"}
        for name, value in headers.items():
            sent[name.replace("_", "-")] = value
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body), sent)
            response = connection.getresponse()
            correlation_id = response.headers["X-Request-ID"]
            return Reply(response.status, correlation_id, json.loads(response.read()))

    def decide(self, **headers: str) -> Reply:
        """Send an application for credit that is approved."""
        return self.request("POST", "/decisions", DECISION, **headers)

    # Records.

    def records(self) -> list[Record]:
        """Return what the service has logged."""
        lines = self.compose("logs", "--no-log-prefix", "--no-color", "service").splitlines()
        return [json.loads(line) for line in lines]

    def records_of(self, correlation_id: str) -> list[Record]:
        """Wait for a request's access line, and return its records, the most urgent ones first."""

        def find() -> list[Record]:
            found = [r for r in self.records() if r["correlation_id"] == correlation_id]
            return found if any(r["logger"] == "access" for r in found) else []

        found: list[Record] = wait_until(find)
        return sorted(found, key=lambda record: LEVELS.index(record["level"]))

    def messages(self) -> list[str]:
        """Return the messages of all records."""
        return [record["message"] for record in self.records()]


@contextlib.contextmanager
def locked_table(containers: Containers) -> Iterator[Callable[[], None]]:
    """Block every statement on the decisions until the yielded function is called."""
    command = ["docker", "compose", *containers.psql()]
    with subprocess.Popen(
        command,
        cwd=containers.folder,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write("BEGIN; LOCK TABLE decisions; SELECT 'locked';\n")
        session.stdin.flush()
        assert session.stdout.readline() == "locked\n"
        yield session.stdin.close  # the session ends, and its transaction with it
