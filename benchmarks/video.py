"""`python -m benchmarks.video`: a video file's stages side by side against the slowest of them.

Decoding, the network and encoding are each timed alone, on the whole machine, over the same frames;
then all of them together, as `clearcall video` runs them. The bar is 85 % of the slowest's rate.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av

from benchmarks.footage import panned_frames
from desktop.video.conversion import Stages, VideoOptions, prepare_stages
from desktop.video.pipeline import Passed, Picture, Tally, run_stages
from desktop.video.sink import open_sink
from desktop.video.source import Span, open_source
from service.frame_codec import decode_frame
from service.model.cpus import available_cpus
from service.model.sharpener import Sharpener

__all__ = ["VideoTiming", "moving_clip", "video_lines", "video_timing"]

_BAR = 0.85
_FPS = 30


@dataclass(frozen=True, slots=True)
class VideoTiming:
    """Frames per second of each stage alone, and of all side by side.

    `cores_fps` is what the CPU time of all stages allows on all cores.
    """

    clip: str
    height: int
    width: int
    student: str
    encoder: str
    frames: int
    decode_fps: float
    network_fps: float
    encode_fps: float
    together_fps: float
    cores_fps: float

    @property
    def share(self) -> float:
        """Of the slowest stage's rate."""
        return self.together_fps / min(self.decode_fps, self.network_fps, self.encode_fps)

    @property
    def cores_share(self) -> float:
        """Of what the cores could do at best, all stages' work in turn on each."""
        return self.together_fps / self.cores_fps


def video_timing(
    sharpener: Sharpener, clip: Path, *, options: VideoOptions, rounds: int = 3
) -> VideoTiming:
    """Times one clip, `rounds` times in turn, and takes each one's best."""
    rates: dict[str, float] = {}
    cpu_s: dict[str, float] = {}

    def timed(name: str, work: Callable[[], int]) -> int:
        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        count = work()
        rates[name] = max(count / (time.perf_counter() - begun_s), rates.get(name, 0.0))
        took_s = (time.process_time() - begun_cpu_s) / count
        cpu_s[name] = min(took_s, cpu_s.get(name, took_s))
        return count

    for _ in range(rounds):
        with _stages(sharpener, clip, options) as (stages, _):
            frames = _time_alone(stages, timed)
        with _stages(sharpener, clip, options) as (stages, tally):
            timed("together", partial(_run, stages, tally))
    height, width = stages.size_px
    return VideoTiming(
        clip=clip.name,
        height=height,
        width=width,
        student=sharpener.name,
        encoder=stages.encoder.name,
        frames=frames,
        decode_fps=rates["decode"],
        network_fps=rates["network"],
        encode_fps=rates["encode"],
        together_fps=rates["together"],
        cores_fps=available_cpus() / (cpu_s["decode"] + cpu_s["network"] + cpu_s["encode"]),
    )


def video_lines(timings: list[VideoTiming]) -> list[str]:
    """Markdown of the timings; a share that misses the bar is bold."""
    lines = [
        "Frames per second of `clearcall video`: `decode` to RGB, `network`, and `encode` with the "
        "correction, each alone on all cores, and all of them together. Where all three need the "
        "same cores, together they can be no faster than the cores: the last column.",
        "",
        "| clip | student | encoder | decode | network | encode | together | of the slowest "
        f"(bar {_BAR:.0%}) | of what the cores allow |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for each in timings:
        share = f"{each.share:.0%}" if each.share >= _BAR else f"**{each.share:.0%}**"
        lines.append(
            f"| {each.clip}, {each.frames} frames of {each.width}x{each.height} | "
            f"`{each.student}` | {each.encoder} | {each.decode_fps:.1f} | {each.network_fps:.1f} | "
            f"{each.encode_fps:.1f} | {each.together_fps:.1f} | {share} | "
            f"{each.cores_share:.0%} |"
        )
    return lines


def moving_clip(path: Path, height: int, width: int, *, frames: int) -> None:
    """Writes a clip in which everything moves, so that the network computes all of it anew."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_FPS, options={"crf": "26"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for encoded in panned_frames(height, width, count=frames):
            image = decode_frame(encoded, max_pixels=height * width)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.video", description=__doc__)
    parser.add_argument("--clip", type=Path, help="video to work on (default: moving ones)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of the clip (default 4)")
    parser.add_argument("--students", nargs="+", default=["small"], help="(default small)")
    parser.add_argument("--rounds", type=int, default=3, help="the best counts (default 3)")
    parser.add_argument("--encoder", help="(default: H.264)")
    parser.add_argument("--preset", help="(default: the command's)")
    parser.add_argument("--device", default="auto", help="(default auto)")
    arguments = parser.parse_args()
    options = VideoOptions(
        span=Span(length_s=arguments.seconds),
        encoder=arguments.encoder,
        preset=arguments.preset,
    )
    timings = []
    with tempfile.TemporaryDirectory() as folder:
        clips = [arguments.clip] if arguments.clip else list(_moving_clips(Path(folder), arguments))
        for student in arguments.students:
            sharpener = Sharpener.load(student, device=arguments.device)
            sharpener.warm_up()
            timings += [
                video_timing(sharpener, clip, options=options, rounds=arguments.rounds)
                for clip in clips
            ]
    print("\n".join(video_lines(timings)))
    return 0


def _moving_clips(folder: Path, arguments: argparse.Namespace) -> Iterator[Path]:
    for height, width in ((360, 640), (720, 1280)):
        clip = folder / f"moving-{height}.mp4"
        moving_clip(clip, height, width, frames=round(arguments.seconds * _FPS))
        yield clip


def _time_alone(stages: Stages, timed: Callable[[str, Callable[[], int]], int]) -> int:
    """Each stage over all that the one before made; the number of frames."""
    passed: list[Passed] = []
    frames = timed("decode", lambda: _counted(stages.decoding, passed.append))
    timed("network", lambda: _sharpened(passed, stages))
    timed("encode", lambda: _counted(passed, stages.encoding.run, stages.encoding.finish))
    return frames


class _Nowhere:
    """Takes what is sharpened."""

    def run(self, _: Passed) -> None: ...

    def finish(self) -> None: ...


def _sharpened(passed: list[Passed], stages: Stages) -> int:
    run_stages(passed, stages.sharpening, _Nowhere())
    return sum(isinstance(each, Picture) for each in passed)


def _run(stages: Stages, tally: Tally) -> int:
    run_stages(stages.decoding, stages.sharpening, stages.encoding)
    return tally.frames


@contextmanager
def _stages(
    sharpener: Sharpener, clip: Path, options: VideoOptions
) -> Iterator[tuple[Stages, Tally]]:
    tally = Tally()
    with (
        tempfile.TemporaryDirectory() as folder,
        open_source(clip, options.span) as source,
        closing(source.items()) as items,
        open_sink(Path(folder) / "out.mp4", source) as sink,
    ):
        yield prepare_stages(sharpener, source, items, sink, options=options, tally=tally), tally


def _counted(
    passed: Iterable[Passed],
    work: Callable[[Passed], object],
    finish: Callable[[], object] = lambda: None,
) -> int:
    count = 0
    for each in passed:
        work(each)
        count += isinstance(each, Picture)
    finish()
    return count


if __name__ == "__main__":
    sys.exit(main())
