"""`clearcall key`: makes a key, and prints it this once, and what the service is to keep of it."""

from __future__ import annotations

import argparse
import json
import re
from typing import TYPE_CHECKING, Any

from service.errors import SettingsInvalid
from service.keys import hash_of, make_key

if TYPE_CHECKING:
    from service.cli import Commands

__all__ = ["add_key_command"]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,32}")
_DESCRIPTION = """\
Makes an API key and prints it once, with the hash that the service is given
instead of it. The key goes to whoever is to use the service."""
_EXAMPLES = """examples:
  clearcall key laptop          for CLEARCALL_API_KEYS of the service
  clearcall key ops --admin     for CLEARCALL_ADMIN_KEYS
  clearcall key laptop --json

More: docs/security.md.
"""


def add_key_command(commands: Commands) -> None:
    """Adds `key`."""
    key = commands.add_parser(
        "key",
        help="make an API key for the service",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    key.add_argument(
        "name",
        nargs="?",
        default="",
        metavar="NAME",
        help="what logs are to call it: letters, digits, . _ -, at most 32",
    )
    key.add_argument("--admin", action="store_true", help="for CLEARCALL_ADMIN_KEYS")
    key.add_argument("--json", action="store_true", help="print one JSON object")
    key.set_defaults(command=_key)


def _key(arguments: dict[str, Any]) -> int:
    name = arguments["name"]
    if name and not _NAME.fullmatch(name):
        raise SettingsInvalid(
            f"key: {name!r} is no name for a key: letters, digits, . _ and -, at most 32."
        )
    key = make_key()
    entry = hash_of(key, name)
    if arguments["json"]:
        print(json.dumps({"key": key, "hash": entry}))
        return 0
    variable = "CLEARCALL_ADMIN_KEYS" if arguments["admin"] else "CLEARCALL_API_KEYS"
    print(f"key (shown only now):  {key}")
    print(f"for {variable}, or a line of its _FILE:  {entry}")
    return 0
