"""What pictures show: from a manifest, else from their names."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from trainer.categories import picture_categories


@pytest.mark.parametrize(
    ("place", "prefix"),
    [("pictures", ""), (".", "pictures/"), ("..", "data/pictures/")],
)
def test_a_manifest_in_the_folder_or_above_it_names_the_categories(
    tmp_path: Path, place: str, prefix: str
) -> None:
    folder = tmp_path / "data" / "pictures"
    folder.mkdir(parents=True)
    rows = f"licence,category,file\nCC0, face ,{prefix}a-1.jpg\nCC0,scene,./{prefix}deep/b.jpg\n"
    (tmp_path / "data" / place / "manifest.csv").write_text(rows, encoding="utf-8-sig")
    names = ["a-1.jpg", "deep/b.jpg", "office-2.jpg"]
    assert picture_categories(folder, names) == {
        "a-1.jpg": "face",
        "deep/b.jpg": "scene",
        "office-2.jpg": "office",
    }


def test_rows_of_other_folders_do_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "validation"
    folder.mkdir()
    (tmp_path / "manifest.csv").write_text("file,category\ntrain/a.jpg,face\n")
    assert picture_categories(folder, ["a.jpg"]) == {"a.jpg": "all"}


def test_without_a_manifest_the_names_prefix_counts(tmp_path: Path) -> None:
    names = ["face-1.jpg", "sub-folder/face-2.jpg", "plain.jpg", "-odd.jpg"]
    assert list(picture_categories(tmp_path, names).values()) == ["face", "face", "all", "all"]


@pytest.mark.parametrize("content", [b"name,kind\na.jpg,face\n", b"\xff\xfe\x00file", b""])
def test_a_file_that_is_no_such_manifest_is_named_and_not_used(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert picture_categories(tmp_path, ["face-1.jpg"]) == {"face-1.jpg": "face"}
    assert "manifest.csv" in caplog.text


def test_a_short_row_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("file,category\nface-1.jpg\n")
    assert picture_categories(tmp_path, ["face-1.jpg"]) == {"face-1.jpg": "face"}
