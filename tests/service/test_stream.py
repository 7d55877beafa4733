"""service.stream: the rules of one stream, without a socket and without a clock."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import FrameInvalid, RequestInvalid
from service.frames import Frame, pack_frame
from service.ladder import Ladder, Rung, rungs_of
from service.ledger import DropReason, Ledger
from service.messages import Paused, Pong, Resumed, Stats
from service.stream import (
    MAX_BAD_FRAMES_IN_A_ROW,
    Answered,
    Session,
    StreamLimits,
    StreamSettings,
    Taken,
)

JPEG = b"\xff\xd8\xff\xe0"
STAGES = {"decode": 1.0, "queue": 2.0, "inference": 30.0, "encode": 4.0, "total": 37.0}
BEST = Rung("small", 1.0)


def numbered(sequence: int) -> bytes:
    return pack_frame(Frame(sequence, 0.0, JPEG))


def new_session(**options: Any) -> Session:
    ladder = Ladder(rungs_of(["small", "nano"]))
    return Session(default_strength=0.7, ladder=ladder, **options)


@pytest.fixture
def session() -> Session:
    return new_session()


def taken_from(session: Session, now_s: float = 0.0) -> Taken:
    taken = session.take(now_s)
    assert taken is not None
    return taken


def answer(session: Session, taken: Taken, now_s: float = 0.0, size_bytes: int = 1000) -> None:
    rung = taken.rung or BEST
    session.note_answered(taken, Answered(now_s, STAGES, rung, 0.25, size_bytes), now_s)


def serve_one(session: Session, sequence: int, now_s: float = 0.0, took_s: float = 0.0) -> None:
    session.offer(numbered(sequence), now_s)
    answer(session, taken_from(session, now_s), now_s + took_s)


def stats_of(session: Session, now_s: float = 0.0) -> Stats:
    stats = session.hear('{"type":"stats"}', now_s)
    assert isinstance(stats, Stats)
    return stats


def test_take_hands_out_the_frame_with_its_arrival_once(session: Session) -> None:
    session.offer(numbered(5), 12.5)
    taken = taken_from(session, 13)
    assert (taken.sequence, taken.arrived_s, taken.taken_s) == (5, 12.5, 13)
    assert taken.frame.encoded == JPEG
    assert session.take(13) is None


def test_a_client_that_keeps_to_its_room_loses_no_frame(session: Session) -> None:
    for sequence in range(4):  # in_flight + 1
        session.offer(numbered(sequence), 0)
    assert [taken_from(session).sequence for _ in range(3)] == [0, 1, 2]
    assert session.take(0) is None
    assert session.ledger.dropped["replaced"] == 0


def test_of_a_client_that_sends_more_the_newest_frame_is_kept_and_the_others_are_counted(
    session: Session,
) -> None:
    for sequence in range(5):
        session.offer(numbered(sequence), 0)
    assert taken_from(session).sequence == 4
    assert session.ledger.dropped["replaced"] == 4
    assert session.ledger.passed_over == 4


def test_a_client_that_sent_too_much_is_taken_to_go_on_like_that_for_a_while(
    session: Session,
) -> None:
    for sequence in range(5):
        session.offer(numbered(sequence), 0)
    taken = taken_from(session)
    assert taken.sequence == 4
    answer(session, taken)
    session.offer(numbered(5), 1.9)
    assert taken_from(session).sequence == 5
    for sequence in (6, 7):
        session.offer(numbered(sequence), 2.0)
    assert [taken_from(session).sequence for _ in range(2)] == [6, 7]


def test_for_as_long_as_newer_frames_replace_those_that_wait_no_more_of_them_wait(
    session: Session,
) -> None:
    for sequence in range(5):
        session.offer(numbered(sequence), 0)
    for sequence, now_s in enumerate((1.0, 2.0, 3.0, 4.0), start=5):
        session.offer(numbered(sequence), now_s)
    assert taken_from(session).sequence == 8
    for sequence in (9, 10):
        session.offer(numbered(sequence), 6.0)
    assert [taken_from(session).sequence for _ in range(2)] == [9, 10]


def test_no_more_frames_are_in_work_than_allowed_and_fewer_where_there_is_less_room(
    session: Session,
) -> None:
    for sequence in range(3):
        session.offer(numbered(sequence), 0)
        assert session.take(0, room=1) is None or sequence == 0
        if sequence:
            taken_from(session)
    session.offer(numbered(9), 0)
    assert session.take(0) is None


def test_bare_frames_are_numbered_from_0_and_keep_their_number_when_others_are_dropped(
    session: Session,
) -> None:
    taken = []
    for _ in range(2):
        for _ in range(5):
            session.offer(JPEG, 0)
        taken.append(taken_from(session).sequence)
    assert taken == [4, 9]


def test_the_numbers_of_bare_frames_begin_again_after_the_last_one(session: Session) -> None:
    session._next_sequence = 2**32 - 1
    taken = []
    for _ in range(2):
        session.offer(JPEG, 0)
        taken.append(taken_from(session).sequence)
    assert taken == [2**32 - 1, 0]


def test_the_count_of_frames_passed_over_stops_where_the_header_ends() -> None:
    ledger = Ledger()
    ledger.drop("replaced", 2**32 + 5)
    assert ledger.passed_over == 2**32 - 1
    ledger = Ledger()
    ledger.drop("broken", 5)  # those are answered, with an error
    assert ledger.passed_over == 0


def test_a_message_that_is_no_frame_replaces_nothing(session: Session) -> None:
    session.offer(numbered(1), 0)
    with pytest.raises(FrameInvalid):
        session.offer(b"garbage", 1)
    assert taken_from(session).sequence == 1
    assert session.ledger.received == 2
    assert session.ledger.dropped["invalid"] == 1
    assert session.ledger.dropped["replaced"] == 0


def test_before_any_settings_message_the_defaults_hold(session: Session) -> None:
    assert session.settings == StreamSettings(strength=0.7)


def test_a_settings_message_changes_only_what_it_names(session: Session) -> None:
    session.hear('{"type":"settings","strength":0,"format":"webp","target_fps":30}', 0)
    expected = StreamSettings(strength=0, format="webp", target_fps=30)
    assert session.settings == expected
    told = session.hear('{"type":"settings","quality":40,"window":4,"adapt":false}', 0)
    expected = dataclasses.replace(expected, quality=40, window=4, adapt=False)
    assert session.settings == expected
    assert told == expected.message()
    session.hear('{"type":"settings"}', 0)
    assert session.settings == expected
    session.hear('{"type":"settings","target_fps":null}', 0)
    assert session.settings.target_fps is None


@pytest.mark.parametrize(
    "text",
    ['{"type":"settings","quality":0}', '{"type":"settings","quality":9,"window":5}', "{}", "x"],
)
def test_wrong_settings_are_refused_and_the_previous_ones_stay(session: Session, text: str) -> None:
    session.hear('{"type":"settings","quality":40}', 0)
    with pytest.raises(RequestInvalid):
        session.hear(text, 0)
    assert session.settings == StreamSettings(strength=0.7, quality=40)


def test_a_frame_in_work_keeps_the_settings_that_held_when_it_was_taken(session: Session) -> None:
    session.offer(JPEG, 0)
    taken = taken_from(session)
    session.hear('{"type":"settings","quality":40}', 0)
    assert taken.settings.quality == 85


def test_a_ping_is_answered_with_its_id(session: Session) -> None:
    assert session.hear('{"type":"ping","id":"x"}', 0) == Pong(id="x")


def test_while_paused_frames_are_dropped_and_what_waited_too(session: Session) -> None:
    session.offer(numbered(1), 0)
    assert session.hear('{"type":"pause"}', 0) == Paused()
    session.offer(numbered(2), 0)
    session.offer(b"garbage", 0)
    assert session.take(0) is None
    assert session.ledger.dropped["paused"] == 3
    assert session.hear('{"type":"resume"}', 0) == Resumed()
    session.offer(numbered(3), 0)
    assert taken_from(session).sequence == 3


def test_after_stop_frames_are_dropped_and_no_resume_changes_that(session: Session) -> None:
    session.offer(numbered(1), 0)
    session.stop()
    session.hear('{"type":"pause"}', 0)
    session.hear('{"type":"resume"}', 0)
    session.offer(numbered(2), 0)
    assert session.ledger.dropped["stopping"] == 2


def test_frames_over_the_frame_rate_are_limited_without_an_error() -> None:
    session = new_session(limits=StreamLimits(max_fps=10))
    for at in range(400):  # 40 FPS for 10 s
        session.offer(JPEG, at / 40)
        if (taken := session.take(at / 40)) is not None:
            answer(session, taken, at / 40)
    # 10 a second, and the burst of the first one.
    assert session.ledger.answered == pytest.approx(110, abs=2)
    assert session.ledger.dropped["limited"] == 400 - session.ledger.answered
    assert session.ledger.in_work == 0


def test_bytes_over_the_byte_rate_are_limited() -> None:
    session = new_session(limits=StreamLimits(max_bytes_per_s=1000))
    for at in range(100):  # 100 frames of 500 bytes in 10 s
        session.offer(JPEG + bytes(496), at / 10)
        if (taken := session.take(at / 10)) is not None:
            answer(session, taken, at / 10)
    assert session.ledger.answered == pytest.approx(22, abs=2)
    session.offer(JPEG + bytes(5000), 100)  # larger than a second's worth: it passes, once
    taken_from(session, 100)
    session.offer(JPEG, 103)
    assert session.take(103) is None
    session.offer(JPEG, 106)
    taken_from(session, 106)


def test_a_stream_is_idle_when_nothing_came_for_long() -> None:
    session = new_session(limits=StreamLimits(idle_timeout_s=60), now_s=100)
    assert not session.is_idle(159)
    assert session.is_idle(160)
    session.offer(JPEG, 160)
    assert not session.is_idle(219)
    session.hear('{"type":"ping"}', 219)
    assert not session.is_idle(278)
    assert session.is_idle(279)
    assert not new_session().is_idle(1e9)


def test_without_acknowledgements_nothing_is_held_back(session: Session) -> None:
    for sequence in range(50):
        serve_one(session, sequence)
    assert session.may_send(0)
    assert session.window_stalls == 0


def test_a_client_that_acknowledges_has_at_most_its_window_on_the_way(session: Session) -> None:
    serve_one(session, 0)
    session.hear('{"type":"displayed","sequence":0,"latency_ms":50}', 0)
    for sequence in (1, 2):
        serve_one(session, sequence)
    assert not session.may_send(0)
    session.offer(numbered(3), 0)
    assert session.take(0) is None or session.take(0) is None
    assert stats_of(session).unacknowledged == 2
    session.hear('{"type":"displayed","sequence":2}', 0)  # the one before it too
    assert session.may_send(0)
    assert stats_of(session).unacknowledged == 0


def test_one_frame_more_than_the_window_is_worked_on_ahead(session: Session) -> None:
    session.hear('{"type":"displayed","sequence":0}', 0)
    for sequence in range(3):
        session.offer(numbered(sequence), 0)
        answer_or_keep = session.take(0)
        assert answer_or_keep is not None
        if sequence < 2:
            answer(session, answer_or_keep)
    session.offer(numbered(3), 0)
    assert session.take(0) is None
    session.offer(numbered(4), 0)
    assert session.take(0) is None
    assert session.window_stalls == 1  # one stretch of waiting
    session.hear('{"type":"displayed","sequence":0}', 0)
    assert taken_from(session).sequence == 4


def test_an_acknowledgement_that_never_comes_is_forgiven(session: Session) -> None:
    session.hear('{"type":"displayed","sequence":77}', 0)
    for sequence in range(2):
        serve_one(session, sequence, 0.0)
    assert not session.may_send(1.9)
    assert session.may_send(2.0)


def test_an_acknowledgement_of_an_unknown_number_opens_nothing(session: Session) -> None:
    session.hear('{"type":"displayed","sequence":77}', 0)
    for sequence in range(2):
        serve_one(session, sequence)
    session.hear('{"type":"displayed","sequence":99}', 0)
    assert not session.may_send(0)


def test_a_target_moves_the_rung_and_adapt_switches_it_off(session: Session) -> None:
    session.offer(JPEG, 0)
    assert taken_from(session).rung is None
    session = new_session()
    session.hear('{"type":"settings","target_fps":30}', 0)
    rungs = set()
    for at in range(60):
        session.offer(JPEG, at / 10)
        taken = taken_from(session, at / 10)
        rungs.add(taken.rung)
        answer(session, taken, (at + 1) / 10)
    assert Rung("small", 1.0) in rungs
    assert Rung("nano", 0.5) in rungs
    session.hear('{"type":"settings","adapt":false}', 6)
    session.offer(JPEG, 6)
    assert taken_from(session, 6).rung is None


def test_waiting_for_other_streams_moves_the_rung_and_a_client_that_sends_little_does_not() -> None:
    for waits, rungs in ((True, {Rung("nano", 0.5)}), (False, {BEST})):
        session = new_session()
        session.hear('{"type":"settings","target_fps":20}', 0)
        used: list[Rung | None] = []
        for at in range(60):  # one frame a second, of which 30 ms are work
            session.offer(JPEG, at)
            if waits:
                session.note_no_turn(at)
            taken = taken_from(session, at + 0.9)
            used.append(taken.rung)
            answer(session, taken, at + 0.93)
        assert set(used[-10:]) == rungs


def test_waiting_for_the_own_client_moves_no_rung(session: Session) -> None:
    session.hear('{"type":"settings","target_fps":20}', 0)
    used: list[Rung | None] = []
    for at in range(60):  # it waits for its turn, and then, woken, for its client's line
        session.offer(JPEG, at)
        session.note_no_turn(at)
        session.note_held_up()
        taken = taken_from(session, at + 0.9)
        used.append(taken.rung)
        answer(session, taken, at + 0.93)
    assert set(used) == {BEST}


def test_a_bit_rate_lowers_the_quality_and_null_gives_it_back(session: Session) -> None:
    session.hear('{"type":"settings","max_kbps":1000}', 0)
    for at in range(60):
        session.offer(JPEG, at / 30)
        answer(session, taken_from(session, at / 30), at / 30, size_bytes=8000)
    assert stats_of(session, 2).quality < 85
    session.hear('{"type":"settings","max_kbps":null}', 2)
    assert stats_of(session, 2).quality == 85


def test_statistics_are_of_the_last_seconds_and_counts_of_the_whole_stream(
    session: Session,
) -> None:
    for at in range(100):  # 10 s at 10 FPS
        serve_one(session, at, at / 10, took_s=0.05)
    session.hear('{"type":"displayed","sequence":99,"latency_ms":80}', 10)
    stats = stats_of(session, 10)
    assert (stats.received, stats.answered, stats.in_work) == (100, 100, 0)
    assert stats.fps_in == pytest.approx(10, abs=0.3)
    assert stats.fps_out == pytest.approx(10, abs=0.3)
    assert stats.kbps_out == pytest.approx(80, abs=3)
    assert stats.stages_ms["inference"].p50 == 30
    assert stats.still_share == 0.25
    assert stats.glass_to_glass_ms is not None
    assert stats.glass_to_glass_ms.p95 == 80
    assert stats.rung is not None
    assert stats.rung.student == "small"
    later = stats_of(session, 20)
    assert (later.answered, later.fps_in, later.fps_out, later.stages_ms) == (100, 0, 0, {})
    assert later.glass_to_glass_ms is None


def test_so_many_bad_frames_in_a_row_are_beyond_repair(session: Session) -> None:
    for _ in range(MAX_BAD_FRAMES_IN_A_ROW - 1):
        with pytest.raises(FrameInvalid):
            session.offer(b"", 0)
    assert not session.is_beyond_repair
    session.offer(JPEG, 0)
    taken_from(session)
    session.note_failed("broken")
    assert session.is_beyond_repair


def test_a_good_frame_forgives_the_bad_ones_before_it(session: Session) -> None:
    for _ in range(2):
        for _ in range(MAX_BAD_FRAMES_IN_A_ROW - 1):
            with pytest.raises(FrameInvalid):
                session.offer(b"", 0)
        serve_one(session, 1)
    assert not session.is_beyond_repair


STEPS = ["offer", "garbage", "take", "answer", "fail", "pause", "resume", "displayed", "stop"]


@given(st.lists(st.sampled_from(STEPS), max_size=80), st.booleans())
def test_every_received_frame_is_counted_exactly_once_more(
    steps: list[str], is_limited: bool
) -> None:
    told: dict[DropReason, int] = {}

    def note(reason: DropReason, count: int) -> None:
        told[reason] = told.get(reason, 0) + count

    limits = StreamLimits(max_fps=3 if is_limited else 0)
    session = new_session(limits=limits, on_drop=note)
    working: list[Taken] = []
    waiting = 0
    for at, step in enumerate(steps):
        now_s = at / 100
        match step:
            case "offer":
                session.offer(numbered(at), now_s)
            case "garbage" if session._turns_away is None and not is_limited:
                with pytest.raises(FrameInvalid):
                    session.offer(b"garbage", now_s)
            case "take":
                if (taken := session.take(now_s)) is not None:
                    working.append(taken)
            case "answer" if working:
                answer(session, working.pop(0), now_s)
            case "fail" if working:
                working.pop(0)
                session.note_failed("broken")
            case "pause" | "resume":
                session.hear(f'{{"type":"{step}"}}', now_s)
            case "displayed":
                session.hear('{"type":"displayed","sequence":0}', now_s)
            case "stop":
                session.stop()
        waiting = len(session._waiting)
        assert session.ledger.in_work == len(working) + waiting
    session.end("disconnected")
    ledger = session.ledger
    assert ledger.in_work == 0
    assert ledger.received == ledger.answered + sum(told.values())
    assert told == {reason: count for reason, count in ledger.dropped.items() if count}
