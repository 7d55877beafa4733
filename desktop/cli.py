"""The command `clearcall` with all its commands.

Each command's module adds itself and imports torch, PyAV and OpenCV only when it runs: help and
completion answer at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from desktop.commands.camera import add_camera_command
from desktop.commands.completion import add_completion_command
from desktop.commands.doctor import add_doctor_command
from desktop.commands.image import add_image_command
from desktop.commands.models import add_models_command
from desktop.commands.video import add_video_command
from service.cli import add_serve_command, new_parser, run_command
from service.key_command import add_key_command
from service.model.ending import interrupted_if_so

__all__ = ["clearcall_parser", "main", "start"]

_EPILOG = """examples:
  clearcall doctor                       what this machine can do, and what to run next
  clearcall serve                        the service and its page: http://127.0.0.1:8000
  clearcall image photos/ -o sharp/
  clearcall video talk.mp4 -o sharp.mp4
  clearcall camera --virtual             as a camera for Zoom, Teams, Meet, OBS ...

clearcall COMMAND --help tells more. All commands: docs/commands.md; the start: README.md.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; see `service.cli.run_command`."""
    return run_command(clearcall_parser(), argv)


def start() -> int:
    """Runs the command line of the process; see `interrupted_if_so`."""
    return interrupted_if_so(main())


def clearcall_parser() -> argparse.ArgumentParser:
    """The parser of all commands, in the order in which the help lists them."""
    parser, commands = new_parser(_EPILOG)
    # For files and cameras, the service, those who look after it, the command itself.
    add_image_command(commands)
    add_video_command(commands)
    add_camera_command(commands)
    add_serve_command(commands)
    add_models_command(commands)
    add_key_command(commands)
    add_doctor_command(commands)
    add_completion_command(commands)
    return parser
