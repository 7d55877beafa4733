"""`make bench`: measures models and streams and writes benchmarks/RESULTS.md."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import openvino
import torch

from benchmarks.model import model_timings
from benchmarks.parts import PARTS, PartCosts, part_costs, peak_gflops
from benchmarks.stream import Service, StreamTiming, running_service, stream_timings
from service.model.backends import Precision
from trainer.bench import processor, runs_bf16
from trainer.timing import Timing

RESULTS = Path(__file__).parent / "RESULTS.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each measurement")
    parser.add_argument("--out", type=Path, default=RESULTS, help="Markdown file to write")
    arguments = parser.parse_args()
    models = model_timings(seconds=arguments.seconds)
    precisions: tuple[Precision, ...] = ("fp32", "bf16") if runs_bf16() else ("fp32",)
    peaks: dict[str, float] = {
        each: peak_gflops(each, seconds=arguments.seconds) for each in precisions
    }
    parts = [
        part_costs(name, size, precision=each)
        for name, size in (("nano", (720, 1280)), ("small", (256, 256)), ("base", (256, 256)))
        for each in precisions
    ]
    with running_service() as service:
        streams = stream_timings(service, seconds=arguments.seconds)
        text = _report(models, parts, peaks, streams, service)
    arguments.out.write_text(text)
    print(text)
    return 0


def _report(
    models: list[Timing],
    parts: list[PartCosts],
    peaks: dict[str, float],
    streams: list[StreamTiming],
    service: Service,
) -> str:
    reference = models[0]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    lines = [
        "# Speed",
        "",
        f"{datetime.now(UTC).date()}, commit {commit or 'unknown'}, `make bench`. "
        f"{processor()}, {len(os.sched_getaffinity(0))} cores; Python "
        f"{platform.python_version()}, torch {torch.__version__}, "
        f"OpenVINO {openvino.get_version().split('-')[0]}.",
        "",
        "## The model alone",
        "",
        "uint8 picture in, uint8 picture out, described and corrected with strength 1. "
        "`times faster` is against `reference` (32 channels at full resolution) in torch eager "
        "in fp32 at 256x256, in the same run.",
        "",
        "| size | backend | precision | picture | median ms | p95 ms | times faster |",
        "|---|---|---|---|---:|---:|---:|",
    ]
    for timing in models:
        ratio = reference.median_ms / timing.median_ms
        lines.append(
            f"| {timing.what} | {timing.backend} | {timing.precision} | "
            f"{timing.width}x{timing.height} | {timing.median_ms:.1f} | {timing.p95_ms:.1f} | "
            f"{ratio:.1f} |"
        )
    lines += _part_lines(parts, peaks)
    memory_mb = service.process.memory_info().rss / 1e6
    lines += [
        "",
        "## End to end over the WebSocket",
        "",
        "Bundled student; JPEG in and out; client, codec and model share the same cores. `share of "
        "the model` is these frames per second against the model alone in the same run.",
        "",
        "| picture | FPS | latency median ms | p95 ms | model alone ms | share of the model |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for stream in streams:
        lines.append(
            f"| {stream.width}x{stream.height} | {stream.fps:.1f} | {stream.median_ms:.1f} | "
            f"{stream.p95_ms:.1f} | {stream.model_ms:.1f} | {stream.share_of_model:.0%} |"
        )
    lines += [
        "",
        f"Ready {service.ready_s:.1f} s after start; {memory_mb:.0f} MB resident afterwards.",
        "",
    ]
    return "\n".join(lines)


def _part_lines(parts: list[PartCosts], peaks: dict[str, float]) -> list[str]:
    lines = [
        "",
        "## The parts of the network",
        "",
        "Milliseconds in OpenVINO by its own counters; `rest` is conversion and rearrangement. `of "
        "peak` is the rate of all 3x3 convolutions over the whole time, against the fastest "
        "convolution measured here: "
        + ", ".join(f"{peak:.0f} GFLOP/s in {precision}" for precision, peak in peaks.items())
        + ".",
        "",
        f"| size | picture | precision | {' | '.join(PARTS)} | rest | sum | GFLOP/s | of peak |",
        "|---|---|---|" + "---:|" * (len(PARTS) + 4),
    ]
    for cost in parts:
        cells = [f"{cost.parts_ms.get(part, 0.0):.2f}" for part in (*PARTS, "rest")]
        lines.append(
            f"| {cost.what} | {cost.width}x{cost.height} | {cost.precision} | "
            f"{' | '.join(cells)} | {cost.total_ms:.2f} | {cost.gflops:.0f} | "
            f"{cost.gflops / peaks[cost.precision]:.0%} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
