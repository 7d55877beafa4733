"""The command `clearcall camera`: its options; `desktop.camera` does the work."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from desktop.options import add_model_options, number, quality

if TYPE_CHECKING:
    from service.cli import Commands

__all__ = ["add_camera_command"]

_DESCRIPTION = """\
Sharpens a camera live: in a window, as a camera for other programs, in a
browser, into a file. Without one of these: a window if there can be one, else
a browser preview. Student and scale adapt to hold the frame rate."""
_EXAMPLES = """examples:
  clearcall camera                          the first camera, in a window or a browser preview
  clearcall camera --virtual                as a camera for Zoom, Teams, Meet, OBS ...
  clearcall camera 1 --size 1280x720 --fps 30 --record call.mkv
  clearcall camera rtsp://user:password@192.168.1.20/stream --preview-port 8001
  clearcall camera --virtual --server http://gpu.local:8000      sharpened by another machine
  clearcall camera film.mp4 --loop --virtual                     a film as a camera
  clearcall camera --list

keys (window, terminal): + and - strength, q quits.
A virtual camera needs v4l2loopback (Linux) or OBS (Windows, macOS): docs/camera.md.
"""


def add_camera_command(commands: Commands) -> None:
    """Adds `camera`."""
    parser = commands.add_parser(
        "camera",
        help="sharpen a webcam, an RTSP or HTTP stream, or a film, live",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        nargs="?",
        default="0",
        metavar="SOURCE",
        help="a camera's number, a device, an rtsp:// or http:// URL, or a video file, which is "
        "played at its own pace (default 0)",
    )
    parser.add_argument("--list", action="store_true", help="list the cameras and end")
    _add_capture_options(parser)
    _add_output_options(parser)
    _add_server_options(parser)
    add_model_options(parser, default_checkpoint="auto")
    parser.set_defaults(command=_camera)
    _add_script_options(parser)


def _add_capture_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("capture")
    group.add_argument(
        "--size", type=_size, metavar="WxH", help="ask the camera for it, such as 1280x720"
    )
    group.add_argument(
        "--fps",
        type=_positive,
        metavar="N",
        help="ask the camera for it, and hold it (default: what the camera gives, to 30)",
    )
    group.add_argument(
        "--fourcc",
        type=_fourcc,
        default="MJPG",
        metavar="CODE",
        help="ask the camera for this pixel format, such as MJPG or YUYV; none = as it is "
        "(default MJPG)",
    )
    group.add_argument("--loop", action="store_true", help="begin a file again at its end")
    group.add_argument(
        "--no-adapt",
        action="store_true",
        help="keep student and scale, whatever the frame rate; by default auto goes from small "
        "to nano and down to half scale, a named student only down in scale",
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output, any number of these")
    group.add_argument("--window", action="store_true", help="show a window")
    group.add_argument(
        "--virtual", action="store_true", help="be a camera for other programs, such as meetings"
    )
    group.add_argument(
        "--virtual-device",
        metavar="DEVICE",
        help="the virtual camera to use, such as /dev/video10 (default: the first that is free)",
    )
    group.add_argument(
        "--virtual-size",
        type=_size,
        default=(720, 1280),
        metavar="WxH",
        help="that other programs see (default 1280x720)",
    )
    group.add_argument(
        "--virtual-fps",
        type=_positive,
        default=30.0,
        metavar="N",
        help="that other programs see (default 30)",
    )
    group.add_argument(
        "--fit",
        choices=("letterbox", "crop"),
        default="letterbox",
        help="a picture of another shape: all of it between bars, or cut (default letterbox)",
    )
    group.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="record to FILE.mkv or FILE.mp4, without sound; it can be played after a crash too",
    )
    group.add_argument("--force", action="store_true", help="replace the recording if it is there")
    group.add_argument(
        "--preview-port",
        type=_port,
        metavar="PORT",
        help="show the picture on http://127.0.0.1:PORT/ to this machine only; 0 = any free port",
    )
    group.add_argument(
        "--quality",
        type=quality,
        default=85,
        metavar="Q",
        help="of the JPEGs of preview and --server, 1 to 100 (default 85)",
    )
    group.add_argument(
        "--overlay",
        action=argparse.BooleanOptionalAction,
        help="draw FPS, average and inference time into every output, or none (default: into "
        "window and preview)",
    )


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sharpen elsewhere")
    group.add_argument(
        "--server",
        metavar="URL",
        help="a Clearcall that does the work, such as http://gpu.local:8000; while it is away the "
        "camera's own picture is shown",
    )
    group.add_argument(
        "--api-key", metavar="KEY", help="its key (default: the variable CLEARCALL_API_KEY)"
    )


def _add_script_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("for scripts")
    group.add_argument("--frames", type=_count, metavar="N", help="end after N frames")
    group.add_argument("--seconds", type=_positive, metavar="S", help="end after S seconds")
    group.add_argument("--json", action="store_true", help="print one JSON object at the end")
    group.add_argument("-v", "--verbose", action="store_true", help="tell more")


def _camera(arguments: dict[str, Any]) -> int:
    from desktop.camera.command import run_camera

    return run_camera(arguments)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and 16 <= int(width) <= 8192):
        raise argparse.ArgumentTypeError(f"{text} is no size; write it as 1280x720")
    if not 16 <= int(height) <= 8192:
        raise argparse.ArgumentTypeError(f"{text} is no size; write it as 1280x720")
    return int(height), int(width)


def _positive(text: str) -> float:
    value = number(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 up")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text} is no port; 1 to 65535, or 0 for any free one")
    return int(text)


def _fourcc(text: str) -> str | None:
    if text.lower() == "none":
        return None
    if len(text) != 4 or not text.isascii():
        raise argparse.ArgumentTypeError(f"{text} is no pixel format; four letters, or none")
    return text.upper()
