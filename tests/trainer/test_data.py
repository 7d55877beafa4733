"""Training crops: each a function of the source, the seed and its number, however they are made."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.trainer.datasets import patch, write_picture
from trainer import data
from trainer.data import CropDataset, crop_batches, is_flat, open_source
from trainer.degradation import degrade_sample
from trainer.mixture import Mixture, is_from_pairs, sample_chain, softening_chain
from trainer.picture_set import PictureSet
from trainer.pictures import ImageArray
from trainer.steps import carry_out


def crops(pictures: PictureSet, seed: int = 0) -> CropDataset:
    return CropDataset(pictures, crop_px=64, seed=seed, clean_share=0.1)


def image_of(crop: torch.Tensor) -> ImageArray:
    return crop.permute(1, 2, 0).numpy()


@pytest.fixture
def pairs(tmp_path: Path) -> PictureSet:
    """Pairs whose degraded picture is the negative of the clean one, 160x240 and 240x160."""
    for number, size in enumerate(((160, 240), (240, 160))):
        clean = patch(number, *size)
        write_picture(tmp_path / "sharp" / f"{number}.png", clean)
        write_picture(tmp_path / "blurry" / f"{number}.png", 255 - clean)
    return open_source(tmp_path, smallest_px=48, cache_bytes=0)


def test_the_names_that_others_import_are_here() -> None:
    for name in ("CropDataset", "crop_batches", "find_pictures", "open_source", "read_picture"):
        assert callable(getattr(data, name))


def test_a_crop_depends_on_seed_and_number_alone(pictures: PictureSet) -> None:
    first, again, other = crops(pictures), crops(pictures), crops(pictures, seed=1)
    for number in (0, 7, 12_345):
        degraded, clean = first[number]
        assert degraded.shape == clean.shape == (3, 64, 64)
        assert degraded.dtype == clean.dtype == torch.uint8
        assert torch.equal(degraded, again[number][0])
        assert torch.equal(clean, again[number][1])
    assert not torch.equal(first[0][1], first[1][1])
    assert not torch.equal(first[0][1], other[0][1])


def test_the_degradation_is_the_one_that_the_device_makes_of_that_number(
    pictures: PictureSet,
) -> None:
    for number in range(6):
        degraded, clean = crops(pictures, seed=4)[number]
        expected = degrade_sample(image_of(clean), seed=4, number=number, clean_share=0.1)
        assert np.array_equal(image_of(degraded), expected)


def test_both_pictures_of_a_pair_are_cropped_flipped_and_turned_alike(pairs: PictureSet) -> None:
    dataset = CropDataset(pairs, crop_px=48, seed=0)
    seen = set()
    for number in range(60):
        degraded, clean = dataset[number]
        assert torch.equal(degraded, 255 - clean)
        seen.add(clean.numpy().tobytes())
    assert len(seen) == 60


def test_crops_are_turned_and_flipped_in_all_eight_ways(tmp_path: Path) -> None:
    image = patch(0, 64, 64)
    write_picture(tmp_path / "a.png", image)
    source = open_source(tmp_path, smallest_px=64, cache_bytes=10**6)
    dataset = CropDataset(source, crop_px=64, seed=0, degrade_on_device=True)
    ways = {
        np.rot90(side, turns).tobytes() for side in (image, image[:, ::-1]) for turns in range(4)
    }
    assert {image_of(dataset[number][1]).tobytes() for number in range(100)} == ways


def test_changing_a_crop_does_not_change_the_picture(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", patch(0, 64, 64))
    source = open_source(tmp_path, smallest_px=64, cache_bytes=10**6)

    dataset = CropDataset(source, crop_px=64, seed=0)
    for number in range(16):
        for crop in dataset[number]:
            crop.zero_()
    assert np.array_equal(source.image(0), patch(0, 64, 64))


def test_a_soft_picture_is_soft_in_both_places_and_degraded_as_a_crisp_one_is(
    pictures: PictureSet,
) -> None:
    soft = CropDataset(pictures, crop_px=64, seed=4, clean_share=0.1, soft_share=0.5)
    is_soft = []
    for number, (degraded, clean) in enumerate(soft[n] for n in range(12)):
        crisp = crops(pictures, seed=4)[number][1]
        later = sample_chain(4, number, clean_share=0.1)
        chain = softening_chain(4, number, later, share=0.5)
        assert np.array_equal(image_of(clean), carry_out(chain, image_of(crisp)))
        expected = degrade_sample(image_of(clean), seed=4, number=number, clean_share=0.1)
        assert np.array_equal(image_of(degraded), expected)
        is_soft.append(bool(chain))
    assert {True, False} == set(is_soft)


def test_pairs_are_not_softened(pairs: PictureSet) -> None:
    plain, soft = (
        CropDataset(pairs, crop_px=48, seed=0, soft_share=share)[3] for share in (0.0, 1.0)
    )
    assert all(map(torch.equal, plain, soft))


def test_a_share_of_the_crops_is_drawn_on_and_the_others_stay_as_they_are(
    pictures: PictureSet, pairs: PictureSet
) -> None:
    for source in (pictures, pairs):
        plain, some, all_of_them = (
            CropDataset(source, crop_px=48, seed=0, overlay_share=share) for share in (0, 0.5, 1)
        )
        is_drawn = []
        for number in range(16):
            same = all(map(torch.equal, plain[number], some[number]))
            alike = all(map(torch.equal, some[number], all_of_them[number]))
            assert same or alike
            is_drawn.append(not same)
        assert 2 < sum(is_drawn) < 14


def test_a_share_of_the_crops_is_of_pages_and_the_others_stay_as_they_are(
    pictures: PictureSet,
) -> None:
    plain, some, all_of_them = (
        CropDataset(pictures, crop_px=48, seed=0, page_share=share) for share in (0, 0.5, 1)
    )
    is_page = []
    for number in range(16):
        same = all(map(torch.equal, plain[number], some[number]))
        assert same or all(map(torch.equal, some[number], all_of_them[number]))
        is_page.append(not same)
    assert 2 < sum(is_page) < 14


def test_a_page_is_degraded_as_the_picture_in_its_place_would_be(pictures: PictureSet) -> None:
    pages = CropDataset(pictures, crop_px=48, seed=0, clean_share=0.0, page_share=1.0)
    for number in range(4):
        degraded, clean = (image_of(planes) for planes in pages[number])
        expected = degrade_sample(clean, seed=0, number=number, clean_share=0.0)
        assert np.array_equal(degraded, expected)


def test_pages_are_written_in_the_fonts_that_are_given(
    pictures: PictureSet, tmp_path: Path
) -> None:
    gone = [tmp_path / "gone.ttf"]
    pages = CropDataset(pictures, crop_px=48, seed=0, page_share=1.0, fonts=gone)
    with pytest.raises(OSError, match="cannot open"):
        pages[0]


def test_pages_take_the_place_of_sharp_pictures_and_not_of_pairs(
    pictures: PictureSet, pairs: PictureSet
) -> None:
    with pytest.raises(ValueError, match="page_share needs sharp pictures"):
        CropDataset(pairs, crop_px=48, seed=0, page_share=0.1)
    plain, paged = (
        CropDataset(pictures, crop_px=48, seed=0, pairs=pairs, pair_share=0.5, page_share=share)
        for share in (0.0, 1.0)
    )
    same = [all(map(torch.equal, plain[number], paged[number])) for number in range(16)]
    assert same == [is_from_pairs(0, number, share=0.5) for number in range(16)]


def test_what_is_drawn_needs_the_loader_to_degrade(pictures: PictureSet) -> None:
    with pytest.raises(ValueError, match="overlay_share needs the loader to degrade"):
        CropDataset(pictures, crop_px=48, seed=0, overlay_share=0.2, degrade_on_device=True)


def test_another_mixture_takes_the_place_of_the_usual_one(pictures: PictureSet) -> None:
    mixture = Mixture({"noise": 1.0})
    dataset = CropDataset(pictures, crop_px=64, seed=0, clean_share=0.0, mixture=mixture)
    for number in range(4):
        degraded, clean = dataset[number]
        # Noise has no direction: its mean is next to nothing, its size is not.
        change = degraded.float() - clean.float()
        assert change.abs().mean() > 0.2
        assert change.mean().abs() < 0.5


def test_crops_for_the_device_come_clean_in_both_places(
    pictures: PictureSet, pairs: PictureSet
) -> None:
    dataset = CropDataset(pictures, crop_px=64, seed=0, degrade_on_device=True)
    degraded, clean = dataset[2]
    assert dataset.needs_degradation
    assert torch.equal(degraded, clean)
    assert torch.equal(clean, crops(pictures)[2][1])
    paired = CropDataset(pairs, crop_px=48, seed=0, degrade_on_device=True)
    assert not paired.needs_degradation
    assert torch.equal(paired[0][0], 255 - paired[0][1])


def test_a_picture_smaller_than_a_crop_is_told(pictures: PictureSet) -> None:
    dataset = CropDataset(pictures, crop_px=1000, seed=0)
    with pytest.raises(ValueError, match="smaller than a crop of 1000 px"):
        dataset[0]


def test_flat_crops_are_told_from_detailed_ones() -> None:
    assert is_flat(np.full((64, 64, 3), 90, np.uint8))
    assert not is_flat(patch(0, 64, 64))


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on one CPU
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_start_where_the_run_goes_on_whatever_the_workers(
    pictures: PictureSet, workers: int
) -> None:
    dataset = crops(pictures)
    batches = list(crop_batches(dataset, first_step=3, last_step=5, batch_size=2, workers=workers))
    assert len(batches) == 2
    for step, (degraded, clean) in zip((3, 4), batches, strict=True):
        for place in range(2):
            expected = dataset[step * 2 + place]
            assert torch.equal(degraded[place], expected[0])
            assert torch.equal(clean[place], expected[1])


@pytest.mark.timeout(30)
def test_workers_start_also_after_opencv_has_used_several_threads(pictures: PictureSet) -> None:
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        cv2.GaussianBlur(np.zeros((1000, 1000, 3), np.uint8), (0, 0), 2)
        loader = crop_batches(crops(pictures), first_step=0, last_step=1, batch_size=2, workers=1)
        assert len(list(loader)) == 1
    finally:
        cv2.setNumThreads(threads)


@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_processes_share_the_batch_of_a_single_one(pictures: PictureSet, world_size: int) -> None:
    def batches(rank: int, world_size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        loader = crop_batches(
            crops(pictures),
            first_step=1,
            last_step=3,
            batch_size=6,
            workers=0,
            rank=rank,
            world_size=world_size,
        )
        return [(degraded, clean) for degraded, clean in loader]

    single = batches(0, 1)
    shared = [batches(rank, world_size) for rank in range(world_size)]
    for step in range(2):
        for member in range(2):
            parts = [rank[step][member] for rank in shared]
            assert [len(part) for part in parts] == [6 // world_size] * world_size
            assert torch.equal(torch.cat(parts), single[step][member])


def test_a_batch_that_cannot_be_shared_evenly_is_refused(pictures: PictureSet) -> None:
    def batches(rank: int, world_size: int) -> None:
        crop_batches(
            crops(pictures),
            first_step=0,
            last_step=1,
            batch_size=8,
            workers=0,
            rank=rank,
            world_size=world_size,
        )

    with pytest.raises(ValueError, match="a batch of 8 cannot be shared by 3 processes"):
        batches(0, 3)
    with pytest.raises(ValueError, match="rank must be 0 to 1, not 2"):
        batches(2, 2)


def test_pairs_are_cut_along_the_grid_of_a_codec_s_blocks(tmp_path: Path) -> None:
    for side in ("sharp", "blurry"):
        rows, columns = np.mgrid[0:160, 0:240].astype(np.uint8)
        write_picture(tmp_path / side / "0.png", np.stack((rows, columns, rows ^ columns), axis=2))
    dataset = CropDataset(open_source(tmp_path, smallest_px=48, cache_bytes=0), crop_px=48, seed=0)
    for number in range(20):
        _, clean = dataset[number]
        assert int(clean[0].min()) % 8 == 0
        assert int(clean[1].min()) % 8 == 0


def test_a_share_of_the_crops_is_taken_from_the_pairs(
    pictures: PictureSet, pairs: PictureSet
) -> None:
    mixed = CropDataset(pictures, crop_px=48, seed=3, pairs=pairs, pair_share=0.25)
    plain = CropDataset(pictures, crop_px=48, seed=3)
    from_pairs = [n for n in range(400) if is_from_pairs(3, n, share=0.25)]
    assert 70 < len(from_pairs) < 130
    for number in range(12):
        degraded, clean = mixed[number]
        if number in from_pairs:
            assert torch.equal(degraded, 255 - clean)
        else:
            assert all(map(torch.equal, (degraded, clean), plain[number]))


def test_a_share_of_pairs_needs_pairs_and_a_loader_that_degrades(
    pictures: PictureSet, pairs: PictureSet
) -> None:
    for source in (None, pictures):
        with pytest.raises(ValueError, match="needs blurred/sharp pairs"):
            CropDataset(pictures, crop_px=48, seed=0, pairs=source, pair_share=0.1)
    with pytest.raises(ValueError, match="degrade_on = loader"):
        CropDataset(
            pictures, crop_px=48, seed=0, pairs=pairs, pair_share=0.1, degrade_on_device=True
        )
