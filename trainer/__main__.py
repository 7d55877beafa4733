"""The command `clearcall-train`: distill a student, evaluate a checkpoint."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path

import cv2
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import Progress

from service.errors import ClearcallError
from service.model.checkpoint import load_checkpoint
from service.model.sharpener import STRENGTH_RANGE, Sharpener, bundled_checkpoint
from trainer.config import DistillConfig, setting_help
from trainer.data import PictureSet
from trainer.distillation import DivergedError, RunOptions, StateMismatchError, distill
from trainer.evaluation import Region, best_strength, evaluate
from trainer.export import rewrite_facts
from trainer.report import SSIM_NOTE, header_scores, report_json, report_table

__all__ = ["main"]

_USER_ERRORS = (ClearcallError, OSError, ValueError, DivergedError, StateMismatchError)
_STRENGTH_STEPS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code.

    0 done, 2 the user has to change something, 130 interrupted.
    """
    arguments = _parser().parse_args(argv)
    console = Console(stderr=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        handlers=[RichHandler(console=console, show_path=False)],
    )
    cv2.setNumThreads(1)
    try:
        return int(arguments.run(arguments, console))
    except _USER_ERRORS as exc:
        console.print(f"[bold red]error:[/] {exc}", highlight=False)
        return 2
    except KeyboardInterrupt:
        console.print("interrupted; the last saved state is kept")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clearcall-train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_distill(commands)
    _add_evaluate(commands)
    return parser


def _add_distill(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "distill",
        help="train a student on a folder of sharp pictures",
        description="Trains a student. Run it again with the same settings to go on.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.set_defaults(run=_distill)
    command.add_argument("--data", type=Path, required=True, help="folder of sharp pictures")
    command.add_argument("--out", type=Path, required=True, help="folder of state, log, checkpoint")
    for setting in fields(DistillConfig):
        assert setting.default is not MISSING
        command.add_argument(
            f"--{setting.name.replace('_', '-')}",
            type=type(setting.default),
            default=setting.default,
            help=setting_help(setting.name),
        )
    options = {field.name: field for field in fields(RunOptions)}
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    for name, description in (
        ("workers", "processes that make crops; 0 = none besides the trainer"),
        ("threads", "CPU threads of torch; 0 = its choice"),
        ("max-minutes", "stop, resumable, after so long; 0 = no limit"),
        ("save-every", "steps between saved states"),
        ("log-every", "steps between lines of log.jsonl"),
    ):
        default = options[name.replace("-", "_")].default
        command.add_argument(f"--{name}", type=type(default), default=default, help=description)
    command.add_argument(
        "--cache-gb", type=float, default=4.0, help="hold decoded pictures in memory up to this"
    )


def _distill(arguments: argparse.Namespace, console: Console) -> int:
    config = DistillConfig(
        **{setting.name: getattr(arguments, setting.name) for setting in fields(DistillConfig)}
    )
    options = RunOptions(
        output=arguments.out,
        device=arguments.device,
        workers=arguments.workers,
        threads=arguments.threads,
        max_minutes=arguments.max_minutes,
        save_every=arguments.save_every,
        log_every=arguments.log_every,
    )
    pictures = PictureSet.open(
        arguments.data, smallest_px=config.crop, cache_bytes=int(arguments.cache_gb * 1e9)
    )
    console.print(f"{len(pictures)} pictures")
    init = load_checkpoint(Path(config.init)) if config.init else None
    path = distill(pictures, config, options, init=init)
    print(path)
    return 0


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "evaluate",
        help="measure a checkpoint under fixed degradations",
        description="Input, unsharp mask and student side by side. " + SSIM_NOTE + ".",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.set_defaults(run=_evaluate)
    command.add_argument("--checkpoint", type=Path, default=bundled_checkpoint(), help="the file")
    command.add_argument("--data", type=Path, required=True, help="folder of sharp pictures")
    command.add_argument("--region", choices=("crop", "whole", "both"), default="both")
    command.add_argument("--strength", type=float, help="of the unsharp mask; default: the file's")
    command.add_argument("--limit", type=int, default=0, help="pictures; 0 = all")
    command.add_argument("--json", type=Path, help="write the full report here")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    command.add_argument("--backend", default="auto", help="auto, torch or openvino")
    command.add_argument("--threads", type=int, default=0, help="CPU threads; 0 = all")
    command.add_argument(
        "--find-strength",
        action="store_true",
        help="measure several strengths and write the best one into the checkpoint's header first",
    )
    command.add_argument(
        "--write-scores",
        action="store_true",
        help="write the centre crops' scores into the checkpoint's header",
    )


def _evaluate(arguments: argparse.Namespace, console: Console) -> int:
    _require_strength(arguments.strength)
    sharpener = _load(arguments)
    if arguments.find_strength:
        best, means = best_strength(
            sharpener, arguments.data, strengths=_STRENGTH_STEPS, limit=arguments.limit
        )
        for strength, psnr in means.items():
            console.print(f"strength {strength:g}: {psnr:.3f} dB")
        rewrite_facts(arguments.checkpoint, sharpener.checkpoint, default_strength=best)
        sharpener = _load(arguments)
    regions: tuple[Region, ...] = (
        ("crop", "whole") if arguments.region == "both" else (arguments.region,)
    )
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("evaluate", total=None)
        measured = evaluate(
            sharpener,
            arguments.data,
            regions=regions,
            strength=arguments.strength,
            limit=arguments.limit,
            on_picture=lambda done, total: bar.update(task, completed=done, total=total),
        )
    strength = sharpener.default_strength if arguments.strength is None else arguments.strength
    output = Console(width=max(120, Console().width))
    for region in regions:
        output.print(report_table(measured, region))
    output.print(f"{sharpener.checkpoint.model_id}, strength {strength:g}. {SSIM_NOTE}.")
    if arguments.json:
        report = report_json(measured, model_id=sharpener.checkpoint.model_id, strength=strength)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.write_scores:
        scores = header_scores(measured, "crop")
        rewrite_facts(arguments.checkpoint, sharpener.checkpoint, scores=scores)
    return 0


def _load(arguments: argparse.Namespace) -> Sharpener:
    return Sharpener.load(
        arguments.checkpoint,
        device=arguments.device,
        backend=arguments.backend,
        threads=arguments.threads,
    )


def _require_strength(strength: float | None) -> None:
    low, high = STRENGTH_RANGE
    if strength is not None and not low <= strength <= high:
        raise ValueError(f"--strength must be {low:g} to {high:g}, not {strength:g}")


if __name__ == "__main__":
    sys.exit(main())
