"""service.http_guard: headers, half-open connections and their number, on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import time
from collections.abc import Iterator
from unittest.mock import Mock

import httpx
import pytest

from service.http_guard import MAX_HEADER_BYTES, MAX_HEADERS, _Quiet
from tests.service.doubles import FakeSharpener
from tests.service.live import Live, eventually, serve
from tests.service.pictures import as_file, landscape

REQUEST = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """A service with little patience and little room."""
    with serve(header_timeout_s=0.6, max_connections=12) as running:
        yield running


def opened(live: Live, text: bytes = b"") -> socket.socket:
    connection = socket.create_connection(live.host_and_port, timeout=10)
    connection.sendall(text)
    return connection


def answer_of(connection: socket.socket) -> bytes:
    """All until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            parts.append(part)
    connection.close()
    return b"".join(parts)


def test_a_handshake_that_cannot_be_read_is_refused(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    handshake = (
        b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bm9ib2R5IG5vYm9keSAhIQ==\r\n"
        b"Cookie: %s\r\n\r\n" % (9000 * b"a")
    )
    assert answer_of(opened(live, handshake)).startswith(b"HTTP/1.1 431 ")
    assert "Traceback" not in caplog.text


def test_a_connection_that_says_nothing_is_closed_without_a_word(live: Live) -> None:
    assert answer_of(opened(live)) == b""


def test_headers_that_do_not_end_in_time_are_a_408(live: Live) -> None:
    started_s = time.monotonic()
    assert answer_of(opened(live, REQUEST)).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - started_s < 8


def test_a_trickle_does_not_help(live: Live) -> None:
    connection = opened(live, REQUEST)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(400):
            connection.sendall(b"X-A: b\r\n")
            if select.select([connection], [], [], 0.02)[0]:
                break
        else:
            pytest.fail("it was never closed")
    connection.close()


def test_a_second_request_on_a_kept_connection_has_the_same_time(live: Live) -> None:
    connection = opened(live, REQUEST + b"\r\n")
    assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
    connection.sendall(b"GET / HT")
    assert answer_of(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "flood",
    [
        b"X-Big: " + b"a" * (MAX_HEADER_BYTES + 1) + b"\r\n",
        b"X-Never-Ends: " + b"a" * (2 * MAX_HEADER_BYTES),
        b"X: 1\r\n" * (MAX_HEADERS + 1) + b"\r\n",
    ],
)
def test_too_many_headers_are_a_431(live: Live, flood: bytes) -> None:
    assert b" 431 " in answer_of(opened(live, REQUEST + flood + b"\r\n"))


def flooded(connection: socket.socket) -> int:
    """Bytes that are taken until the other side has had enough, of 20 MB."""
    taken, part = 0, b"x" * 65_536
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while taken < 20_000_000:
            connection.sendall(part)
            taken += len(part)
    connection.close()
    return taken


@pytest.mark.parametrize("ahead", [b"0\r\nA: ", b"1\r\na\r\n0\r\nA: ", b"1;a="])
def test_what_follows_a_body_is_as_bounded_as_headers(live: Live, ahead: bytes) -> None:
    upload = b"POST /sharpen HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert flooded(opened(live, upload + ahead)) < 20_000_000


def test_so_are_headers_behind_a_request_that_is_not_answered_yet() -> None:
    sharpener = FakeSharpener()
    with serve(sharpener) as patient:
        sharpener.hold()
        picture = as_file(landscape(), "png")
        upload = b"POST /sharpen HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(picture)
        connection = opened(patient, upload + picture)
        assert sharpener.entered.acquire(timeout=10)
        connection.sendall(b"GET / HTTP/1.1\r\nA: ")
        assert flooded(connection) < 20_000_000
        sharpener.release()


def test_trailers_are_no_headers() -> None:
    trailers = b"".join(b"T%d: x\r\n" % number for number in range(MAX_HEADERS))
    second = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: y\r\n\r\n"
    with serve(max_requests_per_minute=2) as limited:
        for trailer, status in ((b"1", b"200"), (b"2", b"200"), (b"3", b"429")):
            answer = answer_of(
                opened(
                    limited,
                    b"POST /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                    b"X-Forwarded-For: 192.0.2.7\r\n\r\n0\r\nX-Forwarded-For: 192.0.2.1%s\r\n"
                    b"%s\r\n%s" % (trailer, trailers, second),
                )
            )
            assert answer.startswith(b"HTTP/1.1 %s " % status)
            assert answer.count(b"HTTP/1.1 200 ") == (2 if status == b"200" else 1)


def test_half_open_connections_make_room_and_keep_nobody_out(live: Live) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(opened(live, b"GET /"))
            assert len(live.server.server_state.connections) <= 13
        assert httpx.get(f"{live.url}/health/live").status_code == 200


def test_answered_connections_that_are_kept_make_room_too() -> None:
    with serve(max_connections=8) as crowded, contextlib.ExitStack() as stack:
        for _ in range(12):
            kept = stack.enter_context(opened(crowded, REQUEST + b"\r\n"))
            assert kept.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_pipelined_request_in_work_does_not_make_room() -> None:
    sharpener = FakeSharpener()
    with serve(sharpener, max_connections=8) as crowded, contextlib.ExitStack() as stack:
        sharpener.hold()
        picture = as_file(landscape(), "png")
        upload = b"POST /sharpen HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(picture)
        both = REQUEST + b"\r\n" + upload + b"Connection: close\r\n\r\n" + picture
        busy = opened(crowded, both)
        assert sharpener.entered.acquire(timeout=10)
        for _ in range(12):
            stack.enter_context(opened(crowded))
        eventually(lambda: len(crowded.server.server_state.connections) <= 8)
        sharpener.release()
        assert answer_of(busy).count(b"HTTP/1.1 200 ") == 2


def test_ordinary_requests_are_as_before(live: Live) -> None:
    with httpx.Client(base_url=live.url) as client:
        for _ in range(3):
            assert client.get("/health/ready").status_code == 200
        assert client.post("/sharpen", content=b"x" * 200_000).status_code == 415
        assert client.get("/", headers={"X-Long": "a" * 20_000}).status_code == 200


def test_a_client_without_a_place_is_let_go() -> None:
    with serve(max_connections=8) as crowded, contextlib.ExitStack() as stack:
        for _ in range(8):  # all of them in the middle of a body
            body = b"POST /sharpen HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
            stack.enter_context(opened(crowded, body))
        eventually(lambda: not _half_open(crowded))
        assert answer_of(opened(crowded)) == b""


def _half_open(live: Live) -> list[object]:
    return [
        connection
        for connection in list(live.server.server_state.connections)
        if getattr(connection, "waiting_since_s", None) is not None
    ]


def test_nothing_is_written_to_a_transport_that_is_over() -> None:
    transport = Mock(asyncio.Transport)
    transport.is_closing.return_value = False
    quiet = _Quiet(transport)
    quiet.write(b"a")
    transport.is_closing.return_value = True
    quiet.write(b"b")
    quiet.close()
    transport.write.assert_called_once_with(b"a")
    transport.close.assert_called_once()
