"""What a decoded picture is, and what can be asked for: values only."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from service.errors import RequestInvalid
from service.pictures.formats import ImageFormat

__all__ = [
    "MAX_UPSCALE",
    "EncodedPicture",
    "GainMap",
    "Metadata",
    "Picture",
    "PictureFrame",
    "PictureLimits",
    "PictureOptions",
    "Resize",
    "Samples",
]

Samples: TypeAlias = npt.NDArray[Any]

MAX_UPSCALE = 8.0
_LONGEST_SIDE_PX = 65_535
_RESIZE = re.compile(r"\s*(\d{1,5})(?:\s*[xX]\s*(\d{1,5})\s*(!)?)?\s*")


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What is checked before memory is spent.

    `max_pixels` are the pixels of all frames together, before and after scaling.
    """

    max_pixels: int = 178_000_000
    max_frames: int = 1_000


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


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """What to do with a picture; query parameters and flags have the same names.

    Attributes:
        strength: of the correction, 0 to 2; None = the student's default.
        format: of the output; None = the input's.
        quality: of lossy formats, 1 to 100.
        resize: scaled to fit, before the network.
        upscale: enlarged by this factor, 1 to 8, after `resize`.
        keep_location: False leaves the place where it was taken behind: GPS in EXIF and XMP, names
            of places in XMP and IPTC.
    """

    strength: float | None = None
    format: ImageFormat | None = None
    quality: int = 90
    resize: Resize | None = None
    upscale: float = 1.0
    keep_location: bool = True


@dataclass(frozen=True, slots=True)
class GainMap:
    """What a phone's HDR JPEG carries behind its picture.

    `images` are whole JPEGs, each with its attribute word of the MPF index; `trailer` is what
    follows them, such as a motion photo's video. All are stored turned as the picture was, which
    `orientation` (EXIF, 1 to 8) says.
    """

    images: tuple[tuple[int, bytes], ...]
    trailer: bytes
    orientation: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a picture carries beside its pixels.

    Attributes:
        profile: ICC profile that the samples are in; None = sRGB.
        exif: a TIFF block without `Exif\\0\\0`; its orientation is 1 and it holds no thumbnail.
        xmp: an XMP packet.
        extended_xmp: the part of a JPEG's XMP that did not fit.
        photoshop: Photoshop's resource blocks (`8BIM`), IPTC among them, no thumbnails.
        comment: a JPEG's or GIF's comment.
        dpi: across and down.
        chunks: a PNG's other chunks that say something, type and content, for PNG output.
        gain_map: see there; for JPEG output.
    """

    profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    extended_xmp: bytes | None = None
    photoshop: bytes | None = None
    comment: bytes | None = None
    dpi: tuple[float, float] | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    gain_map: GainMap | None = None


@dataclass(frozen=True, slots=True)
class PictureFrame:
    """One frame of a picture, upright.

    `image` is (H, W, 3) RGB or (H, W) gray, uint8 or uint16; `alpha` (H, W) of the same type, not
    premultiplied, or None. `duration_ms` is of animations.
    """

    image: Samples
    alpha: Samples | None = None
    duration_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: one frame, or an animation's.

    Attributes:
        frames: all of one size and type.
        format: what it came in.
        metadata: what it carries.
        loop: how often an animation is played, 0 = for ever.
        is_premultiplied: whether a TIFF's colours were stored multiplied with alpha.
        warnings: sentences about what could not be kept or was converted, safe to show.
    """

    frames: tuple[PictureFrame, ...]
    format: ImageFormat
    metadata: Metadata = field(default_factory=Metadata)
    loop: int = 0
    is_premultiplied: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def image(self) -> Samples:
        """The first frame's."""
        return self.frames[0].image

    @property
    def alpha(self) -> Samples | None:
        """The first frame's."""
        return self.frames[0].alpha

    @property
    def height(self) -> int:
        """In px."""
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        """In px."""
        return int(self.image.shape[1])

    @property
    def is_animated(self) -> bool:
        """Whether there is more than one frame."""
        return len(self.frames) > 1

    @property
    def is_gray(self) -> bool:
        """Whether it has no colours."""
        return self.image.ndim == 2

    @property
    def is_deep(self) -> bool:
        """Whether its samples have 16 bits."""
        return self.image.dtype == np.uint16


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """A file: its bytes, its format, and the warnings of the whole way that it came."""

    encoded: bytes
    format: ImageFormat
    warnings: tuple[str, ...] = ()
