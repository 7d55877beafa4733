"""A picture -> encoded bytes, with all that it carries where the format has room for it."""

from __future__ import annotations

from typing import cast

from service import codec
from service.pictures.picture import EncodedPicture, Picture, PictureOptions

__all__ = ["encode_picture"]


def encode_picture(picture: Picture, options: PictureOptions) -> EncodedPicture:
    """Encodes a picture into `options.format`, or else the format that it came in.

    What the format has no room for is converted or left behind, and a warning says so.

    Raises:
        RequestInvalid: The format cannot hold a picture of this size.
        ImageUnsupported: The format cannot be written on this machine.
    """
    image_format = options.format or picture.format
    old = codec.Picture(
        picture.image,
        picture.alpha,
        picture.metadata.profile,
        cast("codec.ImageFormat", picture.format),
    )
    encoded = codec.encode_image(
        old, cast("codec.ImageFormat", image_format), quality=options.quality
    )
    return EncodedPicture(encoded, image_format, picture.warnings)
