"""Chromium for the pages' tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.launching import FLAGS, Launch


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser's path."""
    path = os.environ.get("CLEARCALL_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.fail(
            "Chromium is not installed. Install it with `apt-get install chromium`, or name its "
            "executable in CLEARCALL_CHROMIUM."
        )
    return path


@pytest.fixture(scope="module")
def launch(chromium: str) -> Iterator[Launch]:
    """Starts browsers with further flags, each with a temporary profile of its own."""
    with sync_playwright() as playwright:
        yield lambda *flags: playwright.chromium.launch(
            executable_path=chromium, args=[*FLAGS, *flags]
        )
