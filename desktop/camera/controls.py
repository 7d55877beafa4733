"""What the user changes while a session runs, from whichever keyboard: strength, and the end."""

from __future__ import annotations

import threading

__all__ = ["Controls"]

_STEP = 0.1
_MOST = 2.0


class Controls:
    """Shared by all threads of a session.

    Attributes:
        stop: set when the session is to end.
        is_interrupted: whether Ctrl-C ended it.
    """

    def __init__(self, strength: float = 1.0) -> None:
        self.stop = threading.Event()
        self.is_interrupted = False
        self._strength = strength

    @property
    def strength(self) -> float:
        """Of the correction, 0 to 2."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = min(max(round(value, 2), 0.0), _MOST)

    def press(self, key: str) -> bool:
        """Does what a key stands for: + (or =) and - the strength, q the end.

        Returns:
            Whether the key stands for anything.
        """
        match key:
            case "+" | "=":
                self.strength += _STEP
            case "-" | "_":
                self.strength -= _STEP
            case "q" | "Q":
                self.stop.set()
            case _:
                return False
        return True
