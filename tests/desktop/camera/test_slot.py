"""desktop.camera.slot: one value, the newest."""

from __future__ import annotations

import threading

from desktop.camera.slot import Slot


def test_the_newest_value_replaces_the_one_that_waits_and_is_counted() -> None:
    slot: Slot[int] = Slot()
    for value in range(1000):
        slot.put(value)
    assert slot.take(0) == 999
    assert slot.take(0) is None
    assert slot.replaced == 999


def test_a_taker_is_woken_by_a_value_and_by_the_end() -> None:
    slot: Slot[int] = Slot()
    taken: list[int | None] = []

    def take_two() -> None:
        taken.extend((slot.take(10), slot.take(10)))

    taker = threading.Thread(target=take_two)
    taker.start()
    slot.put(7)
    slot.close()
    taker.join(5)
    assert not taker.is_alive()
    assert taken == [7, None]


def test_what_waits_when_a_slot_closes_can_still_be_taken_and_nothing_comes_after_it() -> None:
    slot: Slot[int] = Slot()
    slot.put(1)
    slot.close()
    slot.put(2)
    assert not slot.is_over
    assert slot.take(0) == 1
    assert slot.is_over
