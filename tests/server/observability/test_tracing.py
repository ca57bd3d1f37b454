"""Spans reach a collector of OpenTelemetry's."""

import gzip
import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from llava_interleave_serve.server.observability import tracing
from llava_interleave_serve.server.observability.timing import RequestTiming
from llava_interleave_serve.server.observability.tracing import Tracer


class Collector(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]  # gRPC's code is untyped
    """Keeps the spans that it is sent. `endpoint`: where it listens."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self.services: list[str] = []
        self.endpoint = ""

    def Export(self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any) -> Any:  # noqa: N802 - gRPC names it so
        for resource in request.resource_spans:
            attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.services.append(attributes["service.name"])
            for scope in resource.scope_spans:
                self.spans |= {span.name: span for span in scope.spans}
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector, server = Collector(), grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield collector
    server.stop(None)


class HttpCollector(http.server.BaseHTTPRequestHandler):
    """Keeps the spans that are posted to it."""

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(data)
        server: Any = self.server
        server.collector.Export(request, None)
        server.paths.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def http_collector() -> Iterator[Collector]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), HttpCollector)
    server.collector, server.paths = Collector(), []
    server.collector.endpoint = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.collector
    server.shutdown()
    thread.join()
    server.server_close()
    assert set(server.paths) <= {"/v1/traces"}


def export(endpoint: str, protocol: str = tracing.GRPC, **headers: str) -> None:
    """Exports the span of a request that had these headers."""
    tracer = Tracer(endpoint, protocol)
    tracer.export(RequestTiming(), headers)
    tracer.close()


def test_spans_reach_a_collector_that_speaks_http(http_collector: Collector) -> None:
    export(http_collector.endpoint, tracing.HTTP)
    assert set(http_collector.spans) == {"chat"}


@pytest.mark.parametrize("protocol", tracing.PROTOCOLS)
def test_a_request_that_its_client_does_not_sample_is_not_exported(
    protocol: str, collector: Collector, http_collector: Collector
) -> None:
    receiver = http_collector if protocol == tracing.HTTP else collector
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
    export(receiver.endpoint, protocol, traceparent=f"{parent}-00")
    assert receiver.spans == {}
    export(receiver.endpoint, protocol, traceparent=f"{parent}-01")
    assert set(receiver.spans) == {"chat"}


def test_the_service_has_the_name_that_the_environment_gives_it(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(collector.endpoint)
    monkeypatch.setenv(tracing.SERVICE_VARIABLE, "mine")
    export(collector.endpoint)
    assert collector.services == ["llava-interleave-serve", "mine"]


def test_a_request_is_a_child_span_of_the_client_with_one_child_span_for_each_phase(collector: Collector) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    phases = RequestTiming()
    phases.add("fetch", phases.started + 1.0, phases.started + 1.25)
    phases.add("fetch", phases.started + 1.5, phases.started + 2.0)
    tracer = Tracer(collector.endpoint)
    tracer.export(phases, {"traceparent": f"00-{trace}-{parent}-01"})
    tracer.close()
    chat, fetch = collector.spans["chat"], collector.spans["fetch"]
    assert chat.trace_id.hex() == fetch.trace_id.hex() == trace
    assert chat.parent_span_id.hex() == parent
    assert fetch.parent_span_id == chat.span_id
    assert fetch.end_time_unix_nano - fetch.start_time_unix_nano == pytest.approx(1e9, abs=1e4)
    assert fetch.start_time_unix_nano - chat.start_time_unix_nano == pytest.approx(1e9, abs=1e7)


def test_spans_are_not_exported_without_an_endpoint() -> None:
    tracer = Tracer(None)
    tracer.export(RequestTiming(), {})
    tracer.close()
