"""OpenTelemetry traces of a share of the uploads and frames; the extra `otel`. Off by default, and
then the extra is not imported.

One span for each that is traced, and in it one for each stage: queue, decode, inference, encode.
They are made when it is answered, from the same times that the metrics get, end to end: a frame
waits twice, which is told as one wait. No picture and no key is in them. Where they go is said by
the variables of OpenTelemetry, such as OTEL_EXPORTER_OTLP_ENDPOINT. A `traceparent` header of the
request, or of a stream's opening, is their parent.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from service.errors import SettingsInvalid
from service.logs import REQUEST_ID, TRACE_PARENT
from service.metrics import Route, StageTimes

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["Traces", "otlp_provider"]

_NAMES: dict[Route, str] = {"/sharpen": "POST /sharpen", "/stream": "frame"}
_NS_PER_MS = 1e6


class Traces:
    """Called from one event loop; spans are exported in a thread of the provider's."""

    def __init__(self, share: float, provider: TracerProvider) -> None:
        """Args: share: Of what is answered, 0 to 1; evenly spread, not drawn."""
        self._share = share
        self._due = dict.fromkeys(_NAMES, 0.0)
        self._provider = provider
        self._tracer = provider.get_tracer("clearcall")

    def note(self, route: Route, times: StageTimes) -> None:
        """One was answered, just now."""
        self._due[route] += self._share
        if self._due[route] < 1:
            return
        self._due[route] -= 1
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        end_ns = time.time_ns()
        at_ns = end_ns - int(times.total_ms * _NS_PER_MS)
        parent = TraceContextTextMapPropagator().extract({"traceparent": TRACE_PARENT.get()})
        span = self._tracer.start_span(
            _NAMES[route],
            context=parent,
            start_time=at_ns,
            kind=trace.SpanKind.SERVER,
            attributes={"clearcall.request_id": REQUEST_ID.get()},
        )
        within = trace.set_span_in_context(span)
        stages = dict(times.items_ms())
        for stage in ("queue", "decode", "inference", "encode"):
            child = self._tracer.start_span(stage, context=within, start_time=at_ns)
            at_ns += int(stages[stage] * _NS_PER_MS)
            child.end(at_ns)
        span.end(end_ns)

    def close(self) -> None:
        """Exports what is left; takes seconds where the collector does not answer."""
        self._provider.shutdown()


def otlp_provider() -> TracerProvider:
    """Exports by OTLP over HTTP.

    Raises:
        SettingsInvalid: The extra is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as exc:
        raise SettingsInvalid(
            "CLEARCALL_TRACE_SHARE (--trace-share) needs OpenTelemetry: "
            "pip install 'clearcall[otel]'."
        ) from exc
    named = Resource.create({"service.name": "clearcall"})  # OTEL_SERVICE_NAME wins
    provider = TracerProvider(resource=named)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
