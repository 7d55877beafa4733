"""desktop.camera.local: frames through a student, on the ladder of the service's streams."""

from __future__ import annotations

import threading

import pytest

from desktop.camera.controls import Controls
from desktop.camera.frames import Captured, Shown
from desktop.camera.local import LocalSharpening, load_students
from desktop.camera.slot import Slot
from service.model.student import SIZES
from service.students import Students
from tests.desktop.camera.doubles import flat
from tests.service.doubles import FakeSharpener
from tests.service.pictures import landscape


class SlowSharpener(FakeSharpener):
    """Takes 50 ms of a clock that it moves for full scale, 20 ms below it."""

    def __init__(self, clock: list[float]) -> None:
        super().__init__()
        self._clock = clock

    def sharpen(self, image, **options):  # type: ignore[no-untyped-def]
        self._clock[0] += 0.05 if image.shape[1] == 64 else 0.02
        return super().sharpen(image, **options)


def run(sharpening: LocalSharpening, frames: list[Captured]) -> list[Shown]:
    slot: Slot[Captured] = Slot()
    shown: list[Shown] = []
    waiting = iter(frames)

    def publish(picture: Shown) -> None:
        shown.append(picture)
        offer()

    def offer() -> None:
        following = next(waiting, None)
        if following is None:
            slot.close()
        else:
            slot.put(following)

    offer()
    sharpening.run(slot, publish, threading.Event())
    return shown


def test_a_frame_is_sharpened_as_rgb_with_the_strength_of_the_moment() -> None:
    fake = FakeSharpener()
    controls = Controls(2.0)
    sharpening = LocalSharpening(Students(fake.as_sharpener()), controls, target_fps=None)
    image = landscape()
    [shown] = run(sharpening, [Captured(image[:, :, ::-1].copy(), 3.0)])
    assert (shown.image == fake.sharpen(image, strength=2.0)).all()
    assert shown.captured_s == 3.0
    assert shown.inference_ms is not None
    assert shown.inference_ms > 0
    controls.strength = 0
    [shown] = run(sharpening, [Captured(image[:, :, ::-1].copy(), 4.0)])
    assert (shown.image == image).all()


@pytest.mark.parametrize(("target_fps", "scale"), [(25.0, 0.75), (None, 1.0)])
def test_a_frame_rate_that_is_missed_steps_down_in_scale_and_only_where_it_may(
    target_fps: float | None, scale: float
) -> None:
    now = [0.0]
    fake = SlowSharpener(now)
    sharpening = LocalSharpening(
        Students(fake.as_sharpener()), Controls(), target_fps=target_fps, clock=lambda: now[0]
    )
    frames = [Captured(flat(number * 12 % 250), 0.0) for number in range(60)]
    run(sharpening, frames)
    assert sharpening.facts()["scale"] == scale
    assert sharpening.how == ("fake" if scale == 1 else "fake at 75%")


def test_it_ends_when_it_is_told_to() -> None:
    stop = threading.Event()
    stop.set()
    slot: Slot[Captured] = Slot()
    LocalSharpening(Students(FakeSharpener().as_sharpener()), Controls(), target_fps=None).run(
        slot, lambda _: pytest.fail("nothing was captured"), stop
    )


@pytest.mark.parametrize(
    ("checkpoint", "adapts", "names"),
    [
        ("auto", True, ("fake", "small", "nano")),
        ("auto", False, ("fake",)),
        ("nano", True, ("fake",)),
    ],
)
def test_only_auto_may_go_on_to_smaller_students(
    checkpoint: str, adapts: bool, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    fake = FakeSharpener()
    fake.work_per_px = SIZES["small"].multiplications_per_px + 1

    def load(arguments: dict[str, str]) -> FakeSharpener:
        asked.append(arguments["checkpoint"])
        return fake

    monkeypatch.setattr("desktop.options.load_model", load)
    arguments = {"checkpoint": checkpoint, "device": "cpu"}
    assert load_students(arguments, adapts=adapts).names == names
    assert asked == ["small" if checkpoint == "auto" else checkpoint]
