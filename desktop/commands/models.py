"""`clearcall models`: which models a running service has, and which one it serves."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from service.cli import HelpFormatter

if TYPE_CHECKING:
    from service.cli import Commands

__all__ = ["add_models_command"]

_SERVER = "http://127.0.0.1:8000"
_EXAMPLES = """examples:
  clearcall models list
  clearcall models activate small-c50b6170 --api-key KEY
  clearcall models activate latest --server https://sharp.example.org

More: docs/checkpoints.md.
"""
_LIST_EXAMPLES = """examples:
  clearcall models list
  clearcall models list --server https://sharp.example.org --json
"""
_ACTIVATE_EXAMPLES = """examples:
  clearcall models activate small-c50b6170 --api-key KEY
  clearcall models activate latest          no pin any more
"""


def add_models_command(commands: Commands) -> None:
    """Adds `models list` and `models activate ID`."""
    models = commands.add_parser(
        "models",
        help="list a service's models, serve another one, roll back",
        description="Asks a running service that watches a folder of checkpoints.",
        epilog=_EXAMPLES,
        formatter_class=HelpFormatter,
    )
    actions = models.add_subparsers(title="actions", required=True, metavar="ACTION")
    listing = actions.add_parser(
        "list",
        help="the models, the one that is served, the pin",
        description="Lists the models, which one is served, and which one is pinned.",
        epilog=_LIST_EXAMPLES,
        formatter_class=HelpFormatter,
    )
    _add_call_options(listing)
    listing.set_defaults(command=_list)
    activate = actions.add_parser(
        "activate",
        help="serve a model and pin it; needs an admin key",
        description="Serves a model without a break and pins it: no newer one takes its place.",
        epilog=_ACTIVATE_EXAMPLES,
        formatter_class=HelpFormatter,
    )
    activate.add_argument("id", help="of the list; latest = no pin, the newest that passes")
    activate.add_argument(
        "--force", action="store_true", help="serve it though it is worse or slower than allowed"
    )
    _add_call_options(activate)
    activate.set_defaults(command=_activate)


def _add_call_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server", default=_SERVER, metavar="URL", help=f"of the service (default {_SERVER})"
    )
    parser.add_argument(
        "--api-key", metavar="KEY", help="its key (default: the variable CLEARCALL_API_KEY)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _list(arguments: dict[str, Any]) -> int:
    from desktop.model_calls import list_models

    return _print(list_models(arguments["server"], api_key=arguments["api_key"]), arguments)


def _activate(arguments: dict[str, Any]) -> int:
    from desktop.model_calls import activate_model

    answer = activate_model(
        arguments["server"],
        arguments["id"],
        api_key=arguments["api_key"],
        is_forced=arguments["force"],
    )
    return _print(answer, arguments)


def _print(answer: dict[str, Any], arguments: dict[str, Any]) -> int:
    if arguments["json"]:
        print(json.dumps(answer))
        return 0
    for model in answer["models"]:
        pin = ", pinned" if model["id"] and model["id"] == answer["pinned"] else ""
        reason = f" ({model['reason']})" if model["reason"] else ""
        print(f"{model['id'] or '-':28} {model['state'] + pin:20} {model['file']}{reason}")
    if not answer["models"]:
        print(f"{answer['served']:28} served")
    if answer["problem"]:
        print(answer["problem"])
    return 0
