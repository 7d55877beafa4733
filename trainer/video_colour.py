"""Between RGB and the YCbCr of video: one matrix, one range and one chroma filter both ways."""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from trainer.operators import ImageArray

__all__ = ["CALL_MATRIX", "CALL_RANGE", "to_rgb", "to_yuv"]

# What WebRTC makes of camera pictures: BT.601, studio range (luma 16 to 235).
CALL_MATRIX = Colorspace.ITU601
CALL_RANGE = ColorRange.MPEG

# Bilinear chroma, as browsers draw it; without the last three flat colours come back up to 4 levels
# off instead of 1.
_INTERPOLATION = int(
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
_HD_LINES = 720
# From the numbers that files hold (ITU-T H.273, table 4) to swscale's; 2 is "not specified".
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}


def to_yuv(converter: VideoReformatter, image: ImageArray) -> VideoFrame:
    """An image (H, W, 3) uint8 RGB, sides even, as a yuv420p frame as in a call.

    Args:
        converter: keeps FFmpeg's state from frame to frame.
    """
    return converter.reformat(
        VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"),
        format="yuv420p",
        src_color_range=ColorRange.JPEG,
        dst_color_range=CALL_RANGE,
        dst_colorspace=CALL_MATRIX,
        interpolation=_INTERPOLATION,
        threads=1,
    )


def to_rgb(
    converter: VideoReformatter,
    frame: VideoFrame,
    *,
    matrix: Colorspace | None = None,
    levels: ColorRange | None = None,
    size_px: tuple[int, int] | None = None,
) -> ImageArray:
    """A decoded frame as an image (H, W, 3) uint8 RGB.

    Args:
        converter: keeps FFmpeg's state from frame to frame.
        matrix, levels: of the frame; None = what it says itself, or what players assume where it
            says nothing: studio range, and BT.709 from 720 lines on, BT.601 below.
        size_px: (height, width) to scale to; None keeps the frame's.
    """
    height, width = size_px or (None, None)
    picture = converter.reformat(
        frame,
        width=width,
        height=height,
        format="rgb24",
        src_colorspace=matrix or _matrix_of(frame),
        src_color_range=levels or _range_of(frame),
        dst_color_range=ColorRange.JPEG,
        interpolation=_INTERPOLATION,
        threads=1,
    )
    return np.asarray(picture.to_ndarray(), dtype=np.uint8)


def _matrix_of(frame: VideoFrame) -> Colorspace:
    if frame.colorspace in _MATRICES:
        return _MATRICES[frame.colorspace]
    return Colorspace.ITU709 if frame.height >= _HD_LINES else Colorspace.ITU601


def _range_of(frame: VideoFrame) -> ColorRange:
    is_full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    return ColorRange.JPEG if is_full else ColorRange.MPEG
