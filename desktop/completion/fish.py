"""A completion script for fish, which shtab does not write."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from desktop.completion.values import public_actions, subcommands, values_of

__all__ = ["fish_script"]

_HEAD = """\
# Whether the words after clearcall begin with these.
function __clearcall_in
    set -l words (commandline -opc)
    set -e words[1]
    test (count $words) -ge (count $argv); or return 1
    for at in (seq (count $argv))
        test "$words[$at]" = "$argv[$at]"; or return 1
    end
end
# Whether they are just these.
function __clearcall_at
    set -l words (commandline -opc)
    test (count $words) -eq (math (count $argv) + 1); and __clearcall_in $argv
end
complete -c clearcall -f"""


def fish_script(parser: argparse.ArgumentParser) -> str:
    """The script that completes the parser's commands, options and their values."""
    return "\n".join([_HEAD, *_lines(parser, ())])


def _lines(parser: argparse.ArgumentParser, path: tuple[str, ...]) -> Iterator[str]:
    commands = subcommands(parser)
    where = " ".join(("__clearcall_at" if commands else "__clearcall_in", *path))
    for action in public_actions(parser):
        if action.option_strings:
            yield " ".join(_option(action, where))
        elif arguments := _arguments(action):
            yield " ".join([f"complete -c clearcall -n {_quoted(where)}", *arguments])
    told = _told(parser)
    for name, command in commands.items():
        yield f"complete -c clearcall -n {_quoted(where)} -a {name} -d {_quoted(told[name])}"
        yield from _lines(command, (*path, name))


def _told(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The commands' help."""
    return {
        each.dest: each.help or ""
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for each in action._get_subactions()
    }


def _option(action: argparse.Action, where: str) -> Iterator[str]:
    yield f"complete -c clearcall -n {_quoted(where)}"
    for flag in action.option_strings:
        yield f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
    if action.nargs != 0:
        yield "-r" if values_of(action).names == "files" else "-x"
        yield from _arguments(action)
    if action.help:
        yield f"-d {_quoted(action.help % {'prog': 'clearcall', 'default': action.default})}"


def _arguments(action: argparse.Action) -> list[str]:
    values = values_of(action)
    arguments = []
    if values.choices:
        arguments.append(f"-a {_quoted(' '.join(values.choices))}")
    if values.names == "folders":
        arguments.append("-a '(__fish_complete_directories)'")
    elif values.names == "files":
        arguments.append("-F")
    return arguments


def _quoted(text: str) -> str:
    """In single quotes, where fish knows no escapes but of the quote and the backslash."""
    escaped = " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
