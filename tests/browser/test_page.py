"""The page, in headless Chromium with a camera made from a picture, against a running service."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Download, Locator, Page, expect

from service.frame_codec import ImageArray
from tests.browser.launching import ALLOW_CAMERA, Launch
from tests.browser.pages import (
    CANVAS_CAMERA,
    choose_file,
    cut,
    number,
    open_page,
    pixels,
    read,
    start_camera,
    started,
    until,
)
from tests.service.pictures import difference

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
_NO_TRACKS = "delete window.MediaStreamTrackProcessor;"
_NO_FRAMES = (
    _NO_TRACKS + "delete window.VideoFrame;"
    "delete HTMLVideoElement.prototype.requestVideoFrameCallback;"
)
_NO_WORKER = _NO_TRACKS + (
    "delete HTMLCanvasElement.prototype.transferControlToOffscreen; delete window.OffscreenCanvas;"
)

_FRAMES_BEFORE_AND_AFTER_A_PICTURE = """async () => {
    const { watchFrames } = await import("/static/feeder.js");
    const video = document.createElement("video");
    const seen = [];
    const stop = watchFrames(video, () => seen.push(video.videoWidth));
    for (let i = 0; i < 10; i++) await new Promise(requestAnimationFrame);
    const before = seen.length;
    const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 36 });
    const context = canvas.getContext("2d");
    video.srcObject = canvas.captureStream();
    void video.play();
    for (let i = 0; seen.length === before; i++) {
        context.fillRect(i % 64, 0, 1, 36);
        await new Promise(requestAnimationFrame);
    }
    stop();
    return [before, seen[0]];
}"""

# How many of the track's frames the worker holds.
_HELD_FRAMES = """() => {
    self.held = 0;
    const read = ReadableStreamDefaultReader.prototype.read;
    ReadableStreamDefaultReader.prototype.read = async function () {
        const got = await read.call(this);
        if (got.value instanceof VideoFrame) self.held++;
        return got;
    };
    for (const [name, more] of [["clone", 1], ["close", -1]]) {
        const first = VideoFrame.prototype[name];
        VideoFrame.prototype[name] = function () {
            self.held += more;
            return first.call(this);
        };
    }
}"""

_ONE_CONTEXT = """() => {
    const first = OffscreenCanvas.prototype.getContext;
    const asked = new WeakSet();
    OffscreenCanvas.prototype.getContext = function (...settings) {
        if (asked.has(this)) throw new DOMException("asked before", "InvalidStateError");
        asked.add(this);
        return first.apply(this, settings);
    };
}"""


def test_camera_starts_by_keyboard_and_shows_its_picture_before_and_after(
    browser: Browser, url: str
) -> None:
    with open_page(browser) as page:
        page.goto(url)
        expect(page.locator("#server")).to_have_attribute("data-state", "ready")
        expect(page.locator("#server-text")).to_contain_text("fake-00000000")
        _press_until_focused(page, "Tab", page.locator("#start"))
        page.keyboard.press("Enter")
        expect(page.locator("#pill")).to_have_text("Live")
        expect(page.locator("#pause")).to_be_focused()

        until(page, lambda: (number(page, "#fps") or 0) > 1)
        for figure in ("#input-fps", "#latency", "#p95", "#dropped"):
            assert number(page, figure) is not None
        for stage in ("queue", "decode", "inference", "encode", "rest"):
            assert number(page, f"[data-figure={stage}]") is not None
        assert (number(page, "#latency") or 0) <= (number(page, "#p95") or 0) < 5000
        for rate in ("#sent", "#received"):
            expect(page.locator(rate)).to_contain_text(re.compile(r"[1-9].* [kM]bit/s"))
        assert page.locator("#spark .line").get_attribute("d")
        expect(page.locator("#output-facts")).to_contain_text(re.compile(r"640\D+360"))

        page.get_by_label("Side by side").check()
        page.locator("#strength").press("End")
        expect(page.locator("#strength-value")).to_have_attribute("data-applied", "2")
        until(page, lambda: difference(pixels(page, "#input"), pixels(page, "#output")) > 0.3)
        page.locator("#pause").press("Enter")  # hold both pictures still
        expect(page.locator("#pill")).to_have_text("Paused")
        shot = read(page.screenshot())
        shown = [cut(shot, page.locator(canvas)) for canvas in ("#input", "#output")]
        for image in shown:
            assert image.std() > 10, "a picture is blank"
        height, width = np.minimum(shown[0].shape[:2], shown[1].shape[:2])
        left, right = (image[:height, :width] for image in shown)
        assert 0.2 < difference(left, right) < 30, "not the same scene, or not changed at all"


@pytest.mark.parametrize(
    ("before", "is_in_worker"),
    [("", True), (_NO_TRACKS, False), (_NO_FRAMES, False), (_NO_WORKER, False)],
    ids=["tracks", "video-frames", "video", "no-worker"],
)
def test_output_follows_the_camera_until_it_is_stopped_whatever_the_browser_has(
    browser: Browser, url: str, before: str, is_in_worker: bool
) -> None:
    with started(browser, url, before=before) as page:
        assert bool(page.workers) is is_in_worker
        first = pixels(page, "#output")
        until(page, lambda: difference(first, pixels(page, "#output")) > 1)
        until(page, lambda: (number(page, "#input-fps") or 0) > 1)
        page.locator("#stop").press("Enter")
        expect(page.locator("#start")).to_be_focused()
        assert page.evaluate("document.querySelector('#video').srcObject") is None


@pytest.mark.parametrize("before", ["", _NO_FRAMES], ids=["frames", "video"])
def test_a_video_without_a_picture_has_no_frame(browser: Browser, url: str, before: str) -> None:
    with open_page(browser, before=before) as page:
        page.goto(url)
        assert page.evaluate(_FRAMES_BEFORE_AND_AFTER_A_PICTURE) == [0, 64]


def _stream_with(page: Page, url: str, script: str) -> None:
    """Opens the page, runs a script in its worker, starts the camera, and waits for a rate."""
    page.goto(url)
    until(page, lambda: bool(page.workers))
    page.workers[0].evaluate(script)
    page.locator("#start").press("Enter")
    until(page, lambda: (number(page, "#fps") or 0) > 1)


def test_a_worker_asks_each_canvas_once_for_its_context(browser: Browser, url: str) -> None:
    """In Firefox the second time fails."""
    with open_page(browser) as page:
        _stream_with(page, url, _ONE_CONTEXT)
        expect(page.locator("#notice")).to_be_hidden()


def test_none_of_a_cameras_frames_is_kept(browser: Browser, url: str) -> None:
    """Chromium gives no other ones sometimes, while one is."""
    with open_page(browser) as page:
        _stream_with(page, url, _HELD_FRAMES)
        until(page, lambda: page.workers[0].evaluate("self.held") == 0)


def test_size_rate_and_strength_change_while_it_streams(browser: Browser, url: str) -> None:
    with started(browser, url) as page:
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
        for size in ("1280x720", "1920x1080", "640x360"):
            page.locator("#size").select_option(size)
            expect(page.locator("#output-facts")).to_contain_text(
                re.compile(size.replace("x", r"\D+"))
            )
        page.locator("#rate").select_option("10")
        until(page, lambda: 0 < (number(page, "#fps") or 0) < 11)
        expect(page.locator("#notice")).to_be_hidden()
        expect(page.locator("#pill")).to_have_text("Live")


def test_views_divider_and_actual_pixels_work_by_keyboard(browser: Browser, url: str) -> None:
    with started(browser, url) as page:
        panes, divider = page.locator("#panes"), page.locator("#divider")
        for key, percent in (("ArrowRight", "52"), ("PageUp", "62"), ("Home", "0"), ("End", "100")):
            divider.press(key)
            expect(divider).to_have_attribute("aria-valuenow", percent)
        frames = [page.locator(f"#{name}").bounding_box() for name in ("input", "output")]
        assert frames[0] == frames[1]
        page.locator("#zoom").press("Enter")
        expect(panes).to_have_attribute("data-zoom", "actual")
        panes.press("ArrowLeft")
        assert (
            page.locator("#output")
            .evaluate("canvas => getComputedStyle(canvas).objectPosition")
            .startswith("42%")
        )
        page.locator("#zoom").press("Enter")
        page.get_by_label("Split", exact=True).focus()
        page.keyboard.press("ArrowRight")
        expect(panes).to_have_attribute("data-view", "side")
        left, right = (page.locator(f"#{name}").bounding_box() for name in ("input", "output"))
        assert left is not None
        assert right is not None
        assert left["x"] + left["width"] <= right["x"]
        page.keyboard.press("ArrowRight")
        expect(panes).to_have_attribute("data-view", "output")
        expect(page.locator("#input")).to_be_hidden()
        first = pixels(page, "#output")
        until(page, lambda: difference(first, pixels(page, "#output")) > 1)


def test_divider_is_dragged_by_the_pointer(browser: Browser, url: str) -> None:
    with started(browser, url) as page:
        box = page.locator("#output").bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] / 2, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.25, middle, steps=3)
        page.mouse.up()
        expect(page.locator("#divider")).to_have_attribute("aria-valuenow", "25")
        page.mouse.move(box["x"] + box["width"] * 0.9, middle)  # let go of, it stays
        expect(page.locator("#divider")).to_have_attribute("aria-valuenow", "25")


def test_magnifier_shows_the_same_pixels_before_and_after(browser: Browser, url: str) -> None:
    with started(browser, url) as page:
        page.locator("#strength").press("End")
        expect(page.locator("#strength-value")).to_have_attribute("data-applied", "2")
        page.locator("#pause").press("Enter")
        page.locator("#magnify").press("Enter")
        expect(page.locator("#lens")).to_be_visible()
        until(page, lambda: pixels(page, "#lens-canvas").std() > 0)  # and so the pause has come
        before, after = pixels(page, "#input"), pixels(page, "#output")

        def halves(x: float, y: float) -> list[ImageArray]:
            top, left = round(y) - 14, round(x) - 14
            return [
                cv2.resize(
                    image[top : top + 28, left : left + 28],
                    (168, 168),
                    interpolation=cv2.INTER_NEAREST,
                ).astype(np.uint8)
                for image in (before, after)
            ]

        def is_magnified(x: float, y: float) -> bool:
            lens = pixels(page, "#lens-canvas")
            wanted = halves(x, y)
            return difference(lens, np.hstack(wanted)) < 1

        until(page, lambda: is_magnified(320, 180))
        for key, times in (("ArrowRight", 5), ("ArrowUp", 5)):
            for _ in range(times):
                page.locator("#magnify").press(key)
        until(page, lambda: is_magnified(384, 144))
        page.evaluate("window.scrollTo(0, 0)")
        box = page.locator("#output").bounding_box()
        assert box is not None
        x, y = round(box["x"] + box["width"] / 4), round(box["y"] + box["height"] / 4)
        page.mouse.move(x, y)
        spot = (x - box["x"]) / box["width"] * 640, (y - box["y"]) / box["height"] * 360
        until(page, lambda: is_magnified(*spot))
        page.locator("#magnify").press("Escape")
        expect(page.locator("#lens")).to_be_hidden()


def test_full_screen_shows_the_pictures_and_their_bar_alone(browser: Browser, url: str) -> None:
    with started(browser, url) as page:
        page.locator("#full").press("Enter")
        expect(page.locator("#full")).to_have_attribute("aria-pressed", "true")
        assert page.evaluate("document.fullscreenElement.id") == "viewer"
        expect(page.locator("#magnify")).to_be_visible()
        page.locator("#full").press("Enter")
        expect(page.locator("#full")).to_have_attribute("aria-pressed", "false")


def test_recording_is_saved_as_a_film_of_the_output(
    browser: Browser, url: str, tmp_path: Path
) -> None:
    with started(browser, url) as page:
        record = page.locator("#record")
        record.press("Enter")
        expect(record).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#record-label")).to_have_text(re.compile("0:0[1-9]"))
        with page.expect_download() as saved:
            record.press("Enter")
        expect(page.locator("#record-label")).to_have_text("Record")
        assert re.fullmatch(r"clearcall-\d{8}-\d{6}\.webm", saved.value.suggested_filename)
        path = tmp_path / "film.webm"
        saved.value.save_as(path)
    with av.open(str(path)) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) >= 2
    assert frames[-1].shape == (360, 640, 3)
    assert frames[-1].std() > 10


def kept_downloads(page: Page) -> list[Download]:
    """All that the page saves from now on."""
    downloads: list[Download] = []

    def keep(download: Download) -> None:  # the browser marks what it calls
        downloads.append(download)

    page.on("download", keep)
    return downloads


def test_nothing_is_recorded_in_a_pause(browser: Browser, url: str) -> None:
    with started(browser, url) as page:
        downloads = kept_downloads(page)
        page.locator("#pause").press("Enter")
        expect(page.locator("#pill")).to_have_text("Paused")
        record = page.locator("#record")
        record.press("Enter")
        expect(record).to_have_attribute("aria-pressed", "true")
        page.wait_for_timeout(1200)  # a second of a film would be told
        expect(page.locator("#record-label")).to_have_text("0:00")
        record.press("Enter")
        expect(page.get_by_text("nothing was recorded")).to_be_attached()
        assert not downloads


def test_the_picture_before_is_that_of_the_picture_after(browser: Browser, url: str) -> None:
    with open_page(browser, before=CANVAS_CAMERA) as page:
        page.goto(url)
        start_camera(page, url)
        page.get_by_label("Only after").check()
        painted = page.evaluate("painted")
        until(page, lambda: page.evaluate("painted") > painted + 8)
        page.locator("#pause").press("Enter")
        expect(page.locator("#pill")).to_have_text("Paused")
        page.get_by_label("Side by side").check()
        mean = """(id) => {
            const from = document.getElementById(id), to = new OffscreenCanvas(1, 1);
            const context = to.getContext("2d");
            context.drawImage(from, 0, 0, 1, 1);
            return Array.from(context.getImageData(0, 0, 1, 1).data);
        }"""
        until(page, lambda: _near(page.evaluate(mean, "input"), page.evaluate(mean, "output")))


def _near(one: list[int], other: list[int]) -> bool:
    return all(abs(a - b) <= 12 for a, b in zip(one, other, strict=True))


def test_snapshot_saves_the_pair_as_it_was_sent_and_as_it_came(browser: Browser, url: str) -> None:
    with started(browser, url) as page:
        downloads = kept_downloads(page)
        page.locator("#strength").press("End")
        expect(page.locator("#strength-value")).to_have_attribute("data-applied", "2")
        page.locator("#pause").press("Enter")
        page.locator("#snapshot").press("Enter")
        expect(page.locator("#status")).to_contain_text("snapshot is saved")
        while len(downloads) < 2:
            page.wait_for_event("download")
        names = sorted(download.suggested_filename for download in downloads)
        assert [name.rpartition("-")[2] for name in names] == ["after.png", "before.png"]
        images = {
            download.suggested_filename.rpartition("-")[2]: read(Path(download.path()).read_bytes())
            for download in downloads
        }
        assert difference(images["before.png"], pixels(page, "#input")) < 0.5
        assert difference(images["after.png"], pixels(page, "#output")) < 0.5


def test_screen_is_streamed_and_its_end_is_the_end(browser: Browser, url: str) -> None:
    with open_page(browser) as page:
        page.goto(url)
        page.locator("#share").press("Enter")
        expect(page.locator("#pill")).to_have_text("Live")
        expect(page.locator("#studio-title")).to_have_text("Screen")
        expect(page.locator("#output-facts")).to_contain_text(re.compile(r"\d+\D+360"))
        page.locator(".sources [data-start=camera]").press("Enter")
        expect(page.locator("#studio-title")).to_have_text("Camera")
        expect(page.locator("#output-facts")).to_contain_text(re.compile(r"640\D+360"))


def test_video_file_is_streamed_over_and_over(
    browser: Browser, url: str, picture: ImageArray, tmp_path: Path
) -> None:
    path = tmp_path / "film.webm"
    with av.open(str(path), "w") as film:
        track = film.add_stream("libvpx", rate=20)
        track.height, track.width, track.pix_fmt = 240, 320, "yuv420p"
        for index in range(20):
            part = np.ascontiguousarray(picture[index * 4 :][:240, :320])
            film.mux(track.encode(av.VideoFrame.from_ndarray(part, format="rgb24")))
        film.mux(track.encode(None))
    with open_page(browser) as page:
        choose_file(page, url, "film.webm", path.read_bytes(), "video/webm")
        expect(page.locator("#pill")).to_have_text("Live")
        expect(page.locator("#studio-title")).to_have_text("film.webm")
        expect(page.locator("#output-facts")).to_contain_text(re.compile(r"480\D+360"))
        first = pixels(page, "#output")
        until(page, lambda: difference(first, pixels(page, "#output")) > 1)
        page.locator("#pause").press("Enter")
        assert page.evaluate("document.querySelector('#video').paused")


@pytest.mark.parametrize("give", [_DROP, _PASTE], ids=["dropped", "pasted"])
def test_picture_is_sharpened_and_can_be_saved(
    browser: Browser, url: str, picture: ImageArray, picture_file: bytes, give: str
) -> None:
    with open_page(browser) as page:
        page.goto(url)
        expect(page.locator("#server")).to_have_attribute("data-state", "ready")
        page.evaluate(give, [base64.b64encode(picture_file).decode(), "desk.jpg"])
        expect(page.locator("#pill")).to_have_text("Sharpened")
        until(page, lambda: difference(pixels(page, "#input"), picture) < 3)
        until(page, lambda: difference(pixels(page, "#input"), pixels(page, "#output")) > 0.2)
        assert (number(page, "#round-trip") or 0) >= (number(page, "#server-total") or 1) > 0
        with page.expect_download() as saved:
            page.locator("#save").press("Enter")
        assert saved.value.suggested_filename == "desk-clear.jpg"
        assert read(Path(saved.value.path()).read_bytes()).shape == picture.shape


def test_moving_the_slider_sharpens_the_picture_anew(
    browser: Browser, url: str, picture_file: bytes
) -> None:
    with open_page(browser) as page:
        choose_file(page, url, "desk.jpg", picture_file)
        expect(page.locator("#pill")).to_have_text("Sharpened")
        page.locator("#strength").press("Home")
        expect(page.locator("#strength-value")).to_have_attribute("data-applied", "0")
        until(page, lambda: difference(pixels(page, "#input"), pixels(page, "#output")) < 1)
        plain = pixels(page, "#output")
        page.locator("#strength").press("End")
        expect(page.locator("#strength-value")).to_have_attribute("data-applied", "2")
        until(page, lambda: difference(plain, pixels(page, "#output")) > 0.2)


def test_second_camera_can_be_picked(launch: Launch, url: str) -> None:
    two = "--use-fake-device-for-media-stream=device-count=2"
    with launch(two, ALLOW_CAMERA) as browser, started(browser, url) as page:
        picker = page.locator("#device")
        expect(picker.locator("option")).to_have_count(2)
        first = picker.input_value()
        picker.select_option(index=1)
        until(page, lambda: picker.input_value() not in ("", first))
        expect(page.locator("#pill")).to_have_text("Live")
        expect(page.locator("#output-facts")).to_contain_text(re.compile(r"640\D+360"))


def test_theme_is_the_systems_until_another_is_chosen_and_then_kept(
    browser: Browser, url: str
) -> None:
    def ground(page: Page) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    with open_page(browser, color_scheme="dark") as page:
        page.goto(url)
        dark = ground(page)
        page.get_by_label("As the system").focus()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_label("Light", exact=True)).to_be_checked()
        light = ground(page)
        assert light != dark
        page.reload()
        assert ground(page) == light
        page.get_by_label("As the system").check()
        assert ground(page) == dark


def test_page_fits_narrow_screens(browser: Browser, url: str) -> None:
    with open_page(browser, width=360, height=740) as page:
        page.goto(url)
        assert _overflow(page) == []
        start_camera(page, url)
        for width in (390, 360):
            page.set_viewport_size({"width": width, "height": 740})
            for view in ("Side by side", "Only after", "Split"):
                page.get_by_label(view, exact=True).check()
                assert _overflow(page) == []


def _overflow(page: Page) -> list[str]:
    """The elements that stick out of the window to the right."""
    found = page.evaluate(
        """() => [...document.querySelectorAll("main *, header *")]
            .filter((element) => !element.closest("svg, .frame, .unseen, .lens")
                && element.getBoundingClientRect().right > window.innerWidth + 1
                && element.getBoundingClientRect().width > 0)
            .map((element) => element.outerHTML.slice(0, 60))"""
    )
    assert isinstance(found, list)
    return found


def _press_until_focused(page: Page, key: str, target: Locator, *, limit: int = 10) -> None:
    for _ in range(limit):
        page.keyboard.press(key)
        if target.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"{limit} times {key} did not reach the control")
