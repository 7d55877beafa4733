"""Real video codecs as calls and as recordings use them: clips in, packets and pictures out.

H.264 by x264, VP9 by libvpx, AV1 by SVT-AV1, all through PyAV (FFmpeg). In a call no frame waits
for a later one, so there are no B-frames and no look-ahead; a recording has both. Clips are
(T, H, W, 3) uint8 RGB. Reads video files; writes none.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast, get_args

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter

from service.model.scheduling import kept_scheduling
from trainer.operators import ImageArray
from trainer.video_colour import CALL_MATRIX, CALL_RANGE, to_rgb, to_yuv

__all__ = [
    "LADDER",
    "LADDER_SIZE_PX",
    "RECORDING_LADDER",
    "Codec",
    "EncodedClip",
    "Rung",
    "available_codecs",
    "clip_from_picture",
    "compress_video",
    "encode_clip",
    "read_clip",
]

Codec = Literal["h264", "vp9", "av1"]

_ENCODERS: dict[Codec, str] = {"h264": "libx264", "vp9": "libvpx-vp9", "av1": "libsvtav1"}
# FFmpeg's own "av1" decoder needs hardware.
_DECODERS: dict[Codec, str] = {"h264": "h264", "vp9": "vp9", "av1": "libdav1d"}
_HIGHEST_CRF: dict[Codec, int] = {"h264": 51, "vp9": 63, "av1": 63}
_SMALLEST_SIDE_PX = 64  # SVT-AV1 refuses less
_BUFFER_S = 0.5  # of rate control, about what WebRTC's encoders allow


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder on which codecs are compared; as in a call, or a recording."""

    codec: Codec
    bitrate_kbps: int
    is_recording: bool = False

    @property
    def name(self) -> str:
        """Of the ladder that it belongs to: `h264`, `h264 recording`."""
        return f"{self.codec} recording" if self.is_recording else self.codec


LADDER_SIZE_PX = (360, 640)
LADDER = tuple(
    Rung(codec, bitrate_kbps)
    for codec in cast(tuple[Codec, ...], ("h264", "vp9"))
    for bitrate_kbps in (100, 150, 200, 300, 400)
)
RECORDING_LADDER = tuple(replace(rung, is_recording=True) for rung in LADDER)


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """A clip that went through a codec.

    Attributes:
        packets: one for each frame.
        decoded: (T, H, W, 3) uint8 RGB, as the receiver sees it.
        bitrate_kbps: that was achieved, over all frames, the first (key) frame included.
    """

    packets: tuple[bytes, ...]
    decoded: ImageArray
    bitrate_kbps: float


@functools.cache
def available_codecs() -> tuple[Codec, ...]:
    """Those whose encoder and decoder the installed FFmpeg has."""
    return tuple(
        codec
        for codec in get_args(Codec)
        if _has(_ENCODERS[codec], "w") and _has(_DECODERS[codec], "r")
    )


def _has(name: str, mode: Literal["r", "w"]) -> bool:
    try:
        av.Codec(name, mode)
    except ValueError:  # PyAV's UnknownCodecError is one
        return False
    return True


def encode_clip(
    frames: ImageArray,
    *,
    codec: Codec,
    bitrate_kbps: float | None = None,
    crf: int | None = None,
    fps: int = 30,
    is_recording: bool = False,
) -> EncodedClip:
    """Encodes and decodes again.

    Args:
        frames: (T, H, W, 3) uint8 RGB of any size; odd or small ones are padded by repeating the
            border, and cropped again afterwards.
        bitrate_kbps: aim of the rate control (constant rate, half a second of buffer); or
        crf: constant quality, 0 (best) to 51 (H.264) or 63 (VP9, AV1).
        is_recording: as files are encoded, with frames that are predicted from later ones; by
            default as in a call.

    Raises:
        ValueError: not exactly one of the two, out of range, no frames, or a codec that the
            installed FFmpeg lacks.
    """
    _require_settings(frames, codec, bitrate_kbps, crf, fps)
    height, width = frames.shape[1:3]
    padded = _padded(frames)
    encoder = _encoder(
        codec,
        padded.shape[1:3],
        bitrate_kbps=bitrate_kbps,
        crf=crf,
        fps=fps,
        is_recording=is_recording,
    )
    with kept_scheduling():
        encoder.open()
    packets = tuple(_encode(encoder, padded))
    decoded = np.stack(list(_decode(codec, packets)))
    if len(decoded) != len(frames):
        raise RuntimeError(f"{codec} gave back {len(decoded)} of {len(frames)} frames")
    size_bytes = sum(map(len, packets))
    return EncodedClip(
        packets=packets,
        decoded=np.ascontiguousarray(decoded[:, :height, :width]),
        bitrate_kbps=size_bytes * 8 * fps / len(frames) / 1000,
    )


def _require_settings(
    frames: ImageArray, codec: Codec, bitrate_kbps: float | None, crf: int | None, fps: int
) -> None:
    if codec not in _ENCODERS:
        raise ValueError(f"codec must be one of {', '.join(_ENCODERS)}, not {codec!r}")
    if codec not in available_codecs():
        raise ValueError(
            f"the installed FFmpeg cannot encode and decode {codec}; it can "
            f"{', '.join(available_codecs()) or 'none of them'}. PyAV's wheel can: pip install av"
        )
    is_clip = frames.ndim == 4 and frames.shape[3] == 3 and frames.dtype == np.uint8
    if not is_clip or 0 in frames.shape:
        raise ValueError(
            f"frames must be (T, H, W, 3) uint8 and not empty, not {frames.shape} {frames.dtype}"
        )
    if (bitrate_kbps is None) == (crf is None):
        raise ValueError("pass either bitrate_kbps or crf")
    if bitrate_kbps is not None and not bitrate_kbps > 0:
        raise ValueError(f"bitrate_kbps must be above 0, not {bitrate_kbps:g}")
    if crf is not None and not 0 <= crf <= _HIGHEST_CRF[codec]:
        raise ValueError(f"crf of {codec} must be 0 to {_HIGHEST_CRF[codec]}, not {crf}")
    if fps < 1:
        raise ValueError(f"fps must be at least 1, not {fps}")


def _padded(frames: ImageArray) -> ImageArray:
    """Even sides, since chroma has half the resolution, of at least the codecs' smallest."""
    pads = [max(_SMALLEST_SIDE_PX, side + side % 2) - side for side in frames.shape[1:3]]
    return np.pad(frames, ((0, 0), (0, pads[0]), (0, pads[1]), (0, 0)), mode="edge")


def _encoder(
    codec: Codec,
    size: tuple[int, ...],
    *,
    bitrate_kbps: float | None,
    crf: int | None,
    fps: int,
    is_recording: bool,
) -> VideoCodecContext:
    # SVT-AV1 prints past FFmpeg's log; 1 leaves it its errors.
    os.environ.setdefault("SVT_LOG", "1")
    encoder = cast(VideoCodecContext, av.CodecContext.create(_ENCODERS[codec], "w"))
    encoder.height, encoder.width = size
    encoder.pix_fmt = "yuv420p"
    encoder.colorspace, encoder.color_range = int(CALL_MATRIX), int(CALL_RANGE)
    encoder.framerate = Fraction(fps)
    encoder.time_base = Fraction(1, fps)
    encoder.thread_count = 1  # crops are small, and loader processes fill the cores already
    encoder.gop_size = 3000  # calls send key frames only when one is asked for
    options = (_RECORDING_OPTIONS if is_recording else _CALL_OPTIONS)[codec].copy()
    if crf is not None:
        options["crf"] = str(crf)
    else:
        assert bitrate_kbps is not None, "checked by the caller"
        rate = round(bitrate_kbps * 1000)
        encoder.bit_rate = rate
        if codec == "av1":
            options["svtav1-params"] += ":rc=1" if is_recording else ":rc=2"  # 2: constant rate
        else:
            options |= {"maxrate": str(rate), "bufsize": str(round(rate * _BUFFER_S))}
        if codec == "vp9" and not is_recording:
            options["minrate"] = str(rate)  # all three equal is how libvpx is told constant rate
    encoder.options = options
    return encoder


_CALL_OPTIONS: dict[Codec, dict[str, str]] = {
    "h264": {"preset": "veryfast", "tune": "zerolatency", "bf": "0"},
    "vp9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "aq-mode": "3"},
    "av1": {"preset": "10", "svtav1-params": "rtc=1:pred-struct=1:lookahead=0:lp=1"},
}
_RECORDING_OPTIONS: dict[Codec, dict[str, str]] = {
    "h264": {"preset": "medium"},
    "vp9": {"deadline": "good", "cpu-used": "4", "lag-in-frames": "25", "auto-alt-ref": "1"},
    "av1": {"preset": "10", "svtav1-params": "lp=1"},
}


def _encode(encoder: VideoCodecContext, frames: ImageArray) -> Iterator[bytes]:
    converter = VideoReformatter()
    for number, image in enumerate(frames):
        picture = to_yuv(converter, image)
        picture.pts = number
        picture.time_base = encoder.time_base
        yield from map(bytes, encoder.encode(picture))
    yield from map(bytes, encoder.encode(None))


def _decode(codec: Codec, packets: Iterable[bytes]) -> Iterator[ImageArray]:
    decoder = cast(VideoCodecContext, av.CodecContext.create(_DECODERS[codec], "r"))
    decoder.thread_count = 1
    converter = VideoReformatter()
    for packet in packets:
        for frame in decoder.decode(av.Packet(packet)):
            yield to_rgb(converter, frame, matrix=CALL_MATRIX, levels=CALL_RANGE)
    for frame in decoder.decode(None):
        yield to_rgb(converter, frame, matrix=CALL_MATRIX, levels=CALL_RANGE)


def clip_from_picture(
    image: ImageArray, rng: np.random.Generator, *, frames: int, clean_frame: int = -1
) -> ImageArray:
    """A clip (T, H, W, 3) uint8 RGB of a slow pan and zoom in which one frame is the picture.

    The camera pans by up to 1.5 px a frame in any direction and zooms by up to 0.4 % a frame;
    borders are reflected.

    Args:
        image: (H, W, 3) uint8 RGB.
        frames: T, at least 1.
        clean_frame: which one is exactly `image`; by default the last.

    Raises:
        ValueError: there is no such frame.
    """
    if not -frames <= clean_frame < frames:
        raise ValueError(f"a clip of {frames} frames has no frame {clean_frame}")
    height, width = image.shape[:2]
    speed_px, angle = rng.uniform(0, 1.5), rng.uniform(0, 2 * np.pi)
    zoom = rng.uniform(-0.004, 0.004)
    clip = np.empty((frames, *image.shape), np.uint8)
    still = range(frames)[clean_frame]
    for number in range(frames):
        away = number - still
        if away == 0:
            clip[number] = image
            continue
        scale = 1 + zoom * away
        centre = np.array(((width - 1) / 2, (height - 1) / 2))
        pan = speed_px * away * np.array((np.cos(angle), np.sin(angle)))
        shift = centre * (1 - scale) + pan
        matrix = np.array(((scale, 0, shift[0]), (0, scale, shift[1])))
        clip[number] = cv2.warpAffine(
            image,
            matrix,
            (width, height),
            flags=cv2.INTER_LANCZOS4,  # the softest part of the clip should be the codec
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return clip


def compress_video(
    image: ImageArray,
    rng: np.random.Generator,
    *,
    codec: Codec,
    crf: int,
    frames: int = 4,
) -> ImageArray:
    """The picture (H, W, 3) uint8 RGB as the last frame of a short call through `codec`.

    The frames before it show the same scene in slow motion, so that it is predicted from them as in
    a call.

    Raises:
        ValueError: see `encode_clip`.
    """
    clip = clip_from_picture(image, rng, frames=frames)
    decoded = encode_clip(clip, codec=codec, crf=crf).decoded
    return np.ascontiguousarray(decoded[-1], dtype=np.uint8)


def read_clip(path: Path, *, max_frames: int, size_px: tuple[int, int] | None = None) -> ImageArray:
    """The first frames of a video file, (T, H, W, 3) uint8 RGB, T at most `max_frames`.

    Args:
        size_px: (height, width) to scale to; None keeps the file's. The aspect is not kept, and
            pictures are as they are stored, not turned upright.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a video that FFmpeg can read, or holds no picture.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Pass a video file.")
    if max_frames < 1:
        raise ValueError(f"max_frames must be at least 1, not {max_frames}")
    images: list[ImageArray] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} holds no video stream. Pass a video file.")
            stream = container.streams.video[0]
            converter = VideoReformatter()
            for frame in container.decode(stream):
                size = size_px or (images[0].shape[:2] if images else None)
                images.append(to_rgb(converter, frame, size_px=size))
                if len(images) == max_frames:
                    break
    except FFmpegError as exc:
        # What was decoded before the damage is still of use.
        if not images:
            raise ValueError(f"{path} cannot be read as a video: {exc.strerror}") from exc
    if not images:
        raise ValueError(f"{path} holds no picture. Pass another video file.")
    return np.stack(images)
