"""One stream's memory: the description, the processing scale, the regions that stand still."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest

from service.frame_codec import ImageArray
from service.model.live import DESCRIBE_EVERY, LiveFrame, LiveSharpener, LiveTurn
from service.model.sharpener import Description, Sharpener
from tests.service.doubles import FakeSharpener
from tests.service.pictures import sample
from trainer.quality import image_psnr_db

SIZE = (240, 320)


@pytest.fixture
def fake() -> FakeSharpener:
    return FakeSharpener(lanes=2)


@pytest.fixture(scope="module")
def nano() -> Sharpener:
    return Sharpener.load("nano", device="cpu", precision="fp32", threads=2)


def photograph(name: str = "museum") -> ImageArray:
    return np.ascontiguousarray(sample(name)[: SIZE[0], : SIZE[1]])


def noisy(image: ImageArray, seed: int, deviation: float = 2.0) -> ImageArray:
    noise = np.random.default_rng(seed).normal(0, deviation, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def step(
    live: LiveSharpener,
    sharpener: FakeSharpener | Sharpener,
    image: ImageArray,
    *,
    strength: float = 1.0,
    scale: float = 1.0,
    reuses_still: bool = True,
    lane: int | None = None,
) -> LiveFrame:
    real = sharpener.as_sharpener() if isinstance(sharpener, FakeSharpener) else sharpener
    return live.sharpen(
        real, image, strength=strength, scale=scale, reuses_still=reuses_still, lane=lane
    )


class Described(FakeSharpener):
    """Every picture is described by what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.next_description = 0.0

    def describe(self, image: ImageArray, *, lane: int | None = None) -> Description:
        super().describe(image, lane=lane)
        return np.full((1, 64), self.next_description, np.float32)

    @property
    def last(self) -> float:
        seen = self.descriptions_seen[-1]
        assert seen is not None
        return float(seen[0, 0])


# The description.


def test_a_stream_is_described_every_few_frames_in_the_lane_of_the_frame(
    fake: FakeSharpener,
) -> None:
    live = LiveSharpener()
    for _ in range(2 * DESCRIBE_EVERY + 1):
        step(live, fake, photograph(), lane=1, reuses_still=False)
    assert fake.lanes_described == [1, 1, 1]
    assert set(fake.lanes_seen) == {1}


def test_small_differences_of_descriptions_are_smoothed_away() -> None:
    fake, live = Described(), LiveSharpener()
    for number in range(20 * DESCRIBE_EVERY):
        fake.next_description = 0.12 * (-1) ** (number // DESCRIBE_EVERY)
        step(live, fake, photograph(), reuses_still=False)
        assert fake.last == fake.descriptions_seen[0][0, 0]  # type: ignore[index]


def test_a_description_that_drifts_away_is_followed() -> None:
    fake, live = Described(), LiveSharpener()
    for number in range(40 * DESCRIBE_EVERY):
        fake.next_description = min(1.0, number / (20 * DESCRIBE_EVERY))
        step(live, fake, photograph(), reuses_still=False)
    assert fake.last == pytest.approx(1.0, abs=0.25)


def test_a_description_of_another_kind_is_taken_as_it_is() -> None:
    fake, live = Described(), LiveSharpener()
    step(live, fake, photograph(), reuses_still=False)
    fake.next_description = 2.0
    for _ in range(DESCRIBE_EVERY):
        step(live, fake, photograph(), reuses_still=False)
    assert fake.last == 2.0


def test_a_lens_that_finds_its_focus_makes_no_frame_worse(nano: Sharpener) -> None:
    live, sharp = LiveSharpener(), photograph("colosseum")
    losses = []
    for number in range(61):
        deviation = 2 * (1 - number / 60)
        blurred = cv2.GaussianBlur(sharp, (0, 0), deviation) if deviation > 0.15 else sharp
        frame = np.asarray(blurred, np.uint8)
        before, after = (
            image_psnr_db(image, sharp) for image in (frame, step(live, nano, frame).image)
        )
        losses.append(before - after)
    assert max(losses) < 0.05


def test_after_a_cut_the_stream_is_described_at_once() -> None:
    fake, live = Described(), LiveSharpener()
    step(live, fake, photograph("museum"))
    fake.next_description = 0.1
    step(live, fake, photograph("colosseum"))
    assert len(fake.lanes_described) == 2
    assert fake.last == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("museum", "colosseum"),
        ("colosseum", "woman-with-hat"),
        ("woman-with-hat", "neon-frames"),
        ("neon-frames", "man-in-profile"),
        ("museum", "man-in-profile"),
    ],
)
def test_every_pair_of_photographs_is_a_cut(fake: FakeSharpener, before: str, after: str) -> None:
    live = LiveSharpener()
    step(live, fake, photograph(before))
    step(live, fake, photograph(after))
    assert len(fake.lanes_described) == 2


def test_a_moving_person_and_a_noisy_camera_are_no_cuts(fake: FakeSharpener) -> None:
    live = LiveSharpener()
    for number in range(DESCRIBE_EVERY):
        image = photograph().copy()
        image[60:, 40 + 12 * number : 160 + 12 * number] = photograph("woman-with-hat")[60:, :120]
        step(live, fake, noisy(image, number, 8.0))
    assert len(fake.lanes_described) == 1


@pytest.mark.parametrize("change", ["sharpener", "strength", "scale", "size"])
def test_another_sharpener_strength_scale_or_size_begins_anew(change: str) -> None:
    one, other = FakeSharpener(), FakeSharpener()
    live, image = LiveSharpener(), photograph()
    step(live, one, image)
    after = step(
        live,
        other if change == "sharpener" else one,
        image[:200] if change == "size" else image,
        strength=2.0 if change == "strength" else 1.0,
        scale=0.5 if change == "scale" else 1.0,
    )
    assert len(one.lanes_described) + len(other.lanes_described) == 2
    assert after.still_share == 0


# The processing scale.


def test_scale_one_is_the_sharpeners_own_result(nano: Sharpener) -> None:
    image = photograph()
    live = step(LiveSharpener(), nano, image)
    assert np.array_equal(live.image, nano.sharpen(image, strength=1.0))


@pytest.mark.parametrize("scale", [0.75, 0.5, 0.3])
def test_the_network_works_on_the_picture_scaled_down(fake: FakeSharpener, scale: float) -> None:
    image = photograph()[:221, :317]
    live = step(LiveSharpener(), fake, image, scale=scale)
    assert live.image.shape == image.shape
    assert fake.shapes_seen == [(round(221 * scale), round(317 * scale), 3)]


def test_a_scaled_correction_keeps_its_sign_and_saturates() -> None:
    class Stretched(FakeSharpener):
        def sharpen(self, image: ImageArray, **_: Any) -> ImageArray:
            return np.where(image > 127, np.minimum(image, 215) + 40, np.maximum(image, 40) - 40)

    image = np.full((64, 64, 3), 230, np.uint8)
    image[:, :32] = 30
    image[:, 16:32], image[:, 32:48] = 100, 180
    image[:8, [0, -1]] = 128  # so that its sides are no bars
    result = step(LiveSharpener(), Stretched(), image, scale=0.5).image
    assert result[32, [4, 24, 40, 60], 0].tolist() == [0, 60, 220, 255]


def test_half_of_the_scale_keeps_the_fine_detail_of_the_picture(nano: Sharpener) -> None:
    image = photograph()
    half = step(LiveSharpener(), nano, image, scale=0.5).image
    detail, before = (cv2.Laplacian(each, cv2.CV_32F).std() for each in (half, image))
    assert detail > 0.9 * before


@pytest.mark.parametrize("scale", [0.0, -0.5, 1.1, float("nan")])
def test_a_scale_out_of_range_is_refused(fake: FakeSharpener, scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be above 0 and at most 1"):
        step(LiveSharpener(), fake, photograph(), scale=scale)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_what_is_no_image_is_refused(nano: Sharpener, image: ImageArray) -> None:
    with pytest.raises(ValueError, match="an image is"):
        step(LiveSharpener(), nano, image, scale=0.5)


def test_a_strength_of_zero_is_the_very_image_and_describes_nothing(nano: Sharpener) -> None:
    live = step(LiveSharpener(), nano, photograph(), strength=0.0, scale=0.5)
    assert np.array_equal(live.image, photograph())


# Still regions.


def with_patches(image: ImageArray, rng: np.random.Generator, count: int) -> ImageArray:
    """Some rectangles of another photograph in it."""
    changed, other = image.copy(), photograph("colosseum")
    for _ in range(count):
        height, width = rng.integers(1, 60, 2)
        top, left = rng.integers(0, SIZE[0] - height), rng.integers(0, SIZE[1] - width)
        where = slice(top, top + height), slice(left, left + width)
        changed[where] = other[where]
    return changed


@pytest.mark.parametrize("strength", [0.7, 2.0])
@pytest.mark.parametrize("size", [SIZE, (233, 311)])
@pytest.mark.parametrize("seed", range(3))
def test_where_any_change_counts_the_result_is_that_of_a_whole_run(
    nano: Sharpener, seed: int, size: tuple[int, int], strength: float
) -> None:
    rng = np.random.default_rng(seed)
    image, live, shares = photograph(), LiveSharpener(is_exact=True), []
    description = nano.describe(image[: size[0], : size[1]])
    for number in range(6):
        frame = image[: size[0], : size[1]]
        result = step(live, nano, frame, strength=strength)
        whole = nano.sharpen(frame, strength=strength, description=description)
        assert np.array_equal(result.image, whole), f"frame {number}"
        shares.append(result.still_share)
        image = with_patches(image, rng, int(rng.integers(0, 2)))
    assert max(shares[1:]) > 0.5


def test_a_still_frame_is_the_same_bit_for_bit_and_runs_nothing(nano: Sharpener) -> None:
    live, image = LiveSharpener(), photograph()
    first, second = step(live, nano, image), step(live, nano, image.copy())
    assert np.array_equal(first.image, second.image)
    assert (first.still_share, second.still_share) == (0, 1)


def test_only_what_changed_is_computed(fake: FakeSharpener) -> None:
    live, image = LiveSharpener(), photograph()
    step(live, fake, image)
    changed = image.copy()
    changed[100:120, 200:230] = 255 - changed[100:120, 200:230]
    result = step(live, fake, changed)
    assert 0.7 < result.still_share < 1
    height, width, _ = fake.shapes_seen[-1]
    assert height <= 128
    assert width <= 128


def test_noise_is_no_change_and_stays_in_the_picture(fake: FakeSharpener) -> None:
    live = LiveSharpener()
    step(live, fake, noisy(photograph(), 0))
    for number in range(1, 5):
        frame = noisy(photograph(), number)
        result = step(live, fake, frame)
        assert result.still_share > 0.9
        whole = fake.sharpen(frame, strength=1.0)
        assert np.abs(result.image.astype(int) - whole).mean() < 3 * 2.0


def test_reused_and_computed_regions_meet_without_a_seam(nano: Sharpener) -> None:
    live = LiveSharpener()
    step(live, nano, noisy(photograph(), 0))
    frame = noisy(photograph(), 1)
    frame[80:120, 120:170] = photograph("colosseum")[80:120, 120:170]
    result = step(live, nano, frame)
    assert 0.2 < result.still_share < 0.95
    whole = nano.sharpen(frame, strength=1.0, description=nano.describe(noisy(photograph(), 0)))
    error = result.image.astype(int) - whole
    reused = np.abs(error).max(axis=2) > 0
    assert np.sqrt((error[reused] ** 2).mean()) < 4
    # A seam would show as a step along a row or column that the rest of the picture has not.
    for axis in (0, 1):
        steps = np.abs(np.diff(error.mean(axis=2).mean(axis=1 - axis)))
        assert steps.max() < 1


def test_still_regions_can_be_off(fake: FakeSharpener) -> None:
    live = LiveSharpener()
    for _ in range(3):
        assert step(live, fake, photograph(), reuses_still=False).still_share == 0
    assert fake.shapes_seen == [(*SIZE, 3)] * 3


def test_no_ghost_of_the_scene_before_a_cut(nano: Sharpener) -> None:
    live, after = LiveSharpener(), photograph("colosseum")
    for number in range(3):
        step(live, nano, noisy(photograph("museum"), number))
    result = step(live, nano, after)
    assert result.still_share == 0
    assert np.array_equal(result.image, nano.sharpen(after, strength=1.0))


def test_a_slow_fade_is_followed(fake: FakeSharpener) -> None:
    """No step is beyond the noise, but their sum is: corrections are those of the new picture."""
    live, one, other = LiveSharpener(), photograph("museum"), photograph("colosseum")
    worst = 0.0
    for number in range(101):
        mixed = cv2.addWeighted(one, 1 - number / 100, other, number / 100, 0)
        frame = np.asarray(mixed, np.uint8)
        error = step(live, fake, frame).image.astype(int) - fake.sharpen(frame, strength=1.0)
        worst = max(worst, float(np.sqrt((error**2).mean())))
    assert worst < 2


def test_a_slowly_moving_picture_does_not_keep_its_old_contours(nano: Sharpener) -> None:
    live, worst = LiveSharpener(), 0.0
    wide = np.ascontiguousarray(sample("colosseum")[:240, :400])
    description = nano.describe(wide[:, :320])
    for number in range(24):
        shift = np.array([[1, 0, -number / 8], [0, 1, 0]], np.float32)
        frame = np.asarray(cv2.warpAffine(wide, shift, (320, 240)), np.uint8)
        whole = nano.sharpen(frame, strength=1.0, description=description)
        error = step(live, nano, frame).image.astype(int) - whole
        worst = max(worst, float(np.sqrt((error**2).mean())))
    assert worst < 1


def test_a_change_of_the_description_recomputes_everything() -> None:
    fake, live = Described(), LiveSharpener()
    for _ in range(DESCRIBE_EVERY):
        step(live, fake, photograph())
    fake.next_description = 2.0
    assert step(live, fake, photograph()).still_share == 0
    assert step(live, fake, photograph()).still_share == 1


# Two lanes.


def test_frames_may_overlap_on_two_lanes(fake: FakeSharpener) -> None:
    live = LiveSharpener()
    step(live, fake, photograph())
    frames = [with_patches(photograph(), np.random.default_rng(seed), 2) for seed in range(2)]
    fake.hold()
    with ThreadPoolExecutor(2) as threads:
        calls = [
            threads.submit(step, live, fake, frame, lane=lane) for lane, frame in enumerate(frames)
        ]
        for _ in range(3):  # the first frame's, and one of each lane at the same time
            assert fake.entered.acquire(timeout=10)
        fake.release()
        results = [call.result() for call in calls]
    for frame, result in zip(frames, results, strict=True):
        assert result.still_share > 0
        error = result.image.astype(int) - fake.sharpen(frame, strength=1.0)
        assert np.sqrt((error**2).mean()) < 1


def test_a_frame_from_before_a_cut_that_is_late_leaves_no_trace(fake: FakeSharpener) -> None:
    live, after = LiveSharpener(), photograph("colosseum")
    fake.hold()
    late = threading.Thread(target=step, args=(live, fake, photograph("museum")))
    late.start()
    assert fake.entered.acquire(timeout=10)
    newer = threading.Thread(target=step, args=(live, fake, after))
    newer.start()
    assert fake.entered.acquire(timeout=10)
    fake.release()
    late.join()
    newer.join()
    result = step(live, fake, after)
    assert result.still_share == 1
    assert np.array_equal(result.image, fake.sharpen(after, strength=1.0))


def test_many_overlapping_frames_end_as_each_alone(nano: Sharpener) -> None:
    live, image = LiveSharpener(is_exact=True), photograph()
    description = nano.describe(image)
    frames = [image]
    for seed in range(5):
        frames.append(with_patches(image, np.random.default_rng(seed), 1))
    step(live, nano, image)
    alone = [nano.sharpen(frame, strength=1.0, description=description) for frame in frames]
    with ThreadPoolExecutor(nano.lanes) as threads:
        for number in range(0, 6, nano.lanes):
            at_once = slice(number, number + nano.lanes)
            calls = [
                threads.submit(step, live, nano, frame, lane=lane)
                for lane, frame in enumerate(frames[at_once])
            ]
            for whole, call in zip(alone[at_once], calls, strict=True):
                assert np.array_equal(call.result().image, whole)


def begun(
    live: LiveSharpener, fake: FakeSharpener, image: ImageArray, *, reuses_still: bool = True
) -> LiveTurn:
    return live.begin(fake.as_sharpener(), image, strength=1.0, reuses_still=reuses_still)


def test_whoever_sharpens_several_streams_together_gets_the_same_descriptions() -> None:
    fake, alone, together = FakeSharpener(), LiveSharpener(), LiveSharpener()
    frames = [noisy(photograph(), seed) for seed in range(DESCRIBE_EVERY + 1)]
    frames += [photograph("colosseum")] * 2
    for image in frames:
        step(alone, fake, image, reuses_still=False)
        seen = fake.descriptions_seen[-1]
        assert seen is not None
        assert np.array_equal(begun(together, fake, image).description, seen)


def test_whoever_sharpens_several_streams_together_keeps_what_stands_still() -> None:
    fake, live, frames = FakeSharpener(), LiveSharpener(), [photograph(), photograph()]
    frames[1][80:120, 200:240] = 255 - frames[1][80:120, 200:240]
    wholes = [fake.sharpen(frames[0]), fake.sharpen(frames[1])]
    first = begun(live, fake, frames[0]).settle(wholes[0])
    assert first.still_share == 0
    assert np.array_equal(first.image, wholes[0])
    darker = np.maximum(wholes[1], 50) - np.uint8(50)
    second = begun(live, fake, frames[1]).settle(darker)
    assert 0.7 < second.still_share < 1
    assert np.array_equal(second.image[80:120, 200:240], darker[80:120, 200:240])
    assert np.array_equal(second.image[:64], wholes[1][:64])
    assert begun(live, fake, frames[1]).settle(wholes[1]).still_share == 1
    assert step(live, fake, frames[1]).still_share == 1
    off = begun(live, fake, frames[1], reuses_still=False).settle(wholes[1])
    assert off.still_share == 0
    assert step(live, fake, frames[1]).still_share == 0


def test_a_correction_by_another_description_is_not_kept() -> None:
    fake, live = Described(), LiveSharpener()
    turns = []
    for number in range(DESCRIBE_EVERY + 1):
        fake.next_description = 5.0 * (number == DESCRIBE_EVERY)
        turns.append(begun(live, fake, photograph()))
    turns[0].settle(photograph())  # it comes late
    assert turns[-1].settle(photograph()).still_share == 0
    assert begun(live, fake, photograph()).settle(photograph()).still_share == 1


def test_where_parts_gain_nothing_the_whole_is_computed_and_settles() -> None:
    fake, live, frame = FakeSharpener(), LiveSharpener(), photograph()
    fake.max_batch = 4
    step(live, fake, frame)
    frame = noisy(frame, 1)
    frame[80:120, 200:240] = 255 - frame[80:120, 200:240]
    done = step(live, fake, frame)
    assert 0.7 < done.still_share < 1
    assert fake.shapes_seen == [frame.shape] * 2
    assert np.array_equal(done.image[80:120, 200:240], fake.sharpen(frame)[80:120, 200:240])
