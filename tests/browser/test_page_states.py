"""What the page does where something is missing, breaks or changes under it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from websockets.sync.client import connect

from tests.browser.launching import ALLOW_CAMERA, OTHER_HOST, Launch
from tests.browser.pages import (
    CANVAS_CAMERA,
    choose_file,
    number,
    open_page,
    pixels,
    start_camera,
    until,
)
from tests.service.live import Live, serve

_REFUSED_SCREEN = """navigator.mediaDevices.getDisplayMedia = async () => {
    throw new DOMException("Permission denied", "NotAllowedError");
};"""
_BROKEN_SCREEN = """navigator.mediaDevices.getDisplayMedia = async () => {
    throw new DOMException("Could not start", "NotReadableError");
};"""
_UNDECIDED_SCREEN = """
    window.pickers = [];
    navigator.mediaDevices.getDisplayMedia = () => new Promise((_, refuse) => {
        window.pickers.push(() => refuse(new DOMException("Permission denied", "NotAllowedError")));
    });
"""
_SCREEN_THAT_RESTS = """
    navigator.mediaDevices.getDisplayMedia = async () => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [1280, 720];
        const context = canvas.getContext("2d");
        window.paint = (colour) => {
            context.fillStyle = colour;
            context.fillRect(0, 0, canvas.width, canvas.height);
        };
        const moving = setInterval(() => window.paint("red"), 60);
        window.rest = () => clearInterval(moving);
        return canvas.captureStream();
    };
"""
_CUT_ANSWERS = """
    const asked = window.fetch;
    window.fetch = async (...request) => {
        const answer = await asked(...request);
        const cut = () => Promise.reject(new TypeError("Failed to fetch"));
        if (String(request[0]).includes("/sharpen") && window.isCutting) answer.blob = cut;
        return answer;
    };
    window.isCutting = true;
"""
_HIDEABLE = """
    window.isAway = false;
    Object.defineProperty(document, "hidden", { get: () => window.isAway });
    window.hide = (isAway) => {
        window.isAway = isAway;
        document.dispatchEvent(new Event("visibilitychange"));
    };
"""


def test_missing_camera_is_named_with_ways_out(launch: Launch, url: str) -> None:
    with launch(ALLOW_CAMERA) as browser:
        _expect_refusal(browser, url, "No camera found")


def test_blocked_camera_is_named_with_ways_out(
    launch: Launch, camera_flags: list[str], url: str
) -> None:
    with launch(*camera_flags) as browser:  # nobody to allow it, which counts as denied
        _expect_refusal(browser, url, "The camera is blocked")


def test_screen_that_is_not_shared_leaves_everything_as_it_was(browser: Browser, url: str) -> None:
    with open_page(browser, before=_REFUSED_SCREEN) as page:
        page.goto(url)
        page.locator("#share").press("Enter")
        expect(page.locator("#welcome")).to_be_visible()
        start_camera(page, url)
        page.locator(".sources [data-start=screen]").press("Enter")
        expect(page.locator("#pill")).to_have_text("Live")
        expect(page.locator("#studio-title")).to_have_text("Camera")


def test_screen_that_was_asked_for_twice_and_not_shared_leaves_the_camera_to_start(
    browser: Browser, url: str
) -> None:
    with open_page(browser, before=_UNDECIDED_SCREEN) as page:
        page.goto(url)
        for asked in (1, 2):
            page.locator("#share").press("Enter")
            page.wait_for_function(f"pickers.length === {asked}")
        page.evaluate("pickers.forEach((cancel) => cancel())")
        expect(page.locator("#start")).to_have_attribute("aria-disabled", "false")
        page.locator("#start").press("Enter")
        expect(page.locator("#pill")).to_have_text("Live")


def test_screen_that_is_not_shared_leaves_a_picture_open(
    browser: Browser, url: str, picture_file: bytes
) -> None:
    with open_page(browser, before=_REFUSED_SCREEN) as page:
        choose_file(page, url, "desk.jpg", picture_file)
        expect(page.locator("#pill")).to_have_text("Sharpened")
        page.locator(".sources [data-start=screen]").press("Enter")
        page.wait_for_timeout(200)
        expect(page.locator("#pill")).to_have_text("Sharpened")
        expect(page.locator("#studio-title")).to_have_text("desk.jpg")
        expect(page.locator("#save")).to_have_attribute("href", re.compile("^blob:"))


def test_screen_that_fails_is_told_and_leaves_the_camera_or_picture(
    browser: Browser, url: str, picture_file: bytes
) -> None:
    with open_page(browser, before=_BROKEN_SCREEN) as page:
        start_camera(page, url)
        page.locator(".sources [data-start=screen]").press("Enter")
        expect(page.locator("#notice")).to_be_visible()
        expect(page.locator("#pill")).to_have_text("Live")
        expect(page.locator("#studio-title")).to_have_text("Camera")
        choose_file(page, url, "desk.jpg", picture_file)
        expect(page.locator("#pill")).to_have_text("Sharpened")
        page.locator(".sources [data-start=screen]").press("Enter")
        expect(page.locator("#notice")).to_be_visible()
        expect(page.locator("#pill")).to_have_text("Sharpened")
        expect(page.locator("#studio-title")).to_have_text("desk.jpg")


def test_screen_that_rests_follows_settings_and_is_there_after_a_hidden_time(
    browser: Browser, url: str
) -> None:
    with open_page(browser, before=_SCREEN_THAT_RESTS + _HIDEABLE) as page:
        _share(page, url)
        page.evaluate("rest()")
        page.wait_for_timeout(400)
        page.locator("#size").select_option("1280x720")
        expect(page.locator("#output-facts")).to_contain_text(re.compile(r"1280\D+720"))
        page.evaluate("hide(true)")
        expect(page.locator("#pill")).to_have_text("Paused while hidden")
        page.evaluate("paint('blue'); hide(false)")
        until(page, lambda: bool(pixels(page, "#output")[0, 0, 2] > 200))


def test_last_picture_before_a_screen_rests_is_shown_at_any_frame_rate(
    browser: Browser, url: str
) -> None:
    with open_page(browser, before=_SCREEN_THAT_RESTS) as page:
        _share(page, url)
        page.locator("#rate").select_option("10")
        page.evaluate("rest()")
        page.wait_for_timeout(400)
        page.evaluate("""async () => {
            for (const colour of ["red", "lime", "yellow", "blue"]) {
                paint(colour);
                await new Promise((done) => setTimeout(done, 30));
            }
        }""")
        until(page, lambda: bool(pixels(page, "#output")[0, 0, 2] > 200))
        page.wait_for_timeout(300)
        assert pixels(page, "#output")[0, 0].tolist() == pytest.approx([0, 0, 255], abs=12)


def test_answer_that_breaks_off_is_told_and_asked_for_again(
    browser: Browser, url: str, picture_file: bytes
) -> None:
    with open_page(browser, before=_CUT_ANSWERS) as page:
        choose_file(page, url, "desk.jpg", picture_file)
        expect(page.locator("#notice")).to_contain_text("The answer broke off")
        expect(page.locator("#pill")).to_have_text("Not sharpened")
        page.evaluate("window.isCutting = false")
        page.locator("#notice button").first.press("Enter")
        expect(page.locator("#pill")).to_have_text("Sharpened")


def test_file_that_was_moved_is_told(
    browser: Browser, url: str, picture_file: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "desk.jpg"
    path.write_bytes(picture_file)
    with open_page(browser, may_log="ERR_") as page:
        page.goto(url)
        expect(page.locator("#server")).to_have_attribute("data-state", "ready")
        page.locator("#file").set_input_files(path)
        expect(page.locator("#pill")).to_have_text("Sharpened")
        path.unlink()
        page.locator("#strength").press("ArrowLeft")
        expect(page.locator("#notice")).to_contain_text("The file cannot be read")


def test_insecure_address_is_explained_and_pictures_work_there(
    browser: Browser, url: str, picture_file: bytes
) -> None:
    with open_page(browser, may_log="Cross-Origin-Opener-Policy") as page:
        elsewhere = url.replace("127.0.0.1", OTHER_HOST)
        page.goto(elsewhere)
        for button in ("#start", "#share"):
            page.locator(button).click()
            expect(page.locator("#notice")).to_contain_text("HTTPS pages and to localhost")
        choose_file(page, elsewhere, "desk.jpg", picture_file)
        expect(page.locator("#pill")).to_have_text("Sharpened")


def test_file_that_is_no_picture_is_answered_in_the_servers_words(
    browser: Browser, url: str
) -> None:
    with open_page(browser, may_log="status of 415") as page:
        choose_file(page, url, "notes.txt", b"not a picture at all")
        alert = page.locator("#notice")
        expect(alert).to_contain_text("Not a picture that can be read")
        expect(alert).to_contain_text("JPEG")
        expect(page.locator("#welcome")).to_be_visible()


def test_video_that_cannot_be_played_says_so(browser: Browser, url: str) -> None:
    with open_page(browser) as page:
        choose_file(page, url, "film.mp4", b"not a film at all", "video/mp4")
        expect(page.locator("#notice")).to_contain_text("The video cannot be played")
        expect(page.locator("#welcome")).to_be_visible()


def test_picture_beyond_the_servers_limits_says_so(browser: Browser, picture_file: bytes) -> None:
    with serve(max_pixels=1000) as live, open_page(browser, may_log="status of 422") as page:
        choose_file(page, live.url, "desk.jpg", picture_file)
        expect(page.locator("#notice")).to_contain_text("too many pixels")
        expect(page.locator("#pill")).to_have_text("Not sharpened")
    # Refused before it was read, it may reach the page as a broken connection.
    with (
        serve(max_upload_bytes=1000) as live,
        open_page(browser, may_log="Failed to load") as page,
    ):
        choose_file(page, live.url, "desk.jpg", picture_file + bytes(8_000_000))
        expect(page.locator("#notice")).to_contain_text(re.compile("Too many bytes|cut off"))


def test_stream_goes_on_by_itself_when_the_server_is_back(browser: Browser) -> None:
    with open_page(browser, may_log="ERR_CONNECTION_REFUSED") as page:
        with serve() as first:
            start_camera(page, first.url)
        expect(page.locator("#notice")).to_contain_text(
            re.compile("The server is gone|The server restarts")
        )
        expect(page.locator("#pill")).to_have_text("Reconnecting")
        expect(page.locator("#countdown")).to_contain_text("Trying again")
        with serve(port=int(first.url.rpartition(":")[2])):
            expect(page.locator("#pill")).to_have_text("Live")
            expect(page.locator("#notice")).to_be_hidden()
            until(page, lambda: (number(page, "#fps") or 0) > 1)
            page.locator("#stop").click()


def test_full_server_is_named_and_asked_again(browser: Browser) -> None:
    with serve(max_streams=1) as live, open_page(browser) as page:
        with connect(live.stream_url) as other:
            other.recv()
            page.goto(live.url)
            page.locator("#start").click()
            expect(page.locator("#notice")).to_contain_text("The server is full")
            expect(page.locator("#notice")).to_contain_text("streams are open already")
            expect(page.locator("#countdown")).to_contain_text("Trying again")
        expect(page.locator("#pill")).to_have_text("Live")
        expect(page.locator("#notice")).to_be_hidden()
        page.locator("#stop").click()


def test_hidden_tab_sends_nothing_until_it_is_seen_again(browser: Browser) -> None:
    with serve() as live, open_page(browser, before=CANVAS_CAMERA + _HIDEABLE) as page:
        start_camera(page, live.url)
        page.evaluate("hide(true)")
        expect(page.locator("#pill")).to_have_text("Paused while hidden")
        until(page, lambda: _unanswered(live) == 0)
        received = live.metric("clearcall_frames_received_total")
        painted = page.evaluate("painted")
        until(page, lambda: page.evaluate("painted") > painted + 5)
        assert live.metric("clearcall_frames_received_total") == received
        page.evaluate("hide(false)")
        expect(page.locator("#pill")).to_have_text("Live")
        until(page, lambda: live.metric("clearcall_frames_received_total") > received)
        page.locator("#pause").click()
        page.evaluate("hide(true)")
        page.evaluate("hide(false)")
        expect(page.locator("#pill")).to_have_text("Paused")  # who paused by hand resumes by hand
        page.locator("#stop").click()


def test_turned_phone_is_followed_while_it_streams(browser: Browser, url: str) -> None:
    with open_page(browser, before=CANVAS_CAMERA) as page:
        start_camera(page, url)
        page.evaluate("turn()")
        expect(page.locator("#output-facts")).to_contain_text(re.compile(r"360\D+640"))
        box = page.locator("#output").bounding_box()
        assert box is not None
        assert box["width"] < box["height"]
        page.evaluate("turn()")
        expect(page.locator("#output-facts")).to_contain_text(re.compile(r"640\D+360"))
        expect(page.locator("#pill")).to_have_text("Live")


def test_nothing_moves_for_those_who_asked_for_that(browser: Browser, url: str) -> None:
    with open_page(browser, reduced_motion="reduce") as page:
        page.goto(url)
        start_camera(page, url)
        page.locator("#record").press("Enter")
        expect(page.locator("#record")).to_have_attribute("aria-pressed", "true")
        assert page.evaluate("document.getAnimations().length") == 0


def _unanswered(live: Live) -> float:
    received = live.metric("clearcall_frames_received_total")
    sent = live.metric("clearcall_frames_sent_total")
    return received - sent - sum(live.dropped().values())


def _expect_refusal(browser: Browser, url: str, title: str) -> None:
    with open_page(browser) as page:
        page.goto(url)
        page.locator("#start").press("Enter")
        alert = page.locator("#notice [role=alert]")
        expect(alert).to_contain_text(title)
        page.get_by_role("button", name="Try the camera again").press("Enter")
        expect(alert).to_contain_text(title)
        with page.expect_file_chooser():
            page.locator("#notice").get_by_role("button", name="Open a file").press("Enter")


def _share(page: Page, url: str) -> None:
    page.goto(url)
    page.locator("#share").press("Enter")
    expect(page.locator("#output-facts")).to_contain_text(re.compile(r"640\D+360"))
