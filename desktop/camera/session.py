"""One run of `clearcall camera`: the steps put together, started, told about and ended."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from desktop.camera.controls import Controls
from desktop.camera.errors import CameraError
from desktop.camera.frames import Captured, Shown
from desktop.camera.keys import terminal_keys
from desktop.camera.meter import Meter
from desktop.camera.output import Output, OutputThread
from desktop.camera.reader import Reader
from desktop.camera.slot import Slot
from desktop.camera.window import Window
from desktop.interruption import termination_signals

__all__ = ["Limits", "Session", "Sharpening"]

_STATUS_S = 0.5
_AWAY = "camera away: trying again"


class Sharpening(Protocol):
    """What makes pictures sharp: `LocalSharpening` or `RemoteSharpening`."""

    @property
    def how(self) -> str:
        """What works on the picture now, for people."""

    @property
    def away(self) -> str:
        """Why pictures are not sharpened at the moment, for people; empty if they are."""

    def run(
        self, frames: Slot[Captured], publish: Callable[[Shown], None], stop: threading.Event
    ) -> None:
        """Works until the frames are over or `stop` is set."""

    def facts(self) -> dict[str, object]:
        """For the summary."""

    def close(self) -> None:
        """Ends."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a session ends by itself; None = never."""

    frames: int | None = None
    seconds: float | None = None


class Session:
    """From the reader's slot through a sharpening to the outputs."""

    def __init__(
        self,
        controls: Controls,
        outputs: Sequence[Output],
        *,
        slot: Slot[Captured],
        meter: Meter,
        limits: Limits = Limits(),
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares a session.

        Args:
            controls: What the user changes.
            outputs: Open; at least one. The session closes them.
            slot: Where the reader's frames come.
            meter: Counts what is shown.
            limits: When it ends by itself.
            tell: Says one line to the user.
            clock: Seconds.
        """
        self._slot = slot
        self._controls = controls
        self._meter = meter
        self._limits = limits
        self._tell = tell
        self._clock = clock
        self._threads = [
            OutputThread(output, controls.stop, self._note_output_gone) for output in outputs
        ]
        self._failure: Exception | None = None
        self._last_failures: list[CameraError] = []  # two where they end in the same moment
        self._sharpening: Sharpening | None = None
        self._reader: Reader | None = None
        self._before = 0, 0  # captured and skipped while the student was loaded
        self._last: Shown | None = None
        self._is_lost = False
        self._handing_out = threading.Lock()

    def start(self, reader: Reader) -> None:
        """Begins to read; a camera is drained while the rest is made ready."""
        reader.start(on_lost=self.note_camera_lost, on_back=self.note_camera_back)

    def run(self, sharpening: Sharpening, reader: Reader) -> None:
        """Runs in the main thread until the source ends, a limit is reached or the user ends it.

        All parts are closed then.

        Args:
            sharpening: Ready.
            reader: Started, or it is started now.

        Raises:
            CameraError: Every output is gone, or the sharpening failed.
        """
        self._sharpening = sharpening
        self._reader, self._before = reader, (reader.frames, self._slot.replaced)
        if not reader.is_started:
            self.start(reader)
        working = threading.Thread(
            target=self._work, args=(sharpening,), name="clearcall-sharpen", daemon=True
        )
        # OpenCV's windows live in the main thread.
        windows = [each for each in self._threads if isinstance(each.output, Window)]
        with ExitStack() as stack:
            stack.enter_context(self._signals())
            stack.enter_context(terminal_keys(self._controls))
            if self._limits.seconds is not None:
                timer = threading.Timer(self._limits.seconds, self._controls.stop.set)
                timer.daemon = True
                stack.callback(timer.cancel)
                timer.start()
            for thread in self._threads:
                if thread not in windows:
                    thread.start()
            working.start()
            status = threading.Thread(target=self._show_status, name="clearcall-status")
            status.start()
            for window in windows:
                window.run()
            while working.is_alive():
                working.join(_STATUS_S)  # in pieces, so that signals are heard on Windows
            for thread in self._threads:  # first, so that the last picture gets everywhere
                thread.finish()
            self._controls.stop.set()
            status.join()
            reader.close()
            sharpening.close()
        self._raise_failures()

    def facts(self) -> dict[str, object]:
        """For the summary: what was counted since the session ran."""
        assert self._reader is not None, "it has run"
        captured, skipped = self._before
        outputs: dict[str, Any] = {}
        for thread in self._threads:
            outputs |= thread.output.facts()
        failures = [str(thread.failure) for thread in self._threads if thread.failure]
        return {
            "frames_captured": self._reader.frames - captured,
            "frames_skipped": self._slot.replaced - skipped,
            "camera_reconnects": self._reader.reconnects,
            "outputs": outputs,
            "failures": failures,
        }

    def note_camera_lost(self) -> None:
        """Shows that no frames come: the last picture, dark."""
        self._tell("the camera gives no more pictures; trying again until it is back")
        with self._handing_out:
            self._is_lost = True
            if self._last is not None:
                self._hand_out(self._last)

    def note_camera_back(self) -> None:
        """Tells that frames come again."""
        self._tell("the camera is back")
        with self._handing_out:
            self._is_lost = False

    def _work(self, sharpening: Sharpening) -> None:
        try:
            sharpening.run(self._slot, self._publish, self._controls.stop)
        except Exception as exc:
            self._failure = exc
        finally:
            for thread in self._threads:
                thread.frames.close()

    def _publish(self, shown: Shown) -> None:
        now_s = self._clock()
        most = self._limits.frames
        if self._controls.stop.is_set() or (most is not None and self._meter.frames >= most):
            return
        self._meter.note(now_s, shown.inference_ms)
        caption = self._caption(now_s)
        with self._handing_out:
            self._last = Shown(shown.image, shown.captured_s, shown.inference_ms, caption)
            self._hand_out(self._last)
        if most is not None and self._meter.frames >= most:
            self._slot.close()
            self._slot.take(0)

    def _hand_out(self, shown: Shown) -> None:
        if self._is_lost:  # also what was in the network then
            shown = Shown(shown.image // 3, shown.captured_s, None, (_AWAY,), is_notice=True)
        for thread in self._threads:
            thread.frames.put(shown)

    def _caption(self, now_s: float) -> tuple[str, ...]:
        assert self._sharpening is not None, "it is at work"
        meter = self._meter
        figures = f"{meter.fps(now_s):.1f} FPS  average {meter.average_fps:.1f}"
        if meter.inference_ms is not None:
            figures += f"  {meter.inference_ms:.0f} ms"
        how = self._sharpening.away or f"{self._sharpening.how}"
        return figures, f"{how}  strength {self._controls.strength:g}"

    def _note_output_gone(self, thread: OutputThread) -> None:
        assert thread.failure is not None, "that is why it is called"
        if all(each.failure is not None for each in self._threads):
            self._last_failures.append(thread.failure)
            self._controls.stop.set()
        else:
            self._tell(str(thread.failure))

    def _show_status(self) -> None:
        is_terminal = sys.stderr.isatty()
        while not self._controls.stop.wait(_STATUS_S):
            if is_terminal and self._last is not None:
                line = "  ".join((*self._last.caption, "(+ - strength, q ends)"))
                print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        if is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _raise_failures(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._last_failures:  # no output is left; the others' have been told
            first, *rest = self._last_failures
            reasons = "; ".join([first.reason, *map(str, rest)])
            raise CameraError(first.subject, reasons) if rest else first

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and a termination end the session in order; a second Ctrl-C ends the process."""

        def end(number: int, _: object) -> None:
            self._controls.is_interrupted |= number == signal.SIGINT
            self._controls.stop.set()
            signal.signal(signal.SIGINT, signal.default_int_handler)

        numbers = {signal.SIGINT, signal.SIGTERM, *termination_signals()}
        before = {number: signal.signal(number, end) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
