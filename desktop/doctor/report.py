"""All that was found, as JSON and in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from desktop.doctor.advice import LIVE_FPS, Advice
from desktop.doctor.machine import Machine
from desktop.doctor.media import Media
from desktop.doctor.problem import Problem
from desktop.doctor.runtimes import Runtimes
from desktop.doctor.speed import Measurement

__all__ = ["Report", "as_json", "in_words"]

_WIDTH = 15


@dataclass(frozen=True, slots=True)
class Report:
    """What `clearcall doctor` prints."""

    version: str
    machine: Machine
    runtimes: Runtimes
    media: Media
    extras: dict[str, bool]
    measurements: tuple[Measurement, ...]
    advice: Advice
    problems: tuple[Problem, ...]

    @property
    def is_broken(self) -> bool:
        return any(problem.is_essential for problem in self.problems)


def as_json(report: Report) -> dict[str, Any]:
    """One object; sizes are in px, times in ms."""
    found = asdict(report)
    found["ok"] = not report.is_broken
    for measurement in found["measurements"]:
        for speed in measurement["speeds"]:
            speed["fps"] = round(1000 / speed["ms"], 1)
    found["advice"]["live"] = [
        {"height": height, "width": width, "fps": LIVE_FPS, "student": student}
        for height, width, student in report.advice.live
    ]
    return found


def in_words(report: Report, *, is_verbose: bool = False) -> str:
    """For people: what there is, the measurement, problems, what to run next."""
    lines = [f"Clearcall {report.version}", ""]
    lines += _rows(report, is_verbose=is_verbose)
    if report.measurements:
        lines += ["", *_speeds(report)]
    if report.problems:
        lines += ["", "Problems"]
        for problem in report.problems:
            mark = "broken: " if problem.is_essential else ""
            lines += [f"  {mark}{problem.what}", f"    -> {problem.remedy}"]
    lines += ["", f"Next: {report.advice.command}", f"      {report.advice.reason}"]
    return "\n".join(lines)


def _rows(report: Report, *, is_verbose: bool) -> Iterator[str]:
    machine, runtimes, media = report.machine, report.runtimes, report.media
    yield _row("system", f"{machine.system}, Python {machine.python}")
    features = ", ".join(machine.cpu_features) or runtimes.torch_cpu or "unknown"
    allowed = f"{machine.cpus_allowed} of {machine.cpus} cores for this process"
    yield _row("CPU", f"{machine.cpu}; {allowed}; {features}")
    if machine.memory_bytes is not None:
        free = machine.memory_free_bytes
        told = "" if free is None else f", {_gib(free)} free"
        yield _row("memory", f"{_gib(machine.memory_bytes)}{told}")
    yield _row("disk", f"{_gib(machine.disk_free_bytes)} free in {machine.disk_folder}")
    yield _row("torch", runtimes.torch or "does not work")
    abilities = f" ({', '.join(runtimes.openvino_cpu)})" if runtimes.openvino_cpu else ""
    yield _row("OpenVINO", f"{runtimes.openvino or 'not installed'}{abilities}")
    yield _row("GPU", "; ".join(_gpus(runtimes)) or "none that torch can use")
    yield _row("pictures", f"{', '.join(media.pictures) or 'none'} (Pillow {media.pillow})")
    yield from _encoders(media, is_verbose=is_verbose)
    yield _row("cameras", "; ".join(map(_camera, media.cameras)) or "none")
    yield from _virtual_camera(media)
    yield _row("window", "yes" if media.window_lacks is None else f"no: {media.window_lacks}")
    absent = [extra for extra, is_there in report.extras.items() if not is_there]
    present = [extra for extra, is_there in report.extras.items() if is_there]
    lacking = f"; not installed: {', '.join(absent)}" if absent else ""
    yield _row("extras", f"{', '.join(present) or 'none'}{lacking}")


def _row(name: str, told: str) -> str:
    return f"  {name:{_WIDTH}} {told}"


def _gpus(runtimes: Runtimes) -> Iterator[str]:
    for gpu in runtimes.gpus:
        memory = "" if gpu.memory_bytes is None else f", {_gib(gpu.memory_bytes)}"
        yield f"{gpu.name} ({gpu.device}{memory})"


def _encoders(media: Media, *, is_verbose: bool) -> Iterator[str]:
    if media.pyav is None:
        yield _row("video", "needs PyAV: pip install 'clearcall[video]'")
        return
    software = [each.name for each in media.encoders if not each.is_hardware]
    working = [each.name for each in media.encoders if each.is_hardware and each.works]
    failing = [each.name for each in media.encoders if each.is_hardware and not each.works]
    yield _row("video", f"{', '.join(software) or 'no usual encoder'} (PyAV {media.pyav})")
    yield _row("  of hardware", ", ".join(working) or "none that works here")
    if is_verbose and failing:
        yield _row("", f"built in, but not for this machine: {', '.join(failing)}")


def _camera(camera: dict[str, Any]) -> str:
    size = f"{camera['width']}x{camera['height']} at {camera['fps']:g}" if camera["width"] else ""
    return f"{camera['number']}: {camera['name']} ({size or 'cannot be opened'})"


def _virtual_camera(media: Media) -> Iterator[str]:
    lacks, _, remedy = (media.virtual_camera_lacks or "").partition(" To set one up: ")
    yield _row("virtual camera", media.virtual_camera or f"none: {lacks}")
    if remedy:
        yield _row("", f"-> {remedy}")


def _speeds(report: Report) -> Iterator[str]:
    first = report.measurements[0]
    took_s = sum(each.took_s for each in report.measurements)
    yield (
        f"Students on {first.device} by {first.backend} in {first.precision}, "
        f"ms and FPS of the network alone, measured in {took_s:.1f} s"
    )
    sizes = [f"{speed.width}x{speed.height}" for speed in first.speeds]
    yield "  " + f"{'':6}" + "".join(f"{size:>20}" for size in sizes)
    for each in report.measurements:
        cells = [
            f"{'' if speed.runs else '~'}{speed.ms:.1f} ms {speed.fps:5.0f} FPS"
            for speed in each.speeds
        ]
        yield "  " + f"{each.student:6}" + "".join(f"{cell:>20}" for cell in cells)
    live = [student or "none" for _, _, student in report.advice.live]
    yield f"  {f'{LIVE_FPS} FPS':6}" + "".join(f"{student:>20}" for student in live)
    yield (
        f"  {LIVE_FPS} FPS: the best student that holds it. "
        f"For pictures and files: {report.advice.best}"
    )


def _gib(count_bytes: int) -> str:
    return f"{count_bytes / (1 << 30):.1f} GiB"
