"""Layouts of paired folders: recognised by their names, and what has no partner is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.layouts import PairLayout, find_pairs

ROOT = Path("root")


def found(*names: str) -> PairLayout | None:
    return find_pairs(ROOT, [ROOT / name for name in names])


def pairs(layout: PairLayout | None) -> dict[str, str]:
    """Sharp path -> blurred path, below the root."""
    assert layout is not None
    return {
        item.clean.path.relative_to(ROOT).as_posix(): item.degraded.path.relative_to(
            ROOT
        ).as_posix()
        for item in layout.pairs
        if item.degraded is not None
    }


@pytest.mark.parametrize(
    ("name", "blurred", "sharp"),
    [
        ("GoPro layout", "train/GOPR0372/blur/01.png", "train/GOPR0372/sharp/01.png"),
        ("GoPro layout", "GOPR0372/blur_gamma/01.png", "GOPR0372/sharp/01.png"),
        (
            "REDS layout",
            "train_blur/train/train_blur/000/01.png",
            "train_sharp/train/train_sharp/000/01.png",
        ),
        ("REDS layout", "train_blur/000/01.png", "train_sharp/000/01.png"),
        ("REDS layout", "train_blur/train/train_blur/000/01.png", "train_sharp/000/01.png"),
        ("HIDE layout", "train/5fromGOPR.png", "GT/5fromGOPR.png"),
        ("blurred and sharp folders", "train/blurry/a.png", "train/sharp/a.png"),
        ("blurred and sharp folders", "blurry/a.jpg", "sharp/a.png"),
        ("blurred and sharp folders", "blur/a.png", "sharp/a.png"),
        ("blurred and sharp folders", "train/input/a.png", "train/target/a.png"),
        ("blurred and sharp folders", "Input/x/a.png", "Target/x/a.png"),
    ],
)
def test_a_layout_is_recognised(name: str, blurred: str, sharp: str) -> None:
    layout = found(blurred, sharp)
    assert pairs(layout) == {sharp: blurred}
    assert layout is not None
    assert layout.name == name
    assert layout.skipped == ()


def test_pictures_of_other_folders_are_not_pairs() -> None:
    assert found("a.png", "train/b.png", "holiday/c.png") is None
    assert found("sharp/a.png", "train_sharp/000/b.png") is None


def test_the_linear_blur_of_gopro_is_preferred_to_the_gamma_corrected_one() -> None:
    layout = found("s/blur/1.png", "s/blur_gamma/1.png", "s/sharp/1.png")
    assert pairs(layout) == {"s/sharp/1.png": "s/blur/1.png"}
    assert layout is not None
    assert layout.skipped == ()


def test_scenes_with_equal_file_names_are_kept_apart_and_sorted() -> None:
    layout = found("b/blur/1.png", "a/blur/1.png", "b/sharp/1.png", "a/sharp/1.png")
    assert list(pairs(layout).items()) == [
        ("a/sharp/1.png", "a/blur/1.png"),
        ("b/sharp/1.png", "b/blur/1.png"),
    ]


def test_only_the_training_split_is_used_where_there_are_several() -> None:
    layout = found(
        *(f"{split}/s/{side}/1.png" for split in ("test", "train") for side in ("blur", "sharp"))
    )
    assert pairs(layout) == {"train/s/sharp/1.png": "train/s/blur/1.png"}
    assert layout is not None
    assert layout.name == "GoPro layout, train only"
    assert layout.skipped == ()
    hide = found("train/a.png", "test/test-close-ups/b.png", "GT/a.png", "GT/b.png")
    assert pairs(hide) == {"GT/a.png": "train/a.png"}
    assert hide is not None
    assert hide.skipped == ()


def test_a_test_split_alone_is_used() -> None:
    assert pairs(found("test/s/blur/1.png", "test/s/sharp/1.png"))
    assert pairs(found("test/test-close-ups/b.png", "GT/b.png")) == {
        "GT/b.png": "test/test-close-ups/b.png"
    }


def test_what_has_no_partner_or_no_side_is_told() -> None:
    layout = found(
        "blurry/a.png", "sharp/a.png", "blurry/b.png", "sharp/c.png", "preview.png", "sharp/a.jpg"
    )
    assert pairs(layout) == {"sharp/a.jpg": "blurry/a.png"}
    assert layout is not None
    assert [(one.name, one.reason) for one in layout.skipped] == [
        ("blurry/b.png", "has no sharp partner"),
        ("preview.png", "is in no folder of blurred or sharp pictures"),
        ("sharp/a.png", "has the same name as sharp/a.jpg"),
        ("sharp/c.png", "has no blurred partner"),
    ]


def test_blurred_pictures_alone_are_never_taken_for_sharp_ones() -> None:
    with pytest.raises(FileNotFoundError, match=r"blurred pictures, such as blurry/a\.png, and no"):
        found("blurry/a.png", "blurry/b.png")
