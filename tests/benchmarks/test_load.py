"""benchmarks.load: mixes are read, every frame is accounted for, clients keep to what they say."""

from __future__ import annotations

import argparse
import math
import threading

import pytest

from benchmarks.footage import panned_frames, played, still_frames
from benchmarks.load import parse_mix, run_load
from benchmarks.load_client import LoadOptions, StreamPlan
from service.frame_codec import jpeg_size
from tests.service.doubles import FakeSharpener
from tests.service.live import serve

SMALL = StreamPlan(48, 64, 40.0)


def frames(plan: StreamPlan) -> list[bytes]:
    return panned_frames(plan.height, plan.width, count=4)


def test_a_mix_names_streams_by_number_size_and_rate() -> None:
    plans = parse_mix("2x1280x720@30,640x360@7.5, 1x256x256@max")
    assert plans == [
        StreamPlan(720, 1280, 30),
        StreamPlan(720, 1280, 30),
        StreamPlan(360, 640, 7.5),
        StreamPlan(256, 256, math.inf),
    ]
    assert [str(plan) for plan in plans[1:]] == ["1280x720@30", "640x360@7.5", "256x256@max"]


@pytest.mark.parametrize("text", ["", "1280x720", "1x1x1@fast", "1280x720@30,"])
def test_what_is_no_mix_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="2x1280x720@30"):
        parse_mix(text)


def test_footage_is_played_to_and_fro() -> None:
    footage = [b"a", b"b", b"c"]
    assert b"".join(played(footage, number) for number in range(8)) == b"abcbabcb"
    assert played(footage[:1], 5) == b"a"
    for made in (panned_frames(48, 64, count=3), still_frames(48, 64, count=3)):
        assert [jpeg_size(frame) for frame in made] == [(48, 64)] * 3
        assert len(set(made)) == 3


def test_a_paced_stream_is_answered_at_its_rate_and_all_frames_are_accounted_for() -> None:
    with serve() as live:
        options = LoadOptions(seconds=1.0, warm_up_s=0.2)
        report = run_load(live.url, [SMALL, SMALL], frames, options)
    assert report.is_balanced
    assert report.received == sum(stream.sent for stream in report.streams)
    assert report.answered == sum(stream.delivered for stream in report.streams)
    for stream in report.streams:
        assert stream.fps_due == pytest.approx(40, rel=0.15)
        assert stream.sent + stream.skipped == pytest.approx(48, abs=3)
        assert stream.errors == {}
        assert 0 < stream.latency_p50_ms <= stream.latency_p95_ms
        assert stream.stages_ms["total"][0] >= stream.stages_ms["overhead"][0]
    assert 0 < report.fairness["64x48@40"] <= 1


@pytest.mark.parametrize("is_greedy", [False, True])
def test_only_a_greedy_client_sends_more_than_its_window(is_greedy: bool) -> None:
    sharpener = FakeSharpener()
    sharpener.hold()
    seconds = 0.5

    def release() -> None:
        assert sharpener.entered.acquire(timeout=20)
        threading.Event().wait(2 * seconds)  # until all has been sent
        sharpener.release()

    releasing = threading.Thread(target=release)
    releasing.start()
    with serve(sharpener, frames_in_flight=1) as live:
        options = LoadOptions(seconds=seconds, warm_up_s=0, window=1, is_greedy=is_greedy)
        report = run_load(live.url, [SMALL], frames, options)
    releasing.join()
    [stream] = report.streams
    assert report.is_balanced
    assert report.received == stream.sent
    if is_greedy:
        assert report.dropped == {"replaced": stream.sent - stream.delivered}
        assert stream.delivered == 2  # the first, and the newest
    else:
        assert (stream.sent, report.dropped) == (1, {})
        assert stream.skipped > 10


def test_a_refused_stream_says_why() -> None:
    with serve(max_streams=1) as live, pytest.raises(ExceptionGroup) as caught:
        run_load(live.url, [SMALL, SMALL], frames, LoadOptions(seconds=1.0))
    assert caught.group_contains(RuntimeError, match="refused")
