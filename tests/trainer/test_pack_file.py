"""Reading packs: what is damaged, foreign or too large is refused, and the message says which."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.datasets import patch, softened, write_picture
from trainer.pack import write_pack
from trainer.pack_file import (
    PackCorrupt,
    PackError,
    PackForeign,
    PackVersionUnknown,
    open_pack,
    read_manifest,
)
from trainer.picture_set import PictureSet

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of two pairs."""
    folder = tmp_path_factory.mktemp("pack")
    write_picture(folder / "in" / "a.png", patch(0))
    path = folder / "whole.pack"
    write_pack(
        folder / "in",
        path,
        crop_px=48,
        crops_per_picture=2,
        degrade=lambda image, _: softened(image),
        encoding="png",
    )
    return path


def opened(path: Path, *, smallest_px: int = 48, cache_bytes: int = 10**8) -> PictureSet:
    return open_pack(path, smallest_px=smallest_px, cache_bytes=cache_bytes)


def changed(
    whole: Path, tmp_path: Path, change: Callable[[Members], None], *, method: int = 0
) -> Path:
    """A copy of the pack whose members were changed."""
    with zipfile.ZipFile(whole) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    path = tmp_path / "changed.pack"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_manifest(whole: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    def edit(members: Members) -> None:
        manifest = json.loads(members["manifest.json"])
        change(manifest)
        members["manifest.json"] = json.dumps(manifest).encode()

    return changed(whole, tmp_path, edit)


@pytest.mark.parametrize("cache_bytes", [0, 10**8])
def test_crops_are_read_whether_held_in_memory_or_not(whole: Path, cache_bytes: int) -> None:
    source = opened(whole, cache_bytes=cache_bytes)
    assert (source.kind, len(source), source.is_paired) == ("pack", 2, True)
    assert (source.cache is None) == (cache_bytes == 0)
    for number in range(2):
        degraded, clean = source.pair(number)
        assert degraded is not None
        assert np.array_equal(degraded, softened(clean))


def test_a_pack_written_by_another_zip_program_is_read(whole: Path, tmp_path: Path) -> None:
    again = changed(whole, tmp_path, lambda _: None)
    assert opened(again).manifest_hash == opened(whole).manifest_hash


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_pack_is_corrupt(whole: Path, tmp_path: Path, share: float) -> None:
    content = whole.read_bytes()
    (tmp_path / "cut.pack").write_bytes(content[: int(share * len(content))])
    with pytest.raises(PackCorrupt, match=r"cut\.pack: truncated or damaged .* Copy it again"):
        opened(tmp_path / "cut.pack")


@pytest.mark.parametrize("content", [b"", b"text", b"PK"])
def test_what_is_no_zip_archive_is_foreign(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pack").write_bytes(content)
    with pytest.raises(PackForeign, match="not a pack"):
        opened(tmp_path / "x.pack")


def test_a_missing_pack_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"x\.pack is not a file"):
        opened(tmp_path / "x.pack")


def test_an_archive_without_a_manifest_is_foreign(whole: Path, tmp_path: Path) -> None:
    def drop(members: Members) -> None:
        del members["manifest.json"]

    path = changed(whole, tmp_path, drop)
    with pytest.raises(PackForeign, match=r"a zip archive without manifest\.json"):
        opened(path)


@pytest.mark.parametrize("manifest", [b"{", b"\xff", b"[" * 100_000])
def test_a_manifest_that_is_not_json_is_corrupt(
    whole: Path, tmp_path: Path, manifest: bytes
) -> None:
    path = changed(whole, tmp_path, lambda members: members.update({"manifest.json": manifest}))
    with pytest.raises(PackCorrupt, match="its manifest is damaged"):
        opened(path)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_named(whole: Path, tmp_path: Path, version: object) -> None:
    path = with_manifest(whole, tmp_path, lambda m: m.update(format_version=version))
    with pytest.raises(PackVersionUnknown, match=f"format version {version!r}; this build reads 1"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(crop_px=100_000), "manifest, crop_px: .*less than or equal to 2048"),
        (lambda m: m.update(surprise=1), "manifest, surprise: Extra inputs"),
        (lambda m: m["crops"][0]["clean"].update(name="../../a.jpg"), "crops.0.clean.name"),
        (lambda m: m["crops"][0].update(picture=7), "crop 0 is of a picture that the manifest"),
        (lambda m: m["crops"][1].update(degraded=None), "crop 1 contradicts 'degradation'"),
        (lambda m: m["crops"][1]["clean"].update(name="clean/000009.png"), "000009.png is missing"),
        (lambda m: m.update(crop_px=32), "it is not 32 px wide and high"),
    ],
)
def test_a_manifest_that_does_not_fit_is_corrupt(
    whole: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = with_manifest(whole, tmp_path, change)
    with pytest.raises(PackCorrupt, match=message):
        opened(path, smallest_px=16)


def test_a_crop_with_another_hash_is_corrupt(whole: Path, tmp_path: Path) -> None:
    def swap(members: Members) -> None:
        members["clean/000000.png"] = members["clean/000001.png"]

    with pytest.raises(PackCorrupt, match="its hash is another one"):
        opened(changed(whole, tmp_path, swap))


def test_a_pack_that_is_damaged_while_in_use_is_corrupt(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "used.pack"
    path.write_bytes(whole.read_bytes())
    source = opened(path, cache_bytes=0)
    content = bytearray(whole.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(PackCorrupt, match="its hash is another one"):
        source.pair(0)
    path.unlink()
    with pytest.raises(OSError, match="changed or vanished"):
        source.pair(0)


def test_compressed_members_are_refused_before_they_are_unpacked(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = changed(
        whole,
        tmp_path,
        lambda members: members.update({"manifest.json": b" " * 10_000_000}),
        method=zipfile.ZIP_DEFLATED,
    )
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(PackForeign, match=r"manifest\.json is compressed"):
        opened(bomb)


def test_crops_larger_than_their_pixels_are_refused_before_they_are_read(
    whole: Path, tmp_path: Path
) -> None:
    path = changed(
        whole, tmp_path, lambda members: members.update({"clean/000001.png": b"x" * 200_000})
    )
    with pytest.raises(PackForeign, match=r"clean/000001\.png has 200000 bytes, above 74752"):
        opened(path)


def test_crops_smaller_than_the_training_asks_for_are_told(whole: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds crops of 48 px and 64 px are asked for"):
        opened(whole, smallest_px=64)


def test_all_pack_errors_are_value_errors() -> None:
    for error in (PackCorrupt, PackForeign, PackVersionUnknown):
        assert issubclass(error, PackError)
        assert issubclass(error, ValueError)
