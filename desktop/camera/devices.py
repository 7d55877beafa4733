"""Which cameras this machine has."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2

__all__ = ["CameraFacts", "list_cameras"]

_SYS = Path("/sys/class/video4linux")
_MAX_PROBED = 10
_MAX_GAP = 2  # numbers without a camera, after which no more are tried


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """A camera: the number to give to `clearcall camera`, its name, what it gives if not asked."""

    number: int
    name: str
    width: int
    height: int
    fps: float


def list_cameras(sys_folder: Path = _SYS) -> list[CameraFacts]:
    """Opens every camera for a moment. One that another program uses has no size (0x0).

    OpenCV tells no names; they are known on Linux only.
    """
    if sys.platform == "linux":
        return [
            facts
            for number, name in _linux_names(sys_folder)
            if (facts := _probed(number, name)) is not None
        ]
    found: list[CameraFacts] = []
    gap = 0
    for number in range(_MAX_PROBED):
        facts = _probed(number, f"camera {number}")
        gap = 0 if facts else gap + 1
        if facts is not None and facts.width:
            found.append(facts)
        if gap > _MAX_GAP:
            break
    return found


def _linux_names(sys_folder: Path) -> list[tuple[int, str]]:
    """The first node of each device; a webcam's others carry its metadata."""
    nodes: list[tuple[int, str]] = []
    for entry in sys_folder.glob("video*"):
        number = entry.name.removeprefix("video")
        try:
            if number.isdecimal() and (entry / "index").read_text().strip() == "0":
                nodes.append((int(number), (entry / "name").read_text().strip()))
        except OSError:  # it was just unplugged
            continue
    return sorted(nodes)


def _probed(number: int, name: str) -> CameraFacts | None:
    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            return CameraFacts(number, name, 0, 0, 0.0) if sys.platform == "linux" else None
        return CameraFacts(
            number,
            name,
            int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            round(float(capture.get(cv2.CAP_PROP_FPS)), 2),
        )
    finally:
        capture.release()
