"""The command `clearcall completion`; `desktop.completion` writes the scripts."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.cli import Commands

__all__ = ["add_completion_command"]

_DESCRIPTION = """\
Prints a script with which the Tab key completes commands, options, their
values and file names."""
_EXAMPLES = """examples:
  source <(clearcall completion bash)      in this bash only
  clearcall completion bash > ~/.local/share/bash-completion/completions/clearcall
  clearcall completion zsh > "${fpath[1]}/_clearcall"
  clearcall completion fish > ~/.config/fish/completions/clearcall.fish
"""


def add_completion_command(commands: Commands) -> None:
    """Adds `completion`."""
    parser = commands.add_parser(
        "completion",
        help="print a script for completion with the Tab key",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish"
    )
    parser.set_defaults(command=_completion)


def _completion(arguments: dict[str, Any]) -> int:
    from desktop.cli import clearcall_parser
    from desktop.completion.scripts import completion_script

    print(completion_script(clearcall_parser(), arguments["shell"]))
    return 0
