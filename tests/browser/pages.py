"""What the tests of the page have in common: opening it, driving it, looking at it."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import Browser, Locator, Page, expect

from service.frame_codec import ImageArray

__all__ = [
    "CANVAS_CAMERA",
    "choose_file",
    "cut",
    "number",
    "open_page",
    "pixels",
    "read",
    "start_camera",
    "started",
    "until",
    "write_film",
]

_CAMERA_PX = (360, 640)
_CAMERA_FRAMES = 12
_WAIT_MS = 15_000
_POLL_MS = 60

CANVAS_CAMERA = """
    navigator.mediaDevices.getUserMedia = async () => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [640, 360];
        const context = canvas.getContext("2d");
        window.painted = 0;
        window.turn = () => { [canvas.width, canvas.height] = [canvas.height, canvas.width]; };
        setInterval(() => {
            context.fillStyle = `hsl(${window.painted++ * 11} 60% 50%)`;
            context.fillRect(0, 0, canvas.width, canvas.height);
        }, 60);
        return canvas.captureStream();
    };
"""
"""A camera that the test can turn (`turn()`), and that counts its frames (`painted`)."""


@contextmanager
def open_page(
    browser: Browser,
    *,
    may_log: str | None = None,
    width: int = 960,
    height: int = 720,
    before: str = "",
    **context_options: Any,
) -> Iterator[Page]:
    """A page of its own; on leaving, its console must hold no error or warning but the expected.

    Violations of the content security policy are errors on the console, too.

    Args:
        browser: Where to open it.
        may_log: What an expected message contains.
        width: Of the window, px.
        height: Of the window, px.
        before: Script to run before any of the page's.
        **context_options: Of the browser's context.
    """
    context = browser.new_context(viewport={"width": width, "height": height}, **context_options)
    context.set_default_timeout(_WAIT_MS)
    expect.set_options(timeout=_WAIT_MS)
    page = context.new_page()
    if before:
        page.add_init_script(before)
    said: list[str] = []
    page.on(
        "console",
        lambda line: said.append(line.text) if line.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: said.append(str(error)))
    try:
        yield page
        unexpected = [text for text in said if may_log is None or may_log not in text]
        assert not unexpected, f"the console has {unexpected}"
    finally:
        context.close()


@contextmanager
def started(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A page whose camera streams."""
    with open_page(browser, **options) as page:
        start_camera(page, url)
        yield page


def start_camera(page: Page, url: str) -> None:
    """Opens the page, starts the camera by keyboard, and waits for a result."""
    page.goto(url)
    page.locator("#start").press("Enter")
    expect(page.locator("#output-facts")).to_contain_text(re.compile(r"640\D+360"))


def choose_file(page: Page, url: str, name: str, encoded: bytes, media_type: str = "") -> None:
    """Opens the page and gives it a file."""
    page.goto(url)
    expect(page.locator("#server")).to_have_attribute("data-state", "ready")
    page.locator("#file").set_input_files(
        {
            "name": name,
            "mimeType": media_type or "application/octet-stream",
            "buffer": encoded,
        }
    )


def number(page: Page, selector: str) -> float | None:
    """The number that an element shows; None where it shows none."""
    text = page.locator(selector).first.inner_text()
    return float(text) if text.replace(".", "", 1).isdecimal() else None


def pixels(page: Page, selector: str) -> ImageArray:
    """What a canvas holds, (H, W, 3) uint8 RGB."""
    canvas = page.locator(selector)
    encoded = canvas.evaluate("canvas => canvas.toDataURL('image/png').split(',')[1]")
    return read(base64.b64decode(encoded))


def until(page: Page, is_true: Callable[[], bool], *, within_s: float = 20.0) -> None:
    """Waits until a condition holds, leaving the page time to bring it about.

    Raises:
        AssertionError: It does not in time.
    """
    end_s = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < end_s, "it never came true"
        page.wait_for_timeout(_POLL_MS)


def cut(shot: ImageArray, target: Locator) -> ImageArray:
    """The part of a screenshot that an element covers."""
    box = target.bounding_box()
    assert box is not None
    left, top, width, height = (round(box[side]) for side in ("x", "y", "width", "height"))
    return shot[top : top + height, left : left + width]


def read(encoded: bytes) -> ImageArray:
    """Any picture file -> (H, W, 3) uint8 RGB."""
    bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8)


def write_film(picture: ImageArray) -> bytes:
    """A YUV4MPEG2 film at 15 frames per second that pans over the picture."""
    height, width = _CAMERA_PX
    room = (picture.shape[0] - height, picture.shape[1] - width)
    film = [f"YUV4MPEG2 W{width} H{height} F15:1 Ip A1:1 C420jpeg\n".encode()]
    for index in range(_CAMERA_FRAMES):
        top, left = (int(side * index / (_CAMERA_FRAMES - 1)) for side in room)
        part = np.ascontiguousarray(picture[top : top + height, left : left + width])
        film.append(b"FRAME\n" + cv2.cvtColor(part, cv2.COLOR_RGB2YUV_I420).tobytes())
    return b"".join(film)
