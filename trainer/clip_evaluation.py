"""How good a student is on moving pictures: clips through real codecs over a ladder of bit rates.

Every clip is encoded at each rung, decoded, and each method works on the decoded frames one by
one, as it would in a call; `look-ahead` then fuses the student's frames with their neighbours, as
for a file. A rate-distortion curve per method follows, its BD-rate against plain decoding, and the
flicker that a method adds or takes away.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import av
import numpy as np

from service.model.fusion import Fusion
from service.model.look_ahead import MOST_LOOK_AHEAD, LookAhead
from service.model.neighbours import Shot
from service.model.sharpener import Sharpener
from trainer.bd_rate import bd_rate_percent
from trainer.methods import METHOD_NOTES, ImageArray, Method, standard_methods
from trainer.pictures import ImageUnreadable
from trainer.quality import HARM_DB
from trainer.reference import Reference
from trainer.speed import Speed, run_timed, speed_of
from trainer.video_codec import LADDER, LADDER_SIZE_PX, EncodedClip, Rung, encode_clip, read_clip
from trainer.videos import find_videos, video_size

__all__ = [
    "FLICKER_NOTE",
    "LEAST_FRAMES",
    "LOOK_AHEAD",
    "BdRate",
    "Clip",
    "ClipQuality",
    "bd_rates",
    "evaluate_clips",
    "frames_made_worse",
    "has_clip",
    "ladders",
    "load_clips",
    "note_of",
    "temporal_error",
]

FLICKER_NOTE = (
    "flicker: mean absolute error of the change from frame to frame, in levels of 255; what stands "
    "still in the original and in the result adds nothing, however wrong it is"
)
LOOK_AHEAD = "look-ahead"  # the method's name
_LOOK_AHEAD_NOTE = (
    f"clips: the student's frames fused with {MOST_LOOK_AHEAD} or more after them and one before, "
    "as for files"
)
LEAST_FRAMES = 2  # of a clip, for its flicker
_USUAL_FPS = 30
_FPS_RANGE = (1, 60)

_log = logging.getLogger(__name__)


def note_of(method: str) -> str:
    """What a method of pictures or clips is, in words."""
    return _LOOK_AHEAD_NOTE if method == LOOK_AHEAD else METHOD_NOTES.get(method, "passed in")


@dataclass(frozen=True, slots=True)
class Clip:
    """ImageArray (T, H, W, 3) uint8 RGB, at least two, and how many of them a second has."""

    name: str
    frames: ImageArray
    fps: int

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[3] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(
                f"a clip is (T, H, W, 3) uint8 RGB, not {self.frames.shape} {self.frames.dtype}"
            )
        if len(self.frames) < LEAST_FRAMES:
            raise ValueError(f"{self.name} has {len(self.frames)} frames; flicker needs two.")


@dataclass(frozen=True, slots=True)
class ClipQuality:
    """One clip on one rung of one codec's ladder; the measures are means over frames, by method.

    Attributes:
        codec: see `Rung.name`.
        target_kbps, rate_kbps: what was asked of the encoder, and what it made of it.
        flicker: see `temporal_error`.
        worse_count: frames whose PSNR a method lowered by more than `HARM_DB`; without `input`.
        speed: of one frame; without `input`.
        example: the middle frame as `clean` and as each method left it. Not part of equality.
    """

    clip: str
    codec: str
    target_kbps: int
    rate_kbps: float
    frame_count: int
    size_px: tuple[int, int]
    psnr_db: dict[str, float]
    ssim: dict[str, float]
    flicker: dict[str, float]
    worse_count: dict[str, int]
    speed: dict[str, Speed] = field(default_factory=dict, compare=False)
    example: dict[str, ImageArray] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class BdRate:
    """How the bit rate changes at equal quality when a method follows the decoder.

    Attributes:
        psnr_percent, ssim_percent: negative where rate is saved, by the measure that is held
            equal; None where it is not defined, see `bd_rate_percent`, and on a single rung.
    """

    clip: str
    codec: str
    method: str
    psnr_percent: float | None
    ssim_percent: float | None


def load_clips(place: Path, *, max_frames: int = 60) -> list[Clip]:
    """The first frames of a video file, or of every video below a folder.

    Scaled down to cover 640x360 and cut to it in the middle; smaller videos keep their size. Files
    that cannot be used are named in the log and left out.

    Raises:
        FileNotFoundError: there is no video that can be used.
    """
    clips = []
    for path in _videos(place):
        try:
            clips.append(_clip(path, place, max_frames))
        except (OSError, ValueError) as exc:
            _log.warning("skipped %s: %s", path, exc)
    if not clips:
        raise FileNotFoundError(f"{place} holds no video that can be read. Pass one, or a folder.")
    return clips


def has_clip(place: Path) -> bool:
    """Whether `load_clips` will find a clip; a few frames are decoded for that, no more."""
    for path in _videos(place):
        try:
            _clip(path, place, LEAST_FRAMES)
        except (OSError, ValueError):
            continue
        return True
    return False


def _videos(place: Path) -> list[Path]:
    return [place] if place.is_file() else find_videos(place)


def _clip(path: Path, place: Path, max_frames: int) -> Clip:
    frames = _scaled_frames(path, max_frames)
    name = path.name if place.is_file() else path.relative_to(place).as_posix()
    return Clip(name, frames, _frame_rate(path))


def _scaled_frames(path: Path, max_frames: int) -> ImageArray:
    height, width = video_size(path)
    target_height, target_width = LADDER_SIZE_PX
    scale = min(1.0, max(target_height / height, target_width / width))
    size = (round(height * scale), round(width * scale))
    frames = read_clip(path, max_frames=max_frames, size_px=size)
    top, left = (max(0, (size[axis] - LADDER_SIZE_PX[axis]) // 2) for axis in (0, 1))
    return np.ascontiguousarray(
        frames[:, top : top + target_height, left : left + target_width], dtype=np.uint8
    )


def _frame_rate(path: Path) -> int:
    try:
        with av.open(str(path)) as container:
            rate = container.streams.video[0].average_rate
    except av.FFmpegError as exc:
        raise ImageUnreadable(f"not a video that can be read ({exc.strerror})") from exc
    low, high = _FPS_RANGE
    return min(max(round(rate), low), high) if rate else _USUAL_FPS


def evaluate_clips(
    sharpener: Sharpener,
    clips: Sequence[Clip],
    *,
    ladder: Sequence[Rung] = LADDER,
    strength: float | None = None,
    extra_methods: Mapping[str, Method] | None = None,
    fusion: Fusion | None = None,
    encode: Callable[[Clip, Rung], EncodedClip] | None = None,
    on_rung: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[ClipQuality]:
    """Measures every clip at every rung.

    Args:
        strength: of the student's correction, 0 to 2; None = the checkpoint's default.
        fusion: measures `LOOK_AHEAD` too.
        encode: one way through a codec and back; None = `trainer.video_codec.encode_clip`.
        on_rung: called with the number of rungs done and in all.

    Raises:
        ValueError: FFmpeg lacks a codec of the ladder, or the encoder changes the frames' size.
    """
    methods = standard_methods(sharpener, strength=strength, extra=extra_methods)
    total = len(clips) * len(ladder)
    measured: list[ClipQuality] = []
    for clip in clips:
        references = [Reference(frame) for frame in clip.frames]
        for method in methods.values():
            method(clip.frames[0])  # a first call with a size may compile for it
        for rung in ladder:
            on_rung(len(measured), total)
            encoded = (encode or _encode)(clip, rung)
            measured.append(_measure(clip, rung, encoded, methods, references, fusion=fusion))
    on_rung(total, total)
    return measured


def _encode(clip: Clip, rung: Rung) -> EncodedClip:
    return encode_clip(
        clip.frames,
        codec=rung.codec,
        bitrate_kbps=rung.bitrate_kbps,
        fps=clip.fps,
        is_recording=rung.is_recording,
    )


def _measure(
    clip: Clip,
    rung: Rung,
    encoded: EncodedClip,
    methods: Mapping[str, Method],
    references: Sequence[Reference],
    *,
    fusion: Fusion | None,
) -> ClipQuality:
    if encoded.decoded.shape != clip.frames.shape:
        raise ValueError(
            f"{rung.codec} turned {clip.name} from {clip.frames.shape} into "
            f"{encoded.decoded.shape}: frames were lost or cut."
        )
    decibels, ssim, flicker, speed = {}, {}, {}, {}
    middle = len(clip.frames) // 2
    example = {"clean": clip.frames[middle].copy()}
    for name, frames, times_ms in _results(encoded.decoded, methods, fusion):
        pairs = list(zip(references, frames, strict=True))
        decibels[name] = np.array([reference.psnr_db(frame) for reference, frame in pairs])
        ssim[name] = float(np.mean([reference.ssim(frame) for reference, frame in pairs]))
        flicker[name] = temporal_error(frames, clip.frames)
        example[name] = frames[middle].copy()
        if name != "input":
            speed[name] = speed_of(times_ms)
    return ClipQuality(
        clip=clip.name,
        codec=rung.name,
        target_kbps=rung.bitrate_kbps,
        rate_kbps=round(encoded.bitrate_kbps, 2),
        frame_count=len(clip.frames),
        size_px=(clip.frames.shape[1], clip.frames.shape[2]),
        psnr_db={name: float(each.mean()) for name, each in decibels.items()},
        ssim=ssim,
        flicker=flicker,
        worse_count={
            name: int((each - decibels["input"] < -HARM_DB).sum())
            for name, each in decibels.items()
            if name != "input"
        },
        speed=speed,
        example=example,
    )


def _results(
    decoded: ImageArray, methods: Mapping[str, Method], fusion: Fusion | None
) -> Iterator[tuple[str, ImageArray, list[float]]]:
    """Each method's name, frames and times, one after the other: they take much memory."""
    sharpened = decoded
    for name, method in methods.items():
        frames, times_ms = _through(method, decoded)
        if name == "student":
            sharpened = frames
        yield name, frames, times_ms
    if fusion is not None:
        yield LOOK_AHEAD, *_fused(fusion, decoded, sharpened)


def _fused(
    fusion: Fusion, decoded: ImageArray, sharpened: ImageArray
) -> tuple[ImageArray, list[float]]:
    """Every frame with what its neighbours hold, and the times, alike for those of a window."""
    look_ahead = LookAhead(fusion, MOST_LOOK_AHEAD)
    shots = [Shot(*pair) for pair in zip(decoded, sharpened, strict=True)]
    steps: list[Callable[[], Sequence[ImageArray | None]]] = [
        *(partial(look_ahead.add, shot) for shot in shots),
        look_ahead.finish,
    ]
    frames: list[ImageArray] = []
    times_ms: list[float] = []
    for step in steps:
        begun_s = time.perf_counter()
        images = step()
        took_ms = 1000 * (time.perf_counter() - begun_s)
        frames += [image for image in images if image is not None]
        times_ms += [took_ms / len(images) for _ in images]
    return np.stack(frames), times_ms


def _through(method: Method, frames: ImageArray) -> tuple[ImageArray, list[float]]:
    """Every frame through a method, and the times."""
    results = np.empty_like(frames)
    times_ms = []
    for index, frame in enumerate(frames):
        results[index], time_ms = run_timed(method, frame)
        times_ms.append(time_ms)
    return results, times_ms


def temporal_error(frames: ImageArray, clean: ImageArray) -> float:
    """Flicker: mean |(f[t] - f[t-1]) - (c[t] - c[t-1])| over pixels, channels and t, in levels.

    The error of the temporal derivative: 0 where the result changes from frame to frame exactly as
    the original does, whatever its constant error. A codec that refreshes a still background, or a
    method that sharpens one frame more than the next, makes it grow. Judge a method by the plain
    decoding's own value beside it: any sharpening amplifies what flickered already.

    Args:
        frames, clean: (T, H, W, 3) uint8 RGB, of one shape, T at least 2.

    Raises:
        ValueError: the shapes differ, or there is no second frame.
    """
    if frames.shape != clean.shape or len(frames) < 2:
        raise ValueError(
            f"flicker compares two clips of one shape and two frames or more, not {frames.shape} "
            f"and {clean.shape}"
        )
    return float(np.mean([_change_error(frames, clean, t) for t in range(1, len(frames))]))


def _change_error(frames: ImageArray, clean: ImageArray, t: int) -> float:
    error = frames[t - 1 : t + 1].astype(np.int16) - clean[t - 1 : t + 1]
    return float(np.abs(error[1] - error[0]).mean())


def ladders(measured: Sequence[ClipQuality]) -> Iterator[list[ClipQuality]]:
    """The rungs of each clip and codec, by rising rate."""
    found: dict[tuple[str, str], list[ClipQuality]] = {}
    for quality in measured:
        found.setdefault((quality.clip, quality.codec), []).append(quality)
    for ladder in found.values():
        yield sorted(ladder, key=lambda q: q.rate_kbps)


def frames_made_worse(ladder: Sequence[ClipQuality], method: str) -> tuple[int, int]:
    """How many frames of all rungs a method made worse, and of how many."""
    return sum(q.worse_count[method] for q in ladder), sum(q.frame_count for q in ladder)


def bd_rates(measured: Sequence[ClipQuality]) -> list[BdRate]:
    """For each clip, codec and method what it saves against plain decoding."""
    return [
        BdRate(
            clip=ladder[0].clip,
            codec=ladder[0].codec,
            method=method,
            psnr_percent=_bd_rate(ladder, [q.psnr_db for q in ladder], method),
            ssim_percent=_bd_rate(ladder, [q.ssim for q in ladder], method),
        )
        for ladder in ladders(measured)
        for method in ladder[0].psnr_db
        if method != "input"
    ]


def _bd_rate(
    ladder: Sequence[ClipQuality], qualities: Sequence[Mapping[str, float]], method: str
) -> float | None:
    if len(ladder) < 2:
        return None
    rates = [q.rate_kbps for q in ladder]
    plain, treated = ([quality[name] for quality in qualities] for name in ("input", method))
    percent = bd_rate_percent(rates, plain, rates, treated)
    return None if percent is None else round(percent, 2)
