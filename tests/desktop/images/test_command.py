"""`clearcall image`: what its user gets for pictures."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from desktop.cli import clearcall_parser
from desktop.completion.values import public_actions, subcommands
from desktop.images import files
from desktop.images.errors import PictureFailed
from desktop.images.formats import FORMAT_NAMES
from service.picture_options import decode_for
from tests.desktop.images.conftest import Run, opened, write_picture
from tests.service.doubles import FakeSharpener

ROOT = Path(__file__).parents[3]
_SLOW_STUDENT = """
import signal, sys, time
from desktop import cli
from desktop.commands import image
from tests.service.doubles import FakeSharpener

# A job in the background ignores SIGINT, and hands that on.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Slow(FakeSharpener):
    def sharpen(self, picture, **options):
        if "--json" in sys.argv:
            print("entered", file=sys.stderr, flush=True)
            time.sleep(0.3)
        return super().sharpen(picture, **options)

image.load_model = lambda _: Slow()
sys.exit(cli.main(sys.argv[1:]))
"""


def names_below(folder: Path) -> list[str]:
    """Of all files, hidden ones too."""
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


def test_a_file_becomes_a_sharpened_file(run: Run, tmp_path: Path) -> None:
    source = write_picture(tmp_path / "in.png")
    outcome = run(source, "-o", tmp_path / "out.png")
    assert outcome.code == 0
    assert outcome.err == ""
    assert "32x24 png" in outcome.out
    before, after = (np.asarray(opened(tmp_path / f"{each}.png")) for each in ("in", "out"))
    assert after.shape == before.shape
    assert after.std() > before.std()


def test_strength_0_leaves_every_level_as_it_is(run: Run, tmp_path: Path) -> None:
    source = write_picture(tmp_path / "in.png")
    assert run(source, "-o", tmp_path / "out.png", "--strength", "0").code == 0
    before, after = (np.asarray(opened(tmp_path / f"{each}.png")) for each in ("in", "out"))
    assert (before == after).all()


def test_a_folder_keeps_its_tree_and_other_files_are_left_alone(run: Run, tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.jpg")
    write_picture(tmp_path / "in/deep/er/b.PNG")
    write_picture(tmp_path / "in/.hidden/c.png")
    (tmp_path / "in/notes.txt").write_text("not a picture")
    os.mkfifo(tmp_path / "in/pipe.jpg")
    assert run(tmp_path / "in", "-o", tmp_path / "out").code == 0
    assert names_below(tmp_path / "out") == ["a.jpg", "deep/er/b.PNG"]


def test_an_output_folder_inside_the_input_is_not_taken_for_input(run: Run, tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png")
    for _ in range(2):
        assert run(tmp_path / "in", "-o", tmp_path / "in/sharp", "--force").code == 0
    assert names_below(tmp_path / "in") == ["a.png", "sharp/a.png"]


def test_a_pattern_is_matched_and_keeps_the_tree_from_where_it_begins(
    run: Run, tmp_path: Path
) -> None:
    write_picture(tmp_path / "in/x/a.png")
    write_picture(tmp_path / "in/y/b.png")
    write_picture(tmp_path / "in/y/c.jpg")
    assert run(f"{tmp_path}/in/**/*.png", "-o", tmp_path / "out").code == 0
    assert names_below(tmp_path / "out") == ["x/a.png", "y/b.png"]
    outcome = run(f"{tmp_path}/in/*.webp", "-o", tmp_path / "out")
    assert outcome.code == 2
    assert "no file matches this pattern" in outcome.err


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(run: Run, tmp_path: Path) -> None:
    source = write_picture(tmp_path / "a[1].png")
    assert run(source, "-o", tmp_path / "out.png").code == 0


def test_one_bad_picture_is_named_and_the_others_are_done(run: Run, tmp_path: Path) -> None:
    whole = write_picture(tmp_path / "in/good.jpg", (64, 64)).read_bytes()
    for name, content in {
        "empty.jpg": b"",
        "text.jpg": b"just some text",
        "truncated.jpg": whole[: len(whole) // 2],
    }.items():
        (tmp_path / "in" / name).write_bytes(content)
    (tmp_path / "in/link.jpg").symlink_to("nowhere.jpg")
    write_picture(tmp_path / "in/one.png", (1, 1))
    write_picture(tmp_path / "in/wide.png", (30_000, 10))
    outcome = run(tmp_path / "in", "-o", tmp_path / "out", "--compare")
    assert outcome.code == 1
    assert "3 pictures done, 4 failed" in outcome.out
    told = outcome.err.splitlines()
    assert len(told) == 4
    for name, reason in {
        "empty.jpg": "is empty",
        "text.jpg": "not a JPEG",
        "truncated.jpg": "damaged or cut off",
        "link.jpg": "link to nothing",
    }.items():
        assert any(
            line.startswith(f"clearcall: {tmp_path}/in/{name}: ") and reason in line
            for line in told
        )
    assert [each for each in names_below(tmp_path / "out") if "compare" not in each] == [
        "good.jpg",
        "one.png",
        "wide.png",
    ]


def test_a_student_that_fails_is_told_for_each_picture(
    run: Run, tmp_path: Path, student: FakeSharpener
) -> None:
    student.failure = RuntimeError("no more memory\non the GPU")
    outcome = run(write_picture(tmp_path / "a.png"), "-o", tmp_path / "out.png")
    assert outcome.code == 2
    assert outcome.err == f"clearcall: {tmp_path}/a.png: RuntimeError: no more memory on the GPU\n"
    assert names_below(tmp_path) == ["a.png"]


def test_what_is_there_is_replaced_only_by_force(run: Run, tmp_path: Path) -> None:
    source = write_picture(tmp_path / "in.png")
    there = tmp_path / "out.png"
    there.write_bytes(b"precious")
    outcome = run(source, "-o", there)
    assert outcome.code == 2
    assert "is there already; --force replaces it" in outcome.err
    assert there.read_bytes() == b"precious"
    assert run(source, "-o", there, "--force").code == 0
    assert opened(there).size == (32, 24)


def test_a_file_that_comes_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out.png").write_bytes(b"came first")
    with pytest.raises(PictureFailed, match="is there already"):
        files.write_whole(tmp_path / "out.png", b"late", is_forced=False)
    assert names_below(tmp_path) == ["out.png"]
    assert (tmp_path / "out.png").read_bytes() == b"came first"


def test_its_own_input_is_never_replaced(run: Run, tmp_path: Path) -> None:
    source = write_picture(tmp_path / "in.png")
    (tmp_path / "link.png").hardlink_to(source)
    before = source.read_bytes()
    for output in (source, tmp_path / "link.png", tmp_path):
        outcome = run(source, "-o", output, "--force")
        assert outcome.code == 2
        assert "one of the pictures that go in" in outcome.err
    assert source.read_bytes() == before


def test_what_is_no_picture_takes_no_place(run: Run, tmp_path: Path) -> None:
    write_picture(tmp_path / "in/logo.png")
    (tmp_path / "in/logo.jpg").write_bytes(b"no picture")
    outcome = run(tmp_path / "in", "-o", tmp_path / "out", "--format", "png")
    assert outcome.code == 1
    assert names_below(tmp_path / "out") == ["logo.png"]
    assert "logo.jpg" in outcome.err
    assert "another picture" not in outcome.err


def test_what_is_no_picture_is_not_replaced_either(run: Run, tmp_path: Path) -> None:
    write_picture(tmp_path / "logo.png")
    (tmp_path / "logo.jpg").write_bytes(b"no picture")
    run(tmp_path, "-o", tmp_path, "--format", "jpeg", "--force")
    assert (tmp_path / "logo.jpg").read_bytes() == b"no picture"


def test_two_pictures_for_one_place_do_not_replace_each_other(run: Run, tmp_path: Path) -> None:
    one = write_picture(tmp_path / "x/a.png", (10, 10))
    other = write_picture(tmp_path / "y/a.jpg", (20, 20))
    outcome = run(one, other, "-o", tmp_path / "out", "--format", "webp", "--force")
    assert outcome.code == 1
    assert "is what another picture becomes" in outcome.err
    assert opened(tmp_path / "out/a.webp").size == (10, 10)


def test_a_disk_that_is_full_costs_only_what_does_not_fit(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "out").mkdir()
    there = tmp_path / "out/a.png"
    there.write_bytes(b"precious")
    monkeypatch.setattr("desktop.images.files.os.fsync", refuse)
    outcome = run(write_picture(tmp_path / "a.png"), "-o", tmp_path / "out", "--force")
    assert outcome.code == 2
    assert "a.png cannot be written: No space left on device" in outcome.err
    assert names_below(tmp_path / "out") == ["a.png"]
    assert there.read_bytes() == b"precious"


def test_a_file_system_without_hard_links_will_do(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("desktop.images.files.os.link", refuse)
    assert run(write_picture(tmp_path / "a.png"), "-o", tmp_path / "out.png").code == 0
    assert names_below(tmp_path) == ["a.png", "out.png"]


def test_an_output_that_is_no_folder_is_told(run: Run, tmp_path: Path) -> None:
    one, two = (write_picture(tmp_path / f"{each}.png") for each in "ab")
    (tmp_path / "file").write_bytes(b"")
    assert "is no folder" in run(one, two, "-o", tmp_path / "file").err
    assert "is not a folder" in run(one, "-o", tmp_path / "file/x.png").err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("-o", "out.xyz"), "names no picture format"),
        (("-o", "out.png", "--format", "jpg"), "take one away"),
        (("-o", "-", "--json"), "--json writes to stdout"),
        (("-o", "-", "--compare"), "--compare writes beside"),
        (("-o", "out.png", "--upscale", "9"), "not between 1 and 8"),
        (("-o", "out.png", "--resize", "big"), "a side like 512"),
        (("-o", "out.png", "--quality", "0"), "not between 1 and 100"),
        (("-o", "out.png", "--jobs", "0"), "not between 1 and 64"),
    ],
)
def test_wrong_use_is_exit_code_2(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    outcome = run(write_picture(tmp_path / "in.png"), *arguments)
    assert outcome.code == 2
    assert reason in outcome.err


def test_names_of_any_bytes_are_done_and_shown_in_print(run: Run, tmp_path: Path) -> None:
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in/a\xff\n.png"))
    try:
        write_picture(tmp_path / "in/plain.png").rename(strange)
    except OSError:
        pytest.skip("this file system takes no such names")
    (tmp_path / "in" / "b\x1b[2J.png").write_bytes(b"nothing")
    outcome = run(tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert outcome.code == 1
    shown = {line["status"]: line["input"] for line in outcome.lines[:-1]}
    assert shown["done"].endswith(r"a\xff\n.png")
    assert outcome.err.startswith(rf"clearcall: {tmp_path}/in/b\x1b[2J.png: ")
    assert len(outcome.err.splitlines()) == 1
    assert (tmp_path / "out" / strange.name).is_file()


def test_json_is_a_line_for_each_and_a_summary(run: Run, tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_bytes(b"nothing")
    *items, last = run(tmp_path / "in", "-o", tmp_path / "out", "--json").lines
    done, failed = sorted(items, key=lambda item: str(item["status"]))
    assert (done["width"], done["height"], done["format"]) == (32, 24, "png")
    assert done["output"] == f"{tmp_path}/out/a.png"
    assert done["bytes"] == (tmp_path / "out/a.png").stat().st_size
    assert "not a JPEG" in failed["error"]
    summary = last["summary"]
    assert (summary["done"], summary["failed"], summary["interrupted"]) == (1, 1, False)


def test_what_is_no_file_is_not_replaced(run: Run, tmp_path: Path) -> None:
    source = write_picture(tmp_path / "in.png", (32, 24))
    os.mkfifo(tmp_path / "out.png")
    outcome = run(source, "-o", tmp_path / "out.png", "--force")
    assert outcome.code == 2
    assert "is no file" in outcome.err
    assert (tmp_path / "out.png").is_fifo()


def test_compare_shows_before_and_after_beside_the_output(run: Run, tmp_path: Path) -> None:
    source = write_picture(tmp_path / "in.png", (32, 24))
    wide = write_picture(tmp_path / "wide.png", (90, 20))
    assert run(source, wide, "-o", tmp_path / "out", "--compare").code == 0
    both = np.asarray(opened(tmp_path / "out/in-compare.png"))
    assert both.shape == (24, 2 * 32 + 4, 3)
    assert (both[:, :32] == np.asarray(opened(source))).all()
    assert (both[:, 32:36] == 255).all()
    assert (both[:, 36:] == np.asarray(opened(tmp_path / "out/in.png"))).all()
    assert opened(tmp_path / "out/wide-compare.png").size == (90, 2 * 20 + 4)
    assert run(wide, "-o", tmp_path / "up.png", "--compare", "--upscale", "2").code == 0
    assert opened(tmp_path / "up-compare.png").size == (180, 2 * 40 + 4)


def test_every_format_that_has_a_suffix_can_be_named(run: Run, tmp_path: Path) -> None:
    source = write_picture(tmp_path / "in.png")
    output = tmp_path / "out"
    output.mkdir()
    assert run(source, "-o", output, "--format", "avif").code == 0
    assert opened(output / "in.avif").format == "AVIF"
    for action in public_actions(subcommands(clearcall_parser())["image"]):
        if "--format" in action.option_strings:
            assert list(action.choices or ()) == list(FORMAT_NAMES)


def test_scaling_format_and_place_are_as_asked(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "in.jpg"
    exif = Image.Exif()
    exif[271] = "Maker"
    exif.get_ifd(0x8825)[1] = "N"
    Image.new("RGB", (400, 200), "gray").save(source, exif=exif)
    output = tmp_path / "out.png"
    outcome = run(
        source, "-o", output, "--resize", "100", "--upscale", "2", "--drop-location", "--force"
    )
    assert outcome.code == 0
    made = opened(output)
    assert (made.format, made.size) == ("PNG", (200, 100))
    assert made.getexif()[271] == "Maker"
    assert 0x8825 not in made.getexif()
    assert run(source, "-o", tmp_path / "kept.jpg").code == 0
    assert opened(tmp_path / "kept.jpg").getexif().get_ifd(0x8825)[1] == "N"


def test_stdin_goes_to_stdout(tmp_path: Path) -> None:
    encoded = write_picture(tmp_path / "in.png").read_bytes()
    script = [sys.executable, "-c", _SLOW_STUDENT, "image", "-", "-o", "-", "--format", "webp"]
    done = subprocess.run(script, cwd=ROOT, input=encoded, capture_output=True, check=True)
    assert Image.open(io.BytesIO(done.stdout)).format == "WEBP"
    empty = subprocess.run(script, cwd=ROOT, input=b"", capture_output=True, check=False)
    assert (empty.returncode, empty.stdout, empty.stderr) == (2, b"", b"clearcall: -: is empty\n")


def test_files_are_read_while_the_network_is_busy(
    run: Run, tmp_path: Path, student: FakeSharpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        write_picture(tmp_path / f"in/{number}.png")
    inside, most = 0, 0
    lock = threading.Lock()
    decoded = threading.Semaphore(0)

    def pieces(image: np.ndarray, **_: object) -> Iterator[None]:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        if student.shapes_seen == []:  # the first waits until another has been read meanwhile
            assert decoded.acquire(timeout=30)
            assert decoded.acquire(timeout=30)
        student.shapes_seen.append(image.shape)
        yield
        with lock:
            inside -= 1
        return image  # type: ignore[return-value]

    def noted(*arguments: object, **named: object) -> object:
        picture = decode_for(*arguments, **named)  # type: ignore[arg-type]
        decoded.release()
        return picture

    monkeypatch.setattr(student, "pieces", pieces)
    monkeypatch.setattr("desktop.images.conversion.decode_for", noted)
    assert run(tmp_path / "in", "-o", tmp_path / "out", "--jobs", "2").code == 0
    assert most == 1
    assert len(names_below(tmp_path / "out")) == 6


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent")
def test_ctrl_c_leaves_whole_pictures_only(tmp_path: Path) -> None:
    for number in range(40):
        write_picture(tmp_path / f"in/{number:02}.png", seed=number)
    arguments = ["image", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW_STUDENT, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for _ in range(3):
        assert process.stderr.readline() == "entered\n"
    begun_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - begun_s < 10
    assert "interrupted" in err
    made = names_below(tmp_path / "out")
    assert 1 <= len(made) < 40
    assert all(not name.startswith(".") for name in made)
    for name in made:
        opened(tmp_path / "out" / name).load()
    summary = out.splitlines()[-1]
    assert f'"done": {len(made)}' in summary
    assert '"interrupted": true' in summary
