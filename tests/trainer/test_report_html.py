"""The HTML report: one file, names are text, and the examples move together in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.trainer.evaluations import case, quality, rung
from trainer.clip_evaluation import LOOK_AHEAD
from trainer.report_html import write_html_report
from trainer.still_scene import Stillness

HOSTILE = '"><img src=x onerror="document.title=1"></script><script>document.title=1</script>.jpg'
MEASURED = [
    quality("a.jpg", 30, 29, 28, 32, category="face"),
    quality(HOSTILE, 32, 33, 34, 31, category=HOSTILE),
    quality("a.jpg", 60, 40, 41, 55, category="face", protocol="untouched"),
]


def write(path: Path, *, log_path: Path | None = None) -> Path:
    write_html_report(
        path,
        MEASURED,
        model_id="small-1",
        strength=0.1,
        cases=[
            case("best.jpg", 2.0, rank="best"),
            case(HOSTILE, -1.0),
            case("sharp.jpg", -9.0, protocol="untouched"),
        ],
        clips=[rung(100, 30.0, clip=HOSTILE), rung(200, 40.0, clip=HOSTILE)],
        still=[Stillness("a.jpg", 0.5, {"input": 2.0, "unsharp": 2.5, "student": 1.8})],
        log_path=log_path,
        command=f"clearcall-train evaluate --data {HOSTILE}",
        created="2026-11-24",
    )
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    log = folder / "log.jsonl"
    log.write_text("".join(json.dumps({"step": n, "loss": 1 / n}) + "\n" for n in range(1, 9)))
    return write(folder / "report.html", log_path=log)


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_holds_every_part(report: Path) -> None:
    text = report.read_text()
    for part in (
        "scores-crop",
        "categories",
        "clips",
        "still",
        "examples",
        "worst",
        "speed",
        "training",
    ):
        assert f'id="{part}"' in text
    for words in ("small-1", "2026-11-24", "window 11, sigma 1.5", "20261123", "--data"):
        assert words in text


def test_nothing_outside_the_file_is_referred_to(report: Path) -> None:
    tags = Tags(report.read_text()).found
    for tag, attributes in tags:
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
        for name in ("src", "href", "srcset", "action", "data"):
            assert not (attributes.get(name) or "").startswith(("http", "//", "/")), attributes
    assert "url(" not in report.read_text()
    policy = next(a["content"] for tag, a in tags if a.get("http-equiv"))
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_names_of_files_never_become_markup(report: Path) -> None:
    text = report.read_text()
    assert HOSTILE not in text
    tags = Tags(text).found
    assert [tag for tag, _ in tags].count("script") == 2
    assert not any("onerror" in attributes for _, attributes in tags)


def test_an_image_that_several_examples_share_is_embedded_once(report: Path) -> None:
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', report.read_text()
    )
    assert found is not None
    data = json.loads(found[1])
    # Four greys of the pictures' examples, and the one of the clip's frame.
    assert data["columns"] == ["input", "student", "clean"]
    assert len(data["images"]) == len(set(data["images"])) == 4
    assert [example["name"] for example in data["cases"]] == [
        HOSTILE,
        "sharp.jpg",
        "best.jpg",
        HOSTILE,
    ]


def test_examples_show_the_methods_that_they_have(tmp_path: Path) -> None:
    clip = rung(100, 30.0)
    fused = replace(
        clip,
        psnr_db=clip.psnr_db | {LOOK_AHEAD: 31.0},
        ssim=clip.ssim | {LOOK_AHEAD: 0.9},
        flicker=clip.flicker | {LOOK_AHEAD: 1.0},
        worse_count=clip.worse_count | {LOOK_AHEAD: 2},
        example=clip.example | {LOOK_AHEAD: clip.example["clean"]},
    )
    path = tmp_path / "report.html"
    write_html_report(
        path, MEASURED, model_id="a", strength=0, cases=[case("a.jpg", 1.0)], clips=[fused]
    )
    found = re.search(r'id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found is not None
    examples = json.loads(found[1])
    assert LOOK_AHEAD in examples["columns"]
    shown = {example["name"]: example["images"].keys() for example in examples["cases"]}
    assert LOOK_AHEAD in shown["talk.mp4"]
    assert LOOK_AHEAD not in shown["a.jpg"]


def test_a_report_of_pictures_alone_and_of_clips_alone_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.html"
    write_html_report(path, MEASURED[:1], model_id="a", strength=0)
    assert 'id="examples"' not in path.read_text()
    write_html_report(path, [], model_id="a", strength=0, clips=[rung(100, 30.0)])
    assert 'id="clips"' in path.read_text()
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_a_report_of_nothing_is_refused_and_a_missing_log_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to report"):
        write_html_report(tmp_path / "report.html", [], model_id="a", strength=0)
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "report.html", log_path=tmp_path / "none.jsonl")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CLEARCALL_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.fail(
            "Chromium is not installed. Install it with `apt-get install chromium`, or name its "
            "executable in CLEARCALL_CHROMIUM."
        )
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu"]
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=path, args=flags) as running,
    ):
        yield running


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """The report, opened from disk; every message, error and request of it is an error."""
    problems: list[str] = []
    with browser.new_page(viewport={"width": 1100, "height": 800}) as opened:
        opened.on("console", lambda message: problems.append(message.text))
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on("request", lambda request: problems.append(request.url))
        opened.goto(report.as_uri())
        problems.remove(report.as_uri())
        yield opened
        assert [problem for problem in problems if not problem.startswith("data:")] == []
        assert opened.title() == "Report card: small-1"


def expect_zoom(page: Page, factor: str) -> None:
    expect(page.locator("#zoom")).to_have_text(f"{factor}\N{MULTIPLICATION SIGN}")


def transforms(page: Page) -> set[str]:
    images = page.locator("#panes img").all()
    return {image.evaluate("image => image.style.transform") for image in images}


def test_the_worst_example_is_shown_first_with_its_loss(page: Page) -> None:
    expect(page.locator("#case")).to_contain_text(HOSTILE)
    expect(page.locator("#case")).to_contain_text("student \N{MINUS SIGN}1.00 dB")
    captions = page.locator("#panes figcaption")
    expect(captions).to_have_text(
        ["input 30.00 dB, SSIM 0.9000", "student 29.00 dB, SSIM 0.9000", "clean"]
    )
    assert all(
        image.evaluate("image => image.complete && image.naturalWidth === 48")
        for image in page.locator("#panes img").all()
    )


def test_all_panes_zoom_and_move_together_by_keyboard(page: Page) -> None:
    whole = transforms(page)
    page.locator("#panes").focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    expect_zoom(page, "2.3")
    zoomed = transforms(page)
    page.keyboard.press("ArrowRight")
    moved = transforms(page)
    assert len(whole) == len(zoomed) == len(moved) == 1
    assert len(whole | zoomed | moved) == 3
    for _ in range(9):  # no further than the edge
        page.keyboard.press("ArrowRight")
    edge = transforms(page)
    page.keyboard.press("ArrowRight")
    assert transforms(page) == edge
    page.keyboard.press("0")
    assert transforms(page) == whole


def test_the_pointer_zooms_where_it_is_and_drags(page: Page) -> None:
    pane = page.locator("#panes .window").nth(1)
    pane.dblclick(position={"x": 10, "y": 10})
    expect_zoom(page, "2.3")
    box = pane.bounding_box()
    assert box is not None
    (before,) = transforms(page)
    page.mouse.move(box["x"] + 150, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 80)
    page.mouse.up()
    (after,) = transforms(page)
    left_before, left_after = (
        float(re.findall(r"-?[\d.]+", transform)[0]) for transform in (before, after)
    )
    assert left_after - left_before == pytest.approx(-50 / box["width"] * 100, abs=0.5)
    page.mouse.wheel(0, 100)  # the viewer has the focus now
    expect_zoom(page, "1.8")


def test_the_wheel_scrolls_the_page_until_the_viewer_has_the_focus(page: Page) -> None:
    pane = page.locator("#panes .window").first
    pane.scroll_into_view_if_needed()
    pane.hover()
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, 60)
    page.wait_for_function("before => scrollY > before", arg=before)
    expect_zoom(page, "1")


def test_holding_b_shows_the_input_in_place_of_the_student(page: Page) -> None:
    student = page.locator("#panes img").nth(1)
    shown = page.locator("#panes img").first.get_attribute("src")
    sharpened = student.get_attribute("src")
    page.locator("#panes").focus()
    page.keyboard.down("b")
    assert student.get_attribute("src") == shown != sharpened
    page.keyboard.up("b")
    assert student.get_attribute("src") == sharpened


def test_examples_can_be_stepped_through_and_filtered(page: Page) -> None:
    expect(page.locator("#place")).to_have_text("1 of 4")
    page.locator("#panes").focus()
    page.keyboard.press("p")
    expect(page.locator("#place")).to_have_text("4 of 4")
    page.locator("#kind").select_option("best")
    expect(page.locator("#place")).to_have_text("1 of 1")
    expect(page.locator("#case")).to_contain_text("best.jpg")
    page.locator("#protocol").select_option("untouched")  # has no best one
    expect(page.locator("#place")).to_have_text("1 of 4")
    expect(page.locator("#kind")).to_have_value("")
    page.locator("#strip button").nth(1).click()
    expect(page.locator("#case")).to_contain_text("sharp.jpg")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_width_needs_sideways_scrolling(browser: Browser, report: Path, scheme: str) -> None:
    for width in (360, 800, 1600):
        with browser.new_page(
            viewport={"width": width, "height": 700},
            color_scheme=scheme,  # type: ignore[arg-type]
        ) as page:
            page.goto(report.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
