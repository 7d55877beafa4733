"""YUV planes <-> RGB, by the colour tags of the video.

The network sees RGB in 8 bits. Its correction goes back as what it is, a difference: it is turned
into YUV and added to the decoded planes, in their own bit depth. So what is not corrected stays bit
for bit what it was, whatever the subsampling, range or depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.format import VideoFormat

__all__ = ["FULL_RANGE", "MAX_BITS", "Colour", "is_planar_yuv", "matrix_at", "planes_of"]

ImageArray = npt.NDArray[np.uint8]
Correction = npt.NDArray[np.int16]

MAX_BITS = 12  # deeper differences do not fit into 16 bits
FULL_RANGE = 2  # as FFmpeg numbers it, AVCOL_RANGE_JPEG

# (Kr, Kb) of the matrices that files name (ITU-T H.273, table 4). 2 is "not specified".
_BT601, _BT709 = (0.299, 0.114), (0.2126, 0.0722)
_MATRICES = {
    1: _BT709,
    4: (0.30, 0.11),
    5: _BT601,
    6: _BT601,
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
_UNSPECIFIED, _TAG_BT709, _TAG_BT601 = 2, 1, 6
_HD_LINES = 720


def is_planar_yuv(pixels: VideoFormat) -> bool:
    """Whether `Colour` works on this pixel format: planes of Y, U and V, perhaps of alpha."""
    return (
        pixels.name.startswith("yuv")
        and pixels.is_planar
        and not pixels.name.endswith("be")
        and pixels.components[0].bits <= MAX_BITS
    )


def planes_of(frame: VideoFrame) -> list[npt.NDArray[Any]]:
    """The planes Y, U, V as they lie in memory, uint8 or uint16; alpha is left out."""
    dtype = np.dtype(np.uint8 if frame.format.components[0].bits == 8 else np.uint16)
    planes: list[npt.NDArray[Any]] = []
    for plane in frame.planes[:3]:
        row_bytes = abs(plane.line_size)
        # A negative line size: the rows lie in memory from the last to the first.
        is_upwards = plane.line_size < 0
        planes.append(
            np.ndarray(
                (plane.height, plane.width),
                dtype,
                buffer=memoryview(plane),
                offset=(plane.height - 1) * row_bytes if is_upwards else 0,
                strides=(-row_bytes if is_upwards else row_bytes, dtype.itemsize),
            )
        )
    return planes


def matrix_at(frame: VideoFrame, height: int) -> int:
    """The tag of a frame's matrix when it has so many lines: its own, or where it has none and
    players would then assume another one, the one that it is meant in."""
    is_large = frame.height >= _HD_LINES
    if frame.colorspace != _UNSPECIFIED or is_large == (height >= _HD_LINES):
        return frame.colorspace
    return _TAG_BT709 if is_large else _TAG_BT601


@dataclass(frozen=True, slots=True)
class Colour:
    """How a video's levels are meant.

    Attributes:
        red, blue: Kr and Kb, the shares of red and blue in luma.
        is_full: whether black and white are the lowest and highest codes.
        bits: of a sample, 8 to `MAX_BITS`.
    """

    red: float
    blue: float
    is_full: bool
    bits: int

    @classmethod
    def of(cls, frame: VideoFrame) -> Colour:
        """As the frame says; where it says nothing, what players assume: studio range, and BT.709
        from 720 lines on, BT.601 below."""
        fallback = _BT709 if frame.height >= _HD_LINES else _BT601
        red, blue = _MATRICES.get(frame.colorspace, fallback)
        is_full = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
        return cls(red, blue, is_full, frame.format.components[0].bits)

    def to_rgb(self, frame: VideoFrame) -> ImageArray:
        """A frame in a format of `is_planar_yuv` as an image (H, W, 3) uint8 RGB."""
        luma, *chroma = map(self._as_bytes, planes_of(frame))
        height, width = luma.shape
        levels: list[Any] = [luma]
        for plane in chroma:
            is_whole = plane.shape == luma.shape
            levels.append(
                plane
                if is_whole
                else cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)
            )
        image: Any = cv2.transform(cv2.merge(levels), self._from_yuv())
        return image  # type: ignore[no-any-return]

    def add(self, frame: VideoFrame, correction: Correction) -> None:
        """Adds a correction to a writable frame.

        Args:
            frame: in a format of `is_planar_yuv`.
            correction: (H, W, 3) int16 RGB, -255 to 255: what changes in its `to_rgb`.
        """
        differences: Any = cv2.transform(correction, self._to_yuv())
        for number, plane in enumerate(planes_of(frame)):
            difference = cv2.extractChannel(differences, number)
            if plane.shape != difference.shape:
                size = plane.shape[1], plane.shape[0]
                difference = cv2.resize(difference, size, interpolation=cv2.INTER_AREA)
            if self.bits == 8:
                plane[...] = cv2.add(plane, difference, dtype=cv2.CV_8U)
            else:
                changed: Any = cv2.add(plane, difference, dtype=cv2.CV_16U)
                np.minimum(changed, (1 << self.bits) - 1, out=plane)

    def luma_code(self, level: float) -> int:
        """The code of a gray, 0 (black) to 1 (white)."""
        black, span = (0, 255) if self.is_full else (16, 219)
        return round((black + level * span) * self._codes_per_level)

    @property
    def neutral_code(self) -> int:
        """The code of no colour in the chroma planes."""
        return 1 << (self.bits - 1)

    @property
    def _codes_per_level(self) -> float:
        """How many codes of this depth one level in 8 bits is."""
        return ((1 << self.bits) - 1) / 255 if self.is_full else 2.0 ** (self.bits - 8)

    def _as_bytes(self, plane: npt.NDArray[Any]) -> ImageArray:
        if self.bits == 8:
            return plane
        scaled: Any = cv2.convertScaleAbs(plane, alpha=1 / self._codes_per_level)
        return scaled  # type: ignore[no-any-return]

    def _from_yuv(self) -> npt.NDArray[np.float32]:
        """(3, 4): levels Y, U, V, 1 in 8 bits -> R, G, B."""
        red, blue = self.red, self.blue
        green = 1 - red - blue
        luma, chroma = (1.0, 1.0) if self.is_full else (255 / 219, 255 / 224)
        to_red, to_blue = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma
        matrix = np.array(
            [
                [luma, 0, to_red],
                [luma, -to_blue * blue / green, -to_red * red / green],
                [luma, to_blue, 0],
            ]
        )
        origin = np.array([0 if self.is_full else 16, 128, 128])
        return np.hstack([matrix, -(matrix @ origin)[:, None]]).astype(np.float32)

    def _to_yuv(self) -> npt.NDArray[np.float32]:
        """(3, 3): differences of R, G, B in 8 bits -> of Y, U, V codes."""
        red, blue = self.red, self.blue
        luma = np.array([red, 1 - red - blue, blue])
        matrix = np.array(
            [
                luma,
                (np.array([0, 0, 1]) - luma) / (2 * (1 - blue)),
                (np.array([1, 0, 0]) - luma) / (2 * (1 - red)),
            ]
        )
        shares = np.ones(3) if self.is_full else np.array([219, 224, 224]) / 255
        return (matrix * shares[:, None] * self._codes_per_level).astype(np.float32)
