"""Degradations in batches: equal to those on images, and to themselves in other batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.service.pictures import sample
from trainer.degradation import degrade_sample
from trainer.device_degradation import TOLERANCES, Tolerance, carry_out_batch, degrade_batch
from trainer.mixture import Mixture, sample_chain
from trainer.operators import ImageArray
from trainer.steps import (
    Chain,
    Defocus,
    Gaussian,
    Halo,
    Jpeg,
    Motion,
    Noise,
    Rescale,
    Step,
    Video,
    WebP,
)

STEPS: dict[type[Step], tuple[Step, ...]] = {
    Gaussian: tuple(Gaussian(sigma) for sigma in (0.4, 1.0, 1.37, 2.6)),
    Defocus: tuple(Defocus(radius) for radius in (0.3, 0.7, 1.6, 4.0)),
    Motion: (Motion(2, 0, 0), Motion(5, 30, 0), Motion(12, 77, 60), Motion(9, 120, -90)),
    Halo: (Halo(0.6, 0.2), Halo(1.0, 1.0), Halo(2.0, 1.2)),
    Rescale: (
        Rescale(2, "bicubic", "bicubic"),
        Rescale(4, "bicubic-antialiased", "bicubic-antialiased"),
        Rescale(1.2, "bilinear", "bilinear"),
        Rescale(2.37, "area", "bicubic"),
        Rescale(3, "bilinear-antialiased", "bilinear-antialiased"),
    ),
    Jpeg: (Jpeg(10, True), Jpeg(50, False), Jpeg(75, True), Jpeg(95, True)),
    WebP: (WebP(20), WebP(95)),
}
PHOTOGRAPHS = ("colosseum", "neon-frames", "woman-with-hat")


def crop(name: str, size: tuple[int, int] = (96, 96)) -> ImageArray:
    return np.ascontiguousarray(sample(name)[60 : 60 + size[0], 90 : 90 + size[1]])


def batch(image: ImageArray, count: int) -> Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).expand(count, -1, -1, -1)


def images(batch: Tensor) -> ImageArray:
    return batch.permute(0, 2, 3, 1).numpy()


def require_close(ours: ImageArray, expected: ImageArray, tolerance: Tolerance, what: str) -> None:
    difference = np.abs(ours.astype(int) - expected)
    assert difference.max() <= tolerance.largest, what
    assert difference.mean() <= tolerance.mean, what


def test_the_table_has_every_step_but_noise_and_video() -> None:
    assert set(TOLERANCES) == set(STEPS)


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_every_step_agrees_with_its_operator(kind: type[Step], name: str) -> None:
    steps, image = STEPS[kind], crop(name)
    degraded = images(carry_out_batch([(step,) for step in steps], batch(image, len(steps))))
    for step, ours in zip(steps, degraded, strict=True):
        require_close(ours, step(image), TOLERANCES[kind], f"{step} of {name}")


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (33, 50)])
def test_any_size_will_do(kind: type[Step], size: tuple[int, int]) -> None:
    steps, image = STEPS[kind], crop("colosseum", size)
    degraded = images(carry_out_batch([(step,) for step in steps], batch(image, len(steps))))
    for step, ours in zip(steps, degraded, strict=True):
        difference = np.abs(ours.astype(int) - step(image))
        assert difference.max() <= TOLERANCES[kind].largest, str(step)


def test_a_small_jpeg_comes_between_shrinking_and_enlarging() -> None:
    steps = [
        Rescale(1.5, "area", "bicubic", Jpeg(30, is_subsampled=True)),
        Rescale(2, "bicubic-antialiased", "bicubic-antialiased", Jpeg(80, is_subsampled=False)),
        Rescale(3, "bicubic", "bicubic"),
    ]
    image = crop("woman-with-hat")
    degraded = images(carry_out_batch([(step,) for step in steps], batch(image, 3)))
    for step, ours in zip(steps, degraded, strict=True):
        # A level more or less before the JPEG is a coefficient more or less now and then.
        require_close(ours, step(image), Tolerance(largest=16, mean=0.3), str(step))


def test_noise_has_the_same_statistics_as_on_images() -> None:
    ramp = np.tile(np.linspace(40, 215, 256).astype(np.uint8)[:, None, None], (1, 256, 3))
    step = Noise(read=2.0, shot=8.0, seed=5)
    ours = images(carry_out_batch([(step,)], batch(ramp, 1)))[0].astype(float) - ramp
    theirs = step(ramp).astype(float) - ramp
    for rows in np.split(np.arange(256), 4):
        assert ours[rows].std() == pytest.approx(theirs[rows].std(), rel=0.02)
        assert ours[rows].mean() == pytest.approx(0, abs=0.1)
    correlation = np.corrcoef(ours[..., 0].ravel(), ours[..., 1].ravel())[0, 1]
    assert abs(correlation) < 0.02


def test_a_sample_is_degraded_as_on_the_cpu() -> None:
    image = crop("man-in-profile")
    mixture = Mixture({"rescale": 2, "gaussian": 1, "motion": 1, "jpeg": 1, "halo": 1})
    degraded = images(
        degrade_batch(batch(image, 24), seed=9, first_number=100, clean_share=0.2, mixture=mixture)
    )
    assert any(np.array_equal(ours, image) for ours in degraded)
    for place, ours in enumerate(degraded):
        expected = degrade_sample(
            image, seed=9, number=100 + place, clean_share=0.2, mixture=mixture
        )
        assert np.abs(ours.astype(int) - expected).mean() < 0.2


def test_a_sample_does_not_depend_on_its_batch() -> None:
    clean = batch(crop("colosseum", (48, 48)), 16)
    together = degrade_batch(clean, seed=3, first_number=40)
    alone = torch.cat([degrade_batch(clean[:1], seed=3, first_number=40 + n) for n in range(16)])
    difference = (together.int() - alone.int()).abs().float()
    assert difference.mean() < 0.001
    assert any(
        isinstance(step, Noise)
        for n in range(16)
        for step in sample_chain(3, 40 + n, clean_share=0.1)
    )


def test_the_clean_batch_is_left_alone() -> None:
    clean = batch(crop("museum", (32, 32)), 8).clone()
    before = clean.clone()
    degraded = degrade_batch(clean, seed=0, first_number=0, clean_share=0)
    untouched = degrade_batch(clean, seed=0, first_number=0, clean_share=1)
    assert torch.equal(clean, before)
    assert degraded.dtype == torch.uint8
    assert degraded.shape == clean.shape
    assert torch.equal(untouched, clean)
    assert untouched.data_ptr() != clean.data_ptr()


def test_autocast_does_not_make_it_coarse() -> None:
    clean = batch(crop("colosseum"), 2)
    chains: list[Chain] = [(Gaussian(1.5),), (Rescale(2, "bicubic", "bicubic"),)]
    expected = carry_out_batch(chains, clean)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(carry_out_batch(chains, clean), expected)


def test_the_precision_of_products_is_put_back() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        degrade_batch(batch(crop("museum", (16, 16)), 2), seed=0, first_number=0)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    "step", [Video("h264", 30, 0), Rescale(2, "area", "bilinear", Video("vp9", 30, 0))]
)
def test_video_codecs_are_refused_with_the_way_out(step: Step) -> None:
    with pytest.raises(ValueError, match="give codec no share"):
        carry_out_batch([(step,)], batch(crop("museum", (16, 16)), 1))


@pytest.mark.parametrize(
    ("clean", "chains", "message"),
    [
        (torch.zeros(2, 3, 8, 8), [(), ()], "uint8 tensor, not"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), [(), ()], "uint8 tensor, not"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), [()], "as many chains, not 1"),
        (
            torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
            [(Rescale(2, "area", "area"),)],
            "area is for shrinking",
        ),
    ],
)
def test_what_cannot_be_degraded_is_refused(
    clean: Tensor, chains: Sequence[Chain], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        carry_out_batch(chains, clean)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", STEPS)
def test_a_gpu_agrees_too(kind: type[Step]) -> None:
    steps, image = STEPS[kind], crop("woman-with-hat")
    degraded = carry_out_batch([(step,) for step in steps], batch(image, len(steps)).cuda())
    for step, ours in zip(steps, images(degraded.cpu()), strict=True):
        require_close(ours, step(image), TOLERANCES[kind], str(step))
