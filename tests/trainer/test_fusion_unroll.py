"""Whole clips in PyTorch: as the product fuses them, across cuts, and with gradients."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from service.model.alignment import moved
from service.model.fusion import Fusion
from service.model.fusion_file import load_fusion
from service.model.neighbours import LARGEST_DIFFERENCE, NEIGHBOURS, Shot
from tests.service.pictures import sample
from trainer.fusion_samples import halved_motions
from trainer.fusion_unroll import Clips, fused_clips, moved_planes

Gray = npt.NDArray[np.uint8]


def gray_clip(frames: int = 5) -> Gray:
    """A pan with noise, (T, 96, 128)."""
    picture = cv2.cvtColor(sample("museum"), cv2.COLOR_RGB2GRAY)
    panned = np.stack([picture[40:136, 50 + 2 * t : 178 + 2 * t] for t in range(frames)])
    noise = np.random.default_rng(0).normal(0, 4, panned.shape)
    return np.clip(panned + noise, 0, 255).astype(np.uint8)


def clips_of(frames: Gray) -> Clips:
    motions = np.stack(halved_motions(list(frames))).astype(np.float32)
    levels = torch.from_numpy(frames.astype(np.float32))[None]
    return Clips(levels, levels, torch.from_numpy(motions)[None])


def test_planes_move_as_opencv_moves_them() -> None:
    rng = np.random.default_rng(0)
    plane = cv2.GaussianBlur(rng.uniform(0, 255, (40, 60)).astype(np.float32), (0, 0), 2)
    by = cv2.resize(rng.normal(0, 3, (5, 8, 2)).astype(np.float32), (30, 20))
    whole = cv2.resize(by, (60, 40), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    ours = moved_planes(
        torch.from_numpy(plane)[None, None], torch.from_numpy(by.transpose(2, 0, 1).copy())[None]
    )
    assert np.abs(ours[0, 0].numpy() - moved([plane], whole)[0]).max() < 0.5  # of 255


def test_a_clip_is_fused_as_the_product_fuses_it() -> None:
    frames = gray_clip()
    shots = [Shot(frame, frame) for frame in np.repeat(frames[..., None], 3, axis=-1)]
    product = list(Fusion.load(threads=1).fuse_backwards(shots))[::-1]
    with torch.inference_mode():
        added = fused_clips(load_fusion().network, clips_of(frames), precision=torch.float32)
    for at, fused in enumerate(product):
        assert fused is not None
        difference = np.abs(fused.levels[..., 0] - frames[at] - added[0, at].numpy())
        assert difference.mean() < 0.1
    assert added[0, 0].abs().mean() > 1


class Whole(nn.Module):
    """Takes all of the next frame."""

    def forward(self, planes: Tensor) -> Tensor:
        weights = torch.zeros(len(planes), len(NEIGHBOURS), *planes.shape[-2:])
        weights[:, 0] = 1
        return weights


def test_what_the_last_frame_holds_is_handed_on_to_the_first_but_not_across_a_cut() -> None:
    levels = torch.tensor([10.0, 10.0, 10.0, 13.0]).view(1, 4, 1, 1).expand(2, 4, 8, 8).clone()
    levels[1] += 100
    clips = Clips(levels, levels, torch.zeros(2, 4, len(NEIGHBOURS), 2, 4, 4))
    added = fused_clips(Whole(), clips, precision=torch.float32)
    assert added[0, :, 0, 0].tolist() == pytest.approx([3, 3, 3, 0])
    cuts = torch.zeros(2, 4, dtype=torch.bool)
    cuts[0, 1] = True
    added = fused_clips(Whole(), clips, precision=torch.float32, cuts=cuts)
    assert added[0, :, 0, 0].tolist() == pytest.approx(
        [LARGEST_DIFFERENCE, LARGEST_DIFFERENCE, 3, 0]
    )
    assert added[1, :, 0, 0].tolist() == pytest.approx([3, 3, 3, 0])


def test_an_early_error_has_a_gradient_in_a_late_frame() -> None:
    clips = clips_of(gray_clip(3))
    clips.sharpened.requires_grad_()
    added = fused_clips(load_fusion().network, clips, precision=torch.float32)
    (gradient,) = torch.autograd.grad(added[0, 0].square().mean(), clips.sharpened)
    assert gradient[0, 2].any()
