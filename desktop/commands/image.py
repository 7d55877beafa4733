"""The command `clearcall image`: its options; `desktop.images` does the work."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from desktop.interruption import interruptible
from desktop.options import add_model_options, add_size_options, load_model, quality
from service.model.ending import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from desktop.images.conversion import Converter
    from desktop.images.places import Place, Places
    from desktop.images.report import Report
    from service.cli import Commands

__all__ = ["add_image_command"]

_EXIT_SOME_FAILED = 1
_EXIT_WRONG_USE = 2
_DEFAULT_JOBS = 3  # one is read and one written while one is in the network
_MOST_JOBS = 64
_IN_WORK_PX = 100_000_000
_FORMATS = ("jpeg", "jpg", "png", "webp", "bmp", "tiff", "tif", "avif", "heic")

_EXAMPLES = """examples:
  clearcall image blurred.jpg -o sharp.jpg
  clearcall image photos/ -o sharp/                     a folder with all below it
  clearcall image *.png more/*.jpg -o sharp/ --format webp --quality 85
  clearcall image "photos/**/*.jpg" -o sharp/ --compare
  clearcall image small.png -o large.png --upscale 2
  clearcall image photo.jpg -o call.jpg --resize 1920x1080 --drop-location
  curl -s https://example.org/a.jpg | clearcall image - -o - --format png > a.png
  clearcall image photos/ -o sharp/ --json | jq -r 'select(.status == "failed") | .input'

What a picture carries is kept: docs/files.md. OUT is never overwritten without --force, and a
picture that goes in never at all. Pictures that fail are named at the end; the others are done.
Exit code: 0 all done, 1 some failed, 2 nothing could be done, 130 interrupted.
"""


def add_image_command(commands: Commands) -> None:
    """Adds `image`."""
    parser = commands.add_parser(
        "image",
        help="sharpen pictures in files and folders",
        description="Sharpens JPEG, PNG, WebP, BMP, TIFF, AVIF and HEIC pictures.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="IN",
        help="files, folders (with all below them), patterns in quotes, or - for stdin",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="a file for one picture, a folder for several (made if it is not there), - for stdout",
    )
    parser.add_argument("--force", action="store_true", help="replace what is there")
    parser.add_argument(
        "--compare",
        action="store_true",
        help="write NAME-compare beside each output too: before and after in one picture",
    )
    parser.add_argument(
        "--jobs",
        type=_jobs,
        default=_DEFAULT_JOBS,
        metavar="N",
        help="pictures at a time; the network takes one by one, the others are read and written "
        f"meanwhile (default {_DEFAULT_JOBS})",
    )
    _add_picture_options(parser)
    add_model_options(parser)
    parser.add_argument(
        "--json", action="store_true", help="print a JSON line for each picture, and a summary"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for each picture")
    parser.set_defaults(command=_image)


def _add_picture_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("picture")
    group.add_argument(
        "--format",
        choices=_FORMATS,
        metavar="NAME",
        help="jpeg, png, webp, bmp, tiff, avif or heic (default: what OUT's suffix says, in a "
        "folder the input's)",
    )
    group.add_argument(
        "--quality",
        type=quality,
        default=90,
        metavar="Q",
        help="of JPEG, WebP, AVIF and HEIC, 1 to 100 (default 90)",
    )
    add_size_options(group)
    group.add_argument(
        "--drop-location",
        action="store_true",
        help="leave out where it was taken (default: all that a picture carries is kept)",
    )


def _image(arguments: dict[str, Any]) -> int:
    from desktop.images.report import Report

    is_to_stdout = arguments["output"] == "-"
    report = Report(
        is_json=arguments["json"], is_verbose=arguments["verbose"], is_silent=is_to_stdout
    )
    begun_s = time.monotonic()
    is_interrupted = False
    try:
        with interruptible():
            _convert_all(arguments, report)
    except KeyboardInterrupt:
        is_interrupted = True
    report.end(time.monotonic() - begun_s, is_interrupted=is_interrupted)
    if is_interrupted:
        return EXIT_INTERRUPTED
    if not report.missed:
        return 0
    return _EXIT_SOME_FAILED if report.done else _EXIT_WRONG_USE


def _convert_all(arguments: dict[str, Any], report: Report) -> None:
    from desktop.images.batch import run_batch

    # What is wrong with names and places is told before the seconds that the student takes to load.
    places = _places(arguments)
    for missed in places.missed:
        report.note(missed)
    ready = _with_pipes_read(places.ready, report)
    if not ready:
        return
    stop = threading.Event()
    converter = _converter(arguments, stop)
    with report.bar(len(ready)):
        run_batch(ready, converter.convert, report.note, jobs=arguments["jobs"], stop=stop)


def _places(arguments: dict[str, Any]) -> Places:
    from desktop.images.errors import ImageUseError
    from desktop.images.finding import find_pictures
    from desktop.images.formats import FORMAT_NAMES
    from desktop.images.places import places_of

    inputs: list[str] = arguments["inputs"]
    output: str = arguments["output"]
    is_to_stdout = output == "-"
    if inputs.count("-") > 1:
        raise ImageUseError("stdin can be read once: name - once")
    if is_to_stdout and arguments["json"]:
        raise ImageUseError("--json writes to stdout, as does -o -; take one of them")
    if is_to_stdout and sys.stdout.isatty():
        raise ImageUseError("stdout is a terminal; send it to a file or program: -o - > sharp.jpg")
    if "-" in inputs and sys.stdin.isatty():
        raise ImageUseError(
            "stdin is a terminal; send it a picture: clearcall image - < blurred.jpg"
        )
    found = find_pictures(inputs, output=None if is_to_stdout else Path(output))
    # One file; a pattern that happens to match one has a folder as its output as ever.
    is_single = len(found) == 1 and found[0].name == str(Path(inputs[0]))
    is_single = is_single and not Path(inputs[0]).is_dir()
    return places_of(
        found,
        output,
        image_format=FORMAT_NAMES.get(arguments["format"] or ""),
        compares=arguments["compare"],
        is_forced=arguments["force"],
        is_folder=not is_single,
        reason_against=_reason_against,
    )


def _reason_against(path: Path) -> str | None:
    """Why a file does not begin as a picture does; of a pipe that is told once it is read."""
    from desktop.images.errors import PictureFailed, reason_of
    from desktop.images.files import check_picture_file, is_pipe
    from service.errors import ImageUnsupported

    try:
        if not is_pipe(path):
            check_picture_file(path)
    except (PictureFailed, ImageUnsupported) as exc:
        return reason_of(exc)
    return None


def _with_pipes_read(places: tuple[Place, ...], report: Report) -> list[Place]:
    """Stdin and pipes read here and now: a thread that waits for one could not be interrupted."""
    from desktop.images.errors import PictureFailed, reason_of
    from desktop.images.files import is_pipe, read_picture
    from desktop.images.finding import Missed
    from service.errors import ImageUnsupported

    ready = []
    for place in places:
        try:
            is_read = place.source is None or is_pipe(place.source)
            encoded = read_picture(place.source) if is_read else None
            ready.append(replace(place, encoded=encoded))
        except (PictureFailed, ImageUnsupported) as exc:
            report.note(Missed(place.name, reason_of(exc)))
    return ready


def _converter(arguments: dict[str, Any], stop: threading.Event) -> Converter:
    from desktop.images.conversion import Converter
    from desktop.images.memory import PixelBudget
    from service.picture_options import PictureOptions

    return Converter(
        load_model(arguments),
        PictureOptions(
            quality=arguments["quality"],
            resize=arguments["resize"],
            upscale=arguments["upscale"],
            keep_location=not arguments["drop_location"],
        ),
        strength=arguments["strength"],
        is_forced=arguments["force"],
        budget=PixelBudget(_IN_WORK_PX),
        stop=stop,
    )


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_JOBS:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and {_MOST_JOBS}")
    return int(text)
