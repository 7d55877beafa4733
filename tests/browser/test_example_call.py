"""The example: Clearcall between the camera and a WebRTC call."""

from __future__ import annotations

import base64

from playwright.sync_api import Browser, Page, expect

from service.frame_codec import ImageArray
from tests.browser.pages import CANVAS_CAMERA, open_page, read, until
from tests.service.live import serve

_GRAB = """(id) => {
    const video = document.getElementById(id);
    const canvas = Object.assign(document.createElement("canvas"),
        { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    return canvas.toDataURL("image/png").split(",")[1];
}"""
# Stripes of two greys, which the stand-in model drives apart, and which survive a call's codec.
_STRIPES = CANVAS_CAMERA.replace(
    "context.fillRect(0, 0, canvas.width, canvas.height);",
    """for (let x = 0; x < canvas.width; x += 4) {
           context.fillStyle = x % 8 ? "rgb(100 100 100)" : "rgb(150 150 150)";
           context.fillRect(x, 0, 4, canvas.height);
       }
       window.painted++;""",
)


def test_other_end_of_the_call_sees_the_sharpened_stream(browser: Browser) -> None:
    with serve() as live, open_page(browser, before=_STRIPES) as page:
        page.goto(f"{live.url}/static/example-call.html")
        page.locator("#call").press("Enter")
        expect(page.locator("#hang-up")).to_be_focused()
        expect(page.locator("#status")).to_have_text("The call runs.")
        expect(page.locator("#facts")).to_contain_text("FPS")
        until(page, lambda: page.evaluate("document.getElementById('remote').currentTime") > 1)
        until(page, lambda: _grab(page, "remote").std() > 1.25 * _grab(page, "local").std())
        page.locator("#sharpen").uncheck()
        until(page, lambda: _grab(page, "remote").std() < 1.15 * _grab(page, "local").std())
        page.locator("#hang-up").press("Enter")
        expect(page.locator("#call")).to_be_focused()
        until(page, lambda: live.metric("clearcall_streams_active") == 0)


def _grab(page: Page, name: str) -> ImageArray:
    return read(base64.b64decode(page.evaluate(_GRAB, name)))[100:260, 100:540]
