"""A picture through the student, whatever its depth, colours and transparency."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TypeAlias

from service.pictures.decoding import decode_picture
from service.pictures.encoding import encode_picture
from service.pictures.picture import (
    EncodedPicture,
    Picture,
    PictureFrame,
    PictureLimits,
    PictureOptions,
    Samples,
)

__all__ = ["Sharpen", "check_output_size", "sharpen_encoded", "sharpen_picture", "sharpening"]

# (H, W, 3) RGB, uint8 or uint16, and a strength (None = the default) -> the same shape and type
Sharpen: TypeAlias = Callable[[Samples, float | None], Samples]


def sharpening(picture: Picture, options: PictureOptions) -> Generator[Samples, Samples, Picture]:
    """The steps of `sharpen_picture`, for an owner whose student is elsewhere.

    Yields an image (H, W, 3) RGB, uint8 or uint16, is sent it sharpened by `options.strength`, and
    returns the picture at last.
    """
    frames = []
    for frame in picture.frames:
        sharpened = yield frame.image
        frames.append(PictureFrame(sharpened, frame.alpha, frame.duration_ms))
    return replace(picture, frames=tuple(frames))


def sharpen_picture(picture: Picture, sharpen: Sharpen, options: PictureOptions) -> Picture:
    """Scales as asked and sharpens every frame.

    Args:
        picture: It is not changed.
        sharpen: The student, such as `lambda image, strength: sharpener.sharpen(image,
            strength=strength)`.
        options: `strength`, `resize`, `upscale`, `keep_location` and `format` count here.
    """
    steps = sharpening(picture, options)
    try:
        image = next(steps)
        while True:
            image = steps.send(sharpen(image, options.strength))
    except StopIteration as done:
        sharpened: Picture = done.value
        return sharpened


def sharpen_encoded(
    encoded: bytes, sharpen: Sharpen, options: PictureOptions, *, limits: PictureLimits
) -> EncodedPicture:
    """From file to file, holding no more of it in memory at a time than it has to.

    Raises:
        ClearcallError: What `decode_picture`, `check_output_size` and `encode_picture` raise.
    """
    picture = decode_picture(encoded, limits=limits)
    check_output_size(picture, options, limits=limits)
    picture = sharpen_picture(picture, sharpen, options)
    return encode_picture(picture, options)


def check_output_size(picture: Picture, options: PictureOptions, *, limits: PictureLimits) -> None:
    """Says before the work begins that what is asked for is too large.

    Raises:
        ImageTooManyPixels: All frames together, scaled, have more pixels than allowed.
        RequestInvalid: The output format cannot hold a picture of this size.
    """
