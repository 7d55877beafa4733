"""Completion scripts for bash and zsh, by shtab, and for fish."""

from __future__ import annotations

import argparse

import shtab

from desktop.completion.fish import fish_script
from desktop.completion.values import Values, public_actions, subcommands, values_of

__all__ = ["completion_script"]


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script that completes the parser's commands, options and their values.

    Args:
        parser: It is changed; have one made for this.
        shell: bash, zsh or fish.
    """
    if shell == "fish":
        return fish_script(parser)
    _tell_shtab(parser)
    script: str = shtab.complete(parser, shell)
    return script


def _tell_shtab(parser: argparse.ArgumentParser) -> None:
    for action in public_actions(parser):
        values = values_of(action)
        if values.choices and values.names == "none":
            action.choices = list(values.choices)
        elif values.choices:
            action.complete = _words_and_files(values)  # type: ignore[attr-defined]
        elif values.names == "files":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif values.names == "folders":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    for command in subcommands(parser).values():
        _tell_shtab(command)


def _words_and_files(values: Values) -> dict[str, object]:
    """Functions of the shells that offer both; shtab has none for this."""
    # shtab's script takes what a function with _file in its name prints for file names.
    name = f"_clearcall_{'_'.join(values.choices)}_or_file"
    words = " ".join(values.choices)
    return {
        "bash": name,
        "zsh": name,
        "preamble": {
            "bash": f'{name}() {{ compgen -W "{words}" -- "$1"; compgen -f -- "$1"; }}',
            "zsh": f"{name}() {{ compadd -- {words}; _files }}",
        },
    }
