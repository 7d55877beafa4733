"""One video file from its options to its summary."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from av import VideoFrame
from av.video.format import VideoFormat

from desktop.names import printable
from desktop.video.encoders import Encoder, choose_encoder
from desktop.video.errors import VideoError
from desktop.video.frames import FrameFitter
from desktop.video.fusing import Fusing
from desktop.video.pipeline import Decoding, Encoding, Sharpening, Tally, run_stages
from desktop.video.progress import progress_bar
from desktop.video.sink import Sink, open_sink, says_alpha
from desktop.video.source import MAX_PIXELS, Item, Source, Span, open_source
from service.model.cpus import available_cpus
from service.model.live import LiveSharpener

if TYPE_CHECKING:
    from service.model.sharpener import Sharpener
    from service.scaling import Resize

__all__ = ["Stages", "Summary", "VideoOptions", "convert", "prepare_stages"]

_TRANSPARENT = "its transparency is left out"
# (height, width) of the colour of four by four pixels.
_CHROMA = {
    (4, 4): "4:4:4",
    (4, 2): "4:2:2",
    (4, 1): "4:1:1",
    (2, 4): "4:4:0",
    (2, 2): "4:2:0",
    (1, 1): "4:1:0",
}
_PQ, _HLG = 16, 18  # transfer functions, ITU-T H.273, table 3
_MOST_MISSING_S = 0.5  # durations in headers may be off by a few frames


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """What to do with a video; the flags of `clearcall video` have the same names.

    Attributes:
        strength: of the correction, 0 to 2; None = the student's default.
        span: the part that is taken.
        encoder: an encoder's name; None = what the container is for.
        crf: quality, lower is better; None = the encoder's default here.
        preset: the encoder's speed; None = its default here.
        resize: scaled to fit, before the network.
        upscale: enlarged by this factor, after the network.
        is_split: the left half stays what it was.
        has_overlay: the speed is drawn.
        look_ahead: least frames after each that it is fused with, 0 to 3; 0 =
            every frame by itself.
        fusion: the file of its weights; None = the bundled one.
        deinterlaces: makes whole frames of fields first.
        drops_unsupported: leaves out streams that the container cannot hold.
    """

    strength: float | None = None
    span: Span = field(default_factory=Span)
    encoder: str | None = None
    crf: int | None = None
    preset: str | None = None
    resize: Resize | None = None
    upscale: float = 1.0
    is_split: bool = False
    has_overlay: bool = False
    look_ahead: int = 0
    fusion: Path | None = None
    deinterlaces: bool = False
    drops_unsupported: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a video, for `--json` and the last line.

    Attributes:
        frames: that were encoded.
        skipped: damaged frames that were left out.
        seconds: that it took, without loading the student.
        still_share: how much of the pictures stood still, and was not computed anew, 0 to 1.
        inference_ms: in the network, mean of a frame.
        look_ahead: least frames after each that it was fused with.
        fusing_ms: in the fusion with neighbours, mean of a frame.
        copied: streams that were copied, such as `audio aac`.
        left_out: streams that the container cannot hold.
        warnings: sentences about what could not be kept or done.
    """

    input: str
    output: str
    frames: int
    skipped: int
    width: int
    height: int
    duration_s: float
    seconds: float
    fps: float
    inference_ms: float
    still_share: float
    look_ahead: int
    fusing_ms: float
    student: str
    strength: float
    encoder: str
    pixels: str
    bytes: int
    copied: list[str]
    left_out: list[str]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Stages:
    """What `pipeline.run_stages` takes, and what is known of it."""

    decoding: Decoding
    sharpening: Sharpening
    fusing: Fusing | None
    encoding: Encoding
    encoder: Encoder
    fitter: FrameFitter
    size_px: tuple[int, int]
    warnings: list[str]


def convert(
    sharpener: Sharpener,
    path: Path,
    output: Path,
    options: VideoOptions,
    *,
    shows_progress: bool = True,
) -> Summary:
    """Sharpens a video file into another one.

    What is at `output` is replaced when the new file is whole, and stays if anything fails.

    Raises:
        VideoError: the file cannot be read, or the other one not be written as asked.
    """
    tally = Tally()
    begun_s = time.perf_counter()
    with (
        open_source(path, options.span, deinterlaces=options.deinterlaces) as source,
        closing(source.items()) as items,
        open_sink(output, source, drops_unsupported=options.drops_unsupported) as sink,
    ):
        if not sink.is_like_source:
            source.begin_at_zero()
        stages = prepare_stages(sharpener, source, items, sink, options=options, tally=tally)
        with progress_bar(
            printable(path.name), tally, source.duration_s, is_shown=shows_progress
        ) as on_progress:
            run_stages(
                stages.decoding,
                stages.sharpening,
                stages.encoding,
                fusing=stages.fusing,
                on_progress=on_progress,
            )
        sink.finish()
        seconds = time.perf_counter() - begun_s
        height, width = stages.size_px
        return Summary(
            input=str(path),
            output=str(output),
            frames=tally.frames,
            skipped=source.skipped,
            width=width,
            height=height,
            duration_s=round(tally.time_s, 3),
            seconds=round(seconds, 3),
            fps=round(tally.frames / seconds, 2),
            inference_ms=round(1000 * tally.inference_s / tally.frames, 2),
            still_share=round(tally.still_share / tally.frames, 3),
            look_ahead=options.look_ahead if stages.fusing else 0,
            fusing_ms=round(1000 * tally.fusing_s / tally.frames, 2),
            student=sharpener.checkpoint.model_id,
            strength=_strength(sharpener, options),
            encoder=stages.encoder.name,
            pixels=stages.encoder.encoded_pixels,
            bytes=output.stat().st_size,
            copied=sink.copied_kinds(),
            left_out=sink.left_out,
            warnings=[
                *stages.warnings,
                *sink.warnings,
                *_afterwards(source, stages, sink, options),
            ],
        )


def prepare_stages(
    sharpener: Sharpener,
    source: Source,
    items: Iterator[Item],
    sink: Sink,
    *,
    options: VideoOptions,
    tally: Tally,
) -> Stages:
    """Reads to the first frame, and sets everything up for it.

    Raises:
        VideoError: there is no frame, or see `Sink.begin`.
    """
    before: list[Item] = []
    first = _first_frame(source, items, before)
    encoder = choose_encoder(
        sink.path,
        first.format,
        asked=options.encoder,
        crf=options.crf,
        preset=options.preset,
        # Where the network has the cores, more threads would only push each other aside.
        threads=max(1, available_cpus() // 2) if sharpener.device == "cpu" else 0,
    )
    worked_px = _worked_size(sink.path, first, encoder, options)
    fitter = FrameFitter(
        first, pixels=encoder.pixels, size_px=worked_px, needs_even_sides=encoder.needs_even_sides
    )
    size_px, scaled_px = (fitter.height, fitter.width), None
    if options.upscale != 1:
        multiple = 2 if encoder.needs_even_sides else 1
        height, width = (
            max(multiple, round(side * options.upscale / multiple) * multiple) for side in size_px
        )
        size_px = scaled_px = height, width
    _require_few_pixels(sink.path, size_px)
    warnings = _at_first(first, encoder, fitter, worked_px)
    if says_alpha(source.stream.metadata) and _TRANSPARENT not in warnings:
        warnings.append(_TRANSPARENT)  # FFmpeg's own VP9 does not decode it
    example = fitter.fit(first)
    sink.begin(first, example, encoder, size_px=size_px)
    if sink.is_interlaced:
        warnings.append(
            "it is interlaced: fields are sharpened together, and stay interlaced; "
            "--deinterlace makes whole frames first"
        )
    strength = _strength(sharpener, options)
    return Stages(
        Decoding(chain(before, items), fitter),
        Sharpening(sharpener, LiveSharpener(), strength=strength, tally=tally),
        _fusing(sharpener, options, strength=strength, tally=tally),
        Encoding(
            sink,
            quarter_turns=round(first.rotation / 90) % 4,
            has_overlay=options.has_overlay,
            is_split=options.is_split,
            size_px=scaled_px,
            tally=tally,
        ),
        encoder,
        fitter,
        size_px,
        warnings,
    )


def _fusing(
    sharpener: Sharpener, options: VideoOptions, *, strength: float, tally: Tally
) -> Fusing | None:
    if not options.look_ahead or not strength:
        return None
    from service.model.fusion import Fusion

    fusion = Fusion.load(options.fusion, device=sharpener.device, threads=sharpener.threads)
    return Fusing(fusion, look_ahead=options.look_ahead, strength=strength, tally=tally)


def _strength(sharpener: Sharpener, options: VideoOptions) -> float:
    return sharpener.default_strength if options.strength is None else options.strength


def _first_frame(source: Source, items: Iterator[Item], before: list[Item]) -> VideoFrame:
    """The first frame; it and the packets before it go into `before`."""
    for item in items:
        before.append(item)
        if isinstance(item, VideoFrame):
            return item
    if source.skipped:
        raise VideoError(
            source.path, f"has no frame that can be decoded ({source.skipped} are damaged)"
        )
    if not source.span.is_whole:
        raise VideoError(source.path, f"has no frame from {source.span.start_s:g} s on")
    raise VideoError(source.path, "has a video stream, but no frame in it")


def _worked_size(
    output: Path, first: VideoFrame, encoder: Encoder, options: VideoOptions
) -> tuple[int, int]:
    """(height, width) that the network works on, in px."""
    if options.resize is None:
        return first.height, first.width
    is_turned = round(first.rotation / 90) % 2 == 1
    shown_px = (first.width, first.height) if is_turned else (first.height, first.width)
    size_px = options.resize.size_for(*shown_px)
    _require_few_pixels(output, size_px)
    # Within a box there is some play; of an exact size the border is repeated, as of any odd one.
    multiple = 2 if encoder.needs_even_sides and not options.resize.is_exact else 1
    height, width = (max(multiple, round(side / multiple) * multiple) for side in size_px)
    return (width, height) if is_turned else (height, width)


def _require_few_pixels(output: Path, size_px: tuple[int, int]) -> None:
    height, width = size_px
    if height * width > MAX_PIXELS:
        raise VideoError(
            output,
            f"would be {width}x{height} = {height * width / 1e6:.0f} megapixels a frame; at most "
            f"{MAX_PIXELS / 1e6:.0f} are made. Choose a smaller --resize or --upscale",
        )


def _at_first(
    first: VideoFrame,
    encoder: Encoder,
    fitter: FrameFitter,
    worked_px: tuple[int, int],
) -> list[str]:
    warnings = []
    pixels = first.format
    if first.color_trc in (_PQ, _HLG):
        curve = "PQ" if first.color_trc == _PQ else "HLG"
        warnings.append(
            f"it is HDR ({curve}): its tags are kept and the correction is made on its coded "
            "values, but the student has learned from SDR; look at a --preview first"
        )
    if pixels.name.startswith("yuva") or pixels.name in ("rgba", "bgra", "argb", "abgr", "gbrap"):
        warnings.append(_TRANSPARENT)
    depth = min(pixels.components[0].bits, 16)
    kept = 10 if "10" in encoder.pixels else 12 if "12" in encoder.pixels else 8
    if depth > kept:
        warnings.append(
            f"{encoder.name} takes {kept} bits: the {depth} bits of the video are rounded"
        )
    if not (pixels.is_rgb or pixels.has_palette) and len(pixels.components) >= 3:
        before, after = _chroma_of(pixels), _chroma_of(VideoFormat(encoder.pixels))
        if after[0] < before[0] or after[1] < before[1]:
            warnings.append(
                f"{encoder.name} takes {_CHROMA[after]}: the colours of the video, "
                f"{_CHROMA[before]}, become coarser"
            )
    if (fitter.height, fitter.width) != worked_px:
        height, width = worked_px
        warnings.append(
            f"{width}x{height} is odd, and {encoder.name} needs even sides: the border is "
            f"repeated to {fitter.width}x{fitter.height}"
        )
    return warnings


def _chroma_of(pixels: VideoFormat) -> tuple[int, int]:
    """(height, width) of the colour of four by four pixels."""
    return pixels.chroma_height(4), pixels.chroma_width(4)


def _afterwards(source: Source, stages: Stages, sink: Sink, options: VideoOptions) -> list[str]:
    warnings = []
    if source.ends_early is not None:
        warnings.append(f"reading stopped before its end ({source.ends_early})")
    elif source.missing_s > _MOST_MISSING_S:
        warnings.append(f"it is {source.missing_s:.1f} s shorter than it says: was it cut off?")
    if source.skipped:
        warnings.append(f"{source.skipped} damaged frames were left out; the sound is in time")
    if source.lost_sounds:
        warnings.append(f"packets of sound with a damaged time, left out: {source.lost_sounds}")
    if damaged := sink.damaged_in_words():
        warnings.append(f"damaged packets were left out: {', '.join(damaged)}")
    if source.interlaced and not (sink.is_interlaced or options.deinterlaces):
        warnings.append(
            f"{source.interlaced} frames are interlaced and the new ones are not, so that players "
            "will show both fields at once; --deinterlace makes whole frames first"
        )
    changed_sizes = stages.fitter.changed_sizes
    if changed_sizes:
        warnings.append(
            f"its size changes: {changed_sizes} frames were scaled to that of the first"
        )
    if sink.left_out:
        warnings.append(f"left out: {', '.join(sink.left_out)}")
    return warnings
