"""Regions: what must be computed is covered, by few rectangles of few sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.regions import BlockMask, Rectangle, Region, regions_of

BLOCK_PX = 8


def blocks(size: tuple[int, int], *boxes: Rectangle) -> BlockMask:
    """The mask of a picture of a size in px, with boxes in blocks set."""
    mask = np.zeros([-(-side // BLOCK_PX) for side in size], bool)
    for box in boxes:
        mask[box.slices] = True
    return mask


def found(
    mask: BlockMask, size: tuple[int, int], *, context_px: int = 40, multiple: int = 4
) -> list[Region] | None:
    return regions_of(mask, size, block_px=BLOCK_PX, context_px=context_px, multiple=multiple)


def test_nothing_to_compute_is_no_region() -> None:
    assert found(blocks((360, 640)), (360, 640)) == []


def test_a_whole_picture_to_compute_is_not_cut_up() -> None:
    assert found(blocks((360, 640), Rectangle(0, 0, 45, 80)), (360, 640)) is None


def test_one_change_is_one_rectangle_with_its_context() -> None:
    regions = found(blocks((720, 1280), Rectangle(40, 80, 44, 84)), (720, 1280))
    assert regions is not None
    (region,) = regions
    assert (region.given.top, region.given.left) == (320 - 40, 640 - 40)
    assert region.given.bottom - region.given.top == 128
    assert (region.valid.top, region.valid.left) == (320, 640)
    assert region.valid.bottom == region.given.bottom - 40
    assert region.valid.right == region.given.right - 40


def test_changes_far_apart_are_computed_apart() -> None:
    far = blocks((720, 1280), Rectangle(2, 2, 4, 4), Rectangle(80, 150, 84, 155))
    regions = found(far, (720, 1280))
    assert regions is not None
    assert len(regions) == 2
    assert sum(region.given.area for region in regions) < 0.1 * 720 * 1280


def test_changes_close_together_are_computed_together() -> None:
    near = blocks((720, 1280), Rectangle(40, 40, 42, 42), Rectangle(40, 46, 42, 48))
    regions = found(near, (720, 1280))
    assert regions is not None
    assert len(regions) == 1


def test_a_narrow_head_above_wide_shoulders_is_cut_between_them() -> None:
    person = blocks((720, 1280), Rectangle(20, 70, 65, 90), Rectangle(65, 35, 90, 125))
    regions = found(person, (720, 1280))
    assert regions is not None
    assert len(regions) == 2


sizes = st.tuples(st.integers(1, 400), st.integers(1, 400))


@given(
    size=sizes,
    seed=st.integers(0, 2**32 - 1),
    density=st.sampled_from([0.002, 0.02, 0.3]),
    context_px=st.sampled_from([0, 1, 12, 40]),
    multiple=st.sampled_from([1, 2, 3, 4, 8]),
)
def test_regions_cover_the_mask_and_hold_what_the_network_needs(
    size: tuple[int, int], seed: int, density: float, context_px: int, multiple: int
) -> None:
    mask = blocks(size)
    mask[:] = np.random.default_rng(seed).random(mask.shape) < density
    regions = found(mask, size, context_px=context_px, multiple=multiple)
    if regions is None:
        return
    covered = np.zeros(size, bool)
    for region in regions:
        given, valid = region.given, region.valid
        covered[valid.slices] = True
        for low, high, inner_low, inner_high, limit in (
            (given.top, given.bottom, valid.top, valid.bottom, size[0]),
            (given.left, given.right, valid.left, valid.right, size[1]),
        ):
            assert 0 <= low < high <= limit
            assert low % multiple == 0
            assert high % multiple == 0 or high == limit
            assert low == 0 or inner_low - low >= context_px
            assert high == limit or high - inner_high >= context_px
    wanted = np.kron(mask, np.ones((BLOCK_PX, BLOCK_PX), bool))[: size[0], : size[1]]
    assert not (wanted & ~covered).any()


@pytest.mark.parametrize("multiple", [2, 4])
def test_sides_are_of_few_lengths(multiple: int) -> None:
    rng = np.random.default_rng(0)
    sides = set()
    for _ in range(200):
        top, left = int(rng.integers(0, 60)), int(rng.integers(0, 120))
        box = Rectangle(top, left, top + int(rng.integers(1, 30)), left + int(rng.integers(1, 40)))
        regions = found(blocks((720, 1280), box), (720, 1280), multiple=multiple)
        assert regions is not None
        for region in regions:
            sides |= {region.given.bottom - region.given.top}
            sides |= {region.given.right - region.given.left}
    assert all(side % 32 == 0 for side in sides)
