"""The command `clearcall-train`: from pictures to a checkpoint and its report card."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

import cv2
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

from service.errors import ClearcallError
from service.model.ending import EXIT_INTERRUPTED
from trainer.commands.exporting import add_export_commands
from trainer.commands.fusing import add_fusing_commands
from trainer.commands.measuring import add_measuring_commands
from trainer.commands.pictures import add_picture_commands
from trainer.commands.training import add_training_commands
from trainer.run import DivergedError, StateDamagedError, StateMismatchError

__all__ = ["run"]

_USER_ERRORS = (
    ClearcallError,
    OSError,
    ValueError,
    DivergedError,
    StateDamagedError,
    StateMismatchError,
)


def run(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code.

    0 done, 2 the user has to change something, 130 interrupted.
    """
    parser = argparse.ArgumentParser(prog="clearcall-train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_picture_commands(commands)
    add_training_commands(commands)
    add_fusing_commands(commands)
    add_measuring_commands(commands)
    add_export_commands(commands)
    arguments = parser.parse_args(argv)
    console = Console(stderr=True)
    logging.basicConfig(
        format="%(message)s",
        handlers=[RichHandler(console=console, show_path=False)],
    )
    logging.getLogger("trainer").setLevel(logging.INFO)
    cv2.setNumThreads(1)
    try:
        return int(arguments.run(arguments, console))
    except _USER_ERRORS as exc:
        console.print(f"[bold red]error:[/] {escape(str(exc))}", highlight=False)
        return 2
    except KeyboardInterrupt as exc:
        console.print("; ".join(["interrupted", *map(str, exc.args)]))
        return EXIT_INTERRUPTED
