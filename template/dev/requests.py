"""A good and a bad request to the running service, to try it."""

import sys
from dataclasses import dataclass

import httpx2

# copier: if auth != "none"
from dev import credentials
# copier: endif
from src.config import Settings, load_settings

TIMEOUT = 10  # seconds


@dataclass(frozen=True)
class ExampleRequest:
    """A request with a JSON body, or without one."""

    method: str
    path: str
    body: object = None


# copier: if example == "none"
GOOD = ExampleRequest("GET", "/health/ready")
BAD = ExampleRequest("GET", "/no-such-path")


# copier: endif
# copier: if example == "decisions"
APPLICATION = {
    "checking_account": "none",
    "duration_months": 24,
    "credit_history": "paid_so_far",
    "purpose": "used_car",
    "amount": 3500,
    "savings": "below_500",
    "employment": "below_7_years",
    "installment_rate": 2,
}
GOOD = ExampleRequest("POST", "/decisions", APPLICATION)
BAD = ExampleRequest("POST", "/decisions", APPLICATION | {"amount": -1, "purpose": "yacht"})


# copier: endif
# copier: if example == "orders"
ORDER = {
    "items": [
        {"name": "tea", "quantity": 2, "price": "3.50"},
        {"name": "pot", "quantity": 1, "price": "19.90"},
    ]
}
WRONG_ORDER = {"items": [{"name": "tea", "quantity": 0, "price": "a lot"}]}
GOOD = ExampleRequest("POST", "/orders", ORDER)
BAD = ExampleRequest("POST", "/orders", WRONG_ORDER)


# copier: endif
def send_good() -> None:
    """Send a good request to the running service."""
    _send(GOOD)


def send_bad() -> None:
    """Send a request that is not valid."""
    _send(BAD)


def _send(request: ExampleRequest) -> None:
    settings = load_settings()
    url = f"http://{settings.host}:{settings.port}{request.path}"
    try:
        response = httpx2.request(
            request.method,
            url,
            json=request.body,
            # copier: if auth != "none"
            headers=credentials.headers(),
            # copier: endif
            timeout=TIMEOUT,
        )
    except httpx2.TransportError as exc:
        sys.exit(
            f"nothing answers on {url} ({type(exc).__name__}); start the service with `make dev`"
        )
    print(request.method, url)
    _show(response, settings)


def _show(response: httpx2.Response, settings: Settings) -> None:
    print(response.http_version, response.status_code, response.reason_phrase)
    for name in ("content-type", "location", settings.request_id_header):
        if name in response.headers:
            print(f"{name.lower()}: {response.headers[name]}")
    print(f"\n{response.text}")
