"""The rating page in headless Chromium: wholly by keyboard, and nothing is lost."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.launching import Launch
from tests.trainer.studies import METHODS, by_method, image_of, key_of, write_results
from trainer.mos import summarise_ratings
from trainer.mos_page import RatingPage, write_rating_page


@pytest.fixture(scope="module")
def browser(launch: Launch) -> Iterator[Browser]:
    with launch() as running:
        yield running


@pytest.fixture
def page(tmp_path: Path) -> RatingPage:
    folder = write_results(tmp_path / "results")
    return write_rating_page(folder, tmp_path / "page", seed=1, practice=2, pause_ms=0)


@pytest.fixture
def url(page: RatingPage) -> Iterator[str]:
    """Where the page is served: a browser may forget what a page from a file has kept."""
    handler = functools.partial(_Quiet, directory=str(page.page.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def begin(tab: Page, address: str) -> None:
    tab.goto(address)
    expect(tab.locator("#start")).to_be_focused()
    tab.keyboard.press("Enter")
    expect(tab.locator("#rating")).to_be_visible()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """A tab; on leaving, its console must hold no error."""
    context = browser.new_context(viewport={"width": 1000, "height": 700})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("console", lambda said: errors.append(said.text))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []


def shown(tab: Page) -> str:
    """The anonymous name of the picture that waits for its grade."""
    expect(tab.locator("#hint")).to_contain_text("Press 1 to 5")
    return Path(tab.locator("#picture").get_attribute("src") or "").stem


def rate(tab: Page, page: RatingPage, grades: dict[str, int], *, at_most: int = 1000) -> list[str]:
    """By keyboard; the names in the order in which they came, practice included."""
    stimuli = key_of(page).stimuli
    order: list[str] = []
    while tab.locator("#rating").is_visible() and len(order) < at_most:
        order.append(shown(tab))
        tab.keyboard.press(str(grades[stimuli[order[-1]].method]))
        tab.keyboard.press("Space")
    return order


def save(tab: Page, path: Path) -> Path:
    with tab.expect_download() as download:
        tab.keyboard.press("Enter")
    download.value.save_as(path)
    return path


def test_a_rater_gets_from_start_to_scores_by_keyboard(
    tab: Page, page: RatingPage, tmp_path: Path
) -> None:
    tab.goto(page.page.as_uri())
    expect(tab.locator("#welcome")).to_contain_text("You will see 9 pictures")
    begin(tab, page.page.as_uri())
    first = shown(tab)
    expect(tab.locator("#position")).to_have_text("Practice 1 of 2")
    tab.keyboard.press("ArrowRight")  # nothing without a grade
    assert shown(tab) == first
    order = rate(tab, page, {"clean": 5, "student": 4, "input": 2})
    assert sorted(order[2:]) == sorted(key_of(page).stimuli)
    scenes = [key_of(page).stimuli[name].picture for name in order[2:]]
    assert all(one != other for one, other in pairwise(scenes))
    expect(tab.locator("#done")).to_contain_text("All 9 pictures are rated")
    saved = save(tab, tmp_path / "saved.json")
    content = json.loads(saved.read_text())
    assert [rating["stimulus"] for rating in content["ratings"]] == order[2:]
    assert all(rating["whole"] for rating in content["ratings"])
    expect(tab.locator("#done [data-session]")).to_have_text(content["session"])
    opinions = by_method(summarise_ratings([saved], page.key, is_rejecting=True))
    assert {name: opinion.mos for name, opinion in opinions.items()} == {
        "clean": 5,
        "student": 4,
        "input": 2,
    }
    tab.keyboard.press("n")
    expect(tab.locator("#welcome [data-session]")).not_to_have_text(content["session"])


def test_reload_undo_and_looking_back_lose_nothing(tab: Page, url: str) -> None:
    begin(tab, f"{url}/index.html")
    seen = []
    for grade in "3542":
        seen.append(shown(tab))
        tab.keyboard.press(grade)
        tab.keyboard.press("ArrowRight")
    seen.append(shown(tab))
    tab.reload()
    assert shown(tab) == seen[4]
    expect(tab.locator("#position")).to_have_text("Picture 3 of 9")
    tab.keyboard.press("ArrowLeft")
    expect(tab.locator("#hint")).to_contain_text("2, Poor")
    tab.keyboard.press("4")
    expect(tab.locator("[aria-pressed=true]")).to_have_text("4 Good")
    tab.keyboard.press("u")
    assert shown(tab) == seen[3]
    tab.keyboard.press("u")  # nothing left to take back here: the picture before
    assert shown(tab) == seen[2]
    expect(tab.locator("#progress")).to_have_js_property("value", 0)
    tab.keyboard.press("Backspace")
    assert shown(tab) == seen[1]
    expect(tab.locator("#position")).to_have_text("Practice 2 of 2")


def test_a_session_s_order_is_its_own_and_comes_again(browser: Browser, page: RatingPage) -> None:
    def order_of(session: str) -> list[str]:
        context = browser.new_context()
        tab = context.new_page()
        begin(tab, f"{page.page.as_uri()}#session={session}")
        order = rate(tab, page, dict.fromkeys(METHODS, 3), at_most=5)
        context.close()
        return order

    first = order_of("AAAA-2222")
    assert order_of("AAAA-2222") == first
    assert order_of("BBBB-3333") != first


def test_pictures_are_shown_pixel_for_pixel_and_what_does_not_fit_is_recorded(
    browser: Browser, page: RatingPage, tmp_path: Path
) -> None:
    context = browser.new_context(viewport={"width": 400, "height": 220}, device_scale_factor=1.25)
    tab = context.new_page()
    begin(tab, page.page.as_uri())
    name = Path(_wait_for_picture(tab)).stem
    height, width = image_of(page.page.parent / "pictures" / f"{name}.png").shape[:2]
    box = tab.locator("#picture").bounding_box()
    assert box is not None
    assert (box["width"], box["height"]) == pytest.approx((width / 1.25, height / 1.25), abs=0.6)
    expect(tab.locator("#hint")).to_contain_text("Larger than the window")
    while tab.locator("#rating").is_visible():
        _wait_for_picture(tab)
        tab.keyboard.press("5")
        tab.keyboard.press("Space")
    saved = json.loads(save(tab, tmp_path / "saved.json").read_text())
    context.close()
    assert saved["window"] == {"width": 400, "height": 220, "pixel_ratio": 1.25}
    assert not any(rating["whole"] for rating in saved["ratings"])


def _wait_for_picture(tab: Page) -> str:
    expect(tab.locator("#hint")).to_contain_text("Larger than")
    return tab.locator("#picture").get_attribute("src") or ""


def test_a_missing_picture_is_said_and_can_be_tried_again(tab: Page, page: RatingPage) -> None:
    pictures = page.page.parent / "pictures"
    pictures.rename(page.page.parent / "elsewhere")
    context = tab.context
    other = context.new_page()  # whose failed requests are errors of its console, as they should
    begin(other, page.page.as_uri())
    expect(other.locator("#broken")).to_contain_text("could not be loaded")
    other.keyboard.press("5")
    expect(other.locator("#next")).to_be_disabled()
    (page.page.parent / "elsewhere").rename(pictures)
    other.locator("#again").press("Enter")
    assert shown(other)
