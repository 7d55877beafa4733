"""The command `clearcall doctor`; `desktop.doctor` looks and measures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.cli import Commands

__all__ = ["add_doctor_command"]

_DESCRIPTION = """\
Says what this machine can do (CPU, GPU, picture formats, video encoders,
cameras, virtual camera, window), measures the bundled students for about five
seconds, and names the student that fits and the command to run next. Problems
come with what to do. Exit code 1 if something essential is broken."""
_EXAMPLES = """examples:
  clearcall doctor
  clearcall doctor --no-measure
  clearcall doctor --json > report.json
"""


def add_doctor_command(commands: Commands) -> None:
    """Adds `doctor`."""
    parser = commands.add_parser(
        "doctor",
        help="say what this machine can do, and which student fits it",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--no-measure", action="store_true", help="leave the measurement out")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="list what does not work here, too"
    )
    parser.set_defaults(command=_doctor)


def _doctor(arguments: dict[str, Any]) -> int:
    from desktop.doctor.command import run_doctor

    return run_doctor(arguments)
