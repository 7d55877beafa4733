"""`fusion`: trains the network that fuses a file's frames with their neighbours."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from service.model.fusion_file import FusionFacts, FusionScore, save_fusion
from trainer.commands.argument_types import thread_count
from trainer.commands.help_text import HelpFormatter
from trainer.commands.places import require_file_place
from trainer.export import training_commit
from trainer.fusion_training import FusionGain, FusionSettings, train_fusion

__all__ = ["add_fusing_commands"]

Commands = argparse._SubParsersAction  # argparse has no public name for it

_FILE_NAME = "fusion.safetensors"


def add_fusing_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the command of this module."""
    command = commands.add_parser(
        "fusion",
        help="train what fuses frames with their neighbours, for clearcall video --look-ahead",
        description="Makes clips of the pictures, degrades and sharpens them, and trains on crops "
        "of them. Run it again with the same settings to go on.",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=_fusion)
    command.add_argument("--data", type=Path, required=True, help="folder of sharp pictures")
    command.add_argument(
        "--out", type=Path, required=True, help="folder of samples, state and weights"
    )
    defaults = FusionSettings(data=Path(), out=Path())
    command.add_argument("--samples", type=int, default=defaults.samples, help="clips to make")
    command.add_argument("--steps", type=int, default=defaults.steps)
    command.add_argument("--batch", type=int, default=defaults.batch, help="crops a step")
    command.add_argument("--rate", type=float, default=defaults.rate, help="largest learning rate")
    command.add_argument(
        "--harm", type=float, default=defaults.harm, help="how much more a loss counts than a gain"
    )
    command.add_argument(
        "--flicker",
        type=float,
        default=defaults.flicker,
        help="how much a decibel more of flicker counts",
    )
    command.add_argument(
        "--init", type=Path, help="weights to begin with, such as the bundled ones"
    )
    command.add_argument("--seed", type=int, default=defaults.seed)
    command.add_argument(
        "--students",
        nargs="+",
        default=list(defaults.students),
        help="sizes or checkpoints whose frames are fused",
    )
    command.add_argument(
        "--fonts",
        type=Path,
        help="folder of fonts for the text on screens; without it, Pillow's own",
    )
    command.add_argument("--max-minutes", type=float, default=0.0, help="0 = no limit")
    command.add_argument("--threads", type=thread_count, default=0, help="CPU threads; 0 = all")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    command.add_argument("--precision", default="auto", help="auto, fp32, bf16")


def _fusion(arguments: argparse.Namespace, console: Console) -> int:
    settings = FusionSettings(
        **{field.name: getattr(arguments, field.name) for field in fields(FusionSettings)}
        | {"students": tuple(arguments.students)}
    )
    path = settings.out / _FILE_NAME
    require_file_place("--out", path)
    last: Sequence[FusionGain] = ()

    def tell(step: int, gains: Sequence[FusionGain]) -> None:
        nonlocal last
        last = gains
        told = "; ".join(
            f"{gain.kind} {gain.mean_db:+.3f} dB, {gain.worse_count} of {gain.crops} worse"
            for gain in gains
        )
        console.print(f"step {step}: {told}", highlight=False)

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("samples", total=None)
        network, steps = train_fusion(
            settings,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            on_gains=tell,
        )
    if not steps:
        raise ValueError("the time was up before the first step. Run it again to go on.")
    facts = FusionFacts(
        config=network.config.to_json(),
        training_commit=training_commit(),
        training_config=settings.of_the_weights(),
        training_steps=steps,
        scores={
            gain.kind: FusionScore(
                crops=gain.crops,
                mean_gain_db=round(gain.mean_db, 4),
                worst_gain_db=round(gain.worst_db, 4),
                worse_count=gain.worse_count,
            )
            for gain in last
        },
        created=datetime.now(UTC).date().isoformat(),
    )
    save_fusion(path, network, facts)
    print(path)
    return 0
