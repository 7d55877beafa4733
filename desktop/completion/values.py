"""What can stand after an option: choices, files or folders, beyond what argparse itself knows."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args, get_origin

from service.settings import Settings

__all__ = ["Values", "public_actions", "subcommands", "values_of"]

_FILES = {"input", "inputs", "output", "source", "record", "checkpoint"}
_FOLDERS = {"checkpoints"}
_STUDENTS = ("nano", "small", "base")
_DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True, slots=True)
class Values:
    """Words that can be completed, and whether file or folder names can stand there too."""

    choices: tuple[str, ...] = ()
    names: Literal["none", "files", "folders"] = "none"


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser's commands by name, in the order of the help; none where it has none."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def public_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Options and positional arguments, without commands and what help leaves out."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction) and action.help != argparse.SUPPRESS:
            yield action


def values_of(action: argparse.Action) -> Values:
    """What can stand for an argument or after an option."""
    if action.nargs == 0:
        return Values()
    choices = tuple(str(each) for each in action.choices or ())
    if not choices and (field := Settings.model_fields.get(action.dest)) is not None:
        # `serve` leaves the check of its flags to the settings.
        if get_origin(field.annotation) is Literal:
            choices = get_args(field.annotation)
        elif field.annotation is bool:
            choices = ("true", "false")
    if action.dest == "checkpoint":
        choices = ("auto", *_STUDENTS) if action.default == "auto" else _STUDENTS
    elif action.dest == "device":
        choices = _DEVICES
    if action.dest in _FOLDERS:
        return Values(choices, "folders")
    is_file = action.type is Path or action.dest in _FILES or action.dest.endswith("_file")
    return Values(choices, "files" if is_file else "none")
