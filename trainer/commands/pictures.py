"""`preview`, `pack` and `calls`: degradations to look at, crops in one file, frames of calls."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from trainer.call_frames import write_call_frames
from trainer.commands.help_text import HelpFormatter
from trainer.commands.places import require_file_place, require_folder_place
from trainer.data import find_pictures
from trainer.degradation import degrade_at_random
from trainer.mixture import Mixture
from trainer.pack import write_pack
from trainer.preview import write_preview

__all__ = ["add_picture_commands"]

Commands = argparse._SubParsersAction  # argparse has no public name for it


def add_picture_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the commands of this module."""
    _add_preview(commands)
    _add_pack(commands)
    _add_calls(commands)


def _add_preview(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "preview",
        help="a contact sheet of clean and degraded pairs, per kind of degradation",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=_preview)
    command.add_argument("--data", type=Path, required=True, help="folder of sharp pictures")
    command.add_argument("--out", type=Path, required=True, help="PNG to write")
    command.add_argument("--seed", type=int, default=0, help="of pictures and degradations")


def _preview(arguments: argparse.Namespace, _: Console) -> int:
    require_file_place("--out", arguments.out)
    print(write_preview(find_pictures(arguments.data), arguments.out, seed=arguments.seed))
    return 0


def _add_pack(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "pack",
        help="write a compact crop set in one file, with hashes, licences and sources",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=_pack)
    command.add_argument("--data", type=Path, required=True, help="what distill takes")
    command.add_argument("--out", type=Path, required=True, help="file to write")
    command.add_argument("--crop", type=int, default=256, help="side of a crop, px")
    command.add_argument("--crops-per-picture", type=int, default=4, help="at most")
    command.add_argument("--seed", type=int, default=0, help="of crops and degradations")
    command.add_argument("--encoding", choices=("jpeg", "png", "webp"), default="jpeg")
    command.add_argument("--quality", type=int, default=95, help="of JPEG, 1 to 100")
    command.add_argument("--max-mib", type=float, default=0, help="stop at this size; 0 = none")
    command.add_argument(
        "--degrade",
        metavar="KIND=SHARE,...",
        help="also keep degraded crops, made by this mixture (codec=1: by video codecs); default: "
        "sharp crops alone, degraded during training",
    )
    command.add_argument("--clean-share", type=float, default=0.1, help="of degraded crops")


def _pack(arguments: argparse.Namespace, console: Console) -> int:
    require_file_place("--out", arguments.out)
    if not 0 <= arguments.clean_share <= 1:
        raise ValueError(f"--clean-share must be 0 to 1, not {arguments.clean_share:g}")
    mixture = Mixture.parse(arguments.degrade) if arguments.degrade else None
    degrade = (
        partial(degrade_at_random, clean_share=arguments.clean_share, mixture=mixture)
        if mixture
        else None
    )
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("pack", total=None)
        summary = write_pack(
            arguments.data,
            arguments.out,
            crop_px=arguments.crop,
            crops_per_picture=arguments.crops_per_picture,
            seed=arguments.seed,
            degrade=degrade,
            degradation=arguments.degrade or "mixture",
            encoding=arguments.encoding,
            quality=arguments.quality,
            max_mib=arguments.max_mib,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(summary.describe())
    return 0


def _add_calls(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "calls",
        help="film pictures, send the clips through video codecs at a call's bit rates, keep "
        "frames and what was filmed as pairs",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=_calls)
    command.add_argument("--data", type=Path, required=True, help="folder of sharp pictures")
    command.add_argument("--out", type=Path, required=True, help="folder to write")
    command.add_argument("--clips-per-picture", type=int, default=1, help="three pairs each")
    command.add_argument("--seed", type=int, default=0, help="of scenes, codecs and bit rates")


def _calls(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.clips_per_picture < 1:
        raise ValueError(
            f"--clips-per-picture must be 1 or more, not {arguments.clips_per_picture}"
        )
    if arguments.seed < 0:
        raise ValueError(f"--seed must be 0 or more, not {arguments.seed}")
    require_folder_place("--out", arguments.out)
    if arguments.out.resolve().is_relative_to(arguments.data.resolve()):
        raise ValueError(
            f"--out {arguments.out} is in {arguments.data}, where its frames would be taken for "
            "sharp pictures. Name a folder beside it."
        )
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("calls", total=None)
        summary = write_call_frames(
            arguments.data,
            arguments.out,
            seed=arguments.seed,
            clips_per_picture=arguments.clips_per_picture,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(summary.describe())
    return 0
