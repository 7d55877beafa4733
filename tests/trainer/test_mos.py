"""The rating page is blind and works by keyboard; the scores are those of P.910."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.trainer.studies import METHODS, PICTURES, by_method, image_of, key_of, write_results
from trainer import mos_page
from trainer.mos import (
    RatingsInvalidError,
    opinion_json,
    opinion_table,
    summarise_ratings,
    write_rating_page,
)
from trainer.mos_page import RatingPage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_results(tmp_path / "results")


@pytest.fixture
def page(folder: Path, tmp_path: Path) -> RatingPage:
    return write_rating_page(folder, tmp_path / "page", seed=1, practice=2, pause_ms=0)


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
    written = write_rating_page(folder, tmp_path / "braces", title="{{script}} of {{style}}")
    assert "<title>{{script}} of {{style}}</title>" in written.page.read_text()


def test_pictures_of_16_bits_are_no_white_ones(folder: Path, tmp_path: Path) -> None:
    means = []
    for method in folder.iterdir():
        for path in method.iterdir():
            gray = np.asarray(Image.open(path).convert("L"), np.uint16)
            means.append(gray.mean())
            Image.fromarray(gray * 257).save(path.with_suffix(".png"))
            if path.suffix != ".png":
                path.unlink()
    written = write_rating_page(folder, tmp_path / "page")
    shown = [np.asarray(Image.open(path)).mean() for path in written.page.parent.rglob("*.png")]
    assert sorted(shown) == pytest.approx(sorted(means), abs=1)


def test_a_method_may_have_brackets_in_its_name(page: RatingPage, files: list[Path]) -> None:
    summary = summarise_ratings(files, page.key)
    methods = [replace(each, method=f"x [v{at}]") for at, each in enumerate(summary.methods)]
    console = Console(width=120, record=True)
    console.print(opinion_table(replace(summary, methods=tuple(methods))))
    assert "x [v1]" in console.export_text()


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


def _between(text: str, start: str, end: str) -> str:
    return text.split(start, 1)[1].split(end, 1)[0]
