"""What may be asked for a picture, and its way to and from the network: the same for every caller.

decode_for -> the network on `Picture.image` -> encode_for
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from service.codec import ALPHA_FORMATS, ImageFormat, Picture, decode_image, encode_image, sniff
from service.deep import DEEP_FORMATS, DeepSamples, corrected, shallow
from service.errors import ImageTooManyPixels
from service.frame_codec import ImageArray
from service.scaling import Resize, scaled_with_alpha, upscaled_size
from service.transparency import with_hidden_colours_filled

__all__ = ["PictureOptions", "decode_for", "encode_for"]


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """Query parameters and flags have these names.

    Attributes:
        format: of the output; None = the input's.
        quality: of lossy formats, 1 to 100.
        resize: scaled to fit, before the network.
        upscale: enlarged by this factor after the network, 1 to 8.
        keep_location: False leaves the place where it was taken behind.
    """

    format: ImageFormat | None = None
    quality: int = 90
    resize: Resize | None = None
    upscale: float = 1.0
    keep_location: bool = True


def decode_for(encoded: bytes, options: PictureOptions, *, max_pixels: int) -> Picture:
    """Decodes a picture and scales it as asked.

    Raises:
        ImageUnsupported, ImageBroken: As `decode_image`.
        ImageTooManyPixels: It has, or would get, more than `max_pixels`.
    """
    output_format = options.format or sniff(encoded)
    picture = decode_image(
        encoded,
        max_pixels=max_pixels,
        is_alpha_kept=output_format in ALPHA_FORMATS,
        is_place_kept=options.keep_location,
        is_depth_kept=output_format in DEEP_FORMATS,
        is_gain_map_kept=output_format == "jpeg",
    )
    lost = picture.metadata.left_behind(output_format)
    if output_format == "bmp" and picture.colour_profile:
        lost = (*lost, "bmp has no room for its colour profile; converted to sRGB.")
    picture = replace(picture, warnings=picture.warnings + lost)
    deep = picture.deep
    if deep is not None and deep.alpha is not None:
        deep = DeepSamples(with_hidden_colours_filled(deep.image, deep.alpha), deep.alpha)
        picture = replace(picture, image=shallow(deep.image), deep=deep)
    elif picture.alpha is not None:
        filled = with_hidden_colours_filled(picture.image, picture.alpha)
        picture = replace(picture, image=filled)
    height, width = size_px = picture.image.shape[:2]
    if options.resize is not None:
        height, width = size_px = options.resize.size_for(height, width)
    for high, wide in (size_px, upscaled_size(height, width, options.upscale)):
        if high * wide > max_pixels:
            raise ImageTooManyPixels(height=high, width=wide, limit_px=max_pixels)
    return _scaled(picture, size_px)


def encode_for(picture: Picture, sharpened: ImageArray, options: PictureOptions) -> bytes:
    """Enlarges what the network made of a picture as asked, and encodes it.

    Raises:
        RequestInvalid: The format cannot hold a picture of this size.
    """
    height, width = sharpened.shape[:2]
    size_px = upscaled_size(height, width, options.upscale)
    deep = picture.deep
    if deep is not None:
        deep = DeepSamples(corrected(deep.image, picture.image, sharpened), deep.alpha)
    picture = _scaled(replace(picture, image=sharpened, deep=deep), size_px)
    return encode_image(picture, options.format or picture.format, quality=options.quality)


def _scaled(picture: Picture, size_px: tuple[int, int]) -> Picture:
    if picture.image.shape[:2] == size_px:
        return picture
    deep = picture.deep
    if deep is not None:
        deep = DeepSamples(*scaled_with_alpha(deep.image, deep.alpha, size_px))
        opacity = None if deep.alpha is None else shallow(deep.alpha)
        return replace(picture, image=shallow(deep.image), alpha=opacity, deep=deep)
    image, alpha = scaled_with_alpha(picture.image, picture.alpha, size_px)
    return replace(picture, image=image, alpha=alpha)
