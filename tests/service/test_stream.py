"""service.stream: the rules of one stream, without a socket and without a clock."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import FrameInvalid, RequestInvalid
from service.frames import Frame, pack_frame
from service.stream import MAX_BAD_FRAMES_IN_A_ROW, Session, StreamSettings

JPEG = b"\xff\xd8\xff\xe0"


def numbered(sequence: int) -> bytes:
    return pack_frame(Frame(sequence, 0.0, JPEG))


@pytest.fixture
def session() -> Session:
    return Session(default_strength=0.7)


def test_take_hands_out_the_frame_with_its_arrival_once(session: Session) -> None:
    session.offer(numbered(5), now_s=12.5)
    offered = session.take()
    assert offered is not None
    assert (offered.sequence, offered.arrived_s, offered.frame.encoded) == (5, 12.5, JPEG)
    assert session.take() is None


def test_offer_replaces_the_waiting_frame_and_counts_it(session: Session) -> None:
    assert not session.offer(numbered(1), now_s=0)
    assert session.offer(numbered(2), now_s=1)
    assert session.offer(numbered(3), now_s=2)
    offered = session.take()
    assert offered is not None
    assert offered.sequence == 3
    assert session.replaced == 2


def test_bare_frames_are_numbered_from_0_and_keep_their_number_when_others_are_dropped(
    session: Session,
) -> None:
    taken = []
    for _ in range(2):
        session.offer(JPEG, now_s=0)
        session.offer(JPEG, now_s=0)
        offered = session.take()
        assert offered is not None
        taken.append(offered.sequence)
    assert taken == [1, 3]


def test_a_message_that_is_no_frame_replaces_nothing(session: Session) -> None:
    session.offer(numbered(1), now_s=0)
    with pytest.raises(FrameInvalid):
        session.offer(b"garbage", now_s=1)
    offered = session.take()
    assert offered is not None
    assert offered.sequence == 1
    assert (session.received, session.bad, session.replaced) == (2, 1, 0)


def test_before_any_settings_message_the_defaults_hold(session: Session) -> None:
    assert session.settings == StreamSettings(strength=0.7, quality=85, format="jpeg")


def test_a_settings_message_changes_only_what_it_names(session: Session) -> None:
    session.change_settings('{"type":"settings","strength":0,"format":"webp"}')
    assert session.settings == StreamSettings(strength=0, quality=85, format="webp")
    session.change_settings('{"type":"settings","quality":40}')
    assert session.settings == StreamSettings(strength=0, quality=40, format="webp")
    session.change_settings('{"type":"settings"}')
    assert session.settings == StreamSettings(strength=0, quality=40, format="webp")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[" * 4000, "JSON"),
        ("[]", "type"),
        ("{}", "type: Field required"),
        ('{"type":"hello"}', "type"),
        ('{"type":"settings","strength":2.1}', "strength"),
        ('{"type":"settings","strength":-1}', "strength"),
        ('{"type":"settings","strength":NaN}', "strength"),
        ('{"type":"settings","strength":"0.5"}', "strength"),
        ('{"type":"settings","strength":true}', "strength"),
        ('{"type":"settings","quality":0}', "quality"),
        ('{"type":"settings","quality":101}', "quality"),
        ('{"type":"settings","quality":50.5}', "quality"),
        ('{"type":"settings","format":"gif"}', "format"),
        ('{"type":"settings","strenght":1}', "strenght"),
        ('{"type":"settings","format":"' + "x" * 5000 + '"}', "4096"),
    ],
)
def test_wrong_settings_are_refused_and_the_previous_ones_stay(
    session: Session, message: str, said: str
) -> None:
    session.change_settings('{"type":"settings","quality":40}')
    with pytest.raises(RequestInvalid, match=said):
        session.change_settings(message)
    assert session.settings == StreamSettings(strength=0.7, quality=40, format="jpeg")


@given(st.text(max_size=200))
def test_arbitrary_text_is_settings_or_request_invalid(message: str) -> None:
    session = Session(default_strength=0.7)
    with contextlib.suppress(RequestInvalid):
        assert session.change_settings(message) is session.settings


def test_so_many_bad_frames_in_a_row_are_beyond_repair(session: Session) -> None:
    for _ in range(MAX_BAD_FRAMES_IN_A_ROW - 1):
        with pytest.raises(FrameInvalid):
            session.offer(b"", now_s=0)
    assert not session.is_beyond_repair
    session.note_bad()
    assert session.is_beyond_repair


def test_a_good_frame_forgives_the_bad_ones_before_it(session: Session) -> None:
    session.received += 1
    for _ in range(MAX_BAD_FRAMES_IN_A_ROW - 1):
        session.note_bad()
    session.note_answered()
    session.note_bad()
    assert not session.is_beyond_repair


@given(st.lists(st.sampled_from(["offer", "garbage", "take", "answer", "bad"]), max_size=60))
def test_every_received_frame_is_counted_exactly_once_more(steps: list[str]) -> None:
    session = Session(default_strength=0)
    working = 0
    for step in steps:
        match step:
            case "offer":
                session.offer(JPEG, now_s=0)
            case "garbage":
                with pytest.raises(FrameInvalid):
                    session.offer(b"garbage", now_s=0)
            case "take":
                working += session.take() is not None
            case "answer" if working:
                session.note_answered()
                working -= 1
            case "bad" if working:
                session.note_bad()
                working -= 1
    waiting = session.take() is not None
    assert session.unanswered == working + waiting
