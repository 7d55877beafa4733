"""`python -m service` is `clearcall serve`."""

from __future__ import annotations

import sys

from service.cli import main
from service.model.ending import interrupted_if_so

__all__: list[str] = []

_NOT_FOR_SERVE = ("--version", "-h", "--help")


def _with_command(argv: list[str]) -> list[str]:
    if argv and (not argv[0].startswith("-") or argv[0] in _NOT_FOR_SERVE):
        return argv
    return ["serve", *argv]


if __name__ == "__main__":
    sys.exit(interrupted_if_so(main(_with_command(sys.argv[1:]))))
