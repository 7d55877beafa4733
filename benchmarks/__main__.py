"""`make bench`: measures models, codecs and streams and writes benchmarks/RESULTS.md.

The file has one section for each measurement, with the bars that it is held to beside the figures.
`--only` measures some of them anew and leaves the others as they are. Sections that it does not
know, of runs that take too long for it, are always left.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import openvino
import torch

from benchmarks.live_sections import (
    capacity_lines,
    flood_lines,
    soak_lines,
    still_lines,
    stream_lines,
)
from benchmarks.model_sections import codec_lines, model_lines, part_lines
from trainer.bench import processor

RESULTS = Path(__file__).parent / "RESULTS.md"
_STILL_CLIP_HELP = "video of a person talking, for the still regions (default: a still scene)"


@dataclass(frozen=True, slots=True)
class _Section:
    title: str
    lines: Callable[[argparse.Namespace], list[str]]


_SECTIONS = {
    "models": _Section("The model alone", model_lines),
    "parts": _Section("The parts of the network", part_lines),
    "codecs": _Section("JPEG on one thread", codec_lines),
    "streams": _Section("End to end over the WebSocket", stream_lines),
    "still": _Section("Still regions", still_lines),
    "flood": _Section("Four times more than fits", flood_lines),
    "capacity": _Section("Streams of a replica", capacity_lines),
    "soak": _Section("Memory under load", soak_lines),
}
_TITLES = {section.title for section in _SECTIONS.values()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each measurement")
    parser.add_argument("--only", choices=tuple(_SECTIONS), nargs="+", help="sections to measure")
    parser.add_argument("--clip", type=Path, help=_STILL_CLIP_HELP)
    parser.add_argument(
        "--soak-minutes", type=float, default=1.0, help="of load to watch memory under (default: 1)"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="Markdown file to write")
    arguments = parser.parse_args()
    kept = _sections_of(arguments.out)
    others = [text.strip() for title, text in kept.items() if title not in _TITLES]
    if not arguments.only:
        kept = {}
    texts = []
    for name, section in _SECTIONS.items():
        if arguments.only is None or name in arguments.only:
            lines = [f"## {section.title}", "", _stamp(), "", *section.lines(arguments)]
            kept[section.title] = "\n".join(lines)
        if section.title in kept:
            texts.append(kept[section.title].strip())
    text = "\n\n".join((_HEAD, *texts, *others)) + "\n"
    arguments.out.write_text(text)
    print(text)
    return 0


_HEAD = """# Speed

Written by `make bench`. Ratios are of figures from one run; one that misses its bar is bold."""


def _stamp() -> str:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    cores = len(os.sched_getaffinity(0))
    openvino_version = openvino.get_version().split("-")[0]
    return (
        f"{datetime.now(UTC).date()}, commit {commit or 'unknown'}. {processor()}, {cores} cores; "
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"OpenVINO {openvino_version}."
    )


def _sections_of(path: Path) -> dict[str, str]:
    """The sections that a file has, by title."""
    text = path.read_text() if path.exists() else ""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0].removeprefix("## "): part for part in parts}


if __name__ == "__main__":
    sys.exit(main())
