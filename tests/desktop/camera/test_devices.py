"""desktop.camera.devices: which cameras there are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from desktop.camera.devices import list_cameras


class FakeVideoCapture:
    """Cameras 0 and 2 are there; 2 is in use."""

    def __init__(self, number: int) -> None:
        self._is_open = number == 0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self._is_open

    def get(self, which: int) -> float:
        import cv2

        sizes: dict[Any, float] = {
            cv2.CAP_PROP_FRAME_WIDTH: 1280.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 720.0,
            cv2.CAP_PROP_FPS: 30.0,
        }
        return sizes[which]

    def release(self) -> None:
        """Gives it free."""


@pytest.fixture(autouse=True)
def _cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cv2.VideoCapture", FakeVideoCapture)


def test_on_linux_they_have_names_and_the_nodes_of_metadata_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    nodes = {"video0": ("Cam", "0"), "video1": ("Cam", "1"), "video2": ("Used", "0")}
    for node, (name, index) in nodes.items():
        (tmp_path / node).mkdir()
        (tmp_path / node / "name").write_text(f"{name}\n")
        (tmp_path / node / "index").write_text(f"{index}\n")
    first, second = list_cameras(tmp_path)
    assert (first.number, first.name, first.width, first.height, first.fps) == (
        *(0, "Cam", 1280, 720),
        30.0,
    )
    assert (second.number, second.name, second.width) == (2, "Used", 0)
    assert list_cameras(tmp_path / "none") == []


def test_elsewhere_the_numbers_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    [camera] = list_cameras()
    assert (camera.number, camera.width) == (0, 1280)
