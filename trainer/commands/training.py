"""`distill`, `teacher` and `ablate`: runs that are described by settings."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from service.model.atomic import write_bytes
from trainer.ablation import ablate, ablation_table
from trainer.commands.help_text import default_note
from trainer.commands.places import require_file_place, require_folder_place
from trainer.config import DistillConfig, RunOptions, TeacherConfig, TrainingConfig, setting_help
from trainer.distillation import distill
from trainer.settings_file import as_toml, read_settings
from trainer.sources import Source, open_source
from trainer.teacher_training import train_teacher

__all__ = ["add_training_commands"]

ConfigType = TypeVar("ConfigType", bound=TrainingConfig)
Commands = argparse._SubParsersAction  # argparse has no public name for it

_OPTION_HELP = {
    "data": "folder of sharp pictures, of blurry/sharp pairs or of videos, a video, or a pack",
    "out": "folder of state, log and checkpoint",
    "pairs": "blurry/sharp pairs for pair_share of the crops, such as clearcall-train calls makes",
    "fonts": "folder of fonts for the drawn pages of page_share; none = Pillow's own",
    "validation": "folder of sharp pictures that are not trained on",
    "teacher_cache": "folder that keeps the teacher's output; needs crop_set",
    "vgg_weights": "file of the perceptual term's network; none = torchvision's download",
    "device": "auto, cpu, cuda, cuda:N or mps",
    "workers": "processes that make crops; 0 = none besides the trainer",
    "threads": "CPU threads of torch; 0 = its choice",
    "max_minutes": "stop, resumable, after so long; 0 = no limit",
    "save_every": "steps between saved states",
    "log_every": "steps between lines of log.jsonl",
    "cache_gb": "hold decoded pictures in memory up to this",
    "tensorboard": "also write scalars and pictures for TensorBoard",
}


def add_training_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the commands of this module."""
    _add(commands, "distill", DistillConfig, _distill, "train a student")
    _add(commands, "teacher", TeacherConfig, _teacher, "train or fine-tune a NAFNet teacher")
    _add(
        commands,
        "ablate",
        DistillConfig,
        _ablate,
        "train short runs with each loss term, and the teacher, switched off; print the table",
    )


def _add(
    commands: Commands[argparse.ArgumentParser],
    name: str,
    kind: type[TrainingConfig],
    run: Callable[[argparse.Namespace, Console], int],
    description: str,
) -> None:
    command = commands.add_parser(
        name,
        help=description,
        description=f"{description[0].upper()}{description[1:]}. Run it again with the same "
        "settings to go on. A flag overrides --set, which overrides the settings file.",
    )
    command.set_defaults(run=run)
    command.add_argument("settings", type=Path, nargs="?", help="a flat TOML file of settings")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting"
    )
    for field in fields(RunOptions):
        flag = f"--{field.name.replace('_', '-')}"
        if field.name == "tensorboard":
            command.add_argument(flag, action="store_true", help=_OPTION_HELP[field.name])
            continue
        default = default_note(field.default) if field.name not in ("data", "out") else ""
        command.add_argument(flag, metavar="", help=_OPTION_HELP[field.name] + default)
    settings = command.add_argument_group("settings that determine the weights")
    for field in fields(kind):
        settings.add_argument(
            f"--{field.name.replace('_', '-')}",
            metavar="",
            help=(setting_help(field.name, kind) + default_note(field.default)).replace("%", "%%"),
        )


def _begin(
    kind: type[ConfigType], arguments: argparse.Namespace, console: Console
) -> tuple[ConfigType, RunOptions, Source]:
    """Reads and prints the settings and opens the pictures."""
    names = [field.name for owner in (kind, RunOptions) for field in fields(owner)]
    flags = [
        f"{name}={str(value).lower() if value is True else value}"
        for name in names
        if (value := getattr(arguments, name)) not in (None, False)
    ]
    config, options = read_settings(kind, arguments.settings, [*arguments.set, *flags])
    if _is_first():
        console.print(as_toml(config, options), markup=False, highlight=False)
    else:
        logging.getLogger("trainer").setLevel(logging.WARNING)
    require_folder_place("--out", options.out)
    source = open_source(
        options.data, smallest_px=config.crop, cache_bytes=int(options.cache_gb * 1e9)
    )
    if _is_first():
        console.print(source.describe(), markup=False)
    return config, options, source


def _is_first() -> bool:
    """Whether this process is the one that speaks, under torchrun."""
    return os.environ.get("RANK", "0") == "0"


def _print_path(checkpoint: Path) -> None:
    if _is_first():
        print(checkpoint)


def _distill(arguments: argparse.Namespace, console: Console) -> int:
    config, options, source = _begin(DistillConfig, arguments, console)
    _print_path(distill(source, config, options))
    return 0


def _teacher(arguments: argparse.Namespace, console: Console) -> int:
    config, options, source = _begin(TeacherConfig, arguments, console)
    _print_path(train_teacher(source, config, options))
    return 0


def _ablate(arguments: argparse.Namespace, console: Console) -> int:
    config, options, source = _begin(DistillConfig, arguments, console)
    table = options.out / "ablation.json"
    require_file_place("--out", table)
    rows = ablate(
        source,
        config,
        options,
        on_variant=lambda name, at, count: console.print(f"{at + 1} of {count}: {name}"),
    )
    Console(width=max(160, Console().width)).print(ablation_table(rows))
    write_bytes(table, (json.dumps([asdict(row) for row in rows], indent=1) + "\n").encode())
    return 0
