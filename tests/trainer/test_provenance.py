"""Licences and sources: read from the nearest manifest, unknown without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.provenance import Provenance, read_provenance

HEADER = "file,category,width,height,licence,source,path\n"


def test_a_manifest_above_the_folder_tells_licence_and_source(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    folder.mkdir()
    (tmp_path / "manifest.csv").write_text(
        HEADER + 'train/a.jpg,face,10,20,CC0-1.0,museum@1,"x, y/088.jpg"\ntrain/b.jpg,,,,,,\n'
    )
    known = read_provenance(folder)
    assert known[(folder / "a.jpg").resolve()] == Provenance(
        category="face", licence="CC0-1.0", source="museum@1: x, y/088.jpg"
    )
    assert known[(folder / "b.jpg").resolve()] == Provenance()


def test_the_nearest_manifest_counts_also_for_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "manifest.csv").write_text("file,licence\ninner/a.mp4,far\n")
    (tmp_path / "inner" / "manifest.csv").write_text("file,licence\na.mp4,near\n")
    (tmp_path / "inner" / "a.mp4").write_bytes(b"")
    known = read_provenance(tmp_path / "inner" / "a.mp4")
    assert [origin.licence for origin in known.values()] == ["near"]


def test_nothing_is_known_without_a_manifest(tmp_path: Path) -> None:
    assert read_provenance(tmp_path / "a" / "b" / "c") == {}


@pytest.mark.parametrize("content", [b"name,licence\na,b\n", b"file\n\xff\xfe\x00\n", b""])
def test_a_manifest_that_cannot_be_used_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    assert read_provenance(tmp_path) == {}
    assert "manifest.csv" in caplog.text
