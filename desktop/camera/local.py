"""Sharpens on this machine, with the students and the quality ladder of a stream of the service."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from desktop.best_student import best_student, mean_psnr_db
from desktop.camera.controls import Controls
from desktop.camera.frames import Captured, Shown
from desktop.camera.slot import Slot
from service.ladder import Ladder, Rung, Target, rungs_of
from service.model.live import LiveSharpener
from service.students import Students, smaller_sizes

if TYPE_CHECKING:  # torch takes seconds
    from service.model.sharpener import Sharpener

__all__ = ["LocalSharpening", "auto_student", "load_students"]

_LOOK_S = 0.25


def load_students(arguments: dict[str, Any], *, adapts: bool) -> Students:
    """Loads the student that the arguments name; with `auto`, smaller ones can follow.

    Args:
        arguments: those of `desktop.options.add_model_options`; `checkpoint` may be `auto`.
        adapts: whether smaller ones may take over.

    Raises:
        CheckpointError: It cannot be used.
        BackendUnavailable: The device or backend is not on this machine.
    """
    from desktop.options import load_model

    if arguments["checkpoint"] != "auto":
        return Students(load_model(arguments))

    def load(size: str) -> Sharpener:
        return load_model({**arguments, "checkpoint": size})

    from service.model.sharpener import BUNDLED_SIZES

    served = load(auto_student(arguments["device"]))
    smaller = smaller_sizes(served, BUNDLED_SIZES) if adapts else ()
    return Students(served, smaller, load)


def auto_student(device: str) -> str:
    """What `auto` begins with: the best by its score; base is tried on GPUs alone.

    Args:
        device: As `--device` has it.
    """
    import torch

    from service.model.checkpoint import load_checkpoint
    from service.model.sharpener import BUNDLED_SIZES, bundled_checkpoint

    is_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    sizes = BUNDLED_SIZES if is_gpu else BUNDLED_SIZES[:-1]
    return best_student(
        {size: mean_psnr_db(load_checkpoint(bundled_checkpoint(size)).facts) for size in sizes}
    )


class LocalSharpening:
    """Sharpens a camera's frames, one at a time on the whole machine."""

    def __init__(
        self,
        students: Students,
        controls: Controls,
        *,
        target_fps: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares to sharpen.

        Args:
            students: Loaded.
            controls: Where the strength is.
            target_fps: What the ladder holds; None = always the first student at full scale.
            clock: Seconds, the same as the frames'.
        """
        self._students = students
        self._controls = controls
        self._clock = clock
        self._live = LiveSharpener()
        self._ladder = Ladder(rungs_of(students.names))
        self._ladder.aim(Target(fps=target_fps))
        self._done_s: float | None = None
        self._rung: Rung = Rung(students.served.name, 1.0)
        self.away = ""

    def run(
        self, frames: Slot[Captured], publish: Callable[[Shown], None], stop: threading.Event
    ) -> None:
        """Sharpens until the frames are over or `stop` is set. One thread calls it."""
        while not stop.is_set() and not frames.is_over:
            captured = frames.take(_LOOK_S)
            if captured is not None:
                publish(self._sharpened(captured))

    def close(self) -> None:
        """Waits for a student that is being loaded."""
        self._students.close()

    @property
    def how(self) -> str:
        """What works on the picture now, for people."""
        scale = "" if self._rung.scale == 1 else f" at {self._rung.scale:.0%}"
        return f"{self._rung.student}{scale}"

    def facts(self) -> dict[str, object]:
        """For the summary."""
        served = self._students.served
        return {
            "student": self._rung.student,
            "scale": self._rung.scale,
            "device": served.device,
            "backend": served.backend,
        }

    def _sharpened(self, captured: Captured) -> Shown:
        taken_s = self._clock()
        image = captured.image()
        target = self._ladder.rung if self._ladder.target else Rung(self._rung.student, 1.0)
        student = self._students.pick(target.student)
        rung = Rung(student.name, target.scale)
        begun_s = self._clock()
        sharpened = self._live.sharpen(
            student, image, strength=self._controls.strength, scale=rung.scale
        )
        done_s = self._clock()
        self._ladder.note(
            rung,
            now_s=done_s,
            service_ms=(done_s - taken_s) * 1000,
            idle_ms=0.0 if self._done_s is None else (taken_s - self._done_s) * 1000,
            latency_ms=(done_s - captured.captured_s) * 1000,
        )
        self._done_s, self._rung = done_s, rung
        return Shown(sharpened.image, captured.captured_s, (done_s - begun_s) * 1000)
