"""desktop.video.pipeline: stages side by side, bounded and in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import av
import numpy as np
import pytest

from desktop.video.pipeline import Passed, Picture, Sharpening, Tally, run_stages
from service.model.live import LiveSharpener
from tests.service.doubles import FakeSharpener


def pictures(count: int) -> Iterator[Picture]:
    for number in range(count):
        frame = av.VideoFrame(16, 16, "yuv420p")
        frame.pts = number
        yield Picture(frame, np.full((16, 16, 3), number % 250, np.uint8))


class Written:
    """Takes what comes, or fails at one of them."""

    def __init__(self, *, fails_at: int | None = None) -> None:
        self.times: list[int | None] = []
        self.is_finished = False
        self._fails_at = fails_at

    def run(self, passed: Passed) -> None:
        assert isinstance(passed, Picture)
        assert passed.sharpened is not None
        if len(self.times) == self._fails_at:
            raise OSError("full")
        self.times.append(passed.frame.pts)

    def finish(self) -> None:
        self.is_finished = True


def sharpening(fake: FakeSharpener) -> Sharpening:
    return Sharpening(fake.as_sharpener(), LiveSharpener(), strength=1.0, tally=Tally())


def test_frames_come_out_in_order_though_lanes_work_side_by_side() -> None:
    fake, written = FakeSharpener(lanes=3), Written()
    run_stages(pictures(100), sharpening(fake), written)
    assert written.times == list(range(100))
    assert written.is_finished
    assert set(fake.lanes_seen) <= {0, 1, 2}


def test_few_frames_are_decoded_ahead_of_a_slow_network() -> None:
    fake, written = FakeSharpener(lanes=2), Written()
    fake.hold()
    decoded = 0
    is_ahead = threading.Event()

    def counted() -> Iterator[Picture]:
        nonlocal decoded
        for picture in pictures(60):
            decoded += 1
            if decoded == 6:  # two in the lanes and four waiting
                is_ahead.set()
            yield picture

    running = threading.Thread(target=run_stages, args=(counted(), sharpening(fake), written))
    running.start()
    assert is_ahead.wait(10)
    assert decoded <= 7
    fake.release()
    running.join(30)
    assert len(written.times) == 60


@pytest.mark.parametrize("stage", ["decode", "network", "encode"])
def test_a_failure_in_any_stage_ends_all_of_them_and_comes_out(stage: str) -> None:
    def broken() -> Iterator[Picture]:
        yield from pictures(20)
        if stage == "decode":
            raise OSError("full")

    fake = FakeSharpener(lanes=2)
    if stage == "network":
        fake.failure = OSError("full")
    with pytest.raises(OSError, match="full"):
        run_stages(broken(), sharpening(fake), Written(fails_at=5 if stage == "encode" else None))
    assert not [each for each in threading.enumerate() if each.name.startswith("video-")]


def test_an_interruption_ends_all_stages() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stages(pictures(10_000), sharpening(FakeSharpener()), Written(), on_progress=interrupt)
    assert not [each for each in threading.enumerate() if each.name.startswith("video-")]
