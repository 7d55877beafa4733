"""Markdown of what is measured through a running service; a figure that misses its bar is bold."""

from __future__ import annotations

import argparse

from benchmarks.capacity import KINDS, capacity
from benchmarks.footage import clip_frames, still_frames
from benchmarks.service import running_service
from benchmarks.stream import flood_timing, soak_timing, still_timing, stream_timings

__all__ = ["capacity_lines", "flood_lines", "soak_lines", "still_lines", "stream_lines"]

_STUDENT = "small"
_STUDENTS = ("nano", "small", "base")


def stream_lines(arguments: argparse.Namespace) -> list[str]:
    """One stream against what model and codec alone allow, and the service's own time."""
    with running_service(_STUDENT) as service:
        streams = stream_timings(service, _STUDENT, seconds=arguments.seconds)
        memory_mb = service.process.memory_info().rss / 1e6
    lines = [
        f"One stream, `{_STUDENT}`, JPEG in and out; client, codec and model share the cores. "
        "`alone` calls decoder, model and encoder one after another, without a service. "
        "`overhead` is the service's total without decoding, inference and encoding, at half of "
        "the rate, where frames do not wait for each other. All ms.",
        "",
        "| picture | FPS | alone FPS | share (bar 90%) | decode | model | encode | overhead p50 "
        "(bar 2) | p95 (bar 5) | latency p50, p95 | at half the rate |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in streams:
        p50_ms, p95_ms = each.overhead_ms
        overheads = (
            _held(p50_ms, f"{p50_ms:.2f}", at_most=2),
            _held(p95_ms, f"{p95_ms:.2f}", at_most=5),
        )
        lines.append(
            f"| {each.width}x{each.height} | {each.fps:.1f} | {each.alone_fps:.1f} | "
            f"{_held(each.share, f'{each.share:.0%}', at_least=0.9)} | {each.decode_ms:.1f} | "
            f"{each.model_ms:.1f} | {each.encode_ms:.1f} | {' | '.join(overheads)} | "
            f"{_pair(each.latency_ms)} | {_pair(each.calm_latency_ms)} |"
        )
    ready = f"Ready {service.ready_s:.1f} s after start; {memory_mb:.0f} MB resident afterwards."
    return [*lines, "", ready]


def still_lines(arguments: argparse.Namespace) -> list[str]:
    """`nano` at 1280x720 where most of the picture stands still."""
    if arguments.clip is None:
        frames, footage = still_frames(720, 1280), "a still room with a moving head, made here"
    else:
        frames, footage = clip_frames(arguments.clip, 720, 1280), arguments.clip.name
    with running_service("nano") as service:
        timing = still_timing(service, frames, footage, seconds=arguments.seconds)
    fps = _held(timing.fps_with, f"{timing.fps_with:.1f}", at_least=30)
    return [
        f"`nano` at 1280x720, one stream as fast as it goes; frames of {timing.footage}.",
        "",
        "| still regions | share of the picture | FPS (bar 30) | latency p50, p95 ms |",
        "|---|---:|---:|---:|",
        f"| used again | {timing.still_share:.0%} | {fps} | {_pair(timing.latency_ms)} |",
        f"| computed anew | | {timing.fps_without:.1f} | |",
    ]


def flood_lines(arguments: argparse.Namespace) -> list[str]:
    """What too much load does to the frames that are delivered."""
    with running_service(_STUDENT) as service:
        timing = flood_timing(service, seconds=arguments.seconds)
    ratio = timing.latency_ratio
    dropped = ", ".join(f"{count} {reason}" for reason, count in timing.flood.dropped.items())
    return [
        f"Four streams of 640x360 that ignore the window; {timing.capacity_fps:.1f} frames per "
        "second fit. Latency is of the worst stream.",
        "",
        "| offered FPS | delivered FPS | latency p50, p95 ms | slowest over fastest stream |",
        "|---:|---:|---:|---:|",
        *(
            f"| {sum(each.fps_in for each in load.streams):.1f} | {load.fps_out:.1f} | "
            f"{_pair((load.latency_ms(50), load.latency_ms(95)))} | "
            f"{min(load.fairness.values()):.2f} |"
            for load in (timing.calm, timing.flood)
        ),
        "",
        f"p95 under load is {_held(ratio, f'{ratio:.2f}', at_most=1.5)} times the unloaded one "
        f"(bar 1.5). Of {timing.flood.received} frames {timing.flood.answered} were answered; "
        f"dropped: {dropped or 'none'}; "
        f"{'all accounted for' if timing.flood.is_balanced else '**not all accounted for**'}.",
    ]


def capacity_lines(arguments: argparse.Namespace) -> list[str]:
    """Streams that a replica carries."""
    kinds = [f"{kind.width}x{kind.height} at {kind.fps:g}" for kind in KINDS]
    lines = [
        "Streams that one replica carries on this machine: each gets 95 % of its frames, 95 % of "
        "them within 150 ms. A person who moves before a still room; the client shares the cores. "
        "In brackets p95 in ms and the service's cores.",
        "",
        f"| student | {' | '.join(kinds)} |",
        f"|---|{'---:|' * len(kinds)}",
    ]
    for student in _STUDENTS:
        with running_service(student, ladder="none") as service:
            found = capacity(service, seconds=arguments.seconds)
        cells = [
            f"{each.streams} ({each.load.latency_ms(95):.0f}, {each.load.service_cpu:.1f})"
            if each.load
            else "0"
            for each in found
        ]
        lines.append(f"| {student} | {' | '.join(cells)} |")
    return lines


def soak_lines(arguments: argparse.Namespace) -> list[str]:
    """Memory while more is offered than fits."""
    with running_service(_STUDENT) as service:
        timing = soak_timing(service, minutes=arguments.soak_minutes)
    growth = _held(timing.growth, f"{timing.growth:+.1%}", at_most=0.02)
    return [
        "Three streams that ignore the window, 1280x720 and 640x360, minutes of load: "
        f"{timing.minutes:g}; {timing.first_mb:.0f} MB resident at first, "
        f"{timing.last_mb:.0f} MB at the end, {growth} (bar +2%). Frames "
        f"{'all accounted for' if timing.is_balanced else '**not all accounted for**'}.",
    ]


def _held(
    value: float, text: str, *, at_least: float = float("-inf"), at_most: float = float("inf")
) -> str:
    """The text, bold where the value misses its bar."""
    return text if at_least <= value <= at_most else f"**{text}**"


def _pair(values: tuple[float, float]) -> str:
    return f"{values[0]:.1f}, {values[1]:.1f}"
