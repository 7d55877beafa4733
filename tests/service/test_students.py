"""service.students: loading beside the running ones, failures, freeing."""

from __future__ import annotations

import gc
import logging
import threading
import weakref

import pytest

from service.model.sharpener import Sharpener
from service.students import Students, smaller_sizes
from tests.service.doubles import FakeSharpener
from tests.service.live import eventually


def named(name: str, *, work: float = 0.0, lanes: int = 1) -> FakeSharpener:
    sharpener = FakeSharpener(lanes=lanes)
    sharpener.name, sharpener.work_per_px = name, work
    return sharpener


def with_smaller(*smaller: str) -> tuple[Students, dict[str, threading.Event]]:
    gates = {name: threading.Event() for name in smaller}

    def load(name: str) -> Sharpener:
        assert gates[name].wait(20)
        return named(name).as_sharpener()

    return Students(named("base").as_sharpener(), smaller, load), gates


def has_loaded(students: Students, name: str) -> bool:
    return students.pick(name).name == name


def test_until_one_is_loaded_the_next_better_one_that_is_does_its_work() -> None:
    students, gates = with_smaller("small", "nano")
    assert students.names == ("base", "small", "nano")
    assert students.pick("nano").name == "base"
    gates["small"].set()
    eventually(lambda: has_loaded(students, "small"))
    assert students.pick("nano").name == "small"
    gates["nano"].set()
    eventually(lambda: has_loaded(students, "nano"))
    assert students.pick("base") is students.served
    students.close()


def test_one_is_loaded_once_and_warmed_up_before_it_is_used() -> None:
    loads: list[str] = []
    may_warm_up = threading.Event()

    class Warming(FakeSharpener):
        def warm_up(self) -> None:
            assert may_warm_up.wait(20)

    def load(name: str) -> Sharpener:
        loads.append(name)
        made = Warming()
        made.name = name
        return made.as_sharpener()

    students = Students(named("small").as_sharpener(), ("nano",), load)
    for _ in range(5):
        assert students.pick("nano").name == "small"
    may_warm_up.set()
    eventually(lambda: has_loaded(students, "nano"))
    assert loads == ["nano"]


@pytest.mark.parametrize("is_of_other_lanes", [False, True])
def test_one_that_cannot_be_loaded_is_told_once_and_left_out(
    caplog: pytest.LogCaptureFixture, is_of_other_lanes: bool
) -> None:
    def load(name: str) -> Sharpener:
        if is_of_other_lanes:
            return named(name, lanes=2).as_sharpener()
        raise OSError("the file is gone")

    students = Students(named("small").as_sharpener(), ("nano",), load)
    with caplog.at_level(logging.ERROR):
        students.pick("nano")
        eventually(lambda: students.names == ("small",))
        assert students.pick("nano") is students.served
    assert caplog.text.count("the student nano cannot be loaded") == 1


def test_a_name_that_nobody_has_is_the_served_one() -> None:
    students = Students(named("small").as_sharpener())
    assert students.pick("huge") is students.served
    assert students.names == ("small",)


def test_smaller_ones_can_be_freed_and_are_loaded_again_when_asked_for() -> None:
    students, gates = with_smaller("nano")
    gates["nano"].set()
    eventually(lambda: has_loaded(students, "nano"))
    nano = weakref.ref(students.pick("nano"))
    students.unload()
    gc.collect()
    assert nano() is None
    assert students.names == ("base", "nano")
    eventually(lambda: has_loaded(students, "nano"))


@pytest.mark.parametrize(
    ("name", "work", "expected"),
    [
        ("base", 29_376.0, ("small", "nano")),
        ("small", 7_776.0, ("nano",)),
        ("nano", 1_152.0, ()),
        ("mine-1234abcd", 10_000.0, ("small", "nano")),
        ("mine-1234abcd", 5_000.0, ("nano",)),
    ],
)
def test_the_listed_sizes_that_take_less_work_are_the_rungs_below(
    name: str, work: float, expected: tuple[str, ...]
) -> None:
    served = named(name, work=work).as_sharpener()
    assert smaller_sizes(served, ("nano", "base", "small")) == expected
    assert smaller_sizes(served, ()) == ()


def test_another_one_takes_the_served_ones_place_and_what_is_loaded_below_it_stays() -> None:
    students, gates = with_smaller("small", "nano")
    for name in ("small", "nano"):
        gates[name].set()
        eventually(lambda name=name: has_loaded(students, name))  # type: ignore[misc]
    nano, old = students.pick("nano"), weakref.ref(students.served)
    mine = named("mine-1234abcd").as_sharpener()
    students.replace(mine, ("nano",), sizes=())
    assert students.names == ("mine-1234abcd", "nano")
    assert students.pick("nano") is nano
    assert students.pick("base") is students.pick("small") is mine
    gc.collect()
    assert old() is None


def test_one_that_is_loaded_when_nobody_can_ask_for_it_any_more_is_let_go() -> None:
    students, gates = with_smaller("nano")
    assert students.pick("nano").name == "base"
    students.replace(named("mine-1234abcd").as_sharpener(), (), sizes=())
    gates["nano"].set()
    students.close()
    assert students.pick("nano").name == "mine-1234abcd"
