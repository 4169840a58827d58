"""What Kubernetes does with a Deployment, done on this machine as its manifests say.

A replica is a process. The proxy is HAProxy, whose list of replicas changes while it runs, like that
of the controllers of an Ingress; it needs no reload, which would close connections of clients.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.files import read, write
from tests.support.manifests import Manifest, manifests, of_kind
from tests.support.services import ENVIRONMENT, free_port, wait_until

Record = dict[str, Any]
SLOTS = 9  # replicas that HAProxy can know at a time
HAPROXY = """
global
    stats socket {folder}/admin mode 600 level admin
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    option redispatch 1
    retries 3
frontend clients
    bind 127.0.0.1:{port}
    default_backend service
backend service
    default-server pool-purge-delay 2s
    server-template replica 1-{slots} 127.0.0.1:1 disabled
"""


@dataclass(frozen=True)
class Plan:
    """What the manifests say of a Deployment.

    Attributes:
        command: that runs in each replica.
        replicas: how many there are.
        surge: how many more there may be in an update; none is missing meanwhile.
        pause: seconds of preStop.
        grace: seconds until a replica is killed, preStop included.
        ready: the path of the readiness probe; None where there is no probe.
        settings: of the ConfigMap.
    """

    command: list[str]
    replicas: int
    surge: int
    pause: int
    grace: int
    ready: str | None
    settings: dict[str, str]


def read_plan(folder: Path, name: str) -> Plan:
    """Return what the manifests of production say of a Deployment."""
    found = manifests(folder, "production")
    deployment = of_kind(found, "Deployment")[name]
    (config_map,) = of_kind(found, "ConfigMap").values()
    strategy = deployment["spec"].get("strategy", {}).get("rollingUpdate", {})
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    hook = container.get("lifecycle", {}).get("preStop", {"sleep": {"seconds": 0}})
    assert strategy.get("maxUnavailable", 0) == 0
    return Plan(
        container.get("command", ["python", "-m", "src.main"]),
        count_replicas(found, deployment),
        strategy.get("maxSurge", 1),
        hook["sleep"]["seconds"],
        pod["terminationGracePeriodSeconds"],
        container.get("readinessProbe", {}).get("httpGet", {}).get("path"),
        config_map["data"],
    )


def count_replicas(found: list[Manifest], deployment: Manifest) -> int:
    """Return how many replicas a Deployment has, or at least, where that follows the load."""
    scalers = of_kind(found, "HorizontalPodAutoscaler")
    scaler = scalers.get(deployment["metadata"]["name"])
    if scaler:
        return int(scaler["spec"]["minReplicas"])
    return int(deployment["spec"]["replicas"])


@dataclass(eq=False)
class Replica:
    """A process of a Deployment.

    Attributes:
        slot: its number in the proxy.
        version: the folder of the service that it runs.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    slot: int
    version: Path

    def get(self, path: str) -> int:
        """Return the status of the response to a probe; 0 where nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", path)
            return connection.getresponse().status
        return 0


@dataclass
class Proxy:
    """HAProxy in front of the replicas."""

    folder: Path
    port: int = field(default_factory=free_port)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run it until the end of the block."""
        file = self.folder / "haproxy.cfg"
        write(file, HAPROXY.format(folder=self.folder, port=self.port, slots=SLOTS))
        with subprocess.Popen(["haproxy", "-db", "-f", str(file)]) as process:
            try:
                wait_until((self.folder / "admin").exists)
                yield
            finally:
                process.terminate()

    def add(self, replica: Replica) -> None:
        """Send requests to a replica from now on."""
        server = f"service/replica{replica.slot}"
        self._command(f"set server {server} addr 127.0.0.1 port {replica.port}")
        self._command(f"set server {server} state ready")

    def remove(self, replica: Replica) -> None:
        """Send no new requests to a replica."""
        self._command(f"set server service/replica{replica.slot} state maint")

    def _command(self, command: str) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.folder / "admin"))
            client.sendall(f"{command}\n".encode())
            client.recv(1000)  # until it is done


class Deployment:
    """Replicas that are replaced one after the other.

    Args:
        plan: what its manifest says.
        env: variables, besides those of the ConfigMap.
        folder: for logs.
        proxy: in front of the replicas; None where nobody sends them requests.

    Attributes:
        env: what replicas are started with from now on.
    """

    def __init__(
        self, plan: Plan, env: dict[str, str], folder: Path, proxy: Proxy | None = None
    ) -> None:
        self.plan = plan
        self.replicas: list[Replica] = []
        self.exit_codes: list[int] = []
        self.env = ENVIRONMENT | plan.settings | env
        self._folder = folder
        self._proxy = proxy
        self._slots = list(range(1, SLOTS + 1))
        self._leaving: list[threading.Thread] = []

    def launch(self, version: Path) -> Replica:
        """Start a replica."""
        port = free_port()
        slot = self._slots.pop(0)
        log = self._folder / f"{port}.log"
        ports = {"HOST": "127.0.0.1", "PORT": str(port), "WORKER_METRICS_PORT": str(free_port())}
        command = [sys.executable, *self.plan.command[1:]]
        with log.open("ab") as file:
            process = subprocess.Popen(
                command, cwd=version, env=self.env | ports, stdout=file, stderr=file
            )
        return Replica(process, port, log, slot, version)

    def admit(self, replica: Replica) -> None:
        """Wait until a replica is ready, and send it requests."""
        path = self.plan.ready
        if path is not None:
            wait_until(lambda: replica.get(path) == 200)
        if self._proxy:
            self._proxy.add(replica)
        self.replicas.append(replica)

    def scale(self, version: Path) -> None:
        """Start as many replicas as there should be."""
        missing = self.plan.replicas - len(self.replicas)
        for replica in [self.launch(version) for _ in range(missing)]:
            self.admit(replica)

    def roll_out(self, version: Path, first: Replica | None = None) -> None:
        """Replace each replica by one of another version.

        Args:
            version: the folder of the service.
            first: a replica of it that has been started already.
        """
        old = list(self.replicas)
        started = [first] if first else []
        while old:
            while len(started) < min(self.plan.surge, len(old)):
                started.append(self.launch(version))
            self.admit(started.pop(0))
            self.retire(old.pop(0))

    def retire(self, replica: Replica) -> None:
        """Let a replica go, while others are started."""
        self.replicas.remove(replica)
        thread = threading.Thread(target=self._end, args=(replica,))
        thread.start()
        self._leaving.append(thread)

    def kill(self, replica: Replica) -> None:
        """Kill a replica, as a crash of its node would, and replace it."""
        replica.process.kill()
        replica.process.wait()
        self.replicas.remove(replica)
        if self._proxy:
            self._proxy.remove(replica)
        self.admit(self.launch(replica.version))

    def settle(self) -> None:
        """Wait until all that were let go have ended."""
        for thread in self._leaving:
            thread.join()

    def close(self) -> None:
        """End all replicas."""
        self.settle()
        for replica in self.replicas:
            replica.process.send_signal(signal.SIGTERM)
        for replica in self.replicas:
            replica.process.wait(timeout=self.plan.grace)

    def records(self) -> list[Record]:
        """Return what all replicas have logged; each line is a record."""
        lines: list[str] = []
        for log in sorted(self._folder.glob("*.log")):
            lines += read(log).splitlines()
        return list(map(json.loads, lines))

    def _end(self, replica: Replica) -> None:
        """Do what the kubelet does; the proxy learns of it in the middle of preStop."""
        hook = threading.Event()
        hook.wait(self.plan.pause / 2)
        if self._proxy:
            self._proxy.remove(replica)
        hook.wait(self.plan.pause / 2)
        replica.process.terminate()
        try:
            code = replica.process.wait(timeout=self.plan.grace - self.plan.pause)
        except subprocess.TimeoutExpired:
            replica.process.kill()
            code = replica.process.wait()
        self.exit_codes.append(code)
        self._slots.append(replica.slot)


class Store:
    """A store of a rendered service's own, which can be away for a while.

    Args:
        name: of the module in `dev` that runs it.
        service: the folder of the service.
        folder: for its data.
    """

    CODE = """
import importlib, pathlib, sys
module = importlib.import_module(f"dev.{sys.argv[1]}")
with module.running(pathlib.Path(sys.argv[2]), durable=True, port=int(sys.argv[3])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""

    def __init__(self, name: str, service: Path, folder: Path) -> None:
        self._command = [sys.executable, "-c", self.CODE, name, str(folder / name)]
        self._service = service
        self._port = str(free_port())
        self.url = ""

    def start(self) -> None:
        """Start it, on the same port each time."""
        self._process = subprocess.Popen(
            [*self._command, self._port],
            cwd=self._service,
            env=os.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.url = self._process.stdout.readline().strip()
        assert self.url

    def stop(self) -> None:
        """Stop it; its data stays."""
        self._process.communicate()
