"""The page, in headless Chromium with a camera made from a picture, against a running service."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from websockets.sync.client import connect

from service.app import create_app
from service.codec import ImageArray
from service.frames import Result, pack_result, parse_frame
from service.model.sharpener import Sharpener, bundled_checkpoint
from service.server import Server, bind, server_config, url_of
from service.settings import Settings
from tests.browser.launching import OTHER_HOST, Launch
from tests.service.doubles import FakeSharpener
from tests.service.live import eventually
from tests.service.pictures import difference

_SAMPLES = Path(__file__).parents[1] / "samples"
_CAMERA_PX = (360, 640)
_CAMERA_FRAMES = 12
_WAIT_MS = 15_000
_ALLOW_CAMERA = "--use-fake-ui-for-media-stream"
_DROP = """([encoded, name]) => {
    const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
    const target = document.querySelector("main");
    for (const kind of ["dragover", "drop"])
        target.dispatchEvent(
            new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer }));
}"""
_PASTE = """([encoded, name]) => {
    const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([bytes], name, { type: "image/jpeg" }));
    document.dispatchEvent(new ClipboardEvent("paste", { bubbles: true, clipboardData }));
}"""


@pytest.fixture(scope="module")
def picture() -> ImageArray:
    """(H, W, 3) uint8 RGB: a sample photograph, made soft as by a cheap camera."""
    image = _read(min(_SAMPLES.glob("*.jpg")).read_bytes())
    scale = max(480 / image.shape[0], 800 / image.shape[1])
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(large, (0, 0), 1.2).astype(np.uint8)


@pytest.fixture(scope="module")
def picture_file(picture: ImageArray) -> bytes:
    """The picture as a JPEG."""
    _, buffer = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return buffer.tobytes()


@pytest.fixture(scope="module")
def camera_flags(picture: ImageArray, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Chromium's flags for a camera that pans over the picture."""
    film = tmp_path_factory.mktemp("camera") / "pan.y4m"
    film.write_bytes(_film(picture))
    return ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}"]


@pytest.fixture(scope="module")
def browser(launch: Launch, camera_flags: list[str]) -> Iterator[Browser]:
    """A browser with a camera that pages may use."""
    with launch(*camera_flags, _ALLOW_CAMERA) as running:
        yield running


@pytest.fixture(scope="module")
def sharpener() -> Sharpener:
    """The bundled student."""
    if not bundled_checkpoint().exists():  # a checkout whose student is still in training
        return FakeSharpener().as_sharpener()
    return Sharpener.load()


@pytest.fixture
def url(sharpener: Sharpener) -> Iterator[str]:
    """A running service."""
    with _serve(sharpener) as running:
        yield running


def test_camera_starts_by_keyboard_and_shows_its_picture_beside_the_sharpened_one(
    browser: Browser, url: str, sharpener: Sharpener
) -> None:
    with _page(browser) as page:
        page.goto(url)
        expect(page.locator("#server")).to_have_attribute("data-state", "ready")
        expect(page.locator("#server-text")).to_contain_text(sharpener.checkpoint.model_id)
        _press_until_focused(page, "Tab", page.locator("#start"))
        page.keyboard.press("Enter")
        expect(page.locator("#pill")).to_have_text("Live")
        expect(page.locator("#pause")).to_be_focused()

        eventually(lambda: _is_number(page, "#fps") and _number(page, "#fps") > 1)
        assert 0 < _number(page, "#latency") <= _number(page, "#p95") < 5000
        for stage in ("queue", "decode", "inference", "encode", "rest"):
            assert _is_number(page, f"[data-figure={stage}]")
        assert page.locator("#dropped").inner_text() == "0"
        expect(page.locator("#output-facts")).to_contain_text(re.compile(r"640\D+360"))

        page.locator("#strength").press("End")
        expect(page.locator("#strength-value")).to_have_attribute("data-applied", "2")
        eventually(lambda: difference(_pixels(page, "#input"), _pixels(page, "#output")) > 0.3)
        page.locator("#pause").press("Enter")  # hold both pictures still
        expect(page.locator("#pill")).to_have_text("Paused")
        shot = _read(page.screenshot())
        shown = [_cut(shot, page.locator(canvas)) for canvas in ("#input", "#output")]
        for image in shown:
            assert image.std() > 10, "a picture is blank"
        height, width = np.minimum(shown[0].shape[:2], shown[1].shape[:2])
        left, right = (image[:height, :width] for image in shown)
        assert 0.2 < difference(left, right) < 30, "not the same scene, or not changed at all"


def test_output_follows_the_camera_until_it_is_stopped(browser: Browser, url: str) -> None:
    with _started(browser, url) as page:
        first = _pixels(page, "#output")
        eventually(lambda: difference(first, _pixels(page, "#output")) > 1)
        page.locator("#stop").press("Enter")
        expect(page.locator("#start")).to_be_focused()
        assert page.evaluate("document.querySelector('#video').srcObject") is None


def test_size_and_strength_change_while_it_streams(browser: Browser, url: str) -> None:
    with _started(browser, url) as page:
        slider, value = page.locator("#strength"), page.locator("#strength-value")
        expect(slider).to_have_value("1")
        expect(value).to_have_text("1.00, as trained")
        for key, text, applied in (
            ("End", "2.00, stronger", "2"),
            ("Home", "0.00, off", "0"),
            ("ArrowRight", "0.05, weaker", "0.05"),
        ):
            slider.press(key)
            expect(value).to_have_text(text)
            expect(slider).to_have_attribute("aria-valuetext", text)
            expect(value).to_have_attribute("data-applied", applied)
        page.locator("#strength-reset").press("Enter")
        expect(value).to_have_text("1.00, as trained")
        expect(value).to_have_attribute("data-applied", "1")
        for size in ("256x256", "1280x720"):
            page.locator("#size").select_option(size)
            expect(page.locator("#output-facts")).to_contain_text(
                re.compile(size.replace("x", r"\D+"))
            )
        expect(page.locator("#pill")).to_have_text("Live")


def test_split_view_and_actual_pixels_work_by_keyboard(browser: Browser, url: str) -> None:
    with _started(browser, url) as page:
        page.get_by_label("Side by side").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#panes")).to_have_attribute("data-view", "split")
        divider = page.locator("#divider")
        for key, percent in (("ArrowRight", "52"), ("PageUp", "62"), ("Home", "0"), ("End", "100")):
            divider.press(key)
            expect(divider).to_have_attribute("aria-valuenow", percent)
        frames = [page.locator(f"#{name}").bounding_box() for name in ("input", "output")]
        assert frames[0] == frames[1]
        page.locator("#zoom").press("Enter")
        expect(page.locator("#panes")).to_have_attribute("data-zoom", "actual")
        page.locator("#panes").press("ArrowLeft")
        assert (
            page.locator("#output")
            .evaluate("canvas => getComputedStyle(canvas).objectPosition")
            .startswith("42%")
        )


@pytest.mark.parametrize("give", [_DROP, _PASTE], ids=["dropped", "pasted"])
def test_picture_is_sharpened_and_can_be_saved(
    browser: Browser, url: str, picture: ImageArray, picture_file: bytes, give: str
) -> None:
    with _page(browser) as page:
        page.goto(url)
        expect(page.locator("#server")).to_have_attribute("data-state", "ready")
        page.evaluate(give, [base64.b64encode(picture_file).decode(), "desk.jpg"])
        expect(page.locator("#pill")).to_have_text("Sharpened")
        assert difference(_pixels(page, "#input"), picture) < 3
        assert difference(_pixels(page, "#input"), _pixels(page, "#output")) > 0.2
        assert _number(page, "#round-trip") >= _number(page, "#server-total") > 0
        with page.expect_download() as saved:
            page.locator("#save").press("Enter")
        assert saved.value.suggested_filename == "desk-clear.jpg"
        assert _read(Path(saved.value.path()).read_bytes()).shape == picture.shape


def test_moving_the_slider_sharpens_the_picture_anew(
    browser: Browser, url: str, picture_file: bytes
) -> None:
    with _page(browser) as page:
        _choose(page, url, "desk.jpg", picture_file)
        expect(page.locator("#pill")).to_have_text("Sharpened")
        page.locator("#strength").press("Home")
        expect(page.locator("#strength-value")).to_have_attribute("data-applied", "0")
        plain = _pixels(page, "#output")
        page.locator("#strength").press("End")
        expect(page.locator("#strength-value")).to_have_attribute("data-applied", "2")
        eventually(lambda: difference(plain, _pixels(page, "#output")) > 0.2)


def test_file_that_is_no_picture_is_answered_in_the_servers_words(
    browser: Browser, url: str
) -> None:
    with _page(browser, may_log="status of 415") as page:
        _choose(page, url, "notes.txt", b"not a picture at all")
        alert = page.locator("#notice")
        expect(alert).to_contain_text("Not a picture that can be read")
        expect(alert).to_contain_text("JPEG")
        expect(page.locator("#welcome")).to_be_visible()


def test_picture_beyond_the_servers_limits_says_so(
    browser: Browser, sharpener: Sharpener, picture_file: bytes
) -> None:
    with (
        _serve(sharpener, max_pixels=1000) as url,
        _page(browser, may_log="status of 422") as page,
    ):
        _choose(page, url, "desk.jpg", picture_file)
        expect(page.locator("#notice")).to_contain_text("too many pixels")
        expect(page.locator("#pill")).to_have_text("Not sharpened")
    # Refused before it was read, it may reach the page as a broken connection.
    with (
        _serve(sharpener, max_upload_bytes=1000) as url,
        _page(browser, may_log="Failed to load") as page,
    ):
        _choose(page, url, "desk.jpg", picture_file + bytes(8_000_000))
        expect(page.locator("#notice")).to_contain_text(re.compile("Too many bytes|cut off"))


def test_missing_camera_is_named_with_ways_out(launch: Launch, url: str) -> None:
    with launch(_ALLOW_CAMERA) as browser:
        _expect_refusal(browser, url, "No camera found")


def test_blocked_camera_is_named_with_ways_out(
    launch: Launch, camera_flags: list[str], url: str
) -> None:
    with launch(*camera_flags) as browser:  # nobody to allow it, which counts as denied
        _expect_refusal(browser, url, "The camera is blocked")


def test_second_camera_can_be_picked(launch: Launch, url: str) -> None:
    two = "--use-fake-device-for-media-stream=device-count=2"
    with launch(two, _ALLOW_CAMERA) as browser, _started(browser, url) as page:
        picker = page.locator("#device")
        expect(picker.locator("option")).to_have_count(2)
        first = picker.input_value()
        picker.select_option(index=1)
        eventually(lambda: _device(page) not in ("", first))
        expect(page.locator("#pill")).to_have_text("Live")


def test_insecure_address_is_explained_and_pictures_work_there(
    browser: Browser, url: str, picture_file: bytes
) -> None:
    with _page(browser, may_log="Cross-Origin-Opener-Policy") as page:
        elsewhere = url.replace("127.0.0.1", OTHER_HOST)
        page.goto(elsewhere)
        page.locator("#start").click()
        expect(page.locator("#notice")).to_contain_text("HTTPS")
        _choose(page, elsewhere, "desk.jpg", picture_file)
        expect(page.locator("#pill")).to_have_text("Sharpened")


def test_stream_goes_on_by_itself_when_the_server_is_back(
    browser: Browser, sharpener: Sharpener
) -> None:
    with _page(browser, may_log="ERR_CONNECTION_REFUSED") as page:
        with _serve(sharpener) as url:
            _start(page, url)
        expect(page.locator("#notice")).to_contain_text("The server is gone")
        expect(page.locator("#pill")).to_have_text("Reconnecting")
        expect(page.locator("#countdown")).to_contain_text("Trying again")
        with _serve(sharpener, port=int(url.rpartition(":")[2])):
            expect(page.locator("#pill")).to_have_text("Live")
            expect(page.locator("#notice")).to_be_hidden()
            eventually(lambda: _number(page, "#fps") > 1)
            page.locator("#stop").click()


def test_busy_server_is_named_and_asked_again(browser: Browser, sharpener: Sharpener) -> None:
    with _serve(sharpener, max_streams=1) as url, _page(browser) as page:
        with connect(f"ws{url.removeprefix('http')}/stream") as other:
            other.recv()
            page.goto(url)
            page.locator("#start").click()
            expect(page.locator("#notice")).to_contain_text("The server is busy")
            expect(page.locator("#notice")).to_contain_text("1 streams are open already")
        expect(page.locator("#pill")).to_have_text("Live")
        expect(page.locator("#notice")).to_be_hidden()
        page.locator("#stop").click()


def test_page_fits_narrow_screens(browser: Browser, url: str) -> None:
    with _started(browser, url, width=360, height=740) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_wire_module_speaks_the_servers_format(browser: Browser, url: str) -> None:
    result = Result(
        sequence=2**32 - 1,
        client_timestamp_ms=1234.5678,
        width_px=640,
        height_px=360,
        frames_dropped=7,
        queue_ms=0.5,
        decode_ms=1.5,
        inference_ms=20.25,
        encode_ms=2.5,
        total_ms=25.0,
        format="webp",
        encoded=b"picture",
    )
    with _page(browser) as page:
        page.goto(url)
        header = page.evaluate(
            """async () => {
                const { frameHeader } = await import("/static/wire.js");
                return Array.from(new Uint8Array(frameHeader(4294967295, 1234.5678)));
            }"""
        )
        frame = parse_frame(bytes(header) + b"\xff\xd8 and so on")
        assert (frame.sequence, frame.client_timestamp_ms) == (2**32 - 1, 1234.5678)
        assert page.evaluate(
            """async (bytes) => {
                const { parseResult } = await import("/static/wire.js");
                const { encoded, ...rest } = parseResult(new Uint8Array(bytes).buffer);
                return { ...rest, type: encoded.type, text: await encoded.text() };
            }""",
            list(pack_result(result)),
        ) == {
            "sequence": 2**32 - 1,
            "timestampMs": 1234.5678,
            "width": 640,
            "height": 360,
            "dropped": 7,
            "times": {
                "queueMs": 0.5,
                "decodeMs": 1.5,
                "inferenceMs": 20.25,
                "encodeMs": 2.5,
                "totalMs": 25,
            },
            "type": "image/webp",
            "text": "picture",
        }
        assert page.evaluate(
            """async () => {
                const { NotAResult, parseResult } = await import("/static/wire.js");
                return [0, 47, 48].map((size) => {
                    try { parseResult(new ArrayBuffer(size)); }
                    catch (error) { return error instanceof NotAResult; }
                });
            }"""
        ) == [True, True, True]


def test_meters_count_the_last_seconds_only(browser: Browser, url: str) -> None:
    with _page(browser) as page:
        page.goto(url)
        reading = page.evaluate(
            """async () => {
                const { StreamMeters, percentile } = await import("/static/meters.js");
                const meters = new StreamMeters(2000);
                const times = { queueMs: 1, decodeMs: 2, inferenceMs: 3, encodeMs: 4, totalMs: 10 };
                const young = meters.read(0);
                for (let at = 0; at < 1000; at += 50)
                    meters.add(at, { latencyMs: at < 950 ? 40 : 90, times, dropped: 3 });
                const early = meters.read(950);
                for (let at = 3000; at < 5000; at += 100)
                    meters.add(at, { latencyMs: 60, times, dropped: 5 });
                return { young, early, late: meters.read(4999), gone: meters.read(9000),
                         percentiles: [percentile([3, 1, 2], 0.5), percentile([], 0.5)] };
            }"""
        )
    assert reading["young"] is None
    assert reading["gone"] is None
    assert reading["early"]["shownFps"] == pytest.approx(20)
    assert reading["early"]["latencyMedianMs"] == 40
    assert reading["early"]["latencyP95Ms"] == 40
    assert reading["late"]["shownFps"] == pytest.approx(10)
    assert reading["late"]["latencyMedianMs"] == 60
    assert reading["late"]["dropped"] == 5
    assert reading["late"]["times"]["totalMs"] == 10
    assert reading["percentiles"][0] == 2
    assert np.isnan(reading["percentiles"][1])


@contextmanager
def _serve(sharpener: Sharpener, *, port: int = 0, **settings: Any) -> Iterator[str]:
    """Runs the service until the block ends, on a port that may be taken up again."""
    checked = Settings(port=port, log_level="critical", **settings)
    sockets = bind(checked.host, checked.port)
    is_ready = threading.Event()
    config = server_config(create_app(checked, sharpener), checked)
    server = Server(config, on_ready=is_ready.set)
    thread = threading.Thread(target=server.run, args=(sockets,), name="page-server")
    thread.start()
    try:
        assert is_ready.wait(30), "the server did not start"
        yield url_of(sockets[0])
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def _page(
    browser: Browser, *, may_log: str | None = None, width: int = 1280, height: int = 900
) -> Iterator[Page]:
    """A page of its own; on leaving, its console must hold no error but the expected one.

    Violations of the content security policy are errors on the console, too.
    """
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(_WAIT_MS)
    expect.set_options(timeout=_WAIT_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        yield page
        unexpected = [text for text in errors if may_log is None or may_log not in text]
        assert unexpected == []
    finally:
        context.close()


@contextmanager
def _started(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A page whose camera streams."""
    with _page(browser, **options) as page:
        _start(page, url)
        yield page


def _start(page: Page, url: str) -> None:
    page.goto(url)
    page.locator("#start").press("Enter")
    expect(page.locator("#output-facts")).to_contain_text(re.compile(r"640\D+360"))


def _expect_refusal(browser: Browser, url: str, title: str) -> None:
    with _page(browser) as page:
        page.goto(url)
        page.locator("#start").press("Enter")
        alert = page.locator("#notice [role=alert]")
        expect(alert).to_contain_text(title)
        page.get_by_role("button", name="Try the camera again").press("Enter")
        expect(alert).to_contain_text(title)
        with page.expect_file_chooser():
            page.locator("#notice").get_by_role("button", name="Open a picture").press("Enter")


def _device(page: Page) -> str:
    """The id of the camera in use, or an empty string."""
    return str(
        page.locator("#video").evaluate(
            "video => video.srcObject?.getVideoTracks()[0].getSettings().deviceId ?? ''"
        )
    )


def _choose(page: Page, url: str, name: str, encoded: bytes) -> None:
    page.goto(url)
    expect(page.locator("#server")).to_have_attribute("data-state", "ready")
    page.locator("#file").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": encoded}
    )


def _press_until_focused(page: Page, key: str, target: Locator, *, limit: int = 10) -> None:
    for _ in range(limit):
        page.keyboard.press(key)
        if target.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"{limit} times {key} did not reach the control")


def _number(page: Page, selector: str) -> float:
    return float(page.locator(selector).first.inner_text())


def _is_number(page: Page, selector: str) -> bool:
    return page.locator(selector).first.inner_text().replace(".", "", 1).isdecimal()


def _pixels(page: Page, selector: str) -> ImageArray:
    """What a canvas holds, (H, W, 3) uint8 RGB."""
    canvas = page.locator(selector)
    encoded = canvas.evaluate("canvas => canvas.toDataURL('image/png').split(',')[1]")
    return _read(base64.b64decode(encoded))


def _cut(shot: ImageArray, target: Locator) -> ImageArray:
    box = target.bounding_box()
    assert box is not None
    left, top, width, height = (round(box[side]) for side in ("x", "y", "width", "height"))
    return shot[top : top + height, left : left + width]


def _read(encoded: bytes) -> ImageArray:
    """Any picture file -> (H, W, 3) uint8 RGB."""
    bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8)


def _film(picture: ImageArray) -> bytes:
    """A YUV4MPEG2 film at 30 frames per second that pans over the picture."""
    height, width = _CAMERA_PX
    room = (picture.shape[0] - height, picture.shape[1] - width)
    film = [f"YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420jpeg\n".encode()]
    for index in range(_CAMERA_FRAMES):
        top, left = (int(side * index / (_CAMERA_FRAMES - 1)) for side in room)
        part = np.ascontiguousarray(picture[top : top + height, left : left + width])
        film.append(b"FRAME\n" + cv2.cvtColor(part, cv2.COLOR_RGB2YUV_I420).tobytes())
    return b"".join(film)
