"""The teacher as a method: any size, the same size, and no other picture than `teach` makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.nafnet import TEACHERS, NAFNet
from trainer.operators import blur_gaussian
from trainer.pictures import load_picture
from trainer.quality import image_psnr_db
from trainer.teacher_file import BUNDLED_TEACHERS, find_teacher, load_teacher
from trainer.teacher_method import teacher_method


@pytest.fixture(scope="module")
def network() -> NAFNet:
    torch.manual_seed(3)
    made = NAFNet(TEACHERS["tiny"])
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return made.eval()


@pytest.mark.parametrize("size", [(1, 1), (33, 50), (64, 64)])
def test_a_picture_of_any_size_keeps_it(
    network: NAFNet, samples: Path, size: tuple[int, int]
) -> None:
    image = load_picture(samples / "museum.jpg")[: size[0], : size[1]]
    taught = teacher_method(network, device="cpu")(image)
    assert taught.shape == image.shape
    assert taught.dtype == np.uint8
    assert size == (1, 1) or not np.array_equal(taught, image)


@pytest.mark.parametrize("name", BUNDLED_TEACHERS)
def test_a_bundled_teacher_sharpens_what_is_soft_and_leaves_what_is_sharp(
    samples: Path, name: str
) -> None:
    sharp = load_picture(samples / "museum.jpg")[:256, :256]
    sharpen = teacher_method(load_teacher(find_teacher(name)).network, device="cpu")
    soft = blur_gaussian(sharp, sigma_px=1.0)
    assert image_psnr_db(sharpen(soft), sharp) > image_psnr_db(soft, sharp) + 1
    assert image_psnr_db(sharpen(sharp), sharp) > 45


def test_local_attention_is_global_in_a_picture_within_the_window(
    network: NAFNet, samples: Path
) -> None:
    image = load_picture(samples / "museum.jpg")[:64, :64]
    everywhere = teacher_method(network, device="cpu")(image)
    local = teacher_method(network, window_px=64, device="cpu")(image)
    assert np.abs(everywhere.astype(int) - local).max() <= 1
    larger = load_picture(samples / "museum.jpg")[:256, :256]
    near = teacher_method(network, window_px=32, device="cpu")(larger)
    assert not np.array_equal(teacher_method(network, device="cpu")(larger), near)


def test_a_window_below_zero_is_refused(network: NAFNet) -> None:
    with pytest.raises(ValueError, match="0 or more px"):
        teacher_method(network, window_px=-1)
