"""Chromium with a camera, and a service, for the pages' tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright

from service.frame_codec import ImageArray
from tests.browser.launching import ALLOW_CAMERA, FLAGS, Launch
from tests.browser.pages import read, write_film
from tests.service.live import Live, serve

_SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="package")
def chromium() -> str:
    """The browser's path."""
    path = os.environ.get("CLEARCALL_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.fail(
            "Chromium is not installed. Install it with `apt-get install chromium`, or name its "
            "executable in CLEARCALL_CHROMIUM."
        )
    return path


@pytest.fixture(scope="package")
def launch(chromium: str) -> Iterator[Launch]:
    """Starts browsers with further flags, each with a temporary profile of its own."""
    with sync_playwright() as playwright:
        yield lambda *flags: playwright.chromium.launch(
            executable_path=chromium, args=[*FLAGS, *flags]
        )


@pytest.fixture(scope="package")
def picture() -> ImageArray:
    """(H, W, 3) uint8 RGB: a sample photograph, made soft as by a cheap camera."""
    image = read(min(_SAMPLES.glob("*.jpg")).read_bytes())
    scale = max(480 / image.shape[0], 800 / image.shape[1])
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(large, (0, 0), 1.2).astype(np.uint8)


@pytest.fixture(scope="package")
def picture_file(picture: ImageArray) -> bytes:
    """The picture as a JPEG."""
    _, buffer = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return buffer.tobytes()


@pytest.fixture(scope="package")
def camera_flags(picture: ImageArray, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Chromium's flags for a camera that pans over the picture."""
    film = tmp_path_factory.mktemp("camera") / "pan.y4m"
    film.write_bytes(write_film(picture))
    return ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}"]


@pytest.fixture(scope="package")
def browser(launch: Launch, camera_flags: list[str]) -> Iterator[Browser]:
    """A browser with a camera that pages may use."""
    with launch(*camera_flags, ALLOW_CAMERA) as running:
        yield running


@pytest.fixture(scope="package")
def live() -> Iterator[Live]:
    """A running service whose model is a stand-in that makes fine detail stronger."""
    with serve() as running:
        yield running


@pytest.fixture
def url(live: Live) -> str:
    """Where it is."""
    return live.url
