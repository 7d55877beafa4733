"""desktop.doctor.advice: which student fits, and what to run next."""

from __future__ import annotations

from desktop.cli import clearcall_parser
from desktop.doctor.advice import advise
from desktop.doctor.problem import Problem
from tests.desktop.doctor.doubles import measured, media

NANO, SMALL, BASE = (
    measured("nano", 29.4, 90),
    measured("small", 29.9, 35),
    measured("base", 30.2, 9),
)


def test_the_best_student_that_holds_30_fps_is_told_for_a_size() -> None:
    advice = advise([NANO, SMALL, BASE], media())
    assert advice.live == ((360, 640, "small"),)
    assert advice.best == "base"


def test_of_students_that_are_alike_the_faster_one_is_best() -> None:
    assert advise([NANO, SMALL, measured("base", 29.95, 9)], media()).best == "small"


def test_without_scores_the_last_is_best() -> None:
    assert advise([NANO, measured("own", None, 40)], media()).best == "own"


def test_a_virtual_camera_comes_first_then_window_or_page_then_the_service() -> None:
    all_three = [NANO, SMALL, BASE]
    assert advise(all_three, media(virtual="/dev/video10")).command == "clearcall camera --virtual"
    shown = advise(all_three, media(window=None))
    assert (shown.command, "window" in shown.reason) == ("clearcall camera", True)
    assert "browser" in advise(all_three, media(window="no display")).reason
    assert advise(all_three, media(has_camera=False)).command == "clearcall serve"
    weak = advise([NANO, measured("small", 29.9, 12)], media(has_camera=False))
    assert weak.command == "clearcall serve --checkpoint nano"


def test_a_machine_that_is_too_weak_is_told_to_use_another_one() -> None:
    advice = advise([measured("nano", 29.4, 8)], media())
    assert advice.live == ((360, 640, None),)
    assert advice.command.startswith("clearcall camera --server ")


def test_without_a_measurement_there_is_a_next_command_too() -> None:
    advice = advise([], media())
    assert (advice.best, advice.live, advice.command) == (None, (), "clearcall camera")
    assert advise([], media(has_camera=False)).command == "clearcall serve"


def test_what_is_broken_is_mended_first() -> None:
    problem = Problem("torch does not work", "install it", is_essential=True)
    assert advise([], media(), [problem]).command == "clearcall doctor"


def test_every_next_command_is_one_that_there_is() -> None:
    for fps in (8, 90):
        for found in (media(), media(virtual="/dev/video10"), media(has_camera=False)):
            command = advise([measured("nano", 29.4, fps)], found).command
            clearcall_parser().parse_args(command.split()[1:])
