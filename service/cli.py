"""`clearcall serve` starts the service; `python -m service` is the same without the other commands.

A wrong setting or checkpoint is one line on stderr and exit code 2, never a traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import ipaddress
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from service.errors import ClearcallError
from service.key_command import add_key_command
from service.model.ending import EXIT_INTERRUPTED
from service.settings import PREFIX, Settings, load_settings, unknown_variables

__all__ = ["HelpFormatter", "add_serve_command", "main", "new_parser", "run_command"]

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

_EXIT_FAILED, _EXIT_WRONG_USE = 1, 2
_EXIT_UNREAD = 141  # as shells tell SIGPIPE
_NO_FLAGS = {"token_secret"}  # every user of the machine sees a process's flags
_METAVARS = {
    "checkpoint": "NAME",
    "threads": "N",
    "frames_in_flight": "N",
}  # as in the other commands
_SERVE_DESCRIPTION = f"""\
Starts the service: pictures, live streams, the page for a webcam, metrics.
Each flag can also be set as a variable: --port 9000 is {PREFIX}PORT=9000.
A flag wins."""
_SERVE_EXAMPLES = f"""examples:
  clearcall serve                           open http://127.0.0.1:8000
  clearcall serve --checkpoint nano --threads 2 --port 9000
  clearcall serve --device cuda --checkpoint base
  clearcall serve --host 0.0.0.0 --api-keys HASH     for other machines; HASH is what
                                                     clearcall key prints
  clearcall serve --checkpoints /checkpoints         new checkpoints in this folder are
                                                     tested and served without a break
  {PREFIX}LOG_FORMAT=json clearcall serve
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line of `python -m service`; see `run_command`."""
    parser, commands = new_parser()
    add_serve_command(commands)
    add_key_command(commands)
    return run_command(parser, argv)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of descriptions and examples; lists commands without their placeholder."""

    def _format_action(self, action: argparse.Action) -> str:
        if isinstance(action, argparse._SubParsersAction):
            return "".join(self._format_action(each) for each in action._get_subactions())
        return super()._format_action(action)


def new_parser(epilog: str | None = None) -> tuple[argparse.ArgumentParser, Commands]:
    """The parser of `clearcall`, and where its commands are added.

    A command sets the default `command`: a function from its arguments to the exit code.

    Args:
        epilog: What the help ends with.
    """
    parser = argparse.ArgumentParser(
        prog="clearcall",
        description="Makes blurred, low-bandwidth video-call pictures sharp.",
        epilog=epilog,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    return parser, parser.add_subparsers(title="commands", metavar="COMMAND")


def run_command(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name.

    Args:
        parser: With all commands added.
        argv: The arguments without the program's name; those of the process if None.

    Returns:
        The command's exit code, or 2 where the command line, a setting or the checkpoint is wrong,
        or no command is named, which prints the help; 130 after Ctrl-C, 141 where whoever read
        what is printed has gone, 1 where it cannot be written.
    """
    try:
        code = _run(parser, argv)
        if sys.stdout is not None:  # it is closed: `>&-`
            sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as exc:
        if exc.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        # Nothing is to be written at the end of the process, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if exc.errno == errno.EPIPE:  # `| head` has seen enough
            return _EXIT_UNREAD
        print(f"clearcall: what was to be printed cannot be written: {exc}", file=sys.stderr)
        return _EXIT_FAILED
    return code


def _run(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    try:
        arguments = vars(parser.parse_args(argv))
    except SystemExit as exc:  # argparse has printed help, the version or what is wrong
        return exc.code if isinstance(exc.code, int) else _EXIT_WRONG_USE
    command = arguments.pop("command", None)
    if command is None:
        parser.print_help(sys.stderr)
        return _EXIT_WRONG_USE
    try:
        return int(command(arguments))
    except ClearcallError as exc:
        print(f"clearcall: {exc}", file=sys.stderr)
        return _EXIT_WRONG_USE


def add_serve_command(commands: Commands) -> None:
    """Adds `serve`, with a flag for each setting."""
    serve = commands.add_parser(
        "serve",
        help="start the service: pictures, streams, a page for a webcam",
        description=_SERVE_DESCRIPTION,
        epilog=_SERVE_EXAMPLES,
        formatter_class=HelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    for name, field in Settings.model_fields.items():
        if name in _NO_FLAGS:
            continue
        shown = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        default = "" if shown in (None, "") else f" (default {shown})"
        serve.add_argument(
            f"--{name.replace('_', '-')}",
            metavar=_metavar(name),
            help=f"{field.description}{default}".replace("%", "%%"),
        )
    serve.set_defaults(command=_serve)


def _metavar(name: str) -> str:
    if name in _METAVARS:
        return _METAVARS[name]
    return "N" if "_per_" in name else name.rsplit("_", maxsplit=1)[-1].upper()


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(
            option_strings,
            dest,
            nargs=0,
            default=argparse.SUPPRESS,
            help="show the version and exit",
        )

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from service.app import version

        print(f"clearcall {version()}")
        parser.exit()


def _is_local(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _serve(flags: dict[str, Any]) -> int:
    settings = load_settings(flags)
    for name, meant in unknown_variables(os.environ).items():
        hint = f"; did you mean {meant}?" if meant else ""
        print(f"clearcall: {name} is not a setting and is ignored{hint}", file=sys.stderr)
    if not settings.api_keys and settings.api_keys_file is None and not _is_local(settings.host):
        print(
            f"clearcall: listening on {settings.host} without an API key: whoever reaches this "
            f"address may use the service. Make a key with 'clearcall key', and set "
            f"{PREFIX}API_KEYS to its hash.",
            file=sys.stderr,
        )
    # Imported now: `clearcall --help` need not wait a second for the web stack.
    from service.app import create_app, load_served
    from service.server import Server, bind, server_config, url_of

    with contextlib.ExitStack() as stack:
        # Bound before the model is loaded, so that a taken port is told at once. Connections are
        # refused until the socket listens, and that is when the service is ready.
        sockets = [stack.enter_context(bound) for bound in bind(settings.host, settings.port)]
        # Loaded here and not by the app: a bad checkpoint is one line, not uvicorn's traceback.
        sharpener = load_served(settings)
        app = create_app(settings, sharpener)
        model = f"{sharpener.checkpoint.model_id} on {sharpener.device}"
        runtime = f"{sharpener.backend} in {sharpener.precision}"
        del sharpener  # when another one is served, this one is freed
        ready = f"Clearcall is ready: open {url_of(sockets[0])} ({model}, {runtime})"
        server = Server(server_config(app, settings), on_ready=lambda: print(ready, flush=True))
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after its shutdown
            server.run(sockets)
    return 0
