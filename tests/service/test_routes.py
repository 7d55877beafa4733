"""service.routes over HTTP: a real server, the stand-in model."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_stream

from service.codec import ImageFormat, decode_image
from tests.service.doubles import FakeSharpener
from tests.service.live import Live, eventually, serve
from tests.service.pictures import as_file, difference, jpeg_frame, landscape

FORMATS: tuple[ImageFormat, ...] = ("jpeg", "png", "webp", "bmp", "tiff")


@pytest.fixture
def client(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, timeout=20) as client:
        yield client


def decoded(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return decode_image(response.content, max_pixels=10**6).image


def problem(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert set(body) == {"type", "title", "status", "detail", "code"}
    return dict(body)


def connect(live: Live) -> socket.socket:
    return socket.create_connection(live.host_and_port, timeout=20)


@pytest.mark.parametrize("image_format", FORMATS)
def test_each_format_comes_back_in_its_own_format_and_size(
    client: httpx.Client, image_format: ImageFormat
) -> None:
    encoded = as_file(landscape(), image_format)
    for request in ({"files": {"file": ("a", encoded)}}, {"content": encoded}):
        response = client.post("/sharpen", params={"strength": 0}, **request)
        assert response.headers["content-type"] == f"image/{image_format}"
        assert difference(decoded(response), landscape()) < 4


@pytest.mark.parametrize("image_format", get_args(ImageFormat))
def test_another_format_can_be_asked_for(client: httpx.Client, image_format: ImageFormat) -> None:
    rgba = as_file(landscape()[..., [0, 1, 2, 0]], "png")
    response = client.post("/sharpen", params={"format": image_format}, content=rgba)
    assert response.headers["content-type"] == f"image/{image_format}"
    assert decoded(response).shape == (48, 64, 3)


def test_the_picture_goes_through_the_model_at_the_strength_that_is_asked_for(
    client: httpx.Client, live: Live
) -> None:
    encoded = as_file(landscape(), "png")
    for params, strength in (({}, 1), ({"strength": 0}, 0), ({"strength": 2}, 2)):
        sharpened = decoded(client.post("/sharpen", params=params, content=encoded))
        expected = live.sharpener.sharpen(landscape(), strength=strength)
        assert difference(sharpened, expected) == 0


def test_quality_is_of_the_output(client: httpx.Client) -> None:
    encoded = as_file(landscape(200, 200), "jpeg")
    sizes = [
        len(client.post("/sharpen", params={"quality": quality}, content=encoded).content)
        for quality in (5, 90, 100)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]


def test_the_answer_names_the_model_the_device_and_the_time_of_each_stage(
    client: httpx.Client,
) -> None:
    response = client.post("/sharpen", content=as_file(landscape(), "jpeg"))
    assert response.headers["x-clearcall-model"] == "fake-00000000"
    assert response.headers["x-clearcall-device"] == "cpu"
    timing = response.headers["server-timing"]
    durations_ms = {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([\d.]+)", timing)}
    assert list(durations_ms) == ["decode", "queue", "inference", "encode", "total"]
    total_ms = durations_ms.pop("total")
    assert 0 < sum(durations_ms.values()) <= total_ms + 0.1


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"strength": "3"}, "strength"),
        ({"strength": "-0.1"}, "strength"),
        ({"strength": "nan"}, "strength"),
        ({"strength": "much"}, "strength"),
        ({"format": "gif"}, "format"),
        ({"quality": "0"}, "quality"),
        ({"quality": "101"}, "quality"),
    ],
)
def test_a_wrong_parameter_is_a_problem_that_names_it(
    client: httpx.Client, params: dict[str, str], said: str
) -> None:
    body = problem(client.post("/sharpen", params=params, content=b"x"))
    assert (body["status"], body["code"]) == (422, "request-invalid")
    assert said in body["detail"]


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"content": b"GIF89a"}, 415, "image-unsupported"),
        ({"content": as_file(landscape(), "png")[:-40]}, 422, "image-broken"),
        ({"content": b""}, 422, "request-invalid"),
        ({"data": {"file": "x"}, "files": {"other": b"x"}}, 422, "request-invalid"),
        ({"files": {"image": b"x"}}, 422, "request-invalid"),
    ],
)
def test_what_is_not_a_sound_picture_is_a_problem(
    client: httpx.Client, request_: dict[str, Any], status: int, code: str
) -> None:
    body = problem(client.post("/sharpen", **request_))
    assert (body["status"], body["code"]) == (status, code)


def test_too_many_pixels_are_a_problem_with_the_size_and_the_limit() -> None:
    with serve(max_pixels=3000) as live:
        response = httpx.post(f"{live.url}/sharpen", content=as_file(landscape(), "png"))
    body = problem(response)
    assert (body["status"], body["code"]) == (422, "image-too-many-pixels")
    assert "64x48" in body["detail"]


def test_an_announced_flood_is_refused_before_a_byte_of_it_is_sent(live: Live) -> None:
    with connect(live) as connection:
        connection.sendall(
            b"POST /sharpen HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_an_endless_upload_is_refused_at_the_limit() -> None:
    with serve(max_upload_bytes=100_000) as live, connect(live) as connection:
        connection.sendall(
            b"POST /sharpen HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(11):  # and not one more
            connection.sendall(b"2710\r\n" + bytes(10_000) + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
        eventually(lambda: live.metric("clearcall_images_total", status="413") == 1)


def test_an_upload_that_trickles_is_refused_in_time() -> None:
    with serve(upload_timeout_s=0.1) as live, connect(live) as connection:
        connection.sendall(b"POST /sharpen HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nab")
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_full_queue_is_503_with_when_to_come_back_and_recovers() -> None:
    sharpener = FakeSharpener()
    encoded = as_file(landscape(), "jpeg")
    with serve(sharpener, max_waiting_images=1) as live, ThreadPoolExecutor() as pool:
        sharpener.hold()
        url = f"{live.url}/sharpen"
        # One in the model, one decoded behind it, one waiting; the fourth is too many.
        taken = [pool.submit(httpx.post, url, content=encoded, timeout=20) for _ in range(3)]
        eventually(lambda: live.metric("clearcall_queue_depth", kind="image") == 2)
        refused = httpx.post(url, content=encoded)
        assert problem(refused)["code"] == "queue-full"
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        sharpener.release()
        assert [future.result().status_code for future in taken] == [200, 200, 200]
        assert httpx.post(url, content=encoded).status_code == 200
        assert live.metric("clearcall_images_total", status="200") == 4
        assert live.metric("clearcall_images_total", status="503") == 1
        assert live.metric("clearcall_queue_depth", kind="image") == 0


def test_at_the_limit_of_the_load_uploads_get_503_and_streams_1013() -> None:
    with serve(max_pixels_per_s=600) as live, connect_stream(live.stream_url) as stream:
        stream.recv(20)
        stream.send(jpeg_frame())  # 3072 pixels in at most 5 seconds
        assert isinstance(stream.recv(20), bytes)
        refused = httpx.post(f"{live.url}/sharpen", content=as_file(landscape(), "jpeg"))
        assert problem(refused)["code"] == "engine-busy"
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        with connect_stream(live.stream_url) as late:
            assert json.loads(late.recv(20))["code"] == "engine-busy"
            with pytest.raises(ConnectionClosed):
                late.recv(20)
            assert late.close_code == 1013
        assert httpx.get(f"{live.url}/health/ready").status_code == 200
        stream.send(jpeg_frame())
        assert isinstance(stream.recv(20), bytes)


def test_pictures_wait_encoded_not_decoded() -> None:
    sharpener = FakeSharpener()
    with serve(sharpener, max_waiting_images=6) as live, ThreadPoolExecutor(8) as pool:
        sharpener.hold()
        encoded = as_file(landscape(), "png")
        url = f"{live.url}/sharpen"
        taken = [pool.submit(httpx.post, url, content=encoded, timeout=20) for _ in range(7)]
        eventually(lambda: live.metric("clearcall_queue_depth", kind="image") == 6)
        assert live.parts.engine._lanes.images_waiting == 1
        sharpener.release()
        assert {future.result().status_code for future in taken} == {200}


def test_a_failing_network_is_500_without_its_secrets() -> None:
    sharpener = FakeSharpener()
    sharpener.failure = RuntimeError("out of memory at /secret/path")
    with serve(sharpener) as live:
        response = httpx.post(f"{live.url}/sharpen", content=as_file(landscape(), "jpeg"))
    body = problem(response)
    assert (body["status"], body["code"]) == (500, "sharpening-failed")
    assert "secret" not in response.text


def test_a_client_that_leaves_in_mid_upload_leaves_nothing_behind(live: Live) -> None:
    tasks = live.task_count()
    for _ in range(3):
        with connect(live) as connection:
            connection.sendall(
                b"POST /sharpen HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nab"
            )
    eventually(lambda: live.metric("clearcall_images_total", status="499") == 3)
    eventually(lambda: live.task_count() <= tasks)
    live.parts.engine.check_admission()


def test_a_client_that_leaves_while_waiting_leaves_its_place(live: Live) -> None:
    live.sharpener.hold()
    tasks = live.task_count()
    encoded = as_file(landscape(), "png")
    head = b"POST /sharpen HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(encoded)
    connections = [connect(live) for _ in range(4)]
    for connection in connections:
        connection.sendall(head + encoded)
    eventually(lambda: live.parts.engine.waiting("image") == 3)
    for connection in connections:
        connection.close()
    eventually(lambda: live.parts.engine.waiting("image") == 0)
    eventually(lambda: live.metric("clearcall_images_total", status="499") == 4)
    eventually(lambda: live.task_count() <= tasks)
    live.sharpener.release()
    assert httpx.post(f"{live.url}/sharpen", content=encoded, timeout=20).status_code == 200
    assert len(live.sharpener.shapes_seen) == 2  # the one that was in the model, and the last


def test_the_service_answers_while_the_model_and_the_codec_work() -> None:
    sharpener = FakeSharpener()
    with serve(sharpener) as live, ThreadPoolExecutor() as pool:
        sharpener.hold()
        encoded = as_file(landscape(1000, 1000), "png")
        busy = pool.submit(httpx.post, f"{live.url}/sharpen", content=encoded, timeout=20)
        assert sharpener.entered.acquire(timeout=20)
        assert httpx.get(f"{live.url}/health/live").json() == {"status": "live"}
        assert threading.current_thread().name not in sharpener.threads_seen
        sharpener.release()
        assert busy.result().status_code == 200


def test_the_model_is_described(client: httpx.Client) -> None:
    assert client.get("/model").json() == {
        "id": "fake-00000000",
        "device": "cpu",
        "backend": "fake",
        "precision": "fp32",
        "default_strength": 1.0,
        "architecture": "fake",
        "last_reload": None,
    }


def test_live_and_ready_are_told(client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready", "model": "fake-00000000"}


def test_the_metrics_text_parses_and_counts_what_was_sent(client: httpx.Client, live: Live) -> None:
    for content in (as_file(landscape(), "jpeg"),) * 3 + (b"GIF89a", b""):
        client.post("/sharpen", content=content)
    assert live.metric("clearcall_images_total", status="200") == 3
    assert live.metric("clearcall_images_total", status="415") == 1
    assert live.metric("clearcall_images_total", status="422") == 1
    for stage in ("decode", "queue", "inference", "encode", "total"):
        name = "clearcall_stage_seconds_count"
        assert live.metric(name, route="/sharpen", stage=stage) == 3
    assert live.metric("clearcall_frames_per_second", route="/sharpen") == pytest.approx(0.6)
    model = {"model": "fake-00000000", "device": "cpu", "backend": "fake"}
    assert live.metric("clearcall_model_info", **model) == 1


def test_nowhere_and_a_wrong_method_are_problems(client: httpx.Client) -> None:
    assert problem(client.get("/nowhere"))["code"] == "not-found"
    assert problem(client.get("/static/nothing.js"))["code"] == "not-found"
    wrong = client.get("/sharpen")
    assert problem(wrong)["code"] == "method-not-allowed"
    assert wrong.headers["allow"] == "POST"


def test_the_page_is_served(client: httpx.Client) -> None:
    response = client.get("/")
    assert response.headers["content-type"].startswith("text/html")
    assert client.head("/").status_code == 200
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', response.text):
        assert client.get(path).status_code == 200, path


def test_the_description_has_every_route_and_both_kinds_of_body(client: httpx.Client) -> None:
    description = client.get("/openapi.json").json()
    assert {"/sharpen", "/model", "/health/live", "/health/ready", "/metrics"} <= set(
        description["paths"]
    )
    sharpen = description["paths"]["/sharpen"]["post"]
    assert set(sharpen["requestBody"]["content"]) == {"multipart/form-data", "image/*"}
    assert {"200", "408", "413", "415", "422", "500", "503"} <= set(sharpen["responses"])
    for status, response in sharpen["responses"].items():
        assert status == "200" or "application/problem+json" in response["content"]
    page = client.get("/docs")
    assert page.status_code == 200
    assert "/openapi.json</a>" in page.text  # where Swagger UI cannot be reached


@pytest.mark.parametrize(
    ("query", "size"),
    [
        ({"resize": "32"}, (32, 24)),
        ({"resize": "32x32!"}, (32, 32)),
        ({"upscale": 2}, (128, 96)),
        ({"resize": "32", "upscale": 1.5}, (48, 36)),
    ],
)
def test_a_picture_is_scaled_as_asked(
    client: httpx.Client, query: dict[str, str | float], size: tuple[int, int]
) -> None:
    answer = client.post("/sharpen", params=query, content=as_file(landscape(), "png"))
    assert Image.open(io.BytesIO(answer.content)).size == size


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"resize": "0"}, 422),
        ({"resize": "large"}, 422),
        ({"upscale": 9}, 422),
        ({"resize": "65535x65535"}, 422),
    ],
)
def test_a_size_that_cannot_be_made_is_refused(
    client: httpx.Client, query: dict[str, str | float], status: int
) -> None:
    answer = client.post("/sharpen", params=query, content=as_file(landscape(), "png"))
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_was_converted_is_said(client: httpx.Client) -> None:
    palette = as_file(Image.fromarray(landscape()).convert("P"), "png")
    answer = client.post("/sharpen", content=palette).raise_for_status()
    assert answer.headers["x-clearcall-warning"] == "Its palette was converted to full colours."
    plain = client.post("/sharpen", content=as_file(landscape(), "png"))
    assert "x-clearcall-warning" not in plain.headers


def test_the_camera_stays_in_the_metadata_and_the_place_goes_if_asked(client: httpx.Client) -> None:
    exif = Image.Exif()
    exif[272] = "Phone 1"
    exif.get_ifd(0x8825)[1] = "N"
    encoded = as_file(landscape(), "jpeg", exif=exif)
    for keep, places in (("true", {1: "N"}), ("false", {})):
        answer = client.post("/sharpen", params={"keep_location": keep}, content=encoded)
        kept = Image.open(io.BytesIO(answer.content)).getexif()
        assert (kept[272], dict(kept.get_ifd(0x8825))) == ("Phone 1", places)


def test_a_picture_of_16_bits_comes_back_in_16_bits(client: httpx.Client) -> None:
    deep = np.arange(48 * 64 * 3, dtype=np.uint16).reshape(48, 64, 3) * 7
    _, buffer = cv2.imencode(".png", deep)
    response = client.post("/sharpen", params={"strength": 0}, content=buffer.tobytes())
    assert "x-clearcall-warning" not in response.headers
    stored = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, deep)
    response = client.post("/sharpen", params={"format": "jpeg"}, content=buffer.tobytes())
    assert response.headers["x-clearcall-warning"] == "Its 16 bits per channel became 8."
