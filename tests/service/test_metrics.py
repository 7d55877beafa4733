"""service.metrics: what Prometheus reads is what was counted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.lanes import Sharpened
from service.ledger import DropReason
from service.metrics import EndCause, Metrics, RateWindow, Route, StageTimes
from tests.clock import Clock

TIMES = StageTimes(decode_ms=1, queue_ms=2, inference_ms=4, encode_ms=8, total_ms=16)


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, frozenset(labels.items())]


def test_a_rate_is_the_events_of_the_window_over_its_length() -> None:
    clock = Clock()
    rate = RateWindow(window_s=5, clock=clock)
    assert rate.per_second() == 0
    for _ in range(10):
        rate.note()
    clock.now_s += 3
    for _ in range(5):
        rate.note()
    assert rate.per_second() == pytest.approx(3.0)
    clock.now_s += 2
    assert rate.per_second() == pytest.approx(1.0)
    clock.now_s += 3
    assert rate.per_second() == 0


def test_a_rates_memory_is_bounded() -> None:
    rate = RateWindow(window_s=5, max_events=10, clock=Clock())
    for _ in range(100):
        rate.note()
    assert rate.per_second() == pytest.approx(2.0)


def test_the_text_parses_and_every_series_exists_before_the_first_event() -> None:
    metrics = Metrics()
    for reason in get_args(DropReason):
        assert sample(metrics, "clearcall_frames_dropped_total", reason=reason) == 0
    for route in get_args(Route):
        assert sample(metrics, "clearcall_frames_per_second", route=route) == 0
        for stage in ("decode", "queue", "inference", "encode", "total"):
            name = "clearcall_stage_seconds_count"
            assert sample(metrics, name, route=route, stage=stage) == 0
    assert sample(metrics, "clearcall_streams_active") == 0


def test_counters_count_what_they_are_told() -> None:
    metrics = Metrics()
    metrics.frames_received.inc(3)
    metrics.frames_sent.inc(2)
    metrics.note_dropped("replaced", 4)
    metrics.note_dropped("broken")
    metrics.note_image(200)
    metrics.note_image(503)
    metrics.note_image(503)
    assert sample(metrics, "clearcall_frames_received_total") == 3
    assert sample(metrics, "clearcall_frames_sent_total") == 2
    assert sample(metrics, "clearcall_frames_dropped_total", reason="replaced") == 4
    assert sample(metrics, "clearcall_frames_dropped_total", reason="broken") == 1
    assert sample(metrics, "clearcall_images_total", status="200") == 1
    assert sample(metrics, "clearcall_images_total", status="503") == 2


def test_a_sharpened_picture_is_in_its_routes_rate_and_histograms_in_seconds() -> None:
    clock = Clock()
    metrics = Metrics(clock=clock)
    for _ in range(10):
        metrics.note_sharpened("/stream", TIMES)
    assert sample(metrics, "clearcall_frames_per_second", route="/stream") == pytest.approx(2.0)
    assert sample(metrics, "clearcall_frames_per_second", route="/sharpen") == 0
    for stage, time_ms in TIMES.items_ms():
        labels = {"route": "/stream", "stage": stage}
        assert sample(metrics, "clearcall_stage_seconds_count", **labels) == 10
        assert sample(metrics, "clearcall_stage_seconds_sum", **labels) == pytest.approx(
            time_ms / 100
        )
    clock.now_s += 60
    assert sample(metrics, "clearcall_frames_per_second", route="/stream") == 0


def test_a_queues_depth_is_read_at_the_scrape() -> None:
    metrics = Metrics()
    depth = [0]
    metrics.watch_queue("image", lambda: depth[0])
    assert sample(metrics, "clearcall_queue_depth", kind="image") == 0
    depth[0] = 3
    assert sample(metrics, "clearcall_queue_depth", kind="image") == 3


def test_the_model_is_described() -> None:
    metrics = Metrics()
    metrics.describe_model(model="small-3fa9c1d2", device="cpu", backend="openvino")
    labels = {"model": "small-3fa9c1d2", "device": "cpu", "backend": "openvino"}
    assert sample(metrics, "clearcall_model_info", **labels) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="they are read from /proc")
def test_the_processs_own_figures_are_there() -> None:
    names = {name for name, _ in samples(Metrics())}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "python_info"} <= names


def test_two_apps_count_for_themselves() -> None:
    one, other = Metrics(), Metrics()
    one.frames_received.inc()
    assert sample(other, "clearcall_frames_received_total") == 0


def test_what_streams_do_is_counted_in_series_of_few_labels() -> None:
    clock = Clock()
    metrics = Metrics(clock=clock)
    for _ in range(10):
        metrics.note_received()
    metrics.note_displayed(80)
    metrics.note_stream_ended("stalled")
    metrics.window_stalls.inc()
    assert sample(metrics, "clearcall_frames_received_total") == 10
    assert sample(metrics, "clearcall_frames_received_per_second") == pytest.approx(2)
    assert sample(metrics, "clearcall_glass_to_glass_seconds_sum") == pytest.approx(0.08)
    assert sample(metrics, "clearcall_streams_ended_total", cause="stalled") == 1
    assert sample(metrics, "clearcall_window_stalls_total") == 1
    causes = {
        dict(labels)["cause"]
        for name, labels in samples(metrics)
        if name == "clearcall_streams_ended_total"
    }
    assert causes == set(get_args(EndCause))
    clock.now_s += 60
    assert sample(metrics, "clearcall_frames_received_per_second") == 0


def test_every_metric_is_in_the_document() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    own = {
        family.name
        for family in text_string_to_metric_families(Metrics().text().decode())
        if family.name.startswith("clearcall_") and not family.name.endswith("_created")
    }
    assert own
    for name in own:
        assert f"`{name}" in text, name


def test_what_the_engine_did_is_recorded_by_kind_and_rung() -> None:
    metrics = Metrics()
    image = np.zeros((2, 2, 3), np.uint8)
    metrics.note_engine("image", Sharpened(image, 250, 1, student="small"))
    for share, batch in ((0.5, 1), (1.0, 4)):
        done = Sharpened(image, 2, 1, student="nano", scale=0.75, still_share=share, batch=batch)
        metrics.note_engine("frame", done)
    name = "clearcall_frames_sharpened_total"
    assert sample(metrics, name, student="nano", scale="75") == 2
    assert (name, frozenset({("student", "small"), ("scale", "100")})) not in samples(metrics)
    assert sample(metrics, "clearcall_still_share_sum") == 1.5
    assert sample(metrics, "clearcall_batch_size_bucket", le="1.0") == 1
    assert sample(metrics, "clearcall_batch_size_count") == 2
    name = "clearcall_engine_queue_seconds_sum"
    assert sample(metrics, name, kind="image") == pytest.approx(0.25)
    assert sample(metrics, name, kind="frame") == pytest.approx(0.004)
