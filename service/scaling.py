"""Pictures scaled before and after the network; pure.

`resize` is what a picture is scaled to before the network, `upscale` by how much it is enlarged
after it. The names are the same in query parameters and flags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from service.errors import RequestInvalid

__all__ = ["MAX_UPSCALE", "Resize", "scaled_to", "scaled_with_alpha", "upscaled_size"]

MAX_UPSCALE = 8.0
_LONGEST_SIDE_PX = 65_535
_SEEN_LEVELS = 0.5  # of alpha: below it nothing shows, and any colour will do
_RESIZE = re.compile(r"\s*(\d{1,5})(?:\s*[xX]\s*(\d{1,5})\s*(!)?)?\s*")

Samples = TypeVar("Samples", bound=npt.NDArray[Any])


@dataclass(frozen=True, slots=True)
class Resize:
    """A box, in px, that a picture is scaled to fit into, up or down, its proportions kept.

    With `is_exact` it becomes just that size, whatever its proportions.
    """

    width: int
    height: int
    is_exact: bool = False

    @classmethod
    def parse(cls, text: str) -> Resize:
        """Reads `512` (512x512), `1920x1080`, or `1920x1080!` for exactly that size.

        Raises:
            RequestInvalid: Something else, or a side of 0 or above 65535.
        """
        match = _RESIZE.fullmatch(text)
        if match:
            width, height = int(match[1]), int(match[2] or match[1])
            if 1 <= width <= _LONGEST_SIDE_PX and 1 <= height <= _LONGEST_SIDE_PX:
                return cls(width, height, is_exact=match[3] is not None)
        raise RequestInvalid(
            f"resize is {text!r}; it must be a side like 512, a box like 1920x1080 to fit into, "
            "or 1920x1080! for exactly that size; sides from 1 to 65535."
        )

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that a picture gets."""
        if self.is_exact:
            return self.height, self.width
        scale = min(self.height / height, self.width / width)
        return max(1, round(height * scale)), max(1, round(width * scale))


def upscaled_size(height: int, width: int, factor: float) -> tuple[int, int]:
    """The (height, width) of a picture that is enlarged."""
    return max(1, round(height * factor)), max(1, round(width * factor))


def scaled_to(image: Samples, size_px: tuple[int, int]) -> Samples:
    """Scales (H, W) or (H, W, C), uint8 or uint16, to (height, width): antialiased, or Lanczos."""
    height, width = size_px
    if image.shape[:2] == size_px:
        return image
    scaled: Any = np.ascontiguousarray(image)
    # A side that shrinks is antialiased, whatever becomes of the other one.
    least_px = min(height, image.shape[0]), min(width, image.shape[1])
    if least_px != image.shape[:2]:
        scaled = cv2.resize(scaled, least_px[::-1], interpolation=cv2.INTER_AREA)
    if size_px != least_px:
        scaled = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LANCZOS4)
    return scaled  # type: ignore[no-any-return]


def scaled_with_alpha(
    image: Samples, alpha: Samples | None, size_px: tuple[int, int]
) -> tuple[Samples, Samples | None]:
    """Scales (H, W, 3) by as much as each pixel shows, so that what shows little tints nothing.

    Args:
        image: uint8 or uint16, not premultiplied.
        alpha: (H, W), of the same type; None where all of it shows.
        size_px: (height, width).

    Returns:
        Both, scaled: the colours not premultiplied, and the alpha.
    """
    most = np.iinfo(image.dtype).max
    scaled: Any = scaled_to(image, size_px)
    if alpha is None:
        return scaled, None
    if alpha.min() == most or image.shape[:2] == size_px:
        return scaled, scaled_to(alpha, size_px)
    share = alpha.astype(np.float32)
    weight = scaled_to(share, size_px)
    is_seen = weight >= _SEEN_LEVELS
    np.maximum(weight, _SEEN_LEVELS, out=weight)
    for channel in range(3):  # one at a time: floats of all of them are a gigabyte
        straight = scaled_to(image[..., channel] * share, size_px)
        straight /= weight
        np.clip(np.rint(straight, out=straight), 0, most, out=straight)
        np.copyto(scaled[..., channel], straight, where=is_seen, casting="unsafe")
    return scaled, scaled_to(alpha, size_px)
