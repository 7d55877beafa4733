"""A frame on its way through a camera session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["Captured", "ImageArray", "Shown"]

ImageArray: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Captured:
    """As OpenCV hands it out: `bgr` is (H, W, 3) uint8 **BGR**; when, in the session's seconds."""

    bgr: ImageArray
    captured_s: float

    def image(self) -> ImageArray:
        """(H, W, 3) uint8 RGB. This is the one conversion: frames that are skipped need none."""
        image: Any = cv2.cvtColor(self.bgr, cv2.COLOR_BGR2RGB)
        return image  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Shown:
    """What outputs get. They share it: nobody writes into `image`, (H, W, 3) uint8 RGB.

    `inference_ms` is the network's time, None where the picture was not sharpened; `caption` what
    the overlay says; `is_notice` marks a picture that stands in for a camera that is away.
    """

    image: ImageArray
    captured_s: float
    inference_ms: float | None = None
    caption: tuple[str, ...] = ()
    is_notice: bool = False
