"""The rating page is blind and works by keyboard; the scores are those of P.910."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter
from playwright.sync_api import Browser, Page, expect, sync_playwright
from rich.console import Console

from tests.service.pictures import sample
from trainer import mos_page
from trainer.mos import (
    OpinionSummary,
    RatingsInvalidError,
    opinion_json,
    opinion_table,
    summarise_ratings,
    write_rating_page,
)
from trainer.mos_page import RatingKey, RatingPage

METHODS = ("clean", "input", "student")
PICTURES = ("colosseum", "museum", "neon-frames")
BLUR_PX = {"clean": 0.0, "input": 2.5, "student": 1.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three methods, three pictures of different sizes; the references as JPEG, the rest as PNG."""
    root = tmp_path / "results"
    for method in METHODS:
        (root / method).mkdir(parents=True)
        for index, picture in enumerate(PICTURES):
            image = Image.fromarray(sample(picture)[:90, : 120 + 2 * index])
            suffix = ".jpg" if method == "clean" else ".png"
            blurred = image.filter(ImageFilter.GaussianBlur(BLUR_PX[method]))
            blurred.save(root / method / f"{picture}{suffix}")
    return root


@pytest.fixture
def page(folder: Path, tmp_path: Path) -> RatingPage:
    return write_rating_page(folder, tmp_path / "page", seed=1, practice=2, pause_ms=0)


def key_of(page: RatingPage) -> RatingKey:
    return RatingKey.model_validate_json(page.key.read_text())


def image_of(path: Path) -> Any:
    with Image.open(path) as file:
        return np.array(file.convert("RGB"))


# The page


def test_every_picture_of_every_method_is_in_the_page_pixel_for_pixel(
    page: RatingPage, folder: Path
) -> None:
    key = key_of(page)
    seen = {(s.method, s.picture) for s in key.stimuli.values()}
    assert seen == {(method, picture) for method in METHODS for picture in PICTURES}
    assert (page.methods, page.pictures, page.left_out) == (METHODS, PICTURES, {})
    for name, stimulus in key.stimuli.items():
        (source,) = (folder / stimulus.method).glob(f"{stimulus.picture}.*")
        shown = image_of(page.page.parent / "pictures" / f"{name}.png")
        assert np.array_equal(shown, image_of(source))


def test_nothing_in_the_page_tells_the_method(page: RatingPage) -> None:
    content = b"".join(
        path.name.encode() + path.read_bytes()
        for path in page.page.parent.rglob("*")
        if path.is_file()
    ).lower()
    for word in (*METHODS[1:], *PICTURES, "reference of"):
        assert word.encode() not in content
    files = {
        name: (page.page.parent / "pictures" / f"{name}.png").stat()
        for name in key_of(page).stimuli
    }
    for picture in PICTURES:
        names = [name for name, s in key_of(page).stimuli.items() if s.picture == picture]
        assert len({files[name].st_size for name in names}) == 1
    assert len({stat.st_mtime_ns for stat in files.values()}) == 1
    assert page.key.parent == page.page.parent.parent
    assert not list(page.page.parent.rglob("*.json"))


def test_neither_names_nor_their_order_follow_the_methods(folder: Path, tmp_path: Path) -> None:
    orders = set()
    for seed in range(12):
        written = write_rating_page(folder, tmp_path / f"page{seed}", seed=seed)
        listed = json.loads(_between(written.page.read_text(), 'id="study">', "</script>"))
        names = [stimulus["id"] for stimulus in listed["stimuli"]]
        assert names == sorted(names)
        stimuli = key_of(written).stimuli
        orders.add(tuple(stimuli[n].method for n in names if stimuli[n].picture == "museum"))
    assert len(orders) >= 4


def test_the_same_folder_and_seed_give_the_same_page(folder: Path, tmp_path: Path) -> None:
    first, again, other = (
        write_rating_page(folder, tmp_path / name, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first.key.read_bytes() == again.key.read_bytes()
    assert first.page.read_bytes() == again.page.read_bytes()
    assert key_of(first).stimuli.keys().isdisjoint(key_of(other).stimuli)
    assert first.study != other.study


def test_a_study_is_another_one_when_a_picture_changed(folder: Path, tmp_path: Path) -> None:
    first = write_rating_page(folder, tmp_path / "a")
    shutil.copy(folder / "input" / "museum.png", folder / "student" / "museum.png")
    assert write_rating_page(folder, tmp_path / "b").study != first.study


def test_pictures_that_cannot_be_compared_are_left_out_with_the_reason(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "student" / "museum.png").unlink()
    (folder / "input" / "colosseum.png").write_bytes(b"no picture")
    (folder / "input" / "notes.txt").write_text("not looked at")
    written = write_rating_page(folder, tmp_path / "page")
    assert written.pictures == ("neon-frames",)
    assert written.left_out["museum"] == "not in student"
    assert "colosseum.png in input cannot be read" in written.left_out["colosseum"]
    assert set(written.left_out) == {"museum", "colosseum"}
    Image.new("RGB", (5, 4)).save(folder / "input" / "neon-frames.png")
    with pytest.raises(FileNotFoundError, match=r"neon-frames: of unequal sizes .*5x4 in input"):
        write_rating_page(folder, tmp_path / "other")


def test_a_title_is_text_and_not_markup(folder: Path, tmp_path: Path) -> None:
    written = write_rating_page(folder, tmp_path / "page", title="</title><script>alert(1)")
    assert "<script>alert" not in written.page.read_text()


def test_a_folder_without_one_reference_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "clean", folder / "Reference")
    with pytest.raises(FileNotFoundError, match="it has Reference and clean"):
        write_rating_page(folder, tmp_path / "page")
    shutil.rmtree(folder / "Reference")
    shutil.rmtree(folder / "clean")
    with pytest.raises(FileNotFoundError, match="needs one subfolder named clean or reference"):
        write_rating_page(folder, tmp_path / "page")
    shutil.rmtree(folder / "input")
    with pytest.raises(FileNotFoundError, match="has 1 subfolders"):
        write_rating_page(folder, tmp_path / "page")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        write_rating_page(tmp_path / "none", tmp_path / "page")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results"]


def test_two_files_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "clean" / "museum.jpg", folder / "input" / "museum.jpg")
    with pytest.raises(ValueError, match=r"has museum\.jpg and museum\.png"):
        write_rating_page(folder, tmp_path / "page")


def test_a_page_that_is_there_is_never_written_over(page: RatingPage, folder: Path) -> None:
    before = page.key.read_bytes()
    with pytest.raises(FileExistsError, match="ratings may belong to it"):
        write_rating_page(folder, page.page.parent, seed=9)
    shutil.rmtree(page.page.parent)
    with pytest.raises(FileExistsError, match=r"key\.json"):
        write_rating_page(folder, page.page.parent, seed=9)
    assert page.key.read_bytes() == before


def test_a_full_disk_leaves_nothing_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mos_page, "write_bytes", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_rating_page(folder, tmp_path / "page")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results"]


# The scores

Grades = dict[str, list[int]]  # by method, one grade for each of PICTURES


def ratings_file(page: RatingPage, path: Path, session: str, grades: Grades) -> Path:
    """What the page saves for a rater with these grades."""
    ratings = [
        {
            "stimulus": name,
            "grade": grades[stimulus.method][PICTURES.index(stimulus.picture)],
            "seconds": 1.5,
            "whole": stimulus.picture != "museum",
        }
        for name, stimulus in key_of(page).stimuli.items()
    ]
    content = {
        "format": "clearcall-ratings",
        "version": 1,
        "study": page.study,
        "session": session,
        "started": "2026-01-02T03:04:05.678Z",
        "finished": "2026-01-02T03:09:05.678Z",
        "window": {"width": 1280, "height": 800, "pixel_ratio": 1.5},
        "ratings": ratings,
    }
    path.write_text(json.dumps(content))
    return path


RATERS: dict[str, Grades] = {
    "ANNA": {"clean": [5, 4, 4], "input": [2, 1, 3], "student": [5, 4, 3]},
    "BERT": {"clean": [5, 5, 5], "input": [1, 2, 3], "student": [4, 4, 4]},
    "CARL": {"clean": [4, 5, 4], "input": [3, 3, 3], "student": [5, 5, 5]},
}
RANDOM: Grades = {"clean": [2, 5, 1], "input": [5, 1, 4], "student": [1, 2, 3]}


@pytest.fixture
def files(page: RatingPage, tmp_path: Path) -> list[Path]:
    return [
        ratings_file(page, tmp_path / f"{name}.json", name, grades)
        for name, grades in RATERS.items()
    ]


def by_method(summary: OpinionSummary) -> dict[str, Any]:
    return {opinion.method: opinion for opinion in summary.methods}


def test_mos_and_its_interval_are_those_computed_by_hand(
    page: RatingPage, files: list[Path]
) -> None:
    summary = summarise_ratings(files, page.key)
    opinions = by_method(summary)
    assert [opinion.method for opinion in summary.methods] == ["clean", "student", "input"]
    # Means of the three raters: 4, 4, 5; Student's t for 2 degrees of freedom is 4.3027.
    assert opinions["student"].mos == pytest.approx(13 / 3)
    assert opinions["student"].mos_ci95 == pytest.approx(4.3027 * (1 / 3) ** 0.5 / 3**0.5, abs=1e-3)
    assert opinions["input"].mos == pytest.approx((2 + 2 + 3) / 3)
    assert (summary.raters, opinions["input"].ratings) == (3, 9)
    assert opinions["clean"].is_reference


def test_dmos_is_taken_rater_by_rater_and_picture_by_picture(
    page: RatingPage, files: list[Path]
) -> None:
    summary = summarise_ratings(files, page.key)
    opinions = by_method(summary)
    # student - clean: Anna 0, 0, -1; Bert -1, -1, -1; Carl +1, 0, +1
    assert opinions["student"].dmos == pytest.approx(5 + (-1 / 3 - 1 + 2 / 3) / 3)
    assert opinions["student"].dmos_ci95 == pytest.approx(
        4.3027 * float(np.std([-1 / 3, -1, 2 / 3], ddof=1)) / 3**0.5, abs=1e-3
    )
    assert (opinions["clean"].dmos, opinions["clean"].dmos_ci95) == (5, 0)
    pictures = {(o.method, o.picture): o for o in summary.pictures}
    assert pictures["student", "colosseum"].mos == pytest.approx(14 / 3)
    assert pictures["student", "colosseum"].dmos == pytest.approx(5)
    assert pictures["student", "neon-frames"].dmos == pytest.approx(5 - 1 / 3)


def test_better_than_the_reference_stays_above_five(page: RatingPage, tmp_path: Path) -> None:
    grades = {"clean": [4, 4, 4], "input": [1, 1, 1], "student": [5, 5, 5]}
    summary = summarise_ratings([ratings_file(page, tmp_path / "r", "A", grades)], page.key)
    student = by_method(summary)["student"]
    assert (student.mos, student.mos_ci95) == (5, None)
    assert (student.dmos, student.dmos_ci95) == (6, None)
    assert summary.cut_off == 3


def test_raters_who_grade_hidden_references_low_are_left_out_on_demand(
    page: RatingPage, files: list[Path], tmp_path: Path
) -> None:
    noisy = ratings_file(page, tmp_path / "noisy.json", "DORA", RANDOM)
    everyone = summarise_ratings([*files, noisy], page.key)
    screened = summarise_ratings([*files, noisy], page.key, is_rejecting=True)
    assert (everyone.raters, everyone.rejected) == (4, {})
    assert screened.raters == 3
    assert screened.rejected == {"DORA": "graded 2 of 3 hidden references below 4"}
    assert screened.methods == summarise_ratings(files, page.key).methods
    with pytest.raises(RatingsInvalidError, match="Every rater graded more than a quarter"):
        summarise_ratings([noisy], page.key, is_rejecting=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(study="0123"), "belongs to rating page 0123, the key to"),
        (lambda c: c.update(format="else"), "not a ratings file as it was written .format"),
        (lambda c: c.update(version=2), "not a ratings file as it was written .version"),
        (lambda c: c.pop("session"), "not a ratings file as it was written .session"),
        (
            lambda c: c["ratings"][0].update(grade=6),
            r"ratings\.0\.grade: .*less than or equal to 5",
        ),
        (lambda c: c["ratings"][2].update(grade=0), r"ratings\.2\.grade"),
        (lambda c: c["ratings"][2].update(grade=3.5), r"ratings\.2\.grade"),
        (lambda c: c["ratings"][2].update(grade="5"), r"ratings\.2\.grade"),
        (lambda c: c["ratings"][2].update(seconds=-1), r"ratings\.2\.seconds"),
        (lambda c: c["ratings"].append(c["ratings"][0]), "rates twice"),
        (lambda c: c["ratings"][0].update(stimulus="ffff"), "what is not in the key: ffff"),
        (lambda c: c["ratings"].pop(), "lacks 1 of 9 ratings"),
    ],
)
def test_a_wrong_ratings_file_is_refused_with_what_is_wrong(
    page: RatingPage, files: list[Path], change: Any, message: str
) -> None:
    content = json.loads(files[0].read_text())
    change(content)
    files[0].write_text(json.dumps(content))
    with pytest.raises(RatingsInvalidError, match=message):
        summarise_ratings(files, page.key)


def test_damaged_missing_and_doubled_files_are_named(
    page: RatingPage, files: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(RatingsInvalidError, match="session ANNA is there twice"):
        summarise_ratings([*files, files[0]], page.key)
    with pytest.raises(FileNotFoundError, match="No ratings file was named"):
        summarise_ratings([], page.key)
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file. Name a ratings file"):
        summarise_ratings([tmp_path / "none.json"], page.key)
    with pytest.raises(RatingsInvalidError, match="not the key of a rating page"):
        summarise_ratings(files, files[0])
    for content in (b"", b"\xff\xfe", b"[1]", b"[" * 100_000):
        files[0].write_bytes(content)
        with pytest.raises(RatingsInvalidError, match="not a ratings file"):
            summarise_ratings(files, page.key)


def test_the_table_and_the_json_hold_the_scores(page: RatingPage, files: list[Path]) -> None:
    summary = summarise_ratings(files, page.key)
    console = Console(width=100, record=True, quiet=True)
    console.print(opinion_table(summary))
    content = json.loads(json.dumps(opinion_json(summary)))
    assert content["raters"] == 3
    assert content["methods"][1]["method"] == "student"
    assert content["methods"][1]["mos"] == pytest.approx(13 / 3)
    assert opinion_table(summary).row_count == 3


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CLEARCALL_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.fail(
            "Chromium is not installed. Install it with `apt-get install chromium`, or name its "
            "executable in CLEARCALL_CHROMIUM."
        )
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=path, args=flags) as running,
    ):
        yield running


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
    tab.keyboard.press("Enter")
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


def test_reload_undo_and_looking_back_lose_nothing(tab: Page, page: RatingPage) -> None:
    tab.goto(page.page.as_uri())
    tab.keyboard.press("Enter")
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
        tab.goto(f"{page.page.as_uri()}#session={session}")
        tab.keyboard.press("Enter")
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
    tab.goto(page.page.as_uri())
    tab.keyboard.press("Enter")
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
    other.goto(page.page.as_uri())
    other.keyboard.press("Enter")
    expect(other.locator("#broken")).to_contain_text("could not be loaded")
    other.keyboard.press("5")
    expect(other.locator("#next")).to_be_disabled()
    (page.page.parent / "elsewhere").rename(pictures)
    other.locator("#again").press("Enter")
    assert shown(other)


def _between(text: str, start: str, end: str) -> str:
    return text.split(start, 1)[1].split(end, 1)[0]
