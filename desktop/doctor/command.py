"""Looks, measures, prints."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from typing import Any

from desktop.doctor.advice import advise
from desktop.doctor.extras import look_at_extras
from desktop.doctor.machine import look_at_machine, problems_of_machine
from desktop.doctor.media import Media, look_at_cameras, look_at_encoders, look_at_pictures
from desktop.doctor.problem import Problem
from desktop.doctor.report import Report, as_json, in_words
from desktop.doctor.runtimes import look_at_runtimes
from desktop.doctor.speed import Measurement, measure_students

__all__ = ["examine", "run_doctor"]


def run_doctor(arguments: dict[str, Any]) -> int:
    """Runs the command.

    Args:
        arguments: as `desktop.commands.doctor` parses them.

    Returns:
        0, 1 if something essential is broken.
    """
    report = examine(is_measured=not arguments["no_measure"])
    if arguments["json"]:
        print(json.dumps(as_json(report)))
    else:
        print(in_words(report, is_verbose=arguments["verbose"]))
    return int(report.is_broken)


def examine(*, is_measured: bool = True) -> Report:
    """Looks at everything; the measurement loads each bundled student."""
    machine = look_at_machine()
    problems = problems_of_machine(machine)
    runtimes, found = look_at_runtimes()
    problems += found
    pillow, pictures = look_at_pictures(problems)
    pyav, encoders = look_at_encoders()
    cameras, device, lacks, window_lacks = look_at_cameras(problems)
    media = Media(pillow, pictures, pyav, encoders, cameras, device, lacks, window_lacks)
    measurements: list[Measurement] = []
    if is_measured and runtimes.torch is not None:
        if sys.stderr.isatty():
            print("clearcall: measuring the students ...", file=sys.stderr)
        measurements = _measured(problems)
    return Report(
        version=_version(),
        machine=machine,
        runtimes=runtimes,
        media=media,
        extras=look_at_extras(),
        measurements=tuple(measurements),
        advice=advise(measurements, media, problems),
        problems=tuple(problems),
    )


def _measured(problems: list[Problem]) -> list[Measurement]:
    try:
        from service.model.sharpener import BUNDLED_SIZES, Sharpener

        return measure_students(BUNDLED_SIZES, Sharpener.load)
    except Exception as exc:
        # Whatever breaks a student, from a missing file to a driver, is what was looked for.
        said = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        problems.append(
            Problem(
                f"the bundled students do not run: {said}",
                "install Clearcall again: pip install --force-reinstall clearcall",
                is_essential=True,
            )
        )
        return []


def _version() -> str:
    try:
        return importlib.metadata.version("clearcall")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout without installing
        return "unknown"
