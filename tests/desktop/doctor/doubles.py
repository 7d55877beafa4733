"""Stand-ins for a machine and its students."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from desktop.doctor.media import Media
from desktop.doctor.speed import Measurement, Speed
from tests.clock import Clock

__all__ = ["fake_student", "measured", "media"]

_CAMERA = {"number": 0, "name": "Webcam", "width": 1280, "height": 720, "fps": 30.0}


def fake_student(
    clock: Clock, ns_per_px: float, psnr_db: float, seen: list[tuple[int, ...]] | None = None
) -> Any:
    """One that takes so long for each pixel, and has this score."""

    def sharpen(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        clock.now_s += image.shape[0] * image.shape[1] * ns_per_px / 1e9
        if seen is not None:
            seen.append(image.shape)
        return image

    score = SimpleNamespace(psnr_db=psnr_db)
    untouched = SimpleNamespace(psnr_db=60.0)
    facts = SimpleNamespace(scores={"webcam": score, "untouched": untouched})
    return SimpleNamespace(
        device="cpu",
        backend="openvino",
        precision="fp32",
        sharpen=sharpen,
        checkpoint=SimpleNamespace(facts=facts),
    )


def measured(student: str, psnr_db: float | None, call_fps: float) -> Measurement:
    """A measurement of 640x360 alone."""
    speed = Speed(360, 640, 1000 / call_fps, 10)
    return Measurement(student, "cpu", "openvino", "fp32", psnr_db, (speed,), 0.3)


def media(
    *, has_camera: bool = True, virtual: str | None = None, window: str | None = None
) -> Media:
    """Of a machine with or without them."""
    cameras = (_CAMERA,) if has_camera else ()
    lacks = None if virtual else "no device. To set one up: load v4l2loopback"
    return Media("13.0", ("JPEG", "PNG"), None, (), cameras, virtual, lacks, window)
