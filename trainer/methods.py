"""What a student is measured against: each method takes a degraded image and returns one.

The input itself, an unsharp mask, contrast-adaptive sharpening (CAS), the student as it is served,
and whatever else is passed in, such as a teacher. Images are (H, W, 3) uint8 RGB and keep their
size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import numpy.typing as npt

from service.model.sharpener import Sharpener

__all__ = [
    "CAS_SHARPNESS",
    "METHOD_NOTES",
    "UNSHARP_STRENGTH",
    "ImageArray",
    "Method",
    "sharpen_adaptively",
    "sharpen_by_unsharp_mask",
    "standard_methods",
]

ImageArray = npt.NDArray[np.uint8]
Method = Callable[[ImageArray], ImageArray]

UNSHARP_STRENGTH = 0.5
CAS_SHARPNESS = 0.0
METHOD_NOTES = {
    "input": "the degraded picture as it is",
    "unsharp": f"unsharp mask, 3x3 binomial Gaussian, strength {UNSHARP_STRENGTH:g}",
    "cas": "AMD FidelityFX contrast-adaptive sharpening, better diagonals, weights from green, "
    f"on sRGB levels, sharpness {CAS_SHARPNESS:g}",
    "student": "the checkpoint, through the path that serves",
}
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_SQUARE = cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3))
_NEIGHBOURS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32)


def standard_methods(
    sharpener: Sharpener,
    *,
    strength: float | None = None,
    extra: Mapping[str, Method] | None = None,
) -> dict[str, Method]:
    """`input`, `unsharp`, `cas` and `student`, then the extra ones, by name.

    Args:
        strength: of the student's correction, 0 to 2; None = the checkpoint's default.
        extra: more methods, such as `{"teacher": ...}`.

    Raises:
        ValueError: an extra method has the name of one of ours.
    """
    methods: dict[str, Method] = {
        "input": lambda image: image,
        "unsharp": sharpen_by_unsharp_mask,
        "cas": sharpen_adaptively,
        "student": lambda image: sharpener.sharpen(image, strength=strength),
    }
    taken = sorted(methods.keys() & (extra or {}).keys())
    if taken:
        raise ValueError(f"a method is already called {taken[0]!r}. Give yours another name.")
    return methods | dict(extra or {})


def sharpen_by_unsharp_mask(image: ImageArray, strength: float = UNSHARP_STRENGTH) -> ImageArray:
    """image + strength * (image - blurred), rounded and clipped.

    The blur is the 3x3 binomial Gaussian (1 2 1)/4, sigma 0.7 px, with replicated borders.
    """
    line = np.array([0.25, 0.5, 0.25], np.float32)
    values = image.astype(np.float32)
    blurred = cv2.sepFilter2D(values, -1, line, line, borderType=cv2.BORDER_REPLICATE)
    return _image(values + strength * (values - blurred))


def sharpen_adaptively(image: ImageArray, sharpness: float = CAS_SHARPNESS) -> ImageArray:
    """Contrast-adaptive sharpening without scaling.

    Each pixel e becomes (e + w * (b + d + f + h)) / (1 + 4 w), where b d f h are its four
    neighbours; w = sqrt(saturate(min(lowest, 2 - highest) / highest)) * -1 / lerp(8, 5, sharpness);
    lowest is the minimum of the 3x3 cross plus that of the 3x3 square, highest likewise. Where
    the neighbourhood already spans the range, w is near 0.

    After `ffx_cas.h` of AMD FidelityFX CAS 1.0 (T. Lottes, 2019), with CAS_BETTER_DIAGONALS and
    without CAS_SLOW: w comes from green for all three channels. Ours differs in three ways. It
    works on the sRGB levels where AMD advises linear light, which favours it: on training crops
    that is 0.03 dB better on average. Division and root are exact, not the shader's approximations
    (CAS_GO_SLOWER). Borders are replicated where a shader reads zeros.

    Args:
        sharpness: 0, the published default with the least ringing, to 1.

    Raises:
        ValueError: the sharpness is out of range.
    """
    if not 0 <= sharpness <= 1:
        raise ValueError(f"sharpness must be 0 to 1, not {sharpness}")
    green = np.ascontiguousarray(image[:, :, 1])
    lowest, highest = (
        extreme(green, _CROSS, borderType=cv2.BORDER_REPLICATE).astype(np.float32)
        + extreme(green, _SQUARE, borderType=cv2.BORDER_REPLICATE)
        for extreme in (cv2.erode, cv2.dilate)
    )
    # Where all is black there is no contrast to amplify: any divisor will do.
    room = np.minimum(lowest, 2 * 255 - highest) / np.maximum(highest, 1)
    weight = np.sqrt(np.clip(room, 0, 1)) * np.float32(-1 / (8 - 3 * sharpness))
    values = image.astype(np.float32)
    neighbours = cv2.filter2D(values, -1, _NEIGHBOURS, borderType=cv2.BORDER_REPLICATE)
    weight = weight[:, :, None]
    return _image((values + weight * neighbours) / (1 + 4 * weight))


def _image(values: npt.NDArray[np.float32]) -> ImageArray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
