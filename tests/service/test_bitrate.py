"""service.bitrate: with a simulated encoder, and with the real one."""

from __future__ import annotations

import math
import random
from collections import deque

import cv2
import numpy as np
import pytest

from service.bitrate import MIN_QUALITY, BitRate
from service.frame_codec import ImageArray, encode_frame
from service.frames import FrameFormat
from tests.service.pictures import sample

DELAY = 3  # frames in flight: so many qualities are chosen before the first size is known


def run(
    size_of: object,
    kbps: float,
    *,
    fps: float = 30,
    seconds: float = 12,
    highest: int = 90,
    jitter: float = 0.0,
) -> tuple[list[int], list[tuple[float, int]]]:
    """The qualities chosen, and when how many bytes were sent."""
    assert callable(size_of)
    rate, rand = BitRate(kbps), random.Random(1)
    under_way: deque[int] = deque()
    qualities: list[int] = []
    sent: list[tuple[float, int]] = []
    now_s = 0.0
    while now_s < seconds:
        under_way.append(rate.quality(highest))
        if len(under_way) > DELAY:
            quality = under_way.popleft()
            size = int(size_of(quality, now_s))
            rate.note(size, quality=quality, now_s=now_s)
            qualities.append(quality)
            sent.append((now_s, size))
        now_s += rand.lognormvariate(-(jitter**2) / 2, jitter) / fps
    return qualities, sent


def kbps_of(sent: list[tuple[float, int]], from_s: float, to_s: float) -> float:
    sizes = [size for time_s, size in sent if from_s <= time_s < to_s]
    return sum(sizes) * 8 / 1000 / (to_s - from_s)


def encoder(slope: float, bytes_at_50: float = 20_000, noise: float = 0.0) -> object:
    rand = random.Random(2)

    def size(quality: int, _: float) -> float:
        return bytes_at_50 * math.exp(slope * (quality - 50)) * rand.lognormvariate(0, noise)

    return size


@pytest.mark.parametrize("slope", [0.015, 0.025, 0.045, 0.08])
@pytest.mark.parametrize("kbps", [3000, 5000, 8000])
@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_the_mean_rate_is_within_a_few_percent_after_two_seconds(
    slope: float, kbps: float, jitter: float
) -> None:
    qualities, sent = run(encoder(slope, noise=0.1), kbps, jitter=jitter)
    reachable = 20_000 * 8 * 30 / 1000
    low, high = (reachable * math.exp(slope * (q - 50)) for q in (MIN_QUALITY, 90))
    expected = min(max(kbps, low), high)
    assert kbps_of(sent, 2, 12) == pytest.approx(expected, rel=0.06)
    assert all(MIN_QUALITY <= quality <= 90 for quality in qualities)


def test_with_room_the_quality_is_what_was_asked_for() -> None:
    qualities, _ = run(encoder(0.03), 100_000)
    assert set(qualities) == {90}


def test_a_budget_that_cannot_be_held_ends_at_the_lowest_quality_and_comes_back() -> None:
    def size(quality: int, now_s: float) -> float:
        heavy = 40.0 if 3 <= now_s < 6 else 1.0
        return heavy * 8_000 * math.exp(0.03 * (quality - 50))

    qualities, sent = run(size, 3000, seconds=15)
    assert MIN_QUALITY in qualities
    assert kbps_of(sent, 10, 15) == pytest.approx(3000, rel=0.06)


def test_a_frame_rate_that_halves_lets_the_quality_rise() -> None:
    slow, _ = run(encoder(0.03), 4000, fps=15)
    fast, _ = run(encoder(0.03), 4000, fps=30)
    assert np.median(slow[-50:]) > np.median(fast[-50:]) + 10


def test_a_quality_asked_for_below_the_lowest_is_kept() -> None:
    qualities, _ = run(encoder(0.03), 100, highest=7)
    assert set(qualities) == {7}


@pytest.mark.parametrize("frame_format", ["jpeg", "webp"])
def test_the_real_encoder_holds_the_rate(frame_format: FrameFormat) -> None:
    photo = np.asarray(cv2.resize(sample("museum"), (320, 240)), np.uint8)
    shifted: list[ImageArray] = [np.roll(photo, 2 * shift, axis=1) for shift in range(8)]
    known: dict[tuple[int, int], int] = {}

    def size(quality: int, now_s: float) -> int:
        at = int(now_s * 30) % len(shifted)
        if (at, quality) not in known:
            encoded = encode_frame(shifted[at], frame_format, quality=quality)
            known[at, quality] = len(encoded)
        return known[at, quality]

    middle = size(55, 0.0) * 8 * 30 / 1000
    _, sent = run(size, middle)
    assert kbps_of(sent, 2, 12) == pytest.approx(middle, rel=0.05)
