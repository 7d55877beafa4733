"""service.traces: which spans come of uploads and frames."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from websockets.sync.client import connect

from service.metrics import StageTimes
from service.traces import Traces
from tests.service.live import Live, eventually, serve
from tests.service.pictures import as_file, jpeg_frame, landscape

TRACE = "0af7651916cd43dd8448eb211c80319c"
TIMES = StageTimes(decode_ms=2, queue_ms=1, inference_ms=30, encode_ms=3, total_ms=40)


def traces(share: float = 1.0) -> tuple[Traces, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(share, provider), exporter


def length_ms(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e6


def test_a_picture_is_one_span_with_one_for_each_stage() -> None:
    noted, exporter = traces()
    noted.note("/sharpen", TIMES)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"POST /sharpen", "queue", "decode", "inference", "encode"}
    whole = spans.pop("POST /sharpen")
    assert length_ms(whole) == pytest.approx(40, abs=0.01)
    assert length_ms(spans["inference"]) == pytest.approx(30, abs=0.01)
    for span in spans.values():
        assert span.parent is not None
        assert span.parent.span_id == whole.context.span_id
    assert spans["queue"].end_time == spans["decode"].start_time


@pytest.mark.parametrize(("share", "traced"), [(1.0, 20), (0.25, 5), (0.01, 0)])
def test_the_share_is_kept(share: float, traced: int) -> None:
    noted, exporter = traces(share)
    for _ in range(20):
        noted.note("/stream", TIMES)
    assert len(exporter.get_finished_spans()) == 5 * traced


def test_uploads_and_frames_of_a_service_are_traced_under_their_callers_span() -> None:
    noted, exporter = traces()
    parent = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "X-Request-ID": "r-7"}

    def names(live: Live) -> set[str]:
        assert live.parts.metrics.on_sharpened is not None
        return {span.name for span in exporter.get_finished_spans()}

    with serve() as live:
        live.parts.metrics.on_sharpened = noted.note
        picture = as_file(landscape(), "png")
        httpx.post(f"{live.url}/sharpen", content=picture, headers=parent).raise_for_status()
        with connect(live.stream_url, additional_headers=parent) as stream:
            stream.recv()
            stream.send(_frame())
            stream.recv()
            eventually(lambda: {"POST /sharpen", "frame"} <= names(live))
    for span in exporter.get_finished_spans():
        assert f"{span.context.trace_id:032x}" == TRACE
    tops = [
        span for span in exporter.get_finished_spans() if span.name in ("frame", "POST /sharpen")
    ]
    assert [dict(span.attributes or {}) for span in tops] == [{"clearcall.request_id": "r-7"}] * 2


def test_without_traces_the_extra_is_not_imported() -> None:
    script = (
        "import sys; from service.app import create_app; from service.settings import Settings;"
        "create_app(Settings());"
        "print(*[name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def _frame() -> bytes:
    from service.frames import Frame, pack_frame

    return pack_frame(Frame(0, 0.0, jpeg_frame()))
