"""The thread that always drains a source, so that its frames are never old, and opens it again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from clearcall.backoff import Backoff
from desktop.camera.capture import Capture, OpenCapture
from desktop.camera.errors import SourceUnavailable
from desktop.camera.frames import Captured
from desktop.camera.slot import Slot

__all__ = ["Reader"]

_READS_IN_A_ROW = 5  # without a frame, and the camera is lost; a broken frame now and then is not
_LATE_S = 0.5  # a file that is read too slowly plays on from here, instead of ever faster
_MAX_STEP_S = 10.0  # between two frames; more is a broken timestamp
_DEFAULT_FPS = 30.0
_JOIN_S = 3.0  # a driver may hang; the thread is left behind then


def _do_nothing() -> None:
    """Where nobody wants to know."""


class Reader:
    """Reads in a thread of its own and puts what it reads into a slot, which it closes at the end.

    Attributes:
        frames: read so far.
        reconnects: how often the source came back.
    """

    def __init__(
        self,
        opened: Capture,
        open_again: OpenCapture,
        slot: Slot[Captured],
        *,
        loops: bool = False,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares a thread; `start` starts it.

        Args:
            opened: The source, open.
            open_again: Opens it anew; raises SourceUnavailable while it is away.
            slot: Where frames go.
            loops: A file begins again at its end.
            backoff: The waits between attempts.
            clock: Seconds.
        """
        self.frames = 0
        self.reconnects = 0
        self._opened = opened
        self._open_again = open_again
        self._slot = slot
        self._loops = loops
        self._on_lost = self._on_back = _do_nothing
        self._backoff = backoff or Backoff(first_s=0.5, max_s=5.0)
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clearcall-capture", daemon=True)

    @property
    def is_started(self) -> bool:
        """Whether it reads, or has read."""
        return self._thread.ident is not None

    def start(
        self,
        *,
        on_lost: Callable[[], None] = _do_nothing,
        on_back: Callable[[], None] = _do_nothing,
    ) -> None:
        """Begins to read.

        Args:
            on_lost: Called when frames stop coming.
            on_back: Called when they come again.
        """
        self._on_lost, self._on_back = on_lost, on_back
        self._thread.start()

    def close(self) -> None:
        """Ends the thread and gives the source free."""
        self._stop.set()
        if self.is_started:
            self._thread.join(_JOIN_S)
        else:
            self._opened.close()

    def _run(self) -> None:
        capture: Capture | None = self._opened
        try:
            while capture is not None:
                try:
                    (self._play if capture.is_file else self._drain)(capture)
                finally:
                    capture.close()
                capture = self._next(is_file=capture.is_file)
        finally:
            self._slot.close()

    def _next(self, *, is_file: bool) -> Capture | None:
        if self._stop.is_set() or (is_file and not self._loops):
            return None
        if is_file:
            try:
                return self._open_again()
            except SourceUnavailable:  # it was there a moment ago, and is gone for good
                return None
        self._on_lost()
        while not self._stop.wait(self._backoff.next_s()):
            try:
                capture = self._open_again()
            except SourceUnavailable:
                continue
            self.reconnects += 1
            self._on_back()
            return capture
        return None

    def _drain(self, capture: Capture) -> None:
        """Until no frames come: as fast as the camera gives them."""
        failures = 0
        while not self._stop.is_set() and failures < _READS_IN_A_ROW:
            frame = capture.read()
            if frame is None:
                failures += 1
                continue
            failures = 0
            self.frames += 1
            self._slot.put(Captured(frame, self._clock()))
            self._backoff.reset()

    def _play(self, capture: Capture) -> None:
        """Until its end: at its own pace."""
        step_s = 1 / (capture.fps or _DEFAULT_FPS)
        begun_s = self._clock()
        played_s = 0.0
        before_s: float | None = None
        while (frame := capture.read()) is not None:
            now_s = capture.position_s
            if before_s is not None:
                moved_s = now_s - before_s
                played_s += moved_s if 0 < moved_s < _MAX_STEP_S else step_s
            before_s = now_s
            late_s = self._clock() - begun_s - played_s
            if late_s > _LATE_S:
                begun_s += late_s
            elif late_s < 0 and self._stop.wait(-late_s):
                return
            if self._stop.is_set():
                return
            self.frames += 1
            self._slot.put(Captured(frame, self._clock()))
