"""Keys pressed in the terminal, one by one, where the session's window has none."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from collections.abc import Iterator

from desktop.camera.controls import Controls

__all__ = ["terminal_keys"]

_LOOK_S = 0.25


@contextlib.contextmanager
def terminal_keys(controls: Controls) -> Iterator[bool]:
    """Hands keys to the controls while the block runs; yields whether the terminal gives any."""
    if not _is_in_foreground():
        yield False
        return
    read = _read_windows if sys.platform == "win32" else _read_posix
    ended = threading.Event()
    thread = threading.Thread(
        target=read, args=(controls, ended), name="clearcall-keys", daemon=True
    )
    with _without_line_mode():
        thread.start()
        try:
            yield True
        finally:
            ended.set()
            thread.join()


def _is_in_foreground() -> bool:
    if not sys.stdin.isatty():
        return False
    if sys.platform == "win32":
        return True
    # A background job that touches its terminal is stopped.
    return os.getpgrp() == os.tcgetpgrp(sys.stdin.fileno())


@contextlib.contextmanager
def _without_line_mode() -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _read_posix(controls: Controls, ended: threading.Event) -> None:
    descriptor = sys.stdin.fileno()
    while not ended.is_set():
        if select.select([descriptor], [], [], _LOOK_S)[0]:
            pressed = os.read(descriptor, 16)
            if not pressed:
                return
            for key in pressed.decode(errors="ignore"):
                controls.press(key)


def _read_windows(controls: Controls, ended: threading.Event) -> None:
    if sys.platform == "win32":
        import msvcrt

        while not ended.wait(_LOOK_S):
            while msvcrt.kbhit():
                controls.press(msvcrt.getwch())
