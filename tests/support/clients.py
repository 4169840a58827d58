"""Clients that place orders and look them up, each over one connection as long as it lasts."""

import contextlib
import http.client
import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

ITEMS = [
    {"name": "tea", "quantity": 2, "price": "3.50"},
]
PAUSE = 0.02  # seconds between two requests of a client


@dataclass(frozen=True)
class Response:
    """What became of a request.

    Attributes:
        request_id: that the client has given it.
        status: of the response; 0 where the connection broke.
        kind: the type of its body.
        is_new: whether the second version has answered.
    """

    request_id: str
    status: int
    kind: str = ""
    is_new: bool = False


@dataclass
class Clients:
    """Clients that send requests until they are stopped.

    Attributes:
        responses: to all requests so far.
        placed: the ids of orders by their idempotency keys.
    """

    port: int
    count: int = 4
    responses: list[Response] = field(default_factory=list)
    placed: dict[str, str] = field(default_factory=dict)
    _stopped: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send requests until the end of the block."""
        threads = [
            threading.Thread(target=self._run, args=(f"c{number}",)) for number in range(self.count)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def _run(self, name: str) -> None:
        """Place orders, each until it is placed, and look each up."""
        with contextlib.closing(Client(self.port)) as client:
            self._place_orders(client, name)

    def _place_orders(self, client: "Client", name: str) -> None:
        requests = (f"{name}-{number}" for number in itertools.count())
        for number in itertools.count():
            key = f"{name}-{number}"
            while key not in self.placed:
                if self._stopped.wait(PAUSE):
                    return
                response, order = client.place(next(requests), key)
                self.responses.append(response)
                if response.status == 201:
                    self.placed[key] = order
            self.responses.append(client.look_up(next(requests), self.placed[key]))


class Client:
    """One connection to the proxy."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def place(self, request_id: str, key: str) -> tuple[Response, str]:
        """Place an order, and return its id."""
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        body = json.dumps({"items": ITEMS})
        response, order = self._send("POST", "/orders", request_id, body, headers)
        return response, str(order.get("id", ""))

    def look_up(self, request_id: str, order: str) -> Response:
        """Look an order up."""
        response, _ = self._send("GET", f"/orders/{order}", request_id, None, {})
        return response

    def _send(
        self, method: str, path: str, request_id: str, body: str | None, headers: dict[str, str]
    ) -> tuple[Response, dict[str, object]]:
        headers |= {"X-Request-ID": request_id}
        try:
            self._connection.request(method, path, body, headers)
            received = self._connection.getresponse()
            text = received.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request opens it again
            return Response(request_id, 0), {}
        kind = received.headers.get("Content-Type", "")
        if "json" not in kind:
            return Response(request_id, received.status, kind), {}
        order = json.loads(text)
        return Response(request_id, received.status, kind, "currency" in order), order
