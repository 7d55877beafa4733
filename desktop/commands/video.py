"""The command `clearcall video`: its options; `desktop.video` does the work."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from desktop.interruption import interruptible
from desktop.names import printable
from desktop.options import add_model_options, add_size_options, load_model
from service.model.ending import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from desktop.video.conversion import Summary, VideoOptions
    from service.cli import Commands

__all__ = ["add_video_command"]

_EXIT_WRONG_USE = 2
_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)s?|(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")

_EXAMPLES = """examples:
  clearcall video talk.mp4 -o sharp.mp4
  clearcall video talk.mp4 -o look.mp4 --preview 10s --start 1:30 --split
  clearcall video talk.mov -o sharp.mov --strength 1.5 --crf 16 --preset medium
  clearcall video old.avi -o sharp.mkv --encoder hevc
  clearcall video long.mkv -o sharp.mkv --encoder h264_nvenc --json
  clearcall video small.mp4 -o large.mp4 --upscale 2
  clearcall video recorded-call.mp4 -o sharp.mp4 --checkpoint base --look-ahead 3

Sound, subtitles, chapters and metadata are copied as they are. OUT appears when it is whole:
Ctrl-C leaves nothing behind, and what was at OUT stays. More: docs/video.md.
"""


def add_video_command(commands: Commands) -> None:
    """Adds `video`."""
    parser = commands.add_parser(
        "video",
        help="sharpen a video file; its sound and all else is kept",
        description="Sharpens a video file. Everything else in it is copied untouched and in time.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", type=Path, metavar="IN", help="any video that FFmpeg reads")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="the new video; its suffix says what it is: .mp4, .mkv, .mov, .webm ...",
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there")
    _add_part_options(parser)
    _add_encoder_options(parser)
    add_model_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show what FFmpeg has to say on stderr"
    )
    parser.set_defaults(command=_video)


def _add_part_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("picture")
    group.add_argument(
        "--preview", type=_seconds, metavar="TIME", help="only so much of it, such as 10s or 1:30"
    )
    group.add_argument(
        "--start", type=_seconds, default=0.0, metavar="TIME", help="begin there (default 0)"
    )
    group.add_argument(
        "--split",
        action="store_true",
        help="leave the left half as it was, to compare; a line between",
    )
    group.add_argument("--overlay", action="store_true", help="draw the FPS of the work")
    group.add_argument(
        "--look-ahead",
        type=int,
        choices=range(4),
        default=0,
        metavar="N",
        help="improve each frame with at least N after it and the one before, 0 to 3: by what a "
        "codec brings late, and by averaging noise; slower (default 0: each frame by itself)",
    )
    group.add_argument(
        "--fusion",
        type=Path,
        metavar="FILE",
        help="the weights for --look-ahead, of clearcall-train fusion (default: the bundled ones)",
    )
    add_size_options(group)
    group.add_argument(
        "--deinterlace", action="store_true", help="make whole frames of two fields first"
    )


def _add_encoder_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("encoder")
    group.add_argument(
        "--encoder",
        metavar="NAME",
        help="h264, hevc, av1, vp9, or one of FFmpeg's, hardware's too: h264_nvenc, hevc_qsv, "
        "h264_videotoolbox ... (default: what OUT is for; HEVC where there are more than 8 bits)",
    )
    group.add_argument(
        "--crf",
        type=int,
        metavar="N",
        help="quality, lower is better (default 18 for h264, 20 hevc, 24 av1 and vp9)",
    )
    group.add_argument(
        "--preset",
        metavar="NAME",
        help="the encoder's speed, in its own words (default veryfast for h264: the network needs "
        "the cores; slower ones make smaller files)",
    )
    group.add_argument("--encoders", action=_Encoders, help="list the installed ones and end")
    group.add_argument(
        "--drop",
        action="store_true",
        help="leave out sound and subtitles that OUT's container cannot hold, instead of refusing",
    )


class _Encoders(argparse.Action):
    """Lists the encoders, without an IN."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        if not _has_av():
            parser.exit(_EXIT_WRONG_USE)
        from desktop.video.encoders import describe_encoders

        for name, description in describe_encoders():
            print(f"{name:20} {description}")
        parser.exit()


def _video(arguments: dict[str, Any]) -> int:
    if not _has_av():
        return _EXIT_WRONG_USE
    path: Path = arguments["input"]
    output: Path = arguments["output"]
    if output.is_dir():
        output /= path.name
    try:
        with interruptible():
            summary = _converted(path, output, arguments)
    except KeyboardInterrupt:
        rest = "what was there stays" if output.exists() else "nothing was written"
        print(f"clearcall: {printable(output)}: interrupted; {rest}", file=sys.stderr)
        return EXIT_INTERRUPTED
    for warning in summary.warnings:
        print(f"clearcall: {printable(path)}: {warning}", file=sys.stderr)
    print(json.dumps(dataclasses.asdict(summary)) if arguments["json"] else _in_words(summary))
    return 0


def _converted(path: Path, output: Path, arguments: dict[str, Any]) -> Summary:
    import av

    from desktop.video.conversion import convert
    from desktop.video.source import open_source

    _require_free(path, output, is_forced=arguments["force"])
    options = _options(arguments)
    if arguments["verbose"]:
        av.logging.set_level(av.logging.WARNING)
    # What is wrong with the file is told before the seconds that the student takes to load.
    open_source(path, options.span).close()
    return convert(load_model(arguments), path, output, options)


def _options(arguments: dict[str, Any]) -> VideoOptions:
    from desktop.video.conversion import VideoOptions
    from desktop.video.source import Span

    return VideoOptions(
        strength=arguments["strength"],
        span=Span(arguments["start"], arguments["preview"]),
        encoder=arguments["encoder"],
        crf=arguments["crf"],
        preset=arguments["preset"],
        resize=arguments["resize"],
        upscale=arguments["upscale"],
        is_split=arguments["split"],
        has_overlay=arguments["overlay"],
        look_ahead=arguments["look_ahead"],
        fusion=arguments["fusion"],
        deinterlaces=arguments["deinterlace"],
        drops_unsupported=arguments["drop"],
    )


def _require_free(path: Path, output: Path, *, is_forced: bool) -> None:
    from desktop.video.errors import VideoError

    if not output.parent.is_dir():
        raise VideoError(output, f"there is no folder {printable(output.parent)}")
    if os.path.lexists(output):
        if output.exists() and not output.is_file():
            raise VideoError(output, "is not a file; name one for the new video")
        if path.exists() and output.exists() and os.path.samefile(path, output):
            raise VideoError(output, "is the video itself; name another file")
        if not is_forced:
            raise VideoError(output, "is there already; --force replaces it")


def _has_av() -> bool:
    try:
        import av  # noqa: F401
    except ImportError:
        print(
            "clearcall: video needs PyAV; install it with: pip install 'clearcall[video]'",
            file=sys.stderr,
        )
        return False
    return True


def _in_words(summary: Summary) -> str:
    copied = f", {', '.join(summary.copied)} copied" if summary.copied else ""
    return (
        f"{printable(summary.output)}: {summary.frames} frames of "
        f"{summary.width}x{summary.height} by {summary.encoder}{copied}; "
        f"{summary.seconds:.1f} s, {summary.fps:.1f} FPS"
    )


def _seconds(text: str) -> float:
    """Parses 10, 10s, 1:30, 1:02:03.5, 1m30s or 1h for argparse."""
    match = _TIME.fullmatch(text.strip())
    if not match or not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write 10s, 1:30 or 1h5m")
    hours, minutes, seconds = (
        float(match[number] or match[number + 3] or 0) for number in (1, 2, 3)
    )
    return hours * 3600 + minutes * 60 + seconds
