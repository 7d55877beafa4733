"""Frames fused with those around them: what is gained, and that nothing is lost elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from service.model.fusion import Fusion
from service.model.neighbours import MOST_LOOK_AHEAD, NEIGHBOURS, Shot, around
from tests.service.pictures import sample
from trainer.quality import image_psnr_db
from trainer.video_codec import encode_clip

ImageArray = npt.NDArray[np.uint8]

CLEAN = sample("museum")[:200, :300]


@pytest.fixture(scope="module")
def fusion() -> Fusion:
    return Fusion.load(threads=1)


def panned(frames: int = 6, *, step_px: int = 1) -> ImageArray:
    picture = sample("museum")
    return np.stack([picture[8:208, t * step_px : 300 + t * step_px] for t in range(frames)])


def test_other_noise_in_each_frame_is_taken_away(fusion: Fusion) -> None:
    rng = np.random.default_rng(0)
    clean = panned()
    noisy = np.clip(clean + rng.normal(0, 5, clean.shape), 0, 255).astype(np.uint8)
    shots = [Shot(frame, frame) for frame in noisy]
    fused = fusion.fuse(shots[2], around(shots, 2))
    assert image_psnr_db(fused, clean[2]) > image_psnr_db(noisy[2], clean[2]) + 1.5


@pytest.mark.parametrize("codec", ["h264", "vp9"])
def test_what_a_codec_brings_late_is_there_earlier(fusion: Fusion, codec: str) -> None:
    picture = sample("man-in-profile")
    clean = np.stack([picture[100:300, 100 + t : 400 + t] for t in range(10)])
    decoded = encode_clip(clean, codec=codec, bitrate_kbps=60, fps=15).decoded  # type: ignore[arg-type]
    shots = [Shot(frame, frame) for frame in decoded]
    gains = [
        image_psnr_db(fusion.fuse(shots[at], around(shots, at)), clean[at])
        - image_psnr_db(decoded[at], clean[at])
        for at in range(len(shots))
    ]
    assert np.mean(gains[:-3]) > 0.1
    assert min(gains) > -0.05


def test_a_still_clip_and_a_clip_of_one_frame_stay_as_they_are(fusion: Fusion) -> None:
    shots = [Shot(CLEAN, CLEAN)] * 5
    np.testing.assert_array_equal(fusion.fuse(shots[1], around(shots, 1)), CLEAN)
    alone = fusion.fuse(shots[0], [None] * len(NEIGHBOURS))
    assert alone is shots[0].sharpened


def test_across_a_cut_nothing_is_taken(fusion: Fusion) -> None:
    other = np.ascontiguousarray(sample("man-in-profile")[:200, :300])
    frame = CLEAN[: other.shape[0], : other.shape[1]]
    shot = Shot(frame, frame)
    fused = fusion.fuse(shot, [shot, *[Shot(other, other)] * MOST_LOOK_AHEAD])
    assert image_psnr_db(fused, frame) > 45


@pytest.mark.parametrize("size_px", [(33, 47), (64, 35), (31, 80), (1, 1)])
def test_any_size_keeps_its_size(fusion: Fusion, size_px: tuple[int, int]) -> None:
    height, width = size_px
    first, second = (
        np.ascontiguousarray(sample("museum")[at:, at:][:height, :width]) for at in (5, 6)
    )
    shot = Shot(first, first)
    fused = fusion.fuse(shot, [None, Shot(second, second), None, None])
    assert fused.shape == (height, width, 3)
    assert fused.dtype == np.uint8
    if min(size_px) < 32:
        np.testing.assert_array_equal(fused, first)


def test_less_of_what_is_added_lies_between(fusion: Fusion) -> None:
    rng = np.random.default_rng(0)
    clean = panned()
    noisy = np.clip(clean + rng.normal(0, 5, clean.shape), 0, 255).astype(np.uint8)
    shots = [Shot(frame, frame) for frame in noisy]
    whole, half, none = (
        fusion.fuse(shots[2], around(shots, 2), amount=amount).astype(int)
        for amount in (1.0, 0.5, 0.0)
    )
    np.testing.assert_array_equal(none, noisy[2])
    assert np.abs(whole + none - 2 * half).max() <= 2


def test_neighbours_of_another_number_or_size_are_refused(fusion: Fusion) -> None:
    shot = Shot(CLEAN, CLEAN)
    with pytest.raises(ValueError, match="4 neighbours, not 1"):
        fusion.fuse(shot, [None])
    small = Shot(CLEAN[:64], CLEAN[:64])
    with pytest.raises(ValueError, match="size"):
        fusion.fuse(shot, [small, None, None, None])


def test_without_openvino_pytorch_does_the_same(
    fusion: Fusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.model.fusion.importlib.util.find_spec", lambda _: None)
    torch_fusion = Fusion.load(threads=1)
    rng = np.random.default_rng(0)
    noisy = np.clip(panned() + rng.normal(0, 4, panned().shape), 0, 255).astype(np.uint8)
    shots = [Shot(frame, frame) for frame in noisy]
    one, other = (each.fuse(shots[2], around(shots, 2)) for each in (fusion, torch_fusion))
    difference = np.abs(one.astype(int) - other)
    assert difference.max() <= 2  # bf16 where the CPU multiplies in it
    assert difference.mean() < 0.1


def test_a_file_can_be_named(fusion: Fusion, tmp_path: Path) -> None:
    from service.model.fusion_file import bundled_fusion

    copy = tmp_path / "own.safetensors"
    copy.write_bytes(bundled_fusion().read_bytes())
    assert Fusion.load(copy).fusion_id == fusion.fusion_id
