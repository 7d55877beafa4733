"""How streams end, and what a client that reads slowly, or not at all, can pile up."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidMessage
from websockets.sync.client import ClientConnection, connect

from service.connection import Connection
from service.frames import Frame, pack_frame, parse_result
from tests.service.doubles import FakeSharpener
from tests.service.live import Live, eventually, serve
from tests.service.pictures import as_file, jpeg_frame

WAIT_S = 20
ONE_ANSWER_BYTES = 400_000  # more than `large_frame` as PNG
PINGS = 8_000 * (b"\x89\xfd" + bytes(4) + b"p" * 125)  # masked by zeros
PONGS_BYTES = 8_000 * 127  # of the answers to them


MESSAGES: list[bytes | str] = [
    pack_frame(Frame(1, 0.0, jpeg_frame())),
    pack_frame(Frame(2, 0.0, jpeg_frame(96, 128))),
    jpeg_frame(),
    b"garbage",
    '{"type":"stats"}',
    '{"type":"displayed","sequence":1}',
]


def numbered(sequence: int, encoded: bytes | None = None) -> bytes:
    return pack_frame(Frame(sequence, 0.0, encoded or jpeg_frame()))


@contextmanager
def opened(live: Live, **options: Any) -> Iterator[ClientConnection]:
    with connect(live.stream_url, max_size=None, compression=None, **options) as stream:
        assert json.loads(stream.recv(WAIT_S))["type"] == "hello"
        yield stream


@contextmanager
def small_buffered(live: Live) -> Iterator[ClientConnection]:
    """A client whose kernel keeps little for it, and that reads no further than it is asked to."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    sock.connect(live.host_and_port)
    with opened(live, sock=sock, max_queue=1, close_timeout=0.2) as stream:
        yield stream


@contextmanager
def behind(live: Live) -> Iterator[tuple[ClientConnection, Connection]]:
    """A client that has results to read, and the server's side of it."""
    with small_buffered(live) as stream:
        stream.send('{"type":"settings","format":"png"}')
        frame = large_frame()
        for sequence in range(12):
            stream.send(numbered(sequence, frame))
        [connection] = [
            each for each in live.server.server_state.connections if isinstance(each, Connection)
        ]
        eventually(lambda: connection.backlog_bytes > 0)
        yield stream, connection


def ending(stream: ClientConnection) -> tuple[int, str]:
    """Reads until the server closes."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            stream.recv(WAIT_S)
    assert stream.close_code is not None
    return stream.close_code, stream.close_reason or ""


def all_counted(live: Live) -> bool:
    received = live.metric("clearcall_frames_received_total")
    sent = live.metric("clearcall_frames_sent_total")
    return received == sent + sum(live.dropped().values())


def large_frame() -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8)
    return as_file(noise, "jpeg", quality=50)


def test_a_silent_client_is_closed_and_one_that_pings_is_not() -> None:
    with serve(idle_timeout_s=1.0) as live, opened(live) as silent, opened(live) as pinging:
        end_s = time.monotonic() + 2
        while time.monotonic() < end_s:
            pinging.send('{"type":"ping","id":1}')
            assert json.loads(pinging.recv(WAIT_S)) == {"type": "pong", "id": 1}
            time.sleep(0.1)
        code, reason = ending(silent)
        assert code == 1008
        assert "no frame and no message" in reason
        assert live.metric("clearcall_streams_ended_total", cause="idle") == 1
        assert live.metric("clearcall_streams_active") == 1


def test_a_client_that_reads_nothing_is_closed_and_leaves_nothing_behind() -> None:
    with serve(stalled_reader_s=1.0) as live:
        tasks, connections = live.task_count(), len(live.server.server_state.connections)
        with small_buffered(live) as stream:
            stream.send('{"type":"settings","format":"png"}')
            frame = large_frame()
            for sequence in range(12):
                stream.send(numbered(sequence, frame))
            eventually(lambda: live.metric("clearcall_streams_ended_total", cause="stalled") == 1)
            assert live.metric("clearcall_streams_active") == 0
            # It still does not read; the socket and its buffer are given up all the same.
            eventually(lambda: len(live.server.server_state.connections) <= connections)
            eventually(lambda: live.task_count() <= tasks)
            assert all_counted(live)


def test_a_client_that_pings_and_reads_nothing_is_closed_too() -> None:
    answered_bytes = 0
    with serve(stalled_reader_s=1.0) as live, behind(live) as (stream, connection):

        def is_closed() -> bool:
            nonlocal answered_bytes
            with contextlib.suppress(OSError):  # it is closed while we write
                stream.socket.sendall(PINGS)
                answered_bytes += PONGS_BYTES
            return live.metric("clearcall_streams_ended_total", cause="stalled") == 1

        eventually(is_closed)
        assert answered_bytes > 2 * ONE_ANSWER_BYTES
        assert connection.backlog_bytes < ONE_ANSWER_BYTES


def test_the_answers_to_pings_do_not_pile_up_behind_a_close() -> None:
    sent_bytes = most_bytes = 0
    with serve() as live, behind(live) as (stream, connection):
        connection.loop.call_soon_threadsafe(connection.end, 1001, "enough")
        end_s = time.monotonic() + WAIT_S
        with contextlib.suppress(OSError):  # it is aborted while we write
            while time.monotonic() < end_s:
                stream.socket.sendall(PINGS)
                sent_bytes += PONGS_BYTES
                most_bytes = max(most_bytes, connection.backlog_bytes)
        assert sent_bytes > 2 * ONE_ANSWER_BYTES
        assert most_bytes < ONE_ANSWER_BYTES


def test_pings_are_answered_when_all_before_them_is_read() -> None:
    with serve() as live, behind(live) as (stream, _):
        answered = [stream.ping(), stream.ping()]

        def are_answered() -> bool:
            with contextlib.suppress(TimeoutError):
                stream.recv(0.05)
            return all(each.is_set() for each in answered)

        eventually(are_answered)


def test_for_a_client_that_reads_nothing_no_more_than_two_answers_pile_up() -> None:
    with serve() as live, small_buffered(live) as stream:
        stream.send('{"type":"settings","format":"png"}')  # 350 kB each
        frame = large_frame()
        for sequence in range(40):
            stream.send(numbered(sequence, frame))
        eventually(lambda: live.metric("clearcall_frames_received_total") == 40)
        eventually(lambda: live.dropped().get("replaced", 0) >= 36)
        [connection] = [
            each for each in live.server.server_state.connections if isinstance(each, Connection)
        ]
        assert 0 < connection.backlog_bytes < ONE_ANSWER_BYTES
        assert live.metric("clearcall_frames_sent_total") <= 2


def test_a_client_that_reads_again_is_told_why_it_was_closed() -> None:
    with serve(stalled_reader_s=0.5) as live, small_buffered(live) as stream:
        stream.send('{"type":"settings","format":"png"}')
        frame = large_frame()
        for sequence in range(12):
            stream.send(numbered(sequence, frame))
        eventually(lambda: live.metric("clearcall_streams_ended_total", cause="stalled") == 1)
        code, reason = ending(stream)
        assert code == 1008
        assert "nothing was read for 0.5 s" in reason


def test_at_a_stop_the_frames_in_work_are_answered_and_the_close_says_why() -> None:
    sharpener = FakeSharpener()
    with serve(sharpener) as live, opened(live) as stream:
        sharpener.hold()
        for sequence in range(5):
            stream.send(numbered(sequence))
        eventually(lambda: live.metric("clearcall_frames_received_total") == 5)
        live.stop()
        eventually(live.parts.engine.draining.is_set)
        stream.send(numbered(9))
        eventually(lambda: live.dropped().get("stopping", 0) == 2)  # the one that waited, and this
        sharpener.release()
        answers = [parse_result(bytes(stream.recv(WAIT_S))) for _ in range(3)]  # type: ignore[arg-type]
        assert [answer.sequence for answer in answers] == [0, 1, 2]
        assert ending(stream) == (1012, "the service is stopping")


def test_a_stop_that_takes_too_long_is_cut_short() -> None:
    sharpener = FakeSharpener()
    with serve(sharpener, drain_s=0.2) as live, opened(live) as stream:
        sharpener.hold()
        stream.send(numbered(0))
        assert sharpener.entered.acquire(timeout=WAIT_S)
        live.stop()
        assert ending(stream)[0] == 1012


def test_while_it_stops_a_new_stream_is_refused_with_1013_or_not_let_in() -> None:
    sharpener = FakeSharpener()
    with serve(sharpener) as live, opened(live) as stream:
        sharpener.hold()
        stream.send(numbered(0))
        assert sharpener.entered.acquire(timeout=WAIT_S)
        live.stop()
        eventually(live.parts.engine.draining.is_set)
        with connect(live.stream_url) as late:
            assert json.loads(late.recv(WAIT_S))["code"] == "engine-stopped"
            assert ending(late)[0] == 1013
        sharpener.release()


def test_a_pause_is_told_and_its_frames_are_counted() -> None:
    with serve() as live, opened(live) as stream:
        stream.send('{"type":"pause"}')
        assert json.loads(stream.recv(WAIT_S)) == {"type": "paused"}
        for sequence in range(3):
            stream.send(numbered(sequence))
        stream.send('{"type":"resume"}')
        assert json.loads(stream.recv(WAIT_S)) == {"type": "resumed"}
        stream.send(numbered(7))
        answer = stream.recv(WAIT_S)
        assert isinstance(answer, bytes)
        assert parse_result(answer).sequence == 7
        assert parse_result(answer).frames_dropped == 3
        assert live.dropped() == {"paused": 3}


def test_statistics_come_with_every_frame_accounted_for() -> None:
    with serve() as live, opened(live) as stream:
        for sequence in range(5):
            stream.send(numbered(sequence))
            stream.recv(WAIT_S)
            message = {"type": "displayed", "sequence": sequence, "latency_ms": 40 + sequence}
            stream.send(json.dumps(message))
        stream.send('{"type":"stats"}')
        stats = json.loads(stream.recv(WAIT_S))
        assert stats["received"] == stats["answered"] == 5
        assert stats["in_work"] == sum(stats["dropped"].values()) == 0
        assert stats["glass_to_glass_ms"] == {"p50": 42.0, "p95": 44.0}
        assert stats["rung"] == {"student": "fake", "scale": 1.0}
        assert live.metric("clearcall_glass_to_glass_seconds_count") == 5


def test_limits_are_told_and_kept_without_an_error_for_each_frame() -> None:
    with serve(max_stream_fps=5) as live:
        with connect(live.stream_url) as stream:
            assert json.loads(stream.recv(WAIT_S))["limits"]["max_fps"] == 5
            for sequence in range(40):
                stream.send(numbered(sequence))
            stream.send('{"type":"stats"}')
            while isinstance(message := stream.recv(WAIT_S), bytes):
                pass
            stats = json.loads(message)
            assert stats["type"] == "stats"
            assert stats["dropped"]["limited"] >= 30
        eventually(lambda: live.metric("clearcall_streams_active") == 0)
        assert all_counted(live)


def test_the_window_holds_frames_back_until_results_are_displayed() -> None:
    with serve() as live, opened(live) as stream:
        stream.send('{"type":"settings","window":1}')
        stream.recv(WAIT_S)
        stream.send('{"type":"displayed","sequence":0}')
        for sequence in range(10):
            stream.send(numbered(sequence))
        answer = stream.recv(WAIT_S)
        assert isinstance(answer, bytes)
        with pytest.raises(TimeoutError):
            stream.recv(0.5)
        stream.send(json.dumps({"type": "displayed", "sequence": parse_result(answer).sequence}))
        assert isinstance(stream.recv(WAIT_S), bytes)
        assert live.metric("clearcall_window_stalls_total") >= 1


def own_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if "clearcall" in thread.name}


def visit(live: Live, seed: int) -> None:
    """Comes, sends something, and leaves at some stage, in some way."""
    rand = random.Random(seed)
    sock = socket.create_connection(live.host_and_port, timeout=WAIT_S)
    if rand.random() < 0.1:  # before the handshake, or in the middle of it
        if rand.random() < 0.5:
            sock.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n")
        sock.close()
        return
    with (
        contextlib.suppress(ConnectionClosed, TimeoutError),
        connect(live.stream_url, sock=sock, compression=None, close_timeout=1) as stream,
    ):
        if rand.random() < 0.9:
            stream.recv(WAIT_S)
        for _ in range(rand.randrange(6)):
            message: bytes | str = rand.choice(MESSAGES)
            stream.send(message)
        for _ in range(rand.randrange(3)):
            with contextlib.suppress(TimeoutError):
                stream.recv(0.05)
        if rand.random() < 0.4:  # vanishes, with a reset
            linger = struct.pack("ii", 1, 0)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            stream.socket.close()


def visit_if_let_in(live: Live, seed: int) -> None:
    with contextlib.suppress(EOFError, OSError, InvalidMessage):
        visit(live, seed)


def test_200_clients_that_come_and_go_at_random_leave_nothing_behind() -> None:
    with serve(max_streams=12, codec_threads=2) as live:
        visit(live, 0)
        eventually(lambda: live.metric("clearcall_streams_active") == 0)
        tasks, threads = live.task_count(), own_threads()
        with ThreadPoolExecutor(16) as visitors:
            for visiting in [visitors.submit(visit_if_let_in, live, at) for at in range(200)]:
                visiting.result()
        eventually(lambda: live.metric("clearcall_streams_active") == 0)
        eventually(lambda: live.task_count() <= tasks)
        eventually(lambda: not live.server.server_state.tasks)
        assert own_threads() <= threads | {"clearcall-frames_0", "clearcall-frames_1"}
        assert live.parts.frame_pool._executor._work_queue.qsize() == 0
        assert live.parts.engine.waiting("frame") == 0
        assert not live.parts.engine._streams
        assert live.parts.stream_places._value == 12
        assert live.metric("clearcall_frames_received_total") > 100
        assert all_counted(live)
        with opened(live) as stream:
            stream.send(numbered(1))
            assert isinstance(stream.recv(WAIT_S), bytes)
