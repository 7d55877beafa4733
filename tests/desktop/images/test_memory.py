"""desktop.images.memory: how much is in work at a time."""

from __future__ import annotations

import threading

import pytest

from desktop.images.errors import Interrupted
from desktop.images.memory import PixelBudget


def test_a_picture_larger_than_the_limit_is_let_in_alone() -> None:
    budget = PixelBudget(100)
    with budget.taken(1000, stop=threading.Event()):
        pass


def test_another_waits_for_room() -> None:
    budget = PixelBudget(100)
    stop = threading.Event()
    is_in = threading.Event()

    def enter() -> None:
        with budget.taken(60, stop=stop):
            is_in.set()

    with budget.taken(60, stop=stop):
        thread = threading.Thread(target=enter)
        thread.start()
        assert not is_in.wait(0.05)
    assert is_in.wait(10)
    thread.join()


def test_a_wait_ends_when_all_is_to_end() -> None:
    budget = PixelBudget(100)
    stop = threading.Event()
    with budget.taken(60, stop=stop):
        stop.set()
        with pytest.raises(Interrupted), budget.taken(60, stop=stop):
            pass
