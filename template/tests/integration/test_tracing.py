"""Traces go from service to service, and a request's records, response and span find each other."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.support.service import (
    FAULTY,
    Record,
    assert_fields,
    copy_with,
    running,
)
from tests.support.sink import receiving

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
COMMAND = ("-m", "uvicorn", "src.faulty:app", "--port", "PORT")


@dataclass(frozen=True)
class Span:
    """A span, as a collector receives it.

    Attributes:
        name: what the span is about, such as `GET /docs`.
        id: of the span.
        parent: the id of the span in which it started; empty where there is none.
        trace: the id of its trace.
        failed: whether its status is an error.
        attributes: what else it says.
        kind: such as `SPAN_KIND_SERVER`.
    """

    name: str
    id: str
    parent: str
    trace: str
    failed: bool
    attributes: dict[str, Any]
    kind: str


def spans(sink: str) -> list[Span]:
    """Return all spans that were sent; all of them name the service."""
    found: list[Span] = []
    for kept in httpx2.get(f"http://{sink}").json():
        assert kept["path"] == "/v1/traces"
        body = base64.b64decode(kept["body"])
        request = ExportTraceServiceRequest.FromString(body)
        for part in request.resource_spans:
            resource = attributes_of(part.resource)
            assert resource["service.name"] == "mine"
            for scope in part.scope_spans:
                found.extend(map(parse_span, scope.spans))
    return found


def attributes_of(message: Any) -> dict[str, Any]:
    """Return the attributes of a span or of a resource."""
    found = {}
    for attribute in message.attributes:
        kind = attribute.value.WhichOneof("value")
        found[attribute.key] = getattr(attribute.value, kind)
    return found


def parse_span(span: trace_pb2.Span) -> Span:
    """Return a span; it has no events, since exceptions are in the log."""
    assert not span.events
    return Span(
        name=span.name,
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        trace=span.trace_id.hex(),
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        attributes=attributes_of(span),
        kind=span.SpanKind.Name(span.kind),
    )


def with_attribute(spans: list[Span], name: str, value: object) -> list[Span]:
    """Return the spans that have an attribute."""
    return [span for span in spans if span.attributes.get(name) == value]


def collector(sink: str) -> dict[str, str]:
    """Return the settings with which a service sends spans to a receiver."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{sink}",
        "OTEL_SERVICE_NAME": "mine",
    }


@dataclass(frozen=True)
class Observed:
    """What a service with failing routes has sent and logged.

    Attributes:
        crash: the response to a request that belongs to a trace, and fails.
        records: all records.
        spans: all spans.
    """

    crash: httpx2.Response
    records: list[Record]
    spans: list[Span]

    def span_of(self, correlation_id: str) -> Span:
        """Return the span of the request with an id that came from outside."""
        (span,) = [
            span
            for span in with_attribute(self.spans, "correlation_id", correlation_id)
            if span.attributes["url.path"] != "/nowhere"
        ]
        return span

    def records_of(self, correlation_id: str) -> list[Record]:
        """Return the records of a request."""
        return [record for record in self.records if record["correlation_id"] == correlation_id]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Observed:
    """Return what a service has sent and logged for requests that fail, and for a call."""
    folder = copy_with(FAULTY, tmp_path_factory.mktemp("tracing"))
    with (
        receiving() as sink,
        running(*COMMAND, cwd=folder, env=collector(sink)) as service,
    ):

        def send(name: str, path: str, **headers: str) -> httpx2.Response:
            headers["X-Request-ID"] = name
            return service.get(path, headers=headers)

        crash = send(
            "crash",
            "/crash/response-model?token=hunter3",
            traceparent=TRACEPARENT,
        )
        assert crash.status_code == 500
        assert send("own", "/own/teapot").status_code == 418
        assert send("late", "/after/background").status_code == 200
        relayed = send("relayed", f"/relay?to={service.url}")
        assert relayed.json() == 404
        service.wait_for_request("crash")
        service.stop()  # which sends the last spans
        return Observed(crash, service.records(), spans(sink))


def test_failed_request_fails_its_span(observed: Observed) -> None:
    """The span of a request that crashed belongs to the caller's trace, and names the error."""
    span = observed.span_of("crash")
    assert span.name == "GET /crash/response-model"
    assert span.trace == TRACE
    assert span.parent == PARENT
    assert span.failed
    assert span.attributes["http.response.status_code"] == 500
    error = span.attributes["error.type"]
    assert error.endswith("ResponseValidationError")


def test_records_and_response_name_the_span(observed: Observed) -> None:
    """Each record of a request has its trace and its span, and so has the body of an error."""
    span = observed.span_of("crash")
    records = observed.records_of("crash")
    assert [record["logger"] for record in records] == ["errors", "access"]
    # copier: if error_format == "problem"
    assert_fields(observed.crash.json(), trace_id=TRACE, span_id=span.id)
    # copier: endif
    for record in records:
        assert_fields(record, trace_id=TRACE, span_id=span.id)


def test_handled_error_does_not_fail_its_span(observed: Observed) -> None:
    """An own error below 500, and what fails after the response, leave the span as it is."""
    assert not observed.span_of("own").failed
    assert not observed.span_of("late").failed


@pytest.mark.parametrize("name", ["crash", "own", "late", "relayed"])
def test_records_of_each_request_have_its_trace(observed: Observed, name: str) -> None:
    """All records of a request have the trace of its span."""
    traces = {record["trace_id"] for record in observed.records_of(name)}
    assert traces == {observed.span_of(name).trace}


def test_secrets_are_in_no_span(observed: Observed) -> None:
    """The query of a request and the values of a broken response are not sent."""
    span = observed.span_of("crash")
    assert span.attributes["url.query"] == "***"
    assert "hunter" not in str(observed.spans)


def test_call_to_another_service_continues_the_trace(
    observed: Observed,
) -> None:
    """The span of a call stands between that of the caller and that of the service it calls."""
    (call,) = [span for span in observed.spans if span.name == "HTTP GET"]
    (outer,) = with_attribute(observed.spans, "url.path", "/relay")
    (inner,) = with_attribute(observed.spans, "url.path", "/nowhere")
    assert call.parent == outer.id
    assert inner.parent == call.id
    assert inner.trace == outer.trace
    assert call.attributes["server.address"] == "127.0.0.1"
    assert not call.failed


# copier: if stores
def test_stores_have_spans(sink: str) -> None:
    """A command of a store is a span within the request that has caused it."""
    headers = {"X-Request-ID": "ready"}
    with running(env=collector(sink)) as service:
        response = service.get("/health/ready", headers=headers)
        assert response.status_code == 200
    found = spans(sink)
    (server,) = with_attribute(found, "correlation_id", "ready")
    calls = [span for span in found if span.parent == server.id]
    systems = {span.name: span.attributes["db.system.name"] for span in calls}
    expected = {
        # copier: if "postgres" in stores
        "postgresql SELECT": "postgresql",
        "postgresql SHOW": "postgresql",
        # copier: endif
        # copier: if "redis" in stores and example != "orders"
        "redis PING": "redis",
        # copier: endif
    }
    assert systems == expected
    assert not any(span.failed for span in calls)


# copier: endif
# copier: if "redis" in stores and example != "orders"
def test_unavailable_store_fails_its_span(sink: str) -> None:
    """The span of a failed command has its error."""
    env = collector(sink) | {"REDIS_URL": "redis://127.0.0.1:1/0"}
    with running(env=env) as service:
        assert service.get("/health/ready").status_code == 503
    pings = [span for span in spans(sink) if span.name == "redis PING"]
    assert pings
    for ping in pings:
        assert ping.failed
        assert ping.attributes["error.type"] == "ConnectionError"


# copier: endif
def test_nothing_is_traced_without_a_collector(tmp_path: Path) -> None:
    """Without a collector no response and no record has a trace, whatever the caller sends."""
    headers = {"traceparent": TRACEPARENT}
    with running() as service:
        response = service.get("/nowhere", headers=headers)
        records = service.records_of(response)
    assert TRACE not in response.text
    assert TRACE not in str(records)
