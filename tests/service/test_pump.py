"""service.pump and the route /stream: a real server, real WebSocket clients."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from service.codec import decode_image
from service.frames import Frame, Result, pack_frame, parse_result
from service.stream import MAX_BAD_FRAMES_IN_A_ROW
from tests.service.doubles import FakeSharpener
from tests.service.live import Live, eventually, serve
from tests.service.pictures import as_file, difference, jpeg_frame, landscape

WAIT_S = 20
IN_FLIGHT = 3


@contextmanager
def opened(live: Live, **options: Any) -> Iterator[ClientConnection]:
    """A stream whose hello has been read."""
    with connect(live.stream_url, max_size=None, compression=None, **options) as stream:
        assert notice(stream)["type"] == "hello"
        yield stream


def notice(stream: ClientConnection) -> dict[str, Any]:
    message = stream.recv(WAIT_S)
    assert isinstance(message, str), "a notice was expected, and a result came"
    return dict(json.loads(message))


def result(stream: ClientConnection) -> Result:
    message = stream.recv(WAIT_S)
    assert isinstance(message, bytes), f"a result was expected, and this came: {message}"
    return parse_result(message)


def numbered(sequence: int, encoded: bytes | None = None) -> bytes:
    return pack_frame(Frame(sequence, 1000.0 + sequence, encoded or jpeg_frame()))


def all_counted(live: Live) -> bool:
    """Every frame that was received has been counted once more."""
    received = live.metric("clearcall_frames_received_total")
    sent = live.metric("clearcall_frames_sent_total")
    return received == sent + sum(live.dropped().values())


def close_code(stream: ClientConnection) -> int | None:
    """Reads until the server closes."""
    try:
        while True:
            stream.recv(WAIT_S)
    except ConnectionClosedError as exc:
        return exc.rcvd.code if exc.rcvd else None


def test_hello_says_what_is_served_and_what_is_allowed(live: Live) -> None:
    with connect(live.stream_url) as stream:
        assert notice(stream) == {
            "type": "hello",
            "protocol": 1,
            "model": "fake-00000000",
            "device": "cpu",
            "backend": "fake",
            "default_strength": 1.0,
            "max_frame_bytes": 4_000_000,
            "max_frame_px": 8_300_000,
            "in_flight": IN_FLIGHT,
            "students": ["fake"],
            "window": 2,
            "sizes": [{"width": 640, "height": 360, "ms": 10.0}],
            "limits": {
                "max_frame_bytes": 4_000_000,
                "max_frame_px": 8_300_000,
                "max_fps": 0.0,
                "max_bytes_per_s": 0.0,
                "idle_timeout_s": 300.0,
            },
        }


def test_a_frame_comes_back_sharpened_with_its_number_time_and_size(live: Live) -> None:
    with opened(live) as stream:
        stream.send('{"type":"settings","format":"png","strength":2}')
        notice(stream)
        stream.send(pack_frame(Frame(4_000_000_000, -math.inf, jpeg_frame())))
        answer = result(stream)
    assert answer.sequence == 4_000_000_000
    assert answer.client_timestamp_ms == -math.inf
    assert (answer.width_px, answer.height_px, answer.frames_dropped) == (64, 48, 0)
    source = decode_image(jpeg_frame(), max_pixels=10**6).image
    sharpened = decode_image(answer.encoded, max_pixels=10**6)
    assert sharpened.format == answer.format == "png"
    assert difference(sharpened.image, live.sharpener.sharpen(source, strength=2)) < 2


def test_100_frames_come_back_in_order_with_believable_times(live: Live) -> None:
    answers: list[Result] = []
    with opened(live) as stream:
        for sequence in range(IN_FLIGHT):
            stream.send(numbered(sequence))
        for sequence in range(IN_FLIGHT, 100 + IN_FLIGHT):
            answers.append(result(stream))
            if sequence < 100:
                stream.send(numbered(sequence))
    assert [answer.sequence for answer in answers] == list(range(100))
    for answer in answers:
        stages_ms = np.array(
            [answer.queue_ms, answer.decode_ms, answer.inference_ms, answer.encode_ms]
        )
        assert (stages_ms >= 0).all()
        assert (stages_ms[1:] > 0).all()
        assert stages_ms.sum() <= answer.total_ms + 0.01
        assert answer.total_ms < WAIT_S * 1000
        assert answer.client_timestamp_ms == 1000.0 + answer.sequence
        assert answer.frames_dropped == 0
    assert live.metric("clearcall_frames_received_total") == 100
    assert live.metric("clearcall_frames_sent_total") == 100
    assert live.dropped() == {}
    for stage in ("decode", "queue", "inference", "encode", "total"):
        assert live.metric("clearcall_stage_seconds_count", route="/stream", stage=stage) == 100


def test_bare_frames_are_numbered_by_the_server(live: Live) -> None:
    with opened(live) as stream:
        for expected in range(3):
            stream.send(jpeg_frame())
            answer = result(stream)
            assert (answer.sequence, answer.client_timestamp_ms) == (expected, 0)


def test_of_a_burst_the_newest_waits_and_the_replaced_are_counted() -> None:
    sharpener = FakeSharpener()
    with serve(sharpener) as live, opened(live) as stream:
        sharpener.hold()
        for sequence in range(10):
            stream.send(numbered(sequence))
        eventually(lambda: live.metric("clearcall_frames_received_total") == 10)
        sharpener.release()
        answers = [result(stream) for _ in range(IN_FLIGHT + 1)]
        assert [answer.sequence for answer in answers] == [0, 1, 2, 9]
        assert {answer.frames_dropped for answer in answers} == {6}
        assert live.dropped() == {"replaced": 6}
        assert all_counted(live)


def test_so_many_frames_as_hello_says_and_one_more_are_never_dropped(live: Live) -> None:
    with opened(live) as stream:
        for burst in range(20):
            for at in range(IN_FLIGHT + 1):
                stream.send(numbered(10 * burst + at))
            answers = [result(stream).sequence for _ in range(IN_FLIGHT + 1)]
            assert answers == [10 * burst + at for at in range(IN_FLIGHT + 1)]
    assert live.dropped() == {}


def test_neighbouring_frames_overlap() -> None:
    sharpener = FakeSharpener()
    with serve(sharpener) as live, opened(live) as stream:
        sharpener.hold()
        for sequence in range(2):
            stream.send(numbered(sequence))
        assert sharpener.entered.acquire(timeout=WAIT_S)
        # While the first is in the model, the second is decoded and waits right behind it.
        eventually(lambda: live.metric("clearcall_queue_depth", kind="frame") == 1)
        sharpener.release()
        assert [result(stream).sequence for _ in range(2)] == [0, 1]


def test_a_client_that_does_not_read_gets_fewer_frames_and_no_old_ones() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (600, 800, 3), np.uint8)
    encoded = as_file(noise, "jpeg", quality=50)
    with serve(stalled_reader_s=0) as live, opened(live, max_queue=1) as stream:
        stream.send('{"type":"settings","format":"png"}')  # 1.4 MB each: they fill any buffer
        sent = 0

        def has_stalled() -> bool:
            nonlocal sent
            for _ in range(3):
                stream.send(numbered(sent, encoded))
                sent += 1
            return live.dropped().get("replaced", 0) >= 50

        eventually(has_stalled, within_s=60)
        # The receiver went on draining, and nothing piled up but what is in flight.
        eventually(lambda: live.metric("clearcall_frames_received_total") == sent)
        assert live.parts.engine.waiting("frame") <= IN_FLIGHT
        notice(stream)
        sequences: list[int] = []
        while not sequences or sequences[-1] != sent - 1:
            sequences.append(result(stream).sequence)
        assert sequences == sorted(set(sequences))
        eventually(lambda: all_counted(live))


def test_settings_change_in_mid_stream_and_are_answered(live: Live) -> None:
    with opened(live) as stream:
        formats = []
        for name in ("jpeg", "webp", "png"):
            stream.send(json.dumps({"type": "settings", "format": name, "quality": 70}))
            effective = notice(stream)
            assert (effective["quality"], effective["format"]) == (70, name)
            stream.send(jpeg_frame())
            answer = result(stream)
            formats.append(decode_image(answer.encoded, max_pixels=10**6).format)
            assert answer.format == name
    assert formats == ["jpeg", "webp", "png"]


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return as_file(landscape(40, 60), "jpeg", exif=exif)


def test_frames_of_any_kind_and_size_come_back_in_one_stream(live: Live) -> None:
    gray = Image.fromarray(landscape(30, 50)).convert("L")
    cases = [
        (jpeg_frame(48, 64), (64, 48)),
        (jpeg_frame(200, 120), (120, 200)),  # portrait
        (jpeg_frame(33, 101), (101, 33)),  # odd
        (jpeg_frame(1, 1), (1, 1)),
        (as_file(landscape(31, 45), "jpeg", progressive=True), (45, 31)),
        (as_file(gray, "jpeg"), (50, 30)),
        (as_file(Image.fromarray(landscape(24, 36)).convert("CMYK"), "jpeg"), (36, 24)),
        *[(turned(at), (60, 40) if at < 5 else (40, 60)) for at in range(1, 9)],
        (jpeg_frame(48, 64), (64, 48)),
    ]
    with opened(live) as stream:
        for sequence, (encoded, size) in enumerate(cases):
            for name in ("jpeg", "webp", "png"):
                stream.send(json.dumps({"type": "settings", "format": name, "strength": 0}))
                notice(stream)
                stream.send(numbered(sequence, encoded))
                answer = result(stream)
                assert (answer.width_px, answer.height_px) == size
                picture = decode_image(answer.encoded, max_pixels=10**6)
                assert picture.image.shape == (*size[::-1], 3)
                source = decode_image(encoded, max_pixels=10**6).image  # by Pillow, upright
                assert difference(picture.image, source) < 6
    assert live.dropped() == {}


def test_a_frame_too_wide_for_webp_is_told_so_and_the_stream_goes_on(live: Live) -> None:
    with opened(live) as stream:
        stream.send('{"type":"settings","format":"webp"}')
        notice(stream)
        stream.send(numbered(1, jpeg_frame(2, 16_400)))
        said = notice(stream)
        assert (said["code"], said["sequence"]) == ("request-invalid", 1)
        assert "16383" in said["message"]
        stream.send(numbered(2))
        assert result(stream).sequence == 2


@pytest.mark.parametrize("message", ["", "hello", "[]", '{"type":"settings","strength":9}'])
def test_a_wrong_text_message_is_answered_and_the_stream_goes_on(live: Live, message: str) -> None:
    with opened(live) as stream:
        stream.send(message)
        said = notice(stream)
        assert (said["type"], said["code"], said["sequence"]) == ("error", "request-invalid", None)
        stream.send(jpeg_frame())
        assert result(stream).sequence == 0


def test_each_kind_of_bad_frame_is_answered_with_its_number_and_the_stream_goes_on() -> None:
    too_large = jpeg_frame(100, 100)
    cases: list[tuple[bytes, str, int | None]] = [
        (b"garbage", "frame-invalid", None),
        (b"", "frame-invalid", None),
        (numbered(7, b"GIF89a"), "frame-invalid", 7),
        (numbered(8, jpeg_frame()[:-300]), "image-broken", 8),
        (numbered(9, too_large), "image-too-many-pixels", 9),
        (jpeg_frame()[:200], "image-broken", 0),
    ]
    with serve(max_frame_pixels=9_999) as live, opened(live) as stream:
        for message, code, sequence in cases:
            stream.send(message)
            said = notice(stream)
            assert (said["type"], said["code"], said["sequence"]) == ("error", code, sequence)
            assert said["message"]
            stream.send(numbered(100))
            assert result(stream).sequence == 100
        assert live.dropped() == {"invalid": 3, "broken": 3}
        assert all_counted(live)


@pytest.mark.parametrize("bad", [b"garbage", jpeg_frame()[:200]])
def test_so_many_bad_frames_in_a_row_close_the_stream(live: Live, bad: bytes) -> None:
    with opened(live) as stream:
        for number in range(MAX_BAD_FRAMES_IN_A_ROW):
            stream.send(bad)
            assert notice(stream)["type"] == "error", number
        assert close_code(stream) == 1007
    eventually(lambda: live.metric("clearcall_streams_active") == 0)


def test_a_failing_network_is_an_error_for_each_frame_and_in_the_end_closes(
    live: Live,
) -> None:
    live.sharpener.failure = RuntimeError("out of memory at /secret/path")
    with opened(live) as stream:
        for number in range(MAX_BAD_FRAMES_IN_A_ROW):
            stream.send(numbered(number))
            said = notice(stream)
            assert (said["code"], said["sequence"]) == ("sharpening-failed", number)
            assert "secret" not in said["message"]
        assert close_code(stream) == 1011
    assert live.dropped() == {"failed": MAX_BAD_FRAMES_IN_A_ROW}


def test_a_frame_beyond_the_byte_limit_closes_the_stream_with_1009() -> None:
    with serve(max_frame_bytes=20_000) as live:
        with opened(live) as stream:
            stream.send(pack_frame(Frame(1, 0.0, jpeg_frame() + bytes(20_000 - len(jpeg_frame())))))
            assert result(stream).sequence == 1
            stream.send(bytes(20_017))
            assert close_code(stream) == 1009
        eventually(lambda: live.metric("clearcall_streams_active") == 0)


def test_a_client_that_leaves_in_mid_frame_leaves_nothing_behind() -> None:
    sharpener = FakeSharpener()
    with serve(sharpener) as live:
        tasks = live.task_count()
        with opened(live) as stream:
            sharpener.hold()
            for sequence in range(5):
                stream.send(numbered(sequence))
            eventually(lambda: live.metric("clearcall_frames_received_total") == 5)
            assert live.metric("clearcall_streams_active") == 1
        eventually(lambda: live.metric("clearcall_streams_active") == 0)
        eventually(lambda: live.metric("clearcall_queue_depth", kind="frame") == 0)
        eventually(lambda: live.task_count() <= tasks)
        assert live.dropped() == {"replaced": 1, "disconnected": 4}
        assert all_counted(live)
        sharpener.release()
        with opened(live) as stream:
            stream.send(numbered(1))
            assert result(stream).sequence == 1


def test_a_client_that_vanishes_without_closing_leaves_nothing_behind(live: Live) -> None:
    tasks = live.task_count()
    with opened(live) as stream:
        stream.send(numbered(1))
        result(stream)
        stream.socket.close()
        eventually(lambda: live.metric("clearcall_streams_active") == 0)
    eventually(lambda: live.task_count() <= tasks)


def test_several_streams_are_served_side_by_side(live: Live) -> None:
    with opened(live) as one, opened(live) as other:
        assert live.metric("clearcall_streams_active") == 2
        one.send('{"type":"settings","format":"png"}')
        notice(one)
        for sequence in range(10):
            one.send(numbered(sequence))
            other.send(numbered(100 + sequence))
            assert result(one).format == "png"
            assert result(other).sequence == 100 + sequence


def test_one_stream_more_than_allowed_is_told_so_and_closed_with_1013() -> None:
    with serve(max_streams=1) as live:
        with opened(live), connect(live.stream_url) as refused:
            assert notice(refused)["code"] == "streams-full"
            assert close_code(refused) == 1013
        eventually(lambda: live.metric("clearcall_streams_active") == 0)
        with opened(live) as stream:
            stream.send(numbered(1))
            assert result(stream).sequence == 1


def test_a_stream_is_closed_with_1012_when_the_service_stops() -> None:
    with serve() as live, opened(live) as stream:
        live.stop()
        assert close_code(stream) == 1012


def test_a_page_of_another_site_is_refused_and_the_log_says_how_to_allow_it(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("service").propagate = True
    with (
        pytest.raises(InvalidStatus) as caught,
        connect(live.stream_url, origin=Origin("https://evil.example")),
    ):
        pass
    assert caught.value.response.status_code == 403
    assert json.loads(bytes(caught.value.response.body or b""))["code"] == "origin-refused"
    assert "CLEARCALL_ALLOWED_ORIGINS" in caplog.text
    assert "https://evil.example" in caplog.text


def test_the_own_page_and_listed_sites_may_open_a_stream() -> None:
    with serve(allowed_origins="https://meet.example.org") as live:
        for origin in (live.url, "https://meet.example.org"):
            with opened(live, origin=origin):
                pass


def test_plain_http_to_the_stream_is_a_problem(live: Live) -> None:
    response = httpx.get(f"{live.url}/stream")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("sent", "answered"), [(2, [0, 1]), (IN_FLIGHT + 2, [IN_FLIGHT + 1])])
def test_while_another_stream_is_at_work_only_a_client_that_sends_too_much_loses_frames(
    live: Live, sent: int, answered: list[int]
) -> None:
    with opened(live) as other, opened(live) as stream:
        live.sharpener.hold()
        other.send(numbered(0))
        assert live.sharpener.entered.acquire(timeout=WAIT_S)
        for sequence in range(sent):
            stream.send(numbered(sequence))
        received = sent + 1
        eventually(lambda: live.metric("clearcall_frames_received_total") == received)
        live.sharpener.release()
        assert [result(stream).sequence for _ in answered] == answered
        assert result(other).sequence == 0
    eventually(lambda: all_counted(live))
    assert live.dropped() == ({"replaced": sent - 1.0} if sent > IN_FLIGHT + 1 else {})
