"""An issuer of tokens for development and tests; its keys are served over HTTP, as real ones are."""

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from dev import OWN
from src.config import SERVICE_NAME
from src.utils.issuer import DEVELOPMENT_ISSUER

FILE = OWN / "issuer.pem"
ALGORITHM = "ES256"
LIFETIME = 3_600  # seconds
DEVELOPER = "developer"
NOT_OURS = "tokens come from JWT_ISSUER: put one of its tokens into the environment as TOKEN"


class Issuer:
    """Signs tokens.

    Args:
        key: with which it signs; a new one where there is none.
        name: of the issuer.
        audience: for whom its tokens are.

    Attributes:
        public_keys: what it shows, as JSON Web Keys.
        fetches: how often that was fetched.
    """

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey | None = None,
        name: str = DEVELOPMENT_ISSUER,
        audience: str = SERVICE_NAME,
    ) -> None:
        self.name = name
        self.audience = audience
        self.public_keys: list[dict[str, Any]] = []
        self.fetches = 0
        self.use(key or ec.generate_private_key(ec.SECP256R1()))

    def use(self, key: ec.EllipticCurvePrivateKey) -> None:
        """Sign with this key from now on, and show it instead of the one before."""
        public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        digest = hashlib.sha256(json.dumps(public, sort_keys=True).encode())
        self.key = key
        self.key_id = digest.hexdigest()[:16]
        self.public_keys = [{**public, "kid": self.key_id, "use": "sig", "alg": ALGORITHM}]

    def claims(self, subject: str, *scopes: str) -> dict[str, Any]:
        """Return what a token says of a caller."""
        now = int(time.time())
        return {
            "iss": self.name,
            "aud": self.audience,
            "sub": subject,
            "scope": " ".join(scopes),
            "iat": now,
            "exp": now + LIFETIME,
        }

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a token with these claims."""
        return jwt.encode(claims, self.key, ALGORITHM, headers={"kid": self.key_id})

    def token(self, subject: str, *scopes: str) -> str:
        """Return a token of a caller."""
        return self.sign(self.claims(subject, *scopes))


class KeyServer(ThreadingHTTPServer):
    """Serves the keys of an issuer.

    Args:
        issuer: whose keys they are.
        port: on this machine; a free one where it is 0.
    """

    def __init__(self, issuer: Issuer, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), KeyHandler)
        self.issuer = issuer

    @property
    def url(self) -> str:
        """Where the keys are."""
        return f"http://127.0.0.1:{self.server_port}/keys"

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Serve until the end of the block; yields the URL."""
        thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self.url
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


class KeyHandler(BaseHTTPRequestHandler):
    """Answers one client."""

    server: KeyServer

    def do_GET(self) -> None:
        """Send the keys."""
        issuer = self.server.issuer
        issuer.fetches += 1
        body = json.dumps({"keys": issuer.public_keys}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def is_needed() -> bool:
    """Return whether the environment names no issuer."""
    return not os.environ.get("JWT_JWKS_URL")


def developer_issuer() -> Issuer:
    """Return the issuer of who develops here; its key is made at the first call, and stays."""
    if not FILE.exists():
        OWN.mkdir(exist_ok=True)
        save_key(FILE, ec.generate_private_key(ec.SECP256R1()))
    key = serialization.load_pem_private_key(FILE.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        sys.exit(f"{FILE} holds another kind of key: delete it")
    return Issuer(key)


def save_key(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a private key to a file that only its owner may read."""
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.touch(mode=0o600)
    file.write_bytes(pem)


def settings_for(issuer: Issuer, url: str) -> dict[str, str]:
    """Return the settings by which the service accepts the tokens of an issuer."""
    return {"JWT_ISSUER": issuer.name, "JWT_AUDIENCE": issuer.audience, "JWT_JWKS_URL": url}


@contextlib.contextmanager
def developing() -> Iterator[dict[str, str]]:
    """Serve the developer's keys, if no issuer is set; yields the settings that name them."""
    if not is_needed():
        yield {}
        return
    issuer = developer_issuer()
    with KeyServer(issuer).running() as url:
        print("Tokens:     `make token` prints one", flush=True)
        yield settings_for(issuer, url)


def developer_token(subject: str = DEVELOPER, *scopes: str) -> str:
    """Return a token that the service of `make dev` accepts, or the one that is in `TOKEN`."""
    token = os.environ.get("TOKEN")
    if token:
        return token
    if not is_needed():
        sys.exit(NOT_OURS)
    return developer_issuer().token(subject, *" ".join(scopes).split())


def print_token(subject: str = "", *scopes: str) -> None:
    """Print a token that the service of `make dev` accepts, for an hour."""
    print(developer_token(subject or DEVELOPER, *scopes))
