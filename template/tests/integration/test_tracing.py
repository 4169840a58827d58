"""Traces go from service to service, and records, answers and spans of a request find each other."""

import base64
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.support.service import FAULTY, copy_with, running

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
COMMAND = ("-m", "uvicorn", "src.faulty:app", "--port", "PORT")


class Span(NamedTuple):
    """What a collector got."""

    name: str
    id: str
    parent: str
    trace: str
    failed: bool
    facts: dict[str, Any]
    kind: str


def spans(sink: str) -> list[Span]:
    """Return all spans that were sent, after a look at who has sent them."""
    found = []
    for kept in httpx2.get(f"http://{sink}").json():
        assert kept["path"] == "/v1/traces"
        for part in ExportTraceServiceRequest.FromString(
            base64.b64decode(kept["body"])
        ).resource_spans:
            names = {a.key: a.value.string_value for a in part.resource.attributes}
            assert names["service.name"] == "mine"
            for one in (span for scope in part.scope_spans for span in scope.spans):
                facts = {
                    a.key: getattr(a.value, a.value.WhichOneof("value") or "")
                    for a in one.attributes
                }
                ids = one.span_id.hex(), one.parent_span_id.hex(), one.trace_id.hex()
                failed, kind = (
                    one.status.code == Status.STATUS_CODE_ERROR,
                    one.SpanKind.Name(one.kind),
                )
                found.append(Span(one.name, *ids, failed, facts, kind))
                assert not one.events
    return found


def test_request_failure_and_records_share_a_trace(sink: str, tmp_path: Path) -> None:
    """The trace that came in is in each record, in the answer and in the span, which tells of the failure."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{sink}", "OTEL_SERVICE_NAME": "mine"}
    with running(*COMMAND, cwd=copy_with(FAULTY, tmp_path), env=env) as service:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "crash"}
        crash = service.get("/crash/response-model?token=hunter3", headers=headers)
        own = service.get("/own/teapot", headers={"X-Request-ID": "own"})
        late = service.get("/after/background", headers={"X-Request-ID": "late"})
        relayed = service.get(
            "/relay", params={"to": service.url}, headers={"X-Request-ID": "relayed"}
        )
        assert (crash.status_code, own.status_code, late.status_code, relayed.json()) == (
            500,
            418,
            200,
            404,
        )
        records = service.wait_for_request("crash")
        assert [r["logger"] for r in records] == ["errors", "access"]
        # copier: if error_format == "problem"
        assert (crash.json()["trace_id"], crash.json()["span_id"]) == (TRACE, records[0]["span_id"])
        # copier: endif
        ids = {r["correlation_id"]: r["trace_id"] for r in service.records() if r.get("trace_id")}
    told = spans(sink)
    requests = [
        s for s in told if "correlation_id" in s.facts and s.facts["url.path"] != "/nowhere"
    ]
    by_id = {s.facts["correlation_id"]: s for s in requests}
    span = by_id["crash"]
    assert {(r["trace_id"], r["span_id"]) for r in records} == {(TRACE, span.id)}
    assert (span.name, span.parent, span.trace, span.failed) == (
        "GET /crash/response-model",
        PARENT,
        TRACE,
        True,
    )
    assert (span.facts["http.response.status_code"], span.facts["url.query"]) == (500, "***")
    assert span.facts["error.type"].endswith("ResponseValidationError")
    assert (by_id["own"].failed, by_id["late"].failed) == (False, False)
    for name in ("crash", "own", "late", "relayed"):
        assert by_id[name].trace == ids[name]
    assert "hunter" not in str(told)

    (call,) = [s for s in told if s.name == "HTTP GET"]
    outer, inner = [
        next(s for s in told if s.facts.get("url.path") == path) for path in ("/relay", "/nowhere")
    ]
    assert (call.parent, inner.parent, inner.trace) == (outer.id, call.id, outer.trace)
    assert (call.facts["server.address"], call.failed) == ("127.0.0.1", False)


# copier: if stores
def test_stores_have_spans(sink: str) -> None:
    """A request to a store is a span within the request that has caused it; one that fails says so."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{sink}", "OTEL_SERVICE_NAME": "mine"}
    with running(env=env) as service:
        assert service.get("/health/ready", headers={"X-Request-ID": "ready"}).status_code == 200
    told = spans(sink)
    (server,) = [s for s in told if s.facts.get("correlation_id") == "ready"]
    calls = {s.name: s for s in told if s.parent == server.id}
    expected = {
        # copier: if "postgres" in stores
        "postgresql SELECT": "postgresql",
        "postgresql SHOW": "postgresql",
        # copier: endif
        # copier: if "redis" in stores and example != "orders"
        "redis PING": "redis",
        # copier: endif
    }
    assert {name: s.facts["db.system.name"] for name, s in calls.items()} == expected
    assert not [s for s in calls.values() if s.failed]


# copier: endif
# copier: if "redis" in stores and example != "orders"
def test_store_that_is_away_fails_its_span(sink: str) -> None:
    """The span of a failed command has its error."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{sink}", "OTEL_SERVICE_NAME": "mine"}
    with running(env=env | {"REDIS_URL": "redis://127.0.0.1:1/0"}) as service:
        assert service.get("/health/ready").status_code == 503
    failed = [s for s in spans(sink) if s.name == "redis PING"]
    assert {(s.failed, s.facts["error.type"]) for s in failed} == {(True, "ConnectionError")}


# copier: endif
def test_nothing_is_traced_without_a_collector(tmp_path: Path) -> None:
    """Where nothing is configured, no record has a trace, whatever came in."""
    with running() as service:
        answer = service.get("/nowhere", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        assert TRACE not in answer.text + str(
            service.wait_for_request(answer.headers["x-request-id"])
        )
