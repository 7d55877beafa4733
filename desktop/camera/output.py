"""Where pictures go, and the thread that each place has of its own: a slow one holds none up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from desktop.camera.errors import CameraError
from desktop.camera.frames import Shown
from desktop.camera.slot import Slot

__all__ = ["Output", "OutputThread", "each_frame"]

_LOOK_S = 0.25
_JOIN_S = 5.0


class Output(Protocol):
    """A place for pictures. It is opened when made, and used by one thread then.

    Attributes:
        name: for messages.
    """

    name: str

    def run(self, frames: Slot[Shown], stop: threading.Event) -> None:
        """Takes pictures until they are over or `stop` is set.

        Raises:
            CameraError: It takes no more.
        """

    def close(self) -> None:
        """Finishes; called once, after `run`, by the same thread."""

    def facts(self) -> dict[str, object]:
        """For the summary."""


class OutputThread:
    """Runs an output.

    Attributes:
        frames: what it is to show.
        failure: why it ended early, or None.
    """

    def __init__(
        self, output: Output, stop: threading.Event, on_failure: Callable[[OutputThread], None]
    ) -> None:
        """Args: on_failure: Called, in its thread, when the output takes no more."""
        self.output = output
        self.frames: Slot[Shown] = Slot()
        self.failure: CameraError | None = None
        self._stop = stop
        self._on_failure = on_failure
        self._thread = threading.Thread(
            target=self.run, name=f"clearcall-{type(output).__name__.lower()}", daemon=True
        )

    def start(self) -> None:
        """Begins to show."""
        self._thread.start()

    def finish(self) -> None:
        """Takes no more, and waits until what it has is finished."""
        self.frames.close()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)

    def run(self) -> None:
        """Shows until the end; in the calling thread, for an output that needs the main one."""
        try:
            try:
                self.output.run(self.frames, self._stop)
            finally:
                self.frames.close()
                self.output.close()
        except CameraError as exc:
            self.failure = exc
            self._on_failure(self)


def each_frame(frames: Slot[Shown], stop: threading.Event, show: Callable[[Shown], None]) -> None:
    """Shows every frame that is in time, until they are over or `stop` is set."""
    while not stop.is_set() and not frames.is_over:
        shown = frames.take(_LOOK_S)
        if shown is not None:
            show(shown)
