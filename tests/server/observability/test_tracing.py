"""Spans reach a collector of OpenTelemetry's."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from llava_interleave_serve.server.observability.timing import RequestTiming
from llava_interleave_serve.server.observability.tracing import Tracer


class Collector(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]  # gRPC's code is untyped
    """Keeps the spans that it is sent. `endpoint`: where it listens."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self.endpoint = ""

    def Export(self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802 - gRPC names it so
        for resource in request.resource_spans:
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
