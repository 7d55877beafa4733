"""service.turnstile: frames of several streams wait where newer ones can replace them."""

from __future__ import annotations

from service.turnstile import Turnstile


def test_a_stream_that_is_alone_prepares_frames_ahead() -> None:
    turnstile = Turnstile(turn=str, room=lambda _: 1)
    assert [turnstile.enter("a", lambda: None) for _ in range(3)] == [True, True, True]


def test_of_several_streams_no_more_enter_than_there_is_room() -> None:
    turnstile = Turnstile(turn=str, room=lambda _: 2)
    entered = [turnstile.enter(stream, lambda: None) for stream in "abc"]
    assert entered == [True, True, False]


def test_the_stream_whose_turn_it_is_is_woken_when_one_leaves() -> None:
    turnstile = Turnstile(turn=str, room=lambda _: 1)
    woken: list[str] = []

    def wake(stream: str) -> None:
        woken.append(stream)
        assert turnstile.enter(stream, lambda: None)

    assert turnstile.enter("b", lambda: None)
    for stream in "dca":
        assert not turnstile.enter(stream, lambda stream=stream: wake(stream))  # type: ignore[misc]
    turnstile.leave("b")
    assert woken == ["a"]
    turnstile.leave("a")
    assert woken == ["a", "c"]


def test_a_stream_that_is_woken_and_has_no_frame_makes_way_for_the_next() -> None:
    turnstile = Turnstile(turn=str, room=lambda _: 1)
    woken: list[str] = []
    assert turnstile.enter("a", lambda: None)
    for stream in "bc":
        assert not turnstile.enter(stream, lambda stream=stream: woken.append(stream))  # type: ignore[misc]
    turnstile.leave("a")
    assert woken == ["b", "c"]


def test_a_stream_that_ends_takes_what_it_had_inside_with_it() -> None:
    turnstile = Turnstile(turn=str, room=lambda _: 1)
    woken: list[str] = []
    for _ in range(3):
        assert turnstile.enter("a", lambda: None)
    assert not turnstile.enter("b", lambda: woken.append("b"))
    turnstile.forget("a")
    assert woken == ["b"]
    turnstile.leave("a")  # a frame that was still on its way
    assert turnstile.enter("c", lambda: None)


def test_a_stream_that_ends_while_it_waits_is_not_woken() -> None:
    turnstile = Turnstile(turn=str, room=lambda _: 1)
    assert turnstile.enter("a", lambda: None)
    assert not turnstile.enter("b", lambda: None)
    turnstile.forget("b")
    assert turnstile.enter("a", lambda: None)


def test_a_stream_of_large_frames_has_its_share_beside_small_ones_that_need_less_room() -> None:
    had = {"large": 0, "a": 0, "b": 0}
    turnstile = Turnstile(turn=had.__getitem__, room=lambda stream: 1 if stream == "large" else 2)
    inside: list[str] = []
    waiting: set[str] = set()

    def enter(stream: str) -> None:
        waiting.discard(stream)
        if turnstile.enter(stream, lambda: enter(stream)):
            inside.append(stream)
            had[stream] += 12 if stream == "large" else 1
        else:
            waiting.add(stream)

    for _ in range(300):  # each of them always has another frame
        for stream in had.keys() - waiting - set(inside):
            enter(stream)
        turnstile.leave(inside.pop(0))
    assert max(had.values()) - min(had.values()) <= 24, had


def test_a_stream_of_large_frames_enters_when_nothing_else_is_inside() -> None:
    turnstile = Turnstile(turn=str, room=lambda stream: 1 if stream == "large" else 2)
    woken: list[str] = []
    assert turnstile.enter("a", lambda: None)
    assert turnstile.enter("b", lambda: None)
    assert not turnstile.enter("large", lambda: woken.append("large"))
    turnstile.leave("a")
    assert woken == []
    assert not turnstile.enter("large", lambda: woken.append("large"))
    turnstile.leave("b")
    assert woken == ["large"]
