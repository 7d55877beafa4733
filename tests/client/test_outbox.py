"""clearcall.outbox and clearcall.backoff: pure, the times are passed in."""

from __future__ import annotations

import random

import pytest

from clearcall.backoff import Backoff
from clearcall.outbox import Outbox


def sequences(outbox: Outbox, now_s: float) -> list[int]:
    taken = []
    for at in range(10):
        outbox.offer(b"%d" % at, now_s)
        if (outgoing := outbox.take(now_s)) is not None:
            taken.append(outgoing.sequence)
    return taken


def test_no_more_frames_are_on_the_way_than_the_window_says_and_the_newest_waits() -> None:
    outbox = Outbox(3)
    assert sequences(outbox, 0) == [0, 1, 2]
    assert outbox.replaced == 6
    assert outbox.note_answered(0) == 0
    outgoing = outbox.take(1)
    assert outgoing is not None
    assert (outgoing.sequence, outgoing.encoded) == (3, b"9")


def test_an_answer_tells_that_earlier_frames_will_get_none() -> None:
    outbox = Outbox(3)
    sequences(outbox, 0)
    outbox.note_answered(2)
    assert (outbox.on_the_way, outbox.lost) == (0, 2)


def test_an_error_is_about_its_own_frame_only() -> None:
    outbox = Outbox(3)
    sequences(outbox, 0)
    outbox.note_bad(2)
    outbox.note_bad(None)
    assert (outbox.on_the_way, outbox.lost) == (2, 0)


def test_a_frame_that_is_never_answered_is_given_up_after_three_seconds() -> None:
    outbox = Outbox(1)
    assert sequences(outbox, 0) == [0]
    assert outbox.take(2.9) is None
    assert outbox.take(3.0) is not None
    assert outbox.lost == 1


def test_what_was_given_up_and_is_answered_after_all_is_not_lost() -> None:
    outbox = Outbox(2)
    assert sequences(outbox, 0) == [0, 1]
    outbox.let_go()
    assert (outbox.on_the_way, outbox.lost) == (0, 2)
    outbox.note_answered(1)
    assert outbox.lost == 1
    assert outbox.take(0) is not None
    outbox.note_disconnected()
    outbox.note_answered(0)  # of the connection before
    assert outbox.lost == 2


def test_no_more_is_sent_than_the_server_takes() -> None:
    outbox = Outbox(3)
    outbox.max_fps, outbox.max_bytes_per_s = 5.0, 100.0
    assert sequences(outbox, 0) == [0]
    assert outbox.wait_s(0.05) == pytest.approx(0.15)
    assert outbox.take(0.19) is None
    outbox.offer(bytes(50), 0.19)
    assert outbox.take(0.2) is not None
    outbox.offer(b"next", 0.2)
    assert outbox.take(0.69) is None
    assert outbox.take(0.7) is not None


def test_what_waits_can_be_dropped() -> None:
    outbox = Outbox(1)
    sequences(outbox, 0)
    outbox.drop_waiting()
    outbox.note_answered(0)
    assert outbox.take(0) is None
    assert outbox.replaced == 9


def test_numbers_begin_again_after_the_last_one() -> None:
    outbox = Outbox(3)
    outbox._next_sequence = 2**32 - 1
    assert sequences(outbox, 0) == [2**32 - 1, 0, 1]
    outbox.note_answered(0)
    assert (outbox.on_the_way, outbox.lost) == (1, 1)


def test_what_is_unknown_changes_nothing() -> None:
    outbox = Outbox(3)
    sequences(outbox, 0)
    assert outbox.note_answered(77) is None
    assert outbox.on_the_way == 3


def test_waits_grow_to_a_limit_differ_and_begin_again() -> None:
    waits = Backoff(first_s=0.2, max_s=5, random=random.Random(1))
    times_s = [waits.next_s() for _ in range(10)]
    for at, time_s in enumerate(times_s):
        longest_s = min(0.2 * 2**at, 5)
        assert 0.5 * longest_s <= time_s <= longest_s
    assert len(set(times_s[5:])) == 5
    waits.reset()
    assert waits.next_s() <= 0.2
