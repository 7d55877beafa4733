"""One picture from its file to its place."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from desktop.images.comparison import compared
from desktop.images.errors import Interrupted, PictureFailed, reason_of
from desktop.images.files import read_picture, write_whole
from desktop.images.memory import PixelBudget
from desktop.images.places import Place
from service.codec import encode_image, is_deep, picture_size, sniff
from service.deep import DEEP_FORMATS
from service.frame_codec import ImageArray
from service.picture_options import PictureOptions, decode_for, encode_for
from service.scaling import scaled_to, upscaled_size

if TYPE_CHECKING:  # loading torch takes seconds
    from service.model.sharpener import Sharpener

__all__ = ["MAX_PIXELS", "Converter", "Done", "pixels_in_work"]

MAX_PIXELS = 178_000_000  # Pillow's readers refuse more themselves
_TILE_PX = 1024
_DEEP_SHARE = 3  # measured: 25 to 30 bytes for each pixel, of 8 bits about 10


@dataclass(frozen=True, slots=True)
class Done:
    """A picture in its place; sizes are of the output, times in ms."""

    place: Place
    height: int
    width: int
    format: str
    bytes: int
    network_ms: float
    total_ms: float
    warnings: tuple[str, ...]


class Converter:
    """Does one picture after the other; several threads may call it, the network takes turns."""

    def __init__(
        self,
        sharpener: Sharpener,
        options: PictureOptions,
        *,
        strength: float | None,
        is_forced: bool,
        budget: PixelBudget,
        stop: threading.Event,
    ) -> None:
        """Of options that are the same for all pictures, but for the format.

        Args:
            sharpener: The student.
            options: See there; a place's format counts before its own.
            strength: of the correction; None = the student's.
            is_forced: Whether files that are there are replaced.
            budget: Of the pixels that are in work at a time.
            stop: When set, pictures in work end with `Interrupted` before anything is written.
        """
        self._sharpener = sharpener
        self._options = options
        self._strength = strength
        self._is_forced = is_forced
        self._budget = budget
        self._stop = stop
        self._network = threading.Lock()

    def convert(self, place: Place) -> Done:
        """Reads, sharpens and writes a picture.

        Raises:
            PictureFailed, ClearcallError, OSError, MemoryError: It cannot be done.
            Interrupted: `stop` was set.
        """
        begun_s = time.perf_counter()
        options = replace(self._options, format=place.format or self._options.format)
        self._go_on()
        encoded = read_picture(place.source) if place.encoded is None else place.encoded
        with self._budget.taken(pixels_in_work(encoded, options), stop=self._stop):
            self._go_on()
            picture = decode_for(encoded, options, max_pixels=MAX_PIXELS)
            sharpened, network_ms = self._sharpened(picture.image)
            answer = encode_for(picture, sharpened, options)
            height, width = upscaled_size(sharpened.shape[0], sharpened.shape[1], options.upscale)
            image_format = options.format or picture.format
            beside = None
            if place.compare is not None:
                enlarged = scaled_to(sharpened, (height, width))
                both = compared(picture, replace(picture, image=enlarged))
                beside = encode_image(both, image_format, quality=options.quality)
            self._go_on()
            self._write(place.output, answer)
            if beside is not None and place.compare is not None:
                write_whole(place.compare, beside, is_forced=self._is_forced)
        return Done(
            place=place,
            height=height,
            width=width,
            format=image_format,
            bytes=len(answer),
            network_ms=network_ms,
            total_ms=(time.perf_counter() - begun_s) * 1000,
            warnings=picture.warnings,
        )

    def _sharpened(self, image: ImageArray) -> tuple[ImageArray, float]:
        with self._network:
            begun_s = time.perf_counter()
            pieces = self._sharpener.pieces(image, strength=self._strength, tile_px=_TILE_PX)
            try:
                next(pieces)
                while True:
                    self._go_on()
                    pieces.send(None)
            except StopIteration as done:
                return done.value, (time.perf_counter() - begun_s) * 1000

    def _write(self, output: Path | None, encoded: bytes) -> None:
        if output is not None:
            write_whole(output, encoded, is_forced=self._is_forced)
            return
        try:
            sys.stdout.buffer.write(encoded)
            sys.stdout.buffer.flush()
        except OSError as exc:
            raise PictureFailed(f"cannot be written to stdout: {reason_of(exc)}") from exc

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Interrupted


def pixels_in_work(encoded: bytes, options: PictureOptions) -> int:
    """What a picture counts in the budget: the most pixels that it has on its way, of 8 bits.

    Raises:
        ImageUnsupported, ImageBroken: Its header cannot be read.
    """
    height, width = read = picture_size(encoded)
    if options.resize is not None:
        height, width = options.resize.size_for(height, width)
    sizes = (read, (height, width), upscaled_size(height, width, options.upscale))
    stays_deep = (options.format or sniff(encoded)) in DEEP_FORMATS and is_deep(encoded)
    return max(high * wide for high, wide in sizes) * (_DEEP_SHARE if stays_deep else 1)
