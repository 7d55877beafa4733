"""Moving scenes to train on: things go, hide what is behind them, and change."""

from __future__ import annotations

import numpy as np
import pytest

from tests.service.pictures import sample
from trainer.moving_scene import moving_scene

PICTURES = [sample("museum"), sample("man-in-profile"), sample("museum")[:20, :900]]


@pytest.mark.parametrize("seed", range(6))
def test_a_scene_has_the_size_that_is_asked_for_whatever_the_pictures(seed: int) -> None:
    clip = moving_scene(PICTURES, np.random.default_rng(seed), frames=6, size_px=(90, 160))
    assert clip.shape == (6, 90, 160, 3)
    assert clip.dtype == np.uint8
    assert clip[0].std() > 5


def test_a_scene_depends_on_its_seed_alone() -> None:
    one, again, other = (
        moving_scene(PICTURES, np.random.default_rng(s), frames=4, size_px=(64, 96))
        for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_scenes_move_from_not_at_all_to_fast() -> None:
    changes = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        clip = moving_scene(PICTURES, rng, frames=8, size_px=(120, 160)).astype(int)
        changes.append(np.abs(np.diff(clip, axis=0)).mean())
    assert min(changes) < 2
    assert max(changes) > 8
