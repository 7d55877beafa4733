"""The methods beside the student: unsharp mask and CAS by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.trainer.evaluations import brightening_sharpener
from trainer.methods import (
    METHOD_NOTES,
    ImageArray,
    sharpen_adaptively,
    sharpen_by_unsharp_mask,
    standard_methods,
)


def noise(*shape: int) -> ImageArray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_the_unsharp_mask_by_hand() -> None:
    image = np.full((3, 3, 3), 100, np.uint8)
    image[1, 1] = 180
    # The binomial Gaussian gives the bright pixel 4/16 of itself, its neighbours 2/16 and 1/16.
    sharpened = sharpen_by_unsharp_mask(image)[:, :, 0]
    assert sharpened.tolist() == [[98, 95, 98], [95, 210, 95], [98, 95, 98]]
    assert (sharpen_by_unsharp_mask(image, 0.0) == image).all()


def test_the_unsharp_mask_replicates_the_border() -> None:
    image = np.repeat(np.array([100, 180], np.uint8)[None, :, None], 3, axis=2)
    assert sharpen_by_unsharp_mask(image)[0, :, 0].tolist() == [90, 190]


def test_adaptive_sharpening_by_hand() -> None:
    image = np.full((3, 3, 3), 100, np.uint8)
    image[1, 1] = 120
    image[0, 0] = 80
    # cross: 100 to 120, square: 80 to 120, so the soft range is 180 to 240 of 2 * 255
    weight = math.sqrt(180 / 240) * -1 / 8
    expected = (120 + weight * 4 * 100) / (1 + 4 * weight)
    assert sharpen_adaptively(image)[1, 1].tolist() == [round(expected)] * 3
    strongest = math.sqrt(180 / 240) * -1 / 5
    expected = (120 + strongest * 4 * 100) / (1 + 4 * strongest)
    assert sharpen_adaptively(image, 1.0)[1, 1].tolist() == [round(expected)] * 3


def test_near_white_the_distance_to_white_limits_the_weight() -> None:
    image = np.full((3, 3, 3), 240, np.uint8)
    image[1, 1] = 230
    weight = math.sqrt((2 * 255 - 480) / 480) * -1 / 8
    expected = (230 + weight * 4 * 240) / (1 + 4 * weight)
    assert sharpen_adaptively(image)[1, 1, 0] == round(expected)


def test_green_alone_decides_how_much_all_channels_are_sharpened() -> None:
    image = np.full((5, 5, 3), 100, np.uint8)
    image[2, 2] = (180, 120, 60)
    other = image.copy()
    other[:, :, 2] = 255  # other blues change blue only
    first, second = sharpen_adaptively(image), sharpen_adaptively(other)
    np.testing.assert_array_equal(first[:, :, :2], second[:, :, :2])
    assert (first[2, 2] != image[2, 2]).all()


def test_a_neighbourhood_that_spans_the_whole_range_is_left_alone() -> None:
    image = np.full((5, 5, 3), 128, np.uint8)
    image[2, 1], image[2, 3] = 0, 255
    np.testing.assert_array_equal(sharpen_adaptively(image)[2, 2], image[2, 2])


@pytest.mark.parametrize("level", [0, 1, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (7, 5)])
def test_flat_pictures_stay_flat(level: int, shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), level, np.uint8)
    for sharpened in (sharpen_adaptively(image, 1.0), sharpen_by_unsharp_mask(image)):
        np.testing.assert_array_equal(sharpened, image)


def test_noise_stays_in_range_and_the_input_is_not_changed() -> None:
    image = noise(17, 23)
    before = image.copy()
    for sharpened in (sharpen_adaptively(image, 1.0), sharpen_by_unsharp_mask(image)):
        assert sharpened.shape == image.shape
        assert sharpened.dtype == np.uint8
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("sharpness", [-0.1, 1.1, math.nan])
def test_a_sharpness_out_of_range_is_refused(sharpness: float) -> None:
    with pytest.raises(ValueError, match="sharpness must be 0 to 1"):
        sharpen_adaptively(noise(4, 4), sharpness)


def test_the_methods_are_named_noted_and_take_extra_ones() -> None:
    sharpener = brightening_sharpener()
    methods = standard_methods(
        sharpener, strength=0.5, extra={"teacher": lambda image: 255 - image}
    )
    assert list(methods) == ["input", "unsharp", "cas", "student", "teacher"]
    assert METHOD_NOTES.keys() == methods.keys() - {"teacher"}
    image = np.full((4, 4, 3), 100, np.uint8)
    assert methods["input"](image) is image
    assert methods["student"](image)[0, 0, 0] == 105
    assert methods["teacher"](image)[0, 0, 0] == 155
    with pytest.raises(ValueError, match="already called 'cas'"):
        standard_methods(sharpener, extra={"cas": lambda image: image})
