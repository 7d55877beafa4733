"""JPEG on tensors against libjpeg-turbo's own."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.service.pictures import as_file, sample
from trainer.device_jpeg import compress_jpeg_batch, quantisation_tables
from trainer.operators import ImageArray, compress_jpeg

NAMES = ("colosseum", "neon-frames", "woman-with-hat")


def planes(image: ImageArray) -> torch.Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))


def compressed(image: ImageArray, quality: int, *, is_subsampled: bool) -> ImageArray:
    levels = compress_jpeg_batch(
        planes(image), torch.tensor([quality]), torch.tensor([is_subsampled])
    )
    return levels[0].permute(1, 2, 0).numpy().astype(np.uint8)


@pytest.mark.parametrize("quality", [1, 25, 50, 77, 100])
def test_the_tables_are_those_of_libjpeg(quality: int) -> None:
    with Image.open(
        io.BytesIO(as_file(Image.new("RGB", (16, 16)), "jpeg", quality=quality))
    ) as file:
        written = file.quantization  # type: ignore[attr-defined]
    tables = quantisation_tables(torch.tensor([float(quality)]))[0]
    for number in (0, 1):
        assert tables[number].flatten().int().tolist() == list(written[number])


@pytest.mark.parametrize("is_subsampled", [True, False])
@pytest.mark.parametrize("quality", [5, 25, 50, 75, 95, 100])
def test_it_agrees_with_real_jpeg(quality: int, is_subsampled: bool) -> None:
    for name in NAMES:
        image = np.ascontiguousarray(sample(name)[50:178, 90:218])
        real = compress_jpeg(image, quality=quality, is_subsampled=is_subsampled).astype(int)
        ours = compressed(image, quality, is_subsampled=is_subsampled)
        assert np.abs(ours - real).mean() < 0.02
        assert np.abs(image - real).mean() > 0.15  # there was something to agree on


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 17), (61, 39)])
def test_odd_sizes_are_filled_up_as_libjpeg_does(size: tuple[int, int]) -> None:
    image = np.ascontiguousarray(sample("colosseum")[100 : 100 + size[0], 90 : 90 + size[1]])
    real = compress_jpeg(image, quality=40).astype(int)
    ours = compressed(image, 40, is_subsampled=True)
    assert np.abs(ours - real).mean() < 0.02


def test_pictures_of_several_sizes_share_their_planes() -> None:
    image = sample("colosseum")[100:164, 90:154]
    sizes = [(61, 39), (18, 64), (64, 64)]
    filled = [
        np.pad(image[:height, :width], ((0, 64 - height), (0, 64 - width), (0, 0)), mode="edge")
        for height, width in sizes
    ]
    qualities, subsampled = [30, 80, 55], [True, False, True]
    levels = compress_jpeg_batch(
        torch.cat([planes(picture) for picture in filled]),
        torch.tensor(qualities),
        torch.tensor(subsampled),
        torch.tensor(sizes),
    )
    for ours, (height, width), quality, flag in zip(
        levels, sizes, qualities, subsampled, strict=True
    ):
        part = np.ascontiguousarray(image[:height, :width])
        real = compress_jpeg(part, quality=quality, is_subsampled=flag).astype(int)
        difference = np.abs(ours[:, :height, :width].permute(1, 2, 0).numpy() - real)
        assert difference.mean() < 0.02


def test_levels_stay_whole_and_in_range() -> None:
    levels = compress_jpeg_batch(
        torch.randint(0, 2, (2, 3, 24, 24)).float() * 255,
        torch.tensor([10, 90]),
        torch.tensor([True, False]),
    )
    assert torch.equal(levels, levels.round())
    assert levels.min() >= 0
    assert levels.max() <= 255
