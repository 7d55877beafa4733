"""Which encoder a video gets, and its settings: quality first, and fast enough to leave the cores
to the network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
from av.codec.codec import find_best_pix_fmt_of_list
from av.video.format import VideoFormat

from desktop.video.colour import is_planar_yuv
from desktop.video.errors import VideoError

__all__ = ["ENCODER_NAMES", "Encoder", "choose_encoder", "describe_encoders"]

# Short names; every other name is one of FFmpeg's encoders.
ENCODER_NAMES = {
    "h264": "libx264",
    "hevc": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "vp8": "libvpx",
}


@dataclass(frozen=True, slots=True)
class _Settings:
    """How an encoder is told quality and preset: option, default, range."""

    quality: str | None
    default: int = 0
    highest: int = 51
    preset: str | None = "preset"
    preset_default: str | None = None
    fixed: dict[str, str] = field(default_factory=dict)


_NVENC = _Settings("cq", 21, 51, preset_default="p5", fixed={"rc": "vbr"})
_QSV = _Settings("global_quality", 21, 51)
_VAAPI = _Settings("qp", 21, 52, preset=None, fixed={"rc_mode": "CQP"})
_SETTINGS = {
    "libx264": _Settings("crf", 18, 51, preset_default="veryfast"),
    "libx265": _Settings(
        "crf", 20, 51, preset_default="fast", fixed={"x265-params": "log-level=error"}
    ),
    "libsvtav1": _Settings("crf", 24, 63, preset_default="10"),
    "libvpx-vp9": _Settings(
        "crf", 24, 63, "cpu-used", "5", {"b": "0", "row-mt": "1", "deadline": "good"}
    ),
    # Without an aim libvpx takes 256 kbit/s; crf is then how good it may get at most.
    "libvpx": _Settings("crf", 10, 63, "cpu-used", "5", {"b": "20M", "deadline": "good"}),
    "h264_nvenc": _NVENC,
    "hevc_nvenc": _NVENC,
    "av1_nvenc": _NVENC,
    "h264_qsv": _QSV,
    "hevc_qsv": _QSV,
    "av1_qsv": _QSV,
    "vp9_qsv": _QSV,
    "h264_vaapi": _VAAPI,
    "hevc_vaapi": _VAAPI,
    "av1_vaapi": _VAAPI,
}
_QUANTISER = _Settings("qscale", 3, 31, preset=None)
_VIDEOTOOLBOX = _Settings("qscale", 65, 100, preset=None)  # higher is better, here alone
_LOSSLESS = _Settings(None, preset=None)
_QUANTISED = {"mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "flv", "h263p", "msmpeg4", "wmv2"}

# Where H.264 is not what the container is for, in 8 bits and in more.
_BY_SUFFIX = {
    ".webm": ("libvpx-vp9", "libsvtav1"),
    ".ivf": ("libvpx-vp9", "libsvtav1"),
    ".mpg": ("mpeg2video", "mpeg2video"),
    ".mpeg": ("mpeg2video", "mpeg2video"),
    ".vob": ("mpeg2video", "mpeg2video"),
}
# H.264 in more than 8 bits is what next to no device plays; HEVC in 10 bits is what HDR comes in.
_ANYWHERE = ("libx264", "libx265")
# Sides must be even for these even where chroma is not halved, or are best taken so.
_ODD_SIDES = {"libvpx-vp9", "libvpx", "mjpeg", "ffv1", "mpeg4", "huffyuv", "ffvhuff", "utvideo"}
_LOSSLESS_SUBSTITUTES = {"p010": "yuv420p10le", "nv12": "yuv420p", "nv21": "yuv420p"}


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder and what it is opened with.

    Attributes:
        name: FFmpeg's.
        pixels: of the frames that are worked on; the encoder's own may be the same otherwise laid.
        encoded_pixels: of the frames as the encoder takes them.
        options: FFmpeg's.
        quantiser: for encoders that are told quality by it, not by an option.
        threads: see `choose_encoder`.
        hardware: the device that frames are uploaded to, such as `vaapi`.
        needs_even_sides: whether odd sizes are padded.
    """

    name: str
    pixels: str
    encoded_pixels: str
    options: dict[str, str]
    quantiser: int | None
    threads: int
    hardware: str | None
    needs_even_sides: bool


def choose_encoder(
    output: Path,
    source: VideoFormat,
    *,
    asked: str | None = None,
    crf: int | None = None,
    preset: str | None = None,
    threads: int = 0,
) -> Encoder:
    """The encoder for a file.

    Args:
        output: by its suffix; for messages.
        source: the pixel format of the decoded frames.
        asked: an encoder's name or short name; None = what the container is for.
        crf: quality, lower is better; None = the encoder's default here.
        preset: speed; None = the encoder's default here.
        threads: of an encoder on the CPU; 0 = as it likes.

    Raises:
        VideoError: there is no such encoder, or it does not take the settings.
    """
    bits = source.components[0].bits
    if asked is None:
        name = _BY_SUFFIX.get(output.suffix.lower(), _ANYWHERE)[bits > 8]
    else:
        name = ENCODER_NAMES.get(asked, asked)
    try:
        codec = av.Codec(name, "w")
    except ValueError as exc:
        raise VideoError(
            output,
            f"the installed FFmpeg has no encoder {name}; clearcall video --encoders lists those "
            "that it has",
        ) from exc
    if codec.type != "video":
        raise VideoError(output, f"{name} encodes {codec.type}, not video")
    settings = _settings_of(name)
    encoded = [pixels.name for pixels in codec.video_formats or ()] or ["nv12"]
    if name == "mjpeg":  # it refuses studio range
        encoded = [each for each in encoded if each.startswith("yuvj")]
    pixels = _working_format(encoded, source)
    if pixels is None:
        raise VideoError(output, f"{name} encodes RGB only; choose another --encoder")
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 prints past FFmpeg's log; errors only
    quality = _quality(output, name, settings, crf)
    options = dict(settings.fixed)
    if threads:
        _join(options, name, threads)
    if settings.quality == "qscale":
        quantiser = quality
    else:
        quantiser = None
        if settings.quality is not None and quality is not None:
            options[settings.quality] = str(quality)
    if preset is not None and settings.preset is None:
        raise VideoError(output, f"{name} has no presets; leave --preset out")
    chosen = preset or settings.preset_default
    if chosen is not None and settings.preset is not None:
        options[settings.preset] = chosen
    return Encoder(
        name=name,
        pixels=pixels,
        encoded_pixels=pixels if pixels in encoded else _laid_out(encoded, pixels),
        options=options,
        quantiser=quantiser,
        threads=threads,
        hardware="vaapi" if name.endswith("_vaapi") else None,
        needs_even_sides=name not in _ODD_SIDES,
    )


def describe_encoders() -> list[tuple[str, str]]:
    """(name, description) of the installed FFmpeg's video encoders, sorted."""
    found: dict[str, str] = {}
    for name in av.codecs_available:
        try:
            codec = av.Codec(name, "w")
        except ValueError:
            continue
        if codec.type == "video":
            found[codec.name] = codec.long_name
    return sorted(found.items())


def _join(options: dict[str, str], name: str, threads: int) -> None:
    """Tells encoders that make threads without FFmpeg."""
    if name == "libx265":
        options["x265-params"] += f":pools={threads}:frame-threads=1"
    elif name == "libsvtav1":
        options["svtav1-params"] = f"lp={threads}"


def _settings_of(name: str) -> _Settings:
    if name in _SETTINGS:
        return _SETTINGS[name]
    if name in _QUANTISED:
        return _QUANTISER
    if name.endswith("_videotoolbox"):
        return _VIDEOTOOLBOX
    return _LOSSLESS


def _quality(output: Path, name: str, settings: _Settings, crf: int | None) -> int | None:
    if settings.quality is None:
        if crf is not None:
            raise VideoError(output, f"{name} has no setting for quality; leave --crf out")
        return None
    if crf is None:
        return settings.default
    if not 0 <= crf <= settings.highest:
        raise VideoError(output, f"--crf of {name} is 0 to {settings.highest}, not {crf}")
    return crf


def _working_format(encoded: Sequence[str], source: VideoFormat) -> str | None:
    """Of the planar YUV formats that the encoder takes, the one nearest to the source's."""
    candidates = [
        name
        for name in (_LOSSLESS_SUBSTITUTES.get(each.removesuffix("le"), each) for each in encoded)
        if is_planar_yuv(VideoFormat(name)) and not name.startswith(("yuvj", "yuva"))
    ]
    candidates = candidates or [name for name in encoded if name.startswith("yuvj")]
    if not candidates:
        return None
    meant = _LOSSLESS_SUBSTITUTES.get(source.name.removesuffix("le"), source.name)
    meant = meant.replace("yuvj", "yuv").replace("yuva", "yuv")
    if meant in candidates:
        return meant
    if source.is_rgb or source.has_palette or len(source.components) < 3:  # gray
        # Players that take H.264 with whole chroma are few.
        halved = "yuv420p10le" if source.components[0].bits > 8 else "yuv420p"
        if halved in candidates:
            return halved
    best, _ = find_best_pix_fmt_of_list(candidates, meant)
    return best.name if best is not None else candidates[0]


def _laid_out(encoded: Sequence[str], pixels: str) -> str:
    """The encoder's format that holds the same as `pixels`, or the nearest."""
    for name in encoded:
        if _LOSSLESS_SUBSTITUTES.get(name.removesuffix("le")) == pixels:
            return name
    best, _ = find_best_pix_fmt_of_list(list(encoded), pixels)
    return best.name if best is not None else encoded[0]
