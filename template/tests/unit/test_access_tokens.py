"""A token proves who calls only if all of it is as the issuer's tokens are."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import HttpUrl

from dev import issuer as development
from dev.issuer import Issuer, KeyServer
from src.clients.http import UpstreamClient
from src.clients.jwks import JwksClient
from src.config import Settings, load_settings
from src.services.access_tokens import AccessTokens, require_issuer
from src.services.callers import Principal
from src.services.issuer_keys import IssuerKeys
from src.services.readiness import OutageLog
from src.utils.errors import InvalidTokenError
from src.utils.issuer import DEVELOPMENT_ISSUER
from tests.support.settings import refuse_settings

ISSUER = Issuer(name="https://issuer.example.com", audience="shop")
ALGORITHMS = ["ES256", "RS256"]
LEEWAY = 30
TIMES = ("exp", "iat", "nbf")  # in tests they are seconds from now
WRONG_CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({"exp": -LEEWAY - 60}, "expired"),
    ({"nbf": LEEWAY + 600}, "not valid yet"),
    ({"iat": LEEWAY + 600}, "not valid yet"),
    ({"aud": "another"}, "for another audience"),
    ({"iss": "https://other.example.com"}, "of another issuer"),
    ({"exp": None}, "a claim is missing"),
    ({"iss": None}, "a claim is missing"),
    ({"aud": None}, "a claim is missing"),
    ({"sub": None}, "a claim is missing"),
    ({"sub": ""}, "a claim of the wrong type"),
    ({"sub": "x" * 256}, "a claim of the wrong type"),
    ({"scope": 7}, "a claim of the wrong type"),
    ({"scp": [7]}, "a claim of the wrong type"),
]


def encode(value: object) -> str:
    """Return a part of a token."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


NO_TOKENS = [
    "",
    "x",
    "a.b",
    "a.b.c",
    "....",
    "\u00fc.\u00fc.\u00fc",
    "\ud800",
    f"{encode(b'[' * 20_000)}.e30.AAAA",
    f"{encode(b'{' + b'9' * 5_000 + b'}')}.e30.AAAA",
    f"{encode([])}.e30.AAAA",
    f"{encode({'alg': 'ES256', 'kid': 7})}.e30.AAAA",
    f"{encode({'alg': 'ES256', 'kid': ISSUER.key_id, 'crit': ['x'], 'x': 1})}.e30.AAAA",
    f"{encode({'alg': 'ES256', 'kid': ISSUER.key_id, 'b64': False, 'crit': ['b64']})}..AAAA",
]


@pytest.fixture(scope="module")
def server() -> Iterator[KeyServer]:
    """Serve the keys of the issuer."""
    server = KeyServer(ISSUER)
    with server.running():
        yield server


@pytest.fixture
async def tokens(server: KeyServer) -> AsyncIterator[AccessTokens]:
    """Build what verifies tokens, with nothing fetched yet."""
    async with UpstreamClient(server.url) as client:
        keys = IssuerKeys(JwksClient(client, HttpUrl(server.url)), ALGORITHMS, OutageLog())
        yield AccessTokens(keys, ALGORITHMS, ISSUER.name, ISSUER.audience, LEEWAY)


async def reason_of(tokens: AccessTokens, token: str) -> str:
    """Return why a token is refused; the error has nothing of the token."""
    with pytest.raises(InvalidTokenError) as caught:
        await tokens.verify(token)
    parts = [part for part in token.split(".") if len(part) > 8]
    assert not any(part in str(caught.value) for part in parts)
    return caught.value.reason


def sign(claims: dict[str, Any]) -> str:
    """Return a token with these claims changed; those that are None are left out."""
    signed = ISSUER.claims("ann")
    for name, value in claims.items():
        is_time = name in TIMES and value is not None
        signed[name] = int(time.time()) + value if is_time else value
    return ISSUER.sign({name: value for name, value in signed.items() if value is not None})


@pytest.mark.parametrize(
    "claims",
    [
        {"scope": "read write"},
        {"scope": ["read", "write"]},
        {"scope": "", "scp": "read write"},
        {"scope": "read", "scp": ["write"]},
        {"scope": "read write", "aud": ["another", "shop"]},
        {"scope": "read write", "exp": -5},
        {"scope": "read write", "nbf": 5, "iat": 5},
    ],
)
async def test_good_token_says_who_calls(tokens: AccessTokens, claims: dict[str, Any]) -> None:
    """The subject and the scopes, in each form; clocks may differ a little."""
    assert await tokens.verify(sign(claims)) == Principal("ann", frozenset({"read", "write"}))


@pytest.mark.parametrize(("claims", "reason"), WRONG_CLAIMS)
async def test_wrong_claim_is_refused(
    tokens: AccessTokens, claims: dict[str, Any], reason: str
) -> None:
    """A token of another time, issuer or audience, or that says too little."""
    assert await reason_of(tokens, sign(claims)) == reason


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "ES512", "HS256", 7, None])
async def test_algorithm_is_pinned(tokens: AccessTokens, algorithm: object) -> None:
    """What the settings do not allow is refused before a key is looked for, unsigned tokens first."""
    fetches = ISSUER.fetches
    header = encode({"alg": algorithm, "typ": "JWT", "kid": ISSUER.key_id})
    for signature in ("", "AAAA"):
        token = f"{header}.{encode(ISSUER.claims('ann'))}.{signature}"
        assert await reason_of(tokens, token) in ("an algorithm that is not allowed", "malformed")
    assert ISSUER.fetches == fetches


async def test_public_key_is_no_secret(tokens: AccessTokens) -> None:
    """A token that is signed with the public key as if that were a shared secret is refused."""
    header = encode({"alg": "HS256", "kid": ISSUER.key_id})
    signed = f"{header}.{encode(ISSUER.claims('ann'))}"
    secret = json.dumps(ISSUER.public_keys[0]).encode()
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    reason = await reason_of(tokens, f"{signed}.{encode(digest)}")
    assert reason == "an algorithm that is not allowed"


async def test_key_of_another_is_refused(tokens: AccessTokens) -> None:
    """A token that names a key of the issuer, but is signed with another one."""
    other = ec.generate_private_key(ec.SECP256R1())
    headers = {"kid": ISSUER.key_id}
    token = jwt.encode(ISSUER.claims("ann"), other, "ES256", headers=headers)
    assert await reason_of(tokens, token) == "a wrong signature"
    token = jwt.encode(ISSUER.claims("ann"), other, "ES256", headers={"kid": "other"})
    assert await reason_of(tokens, token) == "an unknown key"


async def test_changed_token_is_refused(tokens: AccessTokens) -> None:
    """Claims that were not signed."""
    header, _, signature = ISSUER.token("ann").split(".")
    token = f"{header}.{encode(ISSUER.claims('bob'))}.{signature}"
    assert await reason_of(tokens, token) == "a wrong signature"


@pytest.mark.parametrize("token", NO_TOKENS, ids=[f"token{i}" for i in range(len(NO_TOKENS))])
async def test_what_is_no_token_is_refused(tokens: AccessTokens, token: str) -> None:
    """Whatever a client sends is refused, and is no failure of the service."""
    assert await reason_of(tokens, token) == "malformed"


async def test_signed_claims_may_be_anything(tokens: AccessTokens) -> None:
    """What an issuer signs, but is no object of claims, is refused as well."""
    for payload in (b"[", b"[]", b"[" * 20_000, b"\xff"):
        headers = {"kid": ISSUER.key_id}
        token = jwt.api_jws.encode(payload, ISSUER.key, "ES256", headers=headers)
        assert await reason_of(tokens, token) == "malformed"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_ALGORITHMS", "HS256"),
        ("JWT_ALGORITHMS", "ES256,none"),
        ("JWT_ALGORITHMS", "[]"),
        ("JWT_LEEWAY", "-1"),
        ("JWT_LEEWAY", "3600"),
        ("JWT_JWKS_URL", "file:///hunter2"),
        ("JWT_TIMEOUT", "0"),
    ],
)
def test_wrong_setting_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    """Algorithms with shared secrets, and what else cannot be, end the start."""
    monkeypatch.setenv(name, value)
    assert refuse_settings(capsys).startswith(f"wrong settings: {name.lower()}: ")


def in_production(**changes: object) -> Settings:
    """Return settings of production."""
    return load_settings().model_copy(update={"environment": "production", **changes})


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"jwt_issuer": DEVELOPMENT_ISSUER}, "jwt_issuer"),
        ({"jwt_jwks_url": HttpUrl("http://issuer.example.com/keys")}, "jwt_jwks_url"),
    ],
)
def test_production_needs_an_issuer_that_proves_something(
    capsys: pytest.CaptureFixture[str], changes: dict[str, object], setting: str
) -> None:
    """The issuer of `make dev`, and keys that anybody on the way could replace, are refused."""
    require_issuer(load_settings().model_copy(update=changes))
    require_issuer(in_production())
    require_issuer(in_production(jwt_jwks_url=HttpUrl("https://issuer.example.com/keys")))
    with pytest.raises(SystemExit) as caught:
        require_issuer(in_production(**changes))
    assert caught.value.code == 3
    assert capsys.readouterr().err.startswith(f"wrong settings: {setting}: ")


def test_developer_has_an_issuer_that_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its key is made once; where another issuer is set, its tokens would not be accepted."""
    monkeypatch.setattr(development, "OWN", tmp_path)
    monkeypatch.setattr(development, "FILE", tmp_path / "issuer.pem")
    with development.developing() as settings:
        assert settings == {}
    with pytest.raises(SystemExit) as caught:
        development.print_token()
    assert "TOKEN" in str(caught.value.code)
    monkeypatch.delenv("JWT_JWKS_URL")
    development.print_token("ann", "read write")
    token = capsys.readouterr().out.strip()
    with development.developing() as settings:
        assert "make token" in capsys.readouterr().out
        keys = jwt.PyJWKClient(settings["JWT_JWKS_URL"])
        key = keys.get_signing_key_from_jwt(token)
    claims = jwt.decode(
        token,
        key,
        issuer=settings["JWT_ISSUER"],
        audience=settings["JWT_AUDIENCE"],
    )
    assert claims["sub"] == "ann"
    assert claims["scope"] == "read write"
    monkeypatch.setenv("TOKEN", "theirs")
    assert development.developer_token() == "theirs"
