"""Still regions: how change is measured, and which of it is noise."""

from __future__ import annotations

from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from service.frame_codec import ImageArray
from service.model.still import BLOCK_PX, Noise, StillMemory, change_between
from tests.service.pictures import sample

SIZE = (184, 248)


def noisy(image: ImageArray, seed: int, deviation: float) -> ImageArray:
    noise = np.random.default_rng(seed).normal(0, deviation, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def photograph() -> ImageArray:
    return np.ascontiguousarray(sample("museum")[100 : 100 + SIZE[0], 100 : 100 + SIZE[1]])


def test_the_same_picture_has_not_changed() -> None:
    assert not change_between(photograph(), photograph()).any()


def test_the_measure_is_the_mean_square_of_the_difference_by_block() -> None:
    one = np.full((16, 24, 3), 100, np.uint8)
    other = one.copy()
    other[:8, 8:16] += 5
    changes = change_between(one, other)
    assert changes.tolist() == [[0, 25, 0], [0, 0, 0]]
    other[8:, 16:] += 100  # counts as 16 levels
    assert change_between(one, other).tolist() == [[0, 25, 0], [0, 0, 255]]


@pytest.mark.parametrize("side_px", [1, 2])
def test_a_dot_is_a_change(side_px: int) -> None:
    one = np.full((16, 24, 3), 100, np.uint8)
    for top in range(8):
        for left in range(8, 14):
            other = one.copy()
            other[top : top + side_px, left : left + side_px] = 255
            assert change_between(one, other).max() == 255


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 25), (37, 8)])
def test_blocks_at_the_edges_may_be_parts(size: tuple[int, int]) -> None:
    one = np.zeros((*size, 3), np.uint8)
    other = one.copy()
    other[-1, -1] = 200
    changes = change_between(one, other)
    assert changes.shape == tuple(-(-side // BLOCK_PX) for side in size)
    assert changes[-1, -1] > 0


def through_jpeg(image: ImageArray, quality: int = 85) -> ImageArray:
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


@pytest.mark.parametrize("deviation", [0.0, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("quality", [80, 90])
def test_a_still_picture_is_learned_to_be_still_whatever_its_noise(
    deviation: float, quality: int
) -> None:
    image, noise = photograph(), Noise()
    first = through_jpeg(noisy(image, 0, deviation), quality)
    shares = []
    for number in range(1, 30):
        frame = through_jpeg(noisy(image, number, deviation), quality)
        shares.append(noise.is_beyond(change_between(first, frame)).mean())
    assert np.mean(shares[10:]) < 0.01


def test_writing_on_plain_paper_is_learned_to_be_still_in_a_few_frames() -> None:
    page, noise = np.full((*SIZE, 3), 245, np.uint8), Noise()
    for row in range(20, SIZE[0], 20):
        cv2.putText(page, "as it was written", (4, row), cv2.FONT_HERSHEY_PLAIN, 1, (20, 20, 20))
    first = through_jpeg(noisy(page, 0, 1.5))
    shares = []
    for number in range(1, 9):
        frame = through_jpeg(noisy(page, number, 1.5))
        shares.append(noise.is_beyond(change_between(first, frame)).mean())
    assert shares[0] > 0.1
    assert max(shares[4:]) < 0.01


@pytest.mark.parametrize("deviation", [0.0, 2.0])
def test_a_step_of_a_pixel_is_beyond_the_noise_where_there_is_detail(deviation: float) -> None:
    image, noise = photograph(), Noise()
    for number in range(1, 10):
        noise.is_beyond(change_between(noisy(image, 0, deviation), noisy(image, number, deviation)))
    moved = image.copy()
    moved[64:128, 64:128] = image[64:128, 65:129]
    changes = change_between(noisy(image, 0, deviation), noisy(moved, 10, deviation))
    beyond = noise.is_beyond(changes)[8:16, 8:16]
    detail = np.abs(cv2.Laplacian(image[64:128, 64:128], cv2.CV_32F)).max(axis=2)
    strong = detail.reshape(8, 8, 8, 8).mean(axis=(1, 3)) > 15
    assert strong.sum() > 10
    assert beyond[strong].mean() > 0.9


def test_what_moves_for_long_is_not_taken_for_noise() -> None:
    noise = Noise()
    everything = np.full((20, 30), 60, np.uint8)
    for _ in range(200):
        assert noise.is_beyond(everything).all()


def test_a_single_block_is_taken_for_noise_unless_it_changes_much() -> None:
    noise = Noise()
    changes = np.zeros((20, 30), np.uint8)
    noise.is_beyond(changes)
    changes[5, 5], changes[10, 10] = 16, 200
    changes[15, 15:18] = 16
    found = np.argwhere(noise.is_beyond(changes)).tolist()
    assert found == [[10, 10], [15, 16]]


def brightened(part: ImageArray) -> ImageArray:
    return np.minimum(part, 245) + np.uint8(10)


def test_what_stands_still_is_not_computed_and_follows_the_new_picture() -> None:
    image = photograph()
    memory = StillMemory(image, brightened(image))
    other = noisy(image, 0, 1.0)

    compute = Mock(side_effect=brightened)
    result, share = memory.sharpen(other, compute, context_px=8, multiple=4)
    assert not compute.called
    assert share == 1
    assert np.abs(result.astype(int) - brightened(other)).max() <= 4  # where it was clipped
    inside = (image < 240) & (other < 240)
    assert np.array_equal(result[inside], brightened(other)[inside])


def test_a_whole_settles_where_it_changed_alone() -> None:
    image = photograph()
    memory = StillMemory(image, brightened(image))
    other = noisy(image, 0, 1.0)
    other[40:48, 80:88] = 255 - image[40:48, 80:88]
    darker = np.maximum(other, 20) - np.uint8(20)

    result, share = memory.settle(other, darker, context_px=8)
    fresh = (result == darker).all(axis=2)
    rows, columns = np.nonzero(fresh)
    assert fresh[24:64, 64:104].all()  # with 16 px around it
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (24, 63, 64, 103)
    assert share == 1 - fresh.mean()
    inside = ~fresh[..., None] & (image < 240) & (other < 240)
    assert np.array_equal(result[inside], brightened(other)[inside])

    again, share = memory.settle(other, brightened(other), context_px=8)
    assert share == 1
    assert np.array_equal(again, result)


def test_a_whole_of_another_picture_settles_as_it_is() -> None:
    memory = StillMemory(photograph(), photograph())
    other = 255 - photograph()
    result, share = memory.settle(other, brightened(other), context_px=8)
    assert np.array_equal(result, brightened(other))
    assert share == 0
    assert memory.settle(other, other, context_px=8)[1] == 1


def test_parts_of_an_older_frame_do_not_mix_with_those_of_a_newer_one() -> None:
    image = photograph()
    memory = StillMemory(image, image, is_exact=True)
    older, newer = image.copy(), image.copy()
    older[40:48, 40:48] += 50
    newer[40:48, 40:48] -= 20

    def newer_overtakes(part: ImageArray) -> ImageArray:
        memory.sharpen(newer, brightened, context_px=4, multiple=1)
        return brightened(part)

    memory.sharpen(older, newer_overtakes, context_px=4, multiple=1)
    _, share = memory.sharpen(newer, brightened, context_px=4, multiple=1)
    assert share == 1
