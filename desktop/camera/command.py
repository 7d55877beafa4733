"""`clearcall camera` from its arguments: opens the parts, cheapest first, and runs a session."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2

from desktop.camera.capture import Capture, Wishes, open_capture, quieten_opencv
from desktop.camera.controls import Controls
from desktop.camera.devices import list_cameras
from desktop.camera.errors import OutputUnavailable
from desktop.camera.frames import Captured
from desktop.camera.meter import Meter
from desktop.camera.output import Output
from desktop.camera.preview import DEFAULT_PORT, Preview
from desktop.camera.reader import Reader
from desktop.camera.session import Limits, Session, Sharpening
from desktop.camera.slot import Slot
from desktop.camera.source import Source, parse_source
from desktop.camera.window import Window, why_no_window
from service.model.ending import EXIT_INTERRUPTED

__all__ = ["run_camera"]

_EXIT_DONE, _EXIT_PARTLY, _EXIT_NOTHING = 0, 1, 2
_MAX_TARGET_FPS = 30.0


def run_camera(arguments: dict[str, Any]) -> int:
    """Runs the command.

    Args:
        arguments: as `desktop.commands.camera` parses them.

    Returns:
        0 done, 1 if an output failed while others went on, 2 if there was no camera, 130 after
        Ctrl-C.

    Raises:
        ClearcallError: Nothing could be done, and why.
    """
    quieten_opencv()
    cv2.setNumThreads(1)  # the cores are the network's
    if arguments["list"]:
        return _list(is_json=arguments["json"])
    return _run(arguments)


def _run(arguments: dict[str, Any]) -> int:
    source = parse_source(arguments["source"])
    wishes = Wishes(arguments["size"], arguments["fps"], arguments["fourcc"])
    _require_another_file(arguments["record"], source)
    controls, meter, slot = Controls(), Meter(), Slot[Captured]()
    with ExitStack() as opening:  # closes what is open where something else fails
        opened = open_capture(source, wishes)
        reader = Reader(opened, lambda: open_capture(source, wishes), slot, loops=arguments["loop"])
        opening.callback(reader.close)
        outputs = _open_outputs(arguments, controls, meter, opening)
        session = Session(
            controls,
            outputs,
            slot=slot,
            meter=meter,
            limits=Limits(arguments["frames"], arguments["seconds"]),
            tell=_tell,
        )

        if not opened.is_file:
            session.start(reader)  # drained from now on, nothing is old when the student is there
        sharpening = _open_sharpening(arguments, controls, _target_fps(arguments, opened))
        opening.pop_all()  # the session closes all of it from here on
    _tell_outputs(arguments, outputs)
    if arguments["verbose"]:
        _tell(f"{source.name}: {sharpening.how}; {', '.join(each.name for each in outputs)}")
    session.run(sharpening, reader)
    facts = session.facts()
    if arguments["json"]:
        figures = _figures(meter, controls)
        print(json.dumps({"source": source.name, **figures, **sharpening.facts(), **facts}))
    if controls.is_interrupted:
        return EXIT_INTERRUPTED
    return _EXIT_PARTLY if facts["failures"] else _EXIT_DONE


def _require_another_file(record: Path | None, source: Source) -> None:
    """The film that is played must not become its own recording, not even through a link."""
    if record is None or source.kind != "file" or not record.exists():
        return
    if Path(str(source.address)).exists() and record.samefile(str(source.address)):
        raise OutputUnavailable(str(record), "is the film itself; name another file")


def _open_outputs(
    arguments: dict[str, Any], controls: Controls, meter: Meter, opening: ExitStack
) -> list[Output]:
    """What was asked for, or a window, or a preview."""
    overlay: bool | None = arguments["overlay"]
    for_user, for_others = overlay is not False, overlay is True
    outputs: list[Output] = []

    def add(output: Output) -> None:
        outputs.append(output)
        opening.callback(output.close)

    def preview(port: int) -> Preview:
        return Preview(
            controls,
            port=port,
            quality=arguments["quality"],
            has_overlay=for_user,
            fps=lambda: meter.fps(time.monotonic()),
        )

    if arguments["virtual"] or arguments["virtual_device"] is not None:
        add(_open_virtual(arguments, has_overlay=for_others))
    if arguments["record"] is not None:
        from desktop.camera.recording import Recording

        add(Recording(arguments["record"], overwrites=arguments["force"], has_overlay=for_others))
    if arguments["window"]:
        add(Window(controls, has_overlay=for_user))
    if arguments["preview_port"] is not None:
        add(preview(arguments["preview_port"]))
    if not outputs and why_no_window() is None:
        add(Window(controls, has_overlay=for_user))
    elif not outputs:
        try:
            add(preview(DEFAULT_PORT))
        except OutputUnavailable:  # nobody asked for that port
            add(preview(0))
    return outputs


def _tell_outputs(arguments: dict[str, Any], outputs: Sequence[Output]) -> None:
    """What to do to see the picture."""
    is_default = isinstance(outputs[0], Preview) and arguments["preview_port"] is None
    if is_default:
        _tell(f"no window: {why_no_window()}")
    for output in outputs:
        if isinstance(output, Preview):
            _tell(f"preview: open {output.url}")
        elif output.name.startswith("virtual"):
            _tell(f"{output.name}: choose it as the camera in your meeting program")


def _open_virtual(arguments: dict[str, Any], *, has_overlay: bool) -> Output:
    from desktop.camera.virtual import VirtualCamera

    return VirtualCamera(
        size=arguments["virtual_size"],
        fps=arguments["virtual_fps"],
        device=arguments["virtual_device"],
        fit=arguments["fit"],
        has_overlay=has_overlay,
    )


def _open_sharpening(
    arguments: dict[str, Any], controls: Controls, target_fps: float | None
) -> Sharpening:
    if arguments["server"] is not None:
        from desktop.camera.remote import RemoteSharpening

        return RemoteSharpening(
            arguments["server"],
            controls,
            quality=arguments["quality"],
            strength=arguments["strength"],
            target_fps=target_fps,
            api_key=arguments["api_key"] or os.environ.get("CLEARCALL_API_KEY"),
        )
    from desktop.camera.local import LocalSharpening, load_students

    students = load_students(arguments, adapts=target_fps is not None)
    students.served.warm_up()
    strength = arguments["strength"]
    controls.strength = students.served.default_strength if strength is None else strength
    return LocalSharpening(students, controls, target_fps=target_fps)


def _target_fps(arguments: dict[str, Any], opened: Capture) -> float | None:
    if arguments["no_adapt"]:
        return None
    asked: float | None = arguments["fps"]
    return asked or min(opened.fps or _MAX_TARGET_FPS, _MAX_TARGET_FPS)


def _figures(meter: Meter, controls: Controls) -> dict[str, object]:
    return {
        "frames_shown": meter.frames,
        "fps_average": round(meter.average_fps, 2),
        "inference_ms": meter.inference_quantiles_ms(),
        "strength": controls.strength,
    }


def _list(*, is_json: bool) -> int:
    cameras = list_cameras()
    if is_json:
        print(json.dumps({"cameras": [asdict(camera) for camera in cameras]}))
        return _EXIT_DONE
    for camera in cameras:
        gives = "in use, or no camera"
        if camera.width:
            gives = f"{camera.width}x{camera.height} at {camera.fps:g} FPS"
        print(f"{camera.number}  {camera.name}  {gives}")
    if not cameras:
        print("clearcall: no camera is connected, or none may be used", file=sys.stderr)
    return _EXIT_DONE if cameras else _EXIT_NOTHING


def _tell(line: str) -> None:
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{start}clearcall: {line}", file=sys.stderr, flush=True)
