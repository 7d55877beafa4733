"""Markdown of what is measured without a service: the model, its parts, the codecs."""

from __future__ import annotations

import argparse

import torch

from benchmarks.codecs import codec_timings
from benchmarks.parts import PARTS, part_costs, peak_gflops
from service.model.backends import Precision
from trainer.bench import bench
from trainer.device import runs_bf16

__all__ = ["codec_lines", "model_lines", "part_lines"]

_CODEC_CALLS = 40
_RUNTIMES = {"cpu": ("torch", "openvino"), "cuda:0": ("torch",)}


def model_lines(arguments: argparse.Namespace) -> list[str]:
    """Each size on each backend of this machine."""
    lines = [
        "uint8 picture in, uint8 picture out, described and corrected with strength 1. "
        "`times faster` is against `reference` (32 channels at full resolution) in torch eager "
        "in fp32 at 256x256 on the same device, in a process of its own, called in turns with "
        "each.",
        "",
        "| size | backend | precision | picture | median ms | p95 ms | times faster |",
        "|---|---|---|---|---:|---:|---:|",
    ]
    devices = list(_RUNTIMES) if torch.cuda.is_available() else ["cpu"]
    reports = [
        bench(device=device, runtimes=_RUNTIMES[device], seconds=arguments.seconds)
        for device in devices
    ]
    for timing in (each for report in reports for each in (report.reference, *report.timings)):
        lines.append(
            f"| {timing.what} | {timing.backend} | {timing.precision} | "
            f"{timing.width}x{timing.height} | {timing.median_ms:.1f} | {timing.p95_ms:.1f} | "
            f"{timing.times_faster:.1f} |"
        )
    return lines


def part_lines(arguments: argparse.Namespace) -> list[str]:
    """What each part of a student costs in OpenVINO."""
    precisions: tuple[Precision, ...] = ("fp32", "bf16") if runs_bf16() else ("fp32",)
    peaks = {each: peak_gflops(each, seconds=arguments.seconds) for each in precisions}
    lines = [
        "Milliseconds in OpenVINO by its own counters; `rest` is conversion and rearrangement. `of "
        "peak` is the rate of all 3x3 convolutions over the whole time, against the fastest "
        "convolution measured here: "
        + ", ".join(f"{peak:.0f} GFLOP/s in {precision}" for precision, peak in peaks.items())
        + ".",
        "",
        f"| size | picture | precision | {' | '.join(PARTS)} | rest | sum | GFLOP/s | of peak |",
        "|---|---|---|" + "---:|" * (len(PARTS) + 4),
    ]
    for name, size in (("nano", (720, 1280)), ("small", (256, 256)), ("base", (256, 256))):
        for each in precisions:
            cost = part_costs(name, size, precision=each)
            cells = [f"{cost.parts_ms.get(part, 0.0):.2f}" for part in (*PARTS, "rest")]
            lines.append(
                f"| {cost.what} | {cost.width}x{cost.height} | {cost.precision} | "
                f"{' | '.join(cells)} | {cost.total_ms:.2f} | {cost.gflops:.0f} | "
                f"{cost.gflops / peaks[each]:.0%} |"
            )
    return lines


def codec_lines(_: argparse.Namespace) -> list[str]:
    """A JPEG's decoding and encoding by binding; `python -m benchmarks.codecs` has more."""
    timings = codec_timings(calls=_CODEC_CALLS, qualities=(80,))
    names = list(dict.fromkeys(timing.binding for timing in timings))
    lines = [
        "Median ms at quality 80, to and from RGB. `service` is what streams go through.",
        "",
        f"| operation | picture | chroma | {' | '.join(names)} |",
        "|---|---|---|" + "---:|" * len(names),
    ]
    rows: dict[str, dict[str, float]] = {}
    for timing in timings:
        key = f"{timing.operation} | {timing.width}x{timing.height} | {timing.subsampling}"
        rows.setdefault(key, {})[timing.binding] = timing.median_ms
    for key, by_name in rows.items():
        cells = [f"{by_name[name]:.2f}" if name in by_name else "" for name in names]
        lines.append(f"| {key} | {' | '.join(cells)} |")
    return lines
