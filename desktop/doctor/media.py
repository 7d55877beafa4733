"""What comes in and goes out: pictures, video encoders, cameras, virtual camera, window."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from desktop.doctor.problem import Problem

__all__ = ["Encoder", "Media", "look_at_cameras", "look_at_encoders", "look_at_pictures"]

_HARDWARE = ("_nvenc", "_qsv", "_vaapi", "_videotoolbox", "_amf", "_v4l2m2m", "_mf")
_SOFTWARE = ("libx264", "libx265", "libsvtav1", "libvpx-vp9")
_CODECS = ("h264", "hevc", "av1", "vp9")
_NEEDED = {"jpg": "JPEG", "zlib": "PNG", "webp": "WebP", "libtiff": "TIFF"}
_MORE = {"avif": "AVIF"}
_TRIED_SIZE_PX = (480, 640)  # hardware refuses small ones


@dataclass(frozen=True, slots=True)
class Encoder:
    """A video encoder that FFmpeg has; `works` is tried for those of hardware."""

    name: str
    is_hardware: bool
    works: bool


@dataclass(frozen=True, slots=True)
class Media:
    """What was found.

    Attributes:
        pillow: Its version, None if it cannot be imported.
        pictures: Formats that Pillow reads and writes here.
        pyav: Its version, None if it is not installed.
        encoders: Of video.
        cameras: Number, name, width, height and fps of each; 0x0 = it cannot be opened.
        virtual_camera: The device that `camera --virtual` would use, None if there is none.
        virtual_camera_lacks: Why there is none.
        window_lacks: Why there can be no window, None if there can be one.
    """

    pillow: str | None
    pictures: tuple[str, ...]
    pyav: str | None
    encoders: tuple[Encoder, ...]
    cameras: tuple[dict[str, Any], ...]
    virtual_camera: str | None
    virtual_camera_lacks: str | None
    window_lacks: str | None


def look_at_pictures(problems: list[Problem]) -> tuple[str | None, tuple[str, ...]]:
    """Pillow's version and formats."""
    try:
        import PIL
        import simplejpeg  # noqa: F401
        from PIL import features
    except (ImportError, OSError) as exc:
        problems.append(
            Problem(
                f"pictures cannot be read: {exc}",
                "install it again: pip install --force-reinstall pillow simplejpeg",
                is_essential=True,
            )
        )
        return None, ()
    formats = [told for name, told in {**_NEEDED, **_MORE}.items() if features.check(name)]
    if missing := [told for told in _NEEDED.values() if told not in formats]:
        problems.append(
            Problem(
                f"this Pillow is built without {', '.join(missing)}",
                "install the one from PyPI: pip install --force-reinstall pillow",
            )
        )
    heic = ("HEIC",) if importlib.util.find_spec("pillow_heif") else ()
    return PIL.__version__, (*formats, *heic, "BMP")


def look_at_encoders() -> tuple[str | None, tuple[Encoder, ...]]:
    """PyAV's version, and the video encoders that matter; those of hardware are tried."""
    try:
        import av

        from desktop.video.encoders import describe_encoders
    except (ImportError, OSError):
        return None, ()
    installed = [name for name, _ in describe_encoders()]
    encoders = [Encoder(name, False, True) for name in _SOFTWARE if name in installed]
    for codec in _CODECS:
        for name in installed:
            if name.startswith(codec) and name.endswith(_HARDWARE):
                encoders.append(Encoder(name, True, _works(name)))
    return av.__version__, tuple(encoders)


def look_at_cameras(
    problems: list[Problem],
) -> tuple[tuple[dict[str, Any], ...], str | None, str | None, str | None]:
    """(cameras, the virtual camera's device, why there is none, why there is no window)."""
    try:
        from desktop.camera.capture import quieten_opencv
        from desktop.camera.devices import list_cameras
        from desktop.camera.window import why_no_window
    except (ImportError, OSError) as exc:
        problems.append(
            Problem(
                f"OpenCV does not work: {exc}",
                "install it again: pip install --force-reinstall opencv-python-headless; "
                "opencv-python also needs libGL: apt-get install libgl1",
                is_essential=True,
            )
        )
        return (), None, None, "OpenCV does not work"
    quieten_opencv()
    device, lacks = _virtual_camera()
    cameras = [each for each in list_cameras() if f"/dev/video{each.number}" != device]
    for camera in cameras:
        if not camera.width:
            problems.append(_closed_camera(camera.number, camera.name))
    return tuple(asdict(camera) for camera in cameras), device, lacks, why_no_window()


def _closed_camera(number: int, name: str, folder: Path = Path("/dev")) -> Problem:
    node = folder / f"video{number}"
    if sys.platform == "linux" and node.exists() and not os.access(node, os.R_OK | os.W_OK):
        return Problem(
            f"camera {number} ({name}) is not for this user",
            "sudo usermod -aG video $USER, then log in again",
        )
    return Problem(
        f"camera {number} ({name}) cannot be opened", "close the program that uses it, or replug it"
    )


def _virtual_camera() -> tuple[str | None, str | None]:
    from desktop.camera.errors import OutputUnavailable
    from desktop.camera.virtual import VirtualCamera

    try:
        camera = VirtualCamera()
    except OutputUnavailable as exc:
        return None, str(exc).removeprefix("virtual camera: ")
    device = camera.name.removeprefix("virtual camera ")
    camera.close()
    return device, None


def _works(name: str) -> bool:
    """Whether an encoder of hardware takes a frame on this machine."""
    import av
    import numpy as np
    from av.codec.hwaccel import HWAccel

    height, width = _TRIED_SIZE_PX
    try:
        hardware = HWAccel("vaapi") if name.endswith("_vaapi") else None
        context = av.CodecContext.create(name, "w", hwaccel=hardware)
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height = width, height
        context.framerate, context.time_base = Fraction(30), Fraction(1, 30)
        formats = [each.name for each in av.Codec(name, "w").video_formats or ()]
        context.pix_fmt = next((each for each in ("yuv420p", "nv12") if each in formats), "nv12")
        gray = np.full((height * 3 // 2, width), 128, np.uint8)
        frame = av.VideoFrame.from_ndarray(gray, format="yuv420p").reformat(format=context.pix_fmt)
        frame.pts = 0
        return bool([*context.encode(frame), *context.encode(None)])
    except (av.FFmpegError, ValueError, RuntimeError, NotImplementedError):
        # What FFmpeg or a driver refuses cannot be used.
        return False
