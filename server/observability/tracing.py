"""OpenTelemetry spans of requests, with a child span for each phase, beside those of vLLM."""

import os
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

from llava_interleave_serve.server.observability.distribution import DISTRIBUTION
from llava_interleave_serve.server.observability.timing import RequestTiming

GRPC, HTTP = PROTOCOLS = ("grpc", "http/protobuf")  # values of PROTOCOL_VARIABLES
PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")  # the first one wins
SERVICE_VARIABLE = "OTEL_SERVICE_NAME"


def protocol_of_environment(endpoint: str | None) -> str:
    """The protocol that OpenTelemetry's own variables name; GRPC if they name none, or there is no endpoint.

    Raises ValueError for a protocol that is none of PROTOCOLS, and for an endpoint that it does not fit.
    """
    variables = {name: os.environ.get(name, "").strip() for name in PROTOCOL_VARIABLES}
    variable, protocol = next(((name, value) for name, value in variables.items() if value), ("", GRPC))
    if endpoint is None:
        return GRPC
    if protocol not in PROTOCOLS:
        raise ValueError(f"{variable} must be one of {', '.join(PROTOCOLS)}, not {protocol!r}")
    if protocol == HTTP and not urllib.parse.urlsplit(endpoint).path.strip("/"):
        raise ValueError(f"--otlp-traces-endpoint: over HTTP the whole URL is needed, {endpoint.rstrip('/')}/v1/traces")
    return protocol


class Tracer:
    """Exports spans over OTLP, by one of PROTOCOLS, to an endpoint; without one it does nothing."""

    def __init__(self, endpoint: str | None, protocol: str = GRPC) -> None:
        self._provider: Any = None
        if endpoint is None:
            return
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        named = {} if SERVICE_VARIABLE in os.environ else {"service.name": DISTRIBUTION}
        self._provider = TracerProvider(resource=Resource.create(named))
        self._provider.add_span_processor(BatchSpanProcessor(_exporter(endpoint, protocol)))

    def export(self, timing: RequestTiming, headers: Mapping[str, str], name: str = "chat") -> None:
        """Exports the spans of a request that has just ended; the parent is the span that the client names, if any.

        name: of the request's span.
        """
        if self._provider is None:
            return
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        offset = time.time() - time.monotonic()

        def nanoseconds(moment: float) -> int:
            return int((moment + offset) * 1e9)

        tracer = self._provider.get_tracer("llava_interleave_serve")
        parent = TraceContextTextMapPropagator().extract(dict(headers))
        whole = tracer.start_span(name, context=parent, start_time=nanoseconds(timing.started))
        within = trace.set_span_in_context(whole)
        for phase, (start, end) in timing.spans().items():
            tracer.start_span(phase, context=within, start_time=nanoseconds(start)).end(nanoseconds(end))
        whole.end(nanoseconds(time.monotonic()))

    def close(self) -> None:
        if self._provider is not None:
            self._provider.shutdown()


def _exporter(endpoint: str, protocol: str) -> Any:
    if protocol == HTTP:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter as HttpExporter,
        )

        return HttpExporter(endpoint=endpoint)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    return OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https:"))
