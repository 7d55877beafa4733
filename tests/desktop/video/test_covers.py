"""desktop.video.covers: cover pictures, from one file into another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from desktop.video.covers import cover_of, is_cover
from tests.desktop.video.clips import remuxed
from tests.desktop.video.conftest import Run


@pytest.fixture
def picture() -> bytes:
    return bytes(cv2.imencode(".png", np.full((16, 16, 3), 200, np.uint8))[1])


@pytest.fixture
def covered(plain_clip: Path, tmp_path: Path, picture: bytes) -> Path:
    """A Matroska file with a cover picture."""
    path = tmp_path / "covered.mkv"
    return remuxed(
        plain_clip, path, attachment=picture, attached_as=("small_cover.png", "image/png")
    )


def covers_in(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [cover_of(path, stream) for stream in container.streams if is_cover(stream)]


@pytest.mark.parametrize("options", ["", "--start 0.5s"], ids=["whole", "a part"])
def test_a_cover_picture_stays_one_from_matroska_to_mp4_and_back(
    run: Run, covered: Path, tmp_path: Path, picture: bytes, options: str
) -> None:
    before = covered
    for name in ("again.mkv", "out.mp4", "out.mkv"):
        output = tmp_path / name
        summary = run(before, output, *options.split())
        assert "cover picture png" in summary["copied"]
        assert summary["said"] == ""
        (cover,) = covers_in(output)
        assert cover.encoded == picture
        with av.open(str(output)) as made:
            assert len(made.streams.video) == 2
        before, options = output, ""
    assert cover.name == "cover.png"
    assert covers_in(tmp_path / "again.mkv")[0].name == "small_cover.png"


@pytest.mark.parametrize("suffix", ["mov", "ts", "m4v"])
def test_a_container_without_a_place_for_a_cover_picture_is_told(
    run: Run, covered: Path, tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / f"out.{suffix}"
    summary = run(covered, output)
    assert summary["left_out"] == ["cover picture png"]
    assert "left out: cover picture png" in summary["said"]
    with av.open(str(output)) as made:
        assert [stream.type for stream in made.streams] == ["video", "audio", "audio"]


def test_an_mp4_with_the_keys_of_a_phone_has_no_place_for_a_cover_picture(
    run: Run, plain_clip: Path, tmp_path: Path, picture: bytes
) -> None:
    keyed = remuxed(
        plain_clip,
        tmp_path / "keyed.mkv",
        metadata={"com.maker.model": "one"},
        attachment=picture,
        attached_as=("cover.png", "image/png"),
    )
    assert run(keyed, tmp_path / "out.mp4")["left_out"] == ["cover picture png"]
