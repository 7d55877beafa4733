"""The command `clearcall` with all its commands.

Each command's module adds itself and imports torch, PyAV and OpenCV only when it runs: help and
completion answer at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from desktop.commands.camera import add_camera_command
from desktop.commands.image import add_image_command
from desktop.commands.models import add_models_command
from desktop.commands.video import add_video_command
from service.cli import add_serve_command, new_parser, run_command
from service.key_command import add_key_command

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; see `service.cli.run_command`."""
    parser, commands = new_parser()
    add_serve_command(commands)
    add_image_command(commands)
    add_video_command(commands)
    add_camera_command(commands)
    add_key_command(commands)
    add_models_command(commands)
    return run_command(parser, argv)
