"""Options that several commands share, under one name: which student, on what, how strong."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch takes seconds
    from service.model.sharpener import Sharpener
    from service.scaling import Resize

__all__ = ["add_model_options", "add_size_options", "load_model", "number", "quality", "strength"]

_MOST_STRENGTH = 2.0
_MOST_THREADS = 1024  # as in `serve`


def add_model_options(
    parser: argparse.ArgumentParser, *, default_checkpoint: str = "small"
) -> None:
    """Adds --checkpoint, --strength, --device, --backend, --precision, --threads, as in `serve`."""
    auto = "auto, " if default_checkpoint == "auto" else ""
    group = parser.add_argument_group("student")
    group.add_argument(
        "--checkpoint",
        default=default_checkpoint,
        metavar="NAME",
        help=f"student: {auto}nano, small, base, or a checkpoint's path "
        f"(default {default_checkpoint})",
    )
    group.add_argument(
        "--strength",
        type=strength,
        metavar="S",
        help="of the correction: 0 = off, 1 = as trained, to 2 = stronger (default: the student's)",
    )
    group.add_argument(
        "--device",
        default="auto",
        metavar="DEVICE",
        help="where the network runs: auto, cpu, mps, cuda or cuda:N (default auto)",
    )
    group.add_argument(
        "--backend",
        default="auto",
        choices=("auto", "torch", "openvino"),
        metavar="BACKEND",
        help="what runs the network: auto, torch or openvino (default auto)",
    )
    group.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fp32", "bf16"),
        metavar="PRECISION",
        help="what the network calculates in: auto, fp32 or bf16 (default auto)",
    )
    group.add_argument(
        "--threads",
        type=_threads,
        default=0,
        metavar="N",
        help="CPU threads of the network; 0 = all cores that the process may use (default 0)",
    )


def add_size_options(group: argparse._ArgumentGroup) -> None:
    """Adds --resize and --upscale, as `POST /sharpen` has them."""
    group.add_argument(
        "--resize",
        type=_resize,
        metavar="SIZE",
        help="scale it to fit into 512, 1920x1080 ... before the network; 1920x1080! is exact",
    )
    group.add_argument(
        "--upscale",
        type=_upscale,
        default=1.0,
        metavar="X",
        help="enlarge it so many times after the network, 1 to 8 (default 1)",
    )


def load_model(arguments: dict[str, Any]) -> Sharpener:
    """Loads the student that the arguments of `add_model_options` name.

    Raises:
        CheckpointError: It cannot be used.
        BackendUnavailable: The device or backend is not on this machine.
    """
    from service.model.sharpener import Sharpener

    return Sharpener.load(
        arguments["checkpoint"],
        device=arguments["device"],
        backend=arguments["backend"],
        threads=arguments["threads"],
        precision=arguments["precision"],
    )


def number(text: str) -> float:
    """Parses a number for argparse, which would name the parser itself where there is none."""
    try:
        return float(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text} is not a number") from exc


def strength(text: str) -> float:
    """Parses a strength for argparse: 0 to 2."""
    value = number(text)
    if not 0 <= value <= _MOST_STRENGTH:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2")
    return value


def quality(text: str) -> int:
    """Parses a quality for argparse: 1 to 100."""
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 100")
    return int(text)


def _threads(text: str) -> int:
    """Parses a number of threads for argparse: 0 to 1024."""
    if not text.isdecimal() or int(text) > _MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to {_MOST_THREADS}")
    return int(text)


def _resize(text: str) -> Resize:
    """Parses a size for argparse: 512, 1920x1080 or 1920x1080!"""
    from service.errors import RequestInvalid
    from service.scaling import Resize

    try:
        return Resize.parse(text)
    except RequestInvalid as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _upscale(text: str) -> float:
    """Parses a factor for argparse: 1 to 8."""
    from service.scaling import MAX_UPSCALE

    value = number(text)
    if not 1 <= value <= MAX_UPSCALE:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and {MAX_UPSCALE:g}")
    return value
