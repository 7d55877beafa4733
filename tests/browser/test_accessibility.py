"""axe-core's rules, on each state of the page, in both themes; and the order of the focus."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.accessibility import check_accessibility
from tests.browser.launching import OTHER_HOST
from tests.browser.pages import CANVAS_CAMERA, choose_file, open_page, start_camera


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 390)])
def test_no_state_has_what_axe_finds_serious(
    browser: Browser, url: str, picture_file: bytes, scheme: Any, width: int
) -> None:
    with open_page(
        browser, width=width, color_scheme=scheme, reduced_motion="reduce", before=CANVAS_CAMERA
    ) as page:
        page.goto(url)
        expect(page.locator("#server")).to_have_attribute("data-state", "ready")
        check_accessibility(page, "welcome")
        start_camera(page, url)
        page.locator("summary").press("Enter")
        page.locator("#magnify").press("Enter")
        check_accessibility(page, "live, settings open, magnifier")
        page.locator("#record").press("Enter")
        page.get_by_label("Side by side").check()
        page.locator("#pause").press("Enter")
        expect(page.locator("#pill")).to_have_text("Paused")
        check_accessibility(page, "paused, recording, side by side")
        choose_file(page, url, "desk.jpg", picture_file)
        expect(page.locator("#pill")).to_have_text("Sharpened")
        check_accessibility(page, "picture")
        page.goto(f"{url}/static/example-call.html")
        page.locator("#call").press("Enter")
        expect(page.locator("#facts")).to_contain_text("FPS")
        check_accessibility(page, "example of a call")
    with open_page(browser, color_scheme=scheme, may_log="Cross-Origin-Opener-Policy") as page:
        page.goto(url.replace("127.0.0.1", OTHER_HOST))
        page.locator("#start").press("Enter")
        expect(page.locator("#notice")).to_be_visible()
        check_accessibility(page, "notice")


def test_focus_goes_through_the_studio_in_the_order_of_sight(browser: Browser, url: str) -> None:
    with open_page(browser, before=CANVAS_CAMERA) as page:
        start_camera(page, url)
        expect(page.locator("#pause")).to_be_focused()
        page.locator("#divider").focus()
        order = ["divider"]
        for _ in range(12):
            page.keyboard.press("Tab")
            order.append(
                page.evaluate(
                    "document.activeElement.id || document.activeElement.value"
                    " || document.activeElement.localName"
                )
            )
    assert order == [
        "divider",
        "split",
        "magnify",
        "zoom",
        "full",
        "pause",
        "stop",
        "record",
        "snapshot",
        "strength",
        "strength-reset",
        "size",
        "rate",
    ]
