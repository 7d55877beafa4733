"""Frames fused with those around them: what is gained, and that nothing is lost elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from service.model.fusion import Fusion
from service.model.neighbours import NEIGHBOURS, Fused, Shot
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


def fused_clip(
    fusion: Fusion, frames: Sequence[ImageArray] | ImageArray, amount: float = 1.0
) -> list[ImageArray]:
    fused = list(fusion.fuse_backwards([Shot(frame, frame) for frame in frames]))[::-1]
    return [each.picture(amount) for each in fused if each is not None]


def noisy_clip(deviation: float) -> tuple[ImageArray, ImageArray]:
    """Clean and with other noise in each frame."""
    rng = np.random.default_rng(0)
    clean = panned()
    noisy = clean + rng.normal(0, deviation, clean.shape)
    return clean, np.clip(noisy, 0, 255).astype(np.uint8)


def test_other_noise_in_each_frame_is_taken_away(fusion: Fusion) -> None:
    clean, noisy = noisy_clip(5)
    gains = [
        image_psnr_db(one, original) - image_psnr_db(before, original)
        for one, before, original in zip(fused_clip(fusion, noisy), noisy, clean, strict=True)
    ]
    assert gains[0] > 2.5
    assert gains[0] > gains[-2] + 0.5  # what others gathered is handed on


@pytest.mark.parametrize("codec", ["h264", "vp9"])
def test_what_a_codec_brings_late_is_there_earlier(fusion: Fusion, codec: str) -> None:
    picture = sample("man-in-profile")
    clean = np.stack([picture[100:300, 100 + t : 400 + t] for t in range(10)])
    decoded = encode_clip(clean, codec=codec, bitrate_kbps=60, fps=15).decoded  # type: ignore[arg-type]
    gains = [
        image_psnr_db(one, original) - image_psnr_db(before, original)
        for one, before, original in zip(fused_clip(fusion, decoded), decoded, clean, strict=True)
    ]
    assert np.mean(gains[:-3]) > 0.1
    assert min(gains) > -0.05


def test_a_still_clip_and_a_clip_of_one_frame_stay_as_they_are(fusion: Fusion) -> None:
    for count in (1, 5):
        for frame in fused_clip(fusion, [CLEAN] * count):
            np.testing.assert_array_equal(frame, CLEAN)


def test_across_a_cut_nothing_is_taken(fusion: Fusion) -> None:
    other = np.ascontiguousarray(sample("man-in-profile")[:200, :300])
    frame = CLEAN[: other.shape[0], : other.shape[1]]
    first, *_ = fused_clip(fusion, [frame, *[other] * 4])
    assert image_psnr_db(first, frame) > 45


@pytest.mark.parametrize("grays", [(240, 48, 192, 128, 80), (80, 86, 92, 99, 94)])
def test_flat_slides_keep_their_brightness(fusion: Fusion, grays: tuple[int, ...]) -> None:
    frames = [np.full((180, 320, 3), gray, np.uint8) for gray in grays for _ in range(8)]
    for number, frame in enumerate(frames):
        frame[20 + number : 60 + number, 30:90] = 255 - frame[0, 0]
    for one, frame in zip(fused_clip(fusion, frames), frames, strict=True):
        assert abs(float(one.mean()) - float(frame.mean())) < 0.5


def test_frames_that_are_not_there_are_passed_over(fusion: Fusion) -> None:
    shot = Shot(CLEAN, CLEAN)
    fused = list(fusion.fuse_backwards([shot, None, None, shot]))
    assert [each is None for each in fused] == [False, True, True, False]
    assert fused[-1] is not None
    np.testing.assert_array_equal(fused[-1].picture(), CLEAN)
    assert not list(fusion.fuse_backwards([]))


def test_the_frame_before_a_clip_is_known_to_its_first(fusion: Fusion) -> None:
    clean, noisy = noisy_clip(5)
    before, *shots = [Shot(frame, frame) for frame in noisy[:3]]
    *_, first = fusion.fuse_backwards(shots, before=before)
    *_, without = fusion.fuse_backwards(shots)
    assert first is not None
    assert without is not None
    known, unknown = (image_psnr_db(each.picture(), clean[1]) for each in (first, without))
    assert known > unknown + 0.2
    alone = Shot(CLEAN, CLEAN)
    (only,) = fusion.fuse_backwards([alone], before=alone)
    assert only is not None
    np.testing.assert_array_equal(only.picture(), CLEAN)


@pytest.mark.parametrize("size_px", [(33, 47), (64, 35), (31, 80), (1, 1)])
def test_any_size_keeps_its_size(fusion: Fusion, size_px: tuple[int, int]) -> None:
    height, width = size_px
    frames = [np.ascontiguousarray(sample("museum")[at:, at:][:height, :width]) for at in (5, 6, 7)]
    first, *_ = fused_clip(fusion, frames)
    assert first.shape == (height, width, 3)
    assert first.dtype == np.uint8
    if min(size_px) < 32:
        np.testing.assert_array_equal(first, frames[0])


def test_less_of_what_is_added_lies_between(fusion: Fusion) -> None:
    _, noisy = noisy_clip(5)
    whole, half, none = (
        fused_clip(fusion, noisy, amount)[0].astype(int) for amount in (1.0, 0.5, 0.0)
    )
    np.testing.assert_array_equal(none, noisy[0])
    assert np.abs(whole + none - 2 * half).max() <= 2


def test_neighbours_of_another_number_or_size_are_refused(fusion: Fusion) -> None:
    frame = Fused.alone(Shot(CLEAN, CLEAN))
    with pytest.raises(ValueError, match=f"{len(NEIGHBOURS)} neighbours, not 1"):
        fusion.fuse(frame, [None])
    small = Fused.alone(Shot(CLEAN[:64], CLEAN[:64]))
    with pytest.raises(ValueError, match="size"):
        fusion.fuse(frame, [small, None, None])


def test_without_openvino_pytorch_does_the_same(
    fusion: Fusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.model.fusion.importlib.util.find_spec", lambda _: None)
    torch_fusion = Fusion.load(threads=1)
    _, noisy = noisy_clip(4)
    one, other = (fused_clip(each, noisy)[0] for each in (fusion, torch_fusion))
    difference = np.abs(one.astype(int) - other)
    assert difference.max() <= 2  # bf16 where the CPU multiplies in it
    assert difference.mean() < 0.1


def test_a_file_can_be_named(fusion: Fusion, tmp_path: Path) -> None:
    from service.model.fusion_file import bundled_fusion

    copy = tmp_path / "own.safetensors"
    copy.write_bytes(bundled_fusion().read_bytes())
    assert Fusion.load(copy).fusion_id == fusion.fusion_id
