"""The page where the service wants an API key."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from service.keys import hash_of, make_key
from tests.browser.accessibility import check_accessibility
from tests.browser.pages import choose_file, open_page, until
from tests.service.live import Live, serve

KEY = make_key()
_LOCKED = "401"  # Chromium logs each refused request


@pytest.fixture(scope="module")
def locked() -> Iterator[Live]:
    """A service that wants a key."""
    with serve(api_keys=hash_of(KEY, "page")) as running:
        yield running


def test_the_page_asks_for_the_key_once_and_streams_with_it(browser: Browser, locked: Live) -> None:
    addresses: list[str] = []
    with open_page(browser, may_log=_LOCKED) as page:
        page.on("request", lambda request: addresses.append(request.url))
        page.on("websocket", lambda socket: addresses.append(socket.url))
        page.goto(locked.url)
        expect(page.locator("#key-form")).to_be_visible()
        check_accessibility(page, "a key is asked for")
        expect(page.locator("#key")).to_be_focused()
        _enter(page, "clearcall_not-the-key")
        expect(page.locator("#key-text")).to_contain_text("not accepted")
        _enter(page, f"“{KEY}”")
        expect(page.locator("#key-text")).to_contain_text("not accepted")
        expect(page.locator("#key-form")).to_be_visible()
        _enter(page, KEY)
        expect(page.locator("#server")).to_have_attribute("data-state", "ready")
        expect(page.locator("#key-form")).to_be_hidden()
        expect(page.locator("#main")).to_be_focused()

        page.locator("#start").press("Enter")
        expect(page.locator("#output-facts")).to_contain_text(re.compile(r"640\D+360"))
        before = locked.parts.metrics.frames_sent._value.get()
        locked.loop.call_soon_threadsafe(_drop_streams, locked)  # it comes back with a new token
        until(page, lambda: locked.parts.metrics.frames_sent._value.get() > before + 5)
        expect(page.locator("#pill")).to_have_text("Live")

        page.reload()
        expect(page.locator("#server")).to_have_attribute("data-state", "ready")
        assert page.evaluate("Object.keys(localStorage).includes('clearcall-key')") is False

        page.goto(f"{locked.url}/static/example-call.html")
        page.locator("#call").press("Enter")
        expect(page.locator("#status")).to_have_text("The call runs.")
    assert not [address for address in addresses if KEY in address]
    assert not [address for address in addresses if "not-the-key" in address]


def test_the_key_is_asked_for_where_a_stream_turns_out_to_need_it(
    browser: Browser, locked: Live
) -> None:
    with open_page(browser, may_log=_LOCKED) as page:
        page.goto(locked.url)
        expect(page.locator("#key-form")).to_be_visible()
        page.locator("#start").press("Enter")
        expect(page.locator("#pill")).to_have_text("Off")
        expect(page.locator("#key-form")).to_be_visible()
        _enter(page, KEY)
        expect(page.locator("#server")).to_have_attribute("data-state", "ready")
        page.locator("#start").press("Enter")
        expect(page.locator("#pill")).to_have_text("Live")


def test_a_picture_goes_with_the_key(browser: Browser, locked: Live, picture_file: bytes) -> None:
    before = f"sessionStorage.setItem('clearcall-key', '{KEY}')"
    with open_page(browser, before=before) as page:
        choose_file(page, locked.url, "a.jpg", picture_file, "image/jpeg")
        expect(page.locator("#pill")).to_have_text("Sharpened")


def _enter(page: Page, key: str) -> None:
    page.locator("#key").fill(key)
    page.locator("#key").press("Enter")


def _drop_streams(locked: Live) -> None:
    for connection in list(locked.server.server_state.connections):
        if type(connection).__name__ == "Connection":
            connection.transport.abort()
