"""RGB to YCbCr and back: colours kept, and where they are."""

from __future__ import annotations

import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from tests.service.pictures import sample
from trainer.operators import ImageArray
from trainer.quality import image_psnr_db
from trainer.video_colour import CALL_MATRIX, CALL_RANGE, to_rgb, to_yuv


def there_and_back(image: ImageArray) -> ImageArray:
    frame = to_yuv(VideoReformatter(), image)
    return to_rgb(VideoReformatter(), frame, matrix=CALL_MATRIX, levels=CALL_RANGE)


def test_every_colour_comes_back_within_two_levels() -> None:
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    for red in steps:
        for green in steps:
            for blue in steps:
                flat = np.broadcast_to(np.array((red, green, blue)), (16, 16, 3))
                assert np.abs(there_and_back(flat).astype(int) - flat).max() <= 2


@pytest.mark.parametrize(("level", "luma"), [(0, 16), (255, 235), (128, 126)])
def test_luma_is_in_studio_range(level: int, luma: int) -> None:
    frame = to_yuv(VideoReformatter(), np.full((16, 16, 3), level, np.uint8))
    y, cb, cr = (np.frombuffer(bytes(plane), np.uint8)[:8] for plane in frame.planes)
    assert np.abs(y.astype(int) - luma).max() <= 1
    assert np.abs(cb.astype(int) - 128).max() <= 1
    assert np.abs(cr.astype(int) - 128).max() <= 1


def test_the_matrix_is_bt_601() -> None:
    # Kr = 0.299: red's luma is 16 + 219 * 0.299.
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    luma = np.frombuffer(bytes(to_yuv(VideoReformatter(), red).planes[0]), np.uint8)[:8]
    assert np.abs(luma.astype(float) - 81.5).max() <= 1


def test_colour_stays_in_its_place() -> None:
    image = np.ascontiguousarray(sample("neon-frames")[40:168, 60:188])
    returned = there_and_back(image)
    assert image_psnr_db(returned, image) > 32
    for axis in (0, 1):
        mirrored = np.flip(there_and_back(np.ascontiguousarray(np.flip(image, axis))), axis)
        difference = mirrored.astype(int) - returned
        assert np.abs(difference).mean() < 0.5
