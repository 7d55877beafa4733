"""How the help of `clearcall-train` tells defaults: once, and only where there is one."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["HelpFormatter", "default_note"]


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Leaves the default out of required options, of those without one, and where it is told."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        is_told = "default" in (action.help or "")
        if action.required or is_told or not default_note(action.default):
            return action.help
        return super()._get_help_string(action)


def default_note(default: Any) -> str:
    """` (default: ...)`, or nothing where none is given."""
    return "" if default in (None, "", [], ()) or default is False else f" (default: {default})"
