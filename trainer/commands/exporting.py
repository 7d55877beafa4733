"""`export`: a run's checkpoint for the service's volume, or as ONNX; `average`: one of several."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from trainer.averaging import average_checkpoints
from trainer.commands.help_text import HelpFormatter
from trainer.commands.places import require_file_place, require_folder_place
from trainer.export import export_checkpoint
from trainer.onnx_export import OPSETS, export_onnx

__all__ = ["add_export_commands"]

Commands = argparse._SubParsersAction  # argparse has no public name for it


def add_export_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the commands of this module."""
    _add_export(commands)
    _add_average(commands)


def _add_export(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "export",
        help="write a checkpoint for the service, or as ONNX, and compare it with its source",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=_export)
    command.add_argument("--checkpoint", type=Path, required=True, help="a run's checkpoint")
    command.add_argument(
        "--out", type=Path, required=True, help="file to write, or a folder: named by its id there"
    )
    command.add_argument("--onnx", action="store_true", help="ONNX, uint8 pictures of any size")
    command.add_argument("--opset", type=int, help="of ONNX, 18 to 23 (default: 18)")
    command.add_argument(
        "--strength",
        type=float,
        help="of the correction, 0 to 2, fixed in the ONNX file; default: the checkpoint's",
    )


def _add_average(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "average",
        help="average the weights of students that were trained on from the same one",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=_average)
    command.add_argument(
        "checkpoints", type=Path, nargs="+", metavar="CHECKPOINT", help="two or more, of one shape"
    )
    command.add_argument("--out", type=Path, required=True, help="file to write")
    command.add_argument(
        "--shares", type=float, nargs="+", metavar="SHARE", help="one for each; default: equal ones"
    )


def _average(arguments: argparse.Namespace, console: Console) -> int:
    require_file_place("--out", arguments.out)
    made = average_checkpoints(arguments.checkpoints, arguments.out, shares=arguments.shares)
    sources = made.facts.training_config["averaged"]
    console.print(f"{made.model_id} of {sources}", markup=False)
    print(arguments.out)
    return 0


def _export(arguments: argparse.Namespace, console: Console) -> int:
    if not arguments.onnx and (arguments.strength is not None or arguments.opset is not None):
        raise ValueError(
            "--strength and --opset are of ONNX files: pass --onnx, or leave them out. A "
            "checkpoint's own strength is set by clearcall-train evaluate --find-strength."
        )
    suffix = ".onnx" if arguments.onnx else ".safetensors"
    if arguments.out.suffix == suffix and not arguments.out.is_dir():
        require_file_place("--out", arguments.out)
    else:
        require_folder_place("--out", arguments.out)
    if arguments.onnx:
        exported = export_onnx(
            arguments.checkpoint,
            arguments.out,
            opset=OPSETS[0] if arguments.opset is None else arguments.opset,
            strength=arguments.strength,
        )
    else:
        exported = export_checkpoint(arguments.checkpoint, arguments.out)
    console.print(
        f"{exported.model_id}: differs from its source by {exported.largest_difference} "
        "of 255 at most",
        markup=False,
    )
    print(exported.path)
    return 0
