"""A recording that can be played whatever happens: Matroska, or MP4 in fragments, H.264.

Frames keep the time at which they were captured, so that the film is as fast as life whatever rate
the network holds. There is no sound.
"""

from __future__ import annotations

import os
import threading
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from desktop.camera.errors import OutputUnavailable
from desktop.camera.fitting import fitted
from desktop.camera.frames import ImageArray, Shown
from desktop.camera.output import each_frame
from desktop.camera.overlay import with_caption
from desktop.camera.slot import Slot

if TYPE_CHECKING:  # an extra
    from av.container import OutputContainer
    from av.video.stream import VideoStream

__all__ = ["Recording"]

# What is written can be played up to a second or two before a crash.
_CONTAINER_OPTIONS = {
    ".mkv": {"cluster_time_limit": "1000", "flush_packets": "1"},
    ".mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"},
}
_KEY_FRAME_S = 2.0
_TICKS_PER_S = 90_000
_NOMINAL_FPS = 30
# One thread: the other cores are the network's.
_ENCODER_OPTIONS = {"preset": "veryfast", "tune": "zerolatency", "crf": "20", "threads": "1"}


class Recording:
    """Writes one file. Its size is that of the first picture; later ones are fitted into it."""

    def __init__(self, path: Path, *, overwrites: bool = False, has_overlay: bool = False) -> None:
        """Creates the file.

        Args:
            path: Ends in .mkv or .mp4.
            overwrites: Whether a file that is there may go.
            has_overlay: Whether the figures are recorded.

        Raises:
            OutputUnavailable: It cannot be written, or PyAV is not installed.
        """
        self.name = str(path)
        if path.suffix.lower() not in _CONTAINER_OPTIONS:
            raise OutputUnavailable(self.name, "a recording ends in .mkv or .mp4")
        try:
            import av  # noqa: F401
        except ImportError as exc:
            raise OutputUnavailable(
                self.name, "--record needs PyAV: pip install 'clearcall[video]'"
            ) from exc
        self._was_there = path.exists()
        try:
            # Nothing of an old file goes before there is a frame.
            path.open("ab" if overwrites else "xb").close()
        except FileExistsError as exc:
            raise OutputUnavailable(
                self.name, "it exists; name another file, or give --force"
            ) from exc
        except OSError as exc:
            raise OutputUnavailable(self.name, f"cannot be written: {exc.strerror}") from exc
        self._path = path
        self._has_overlay = has_overlay
        self._frames = 0
        self._container: OutputContainer | None = None
        self._stream: Any = None
        self._first_s = 0.0
        self._ticks = -1
        self._key_ticks = 0

    def run(self, frames: Slot[Shown], stop: threading.Event) -> None:
        """See `Output.run`."""
        import av

        try:
            each_frame(frames, stop, self._write)
        except (OSError, av.FFmpegError) as exc:
            raise OutputUnavailable(self.name, f"recording stopped: {_told(exc)}") from exc

    def close(self) -> None:
        """See `Output.close`. A file without a frame is removed."""
        import av

        try:
            if self._container is not None:
                for packet in self._stream.encode():
                    self._container.mux(packet)
                self._container.close()
        except (OSError, av.FFmpegError) as exc:
            raise OutputUnavailable(self.name, f"recording stopped: {_told(exc)}") from exc
        finally:
            if not self._frames and not self._was_there:
                self._path.unlink(missing_ok=True)

    def facts(self) -> dict[str, object]:
        """See `Output.facts`."""
        return {"recording": {"file": self.name, "frames": self._frames}}

    def _write(self, shown: Shown) -> None:
        import av

        if shown.is_notice:
            return
        image = with_caption(shown.image, shown.caption) if self._has_overlay else shown.image
        if self._container is None:
            self._begin(image.shape[0], image.shape[1], shown.captured_s)
        assert self._container is not None, "it has begun"
        frame = av.VideoFrame.from_ndarray(self._sized(image), format="rgb24")
        frame = frame.reformat(
            format="yuv420p",
            dst_colorspace="ITU709",
            src_color_range="JPEG",
            dst_color_range="MPEG",
        )
        ticks = max(self._ticks + 1, round((shown.captured_s - self._first_s) * _TICKS_PER_S))
        frame.pts, frame.time_base = ticks, Fraction(1, _TICKS_PER_S)
        if ticks >= self._key_ticks:
            frame.pict_type = av.video.frame.PictureType.I
            self._key_ticks = ticks + round(_KEY_FRAME_S * _TICKS_PER_S)
        self._ticks = ticks
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
        self._frames += 1

    def _sized(self, image: ImageArray) -> ImageArray:
        height, width = self._stream.height, self._stream.width
        if image.shape[0] // 2 * 2 == height and image.shape[1] // 2 * 2 == width:
            return np.ascontiguousarray(image[:height, :width])  # no scaling for an odd line
        return fitted(image, (height, width), "letterbox")

    def _begin(self, height: int, width: int, first_s: float) -> None:
        import av

        options = _CONTAINER_OPTIONS[self._path.suffix.lower()]
        # The name of a file could be taken for a protocol's.
        self._container = av.open(f"file:{self.name}", "w", container_options=options)
        stream: VideoStream = self._container.add_stream(
            "libx264", rate=_NOMINAL_FPS, options=_ENCODER_OPTIONS
        )
        # H.264 in 4:2:0 has even sides.
        stream.width, stream.height = max(2, width // 2 * 2), max(2, height // 2 * 2)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS_PER_S)
        context = stream.codec_context
        context.color_range, context.colorspace = 1, 1
        context.color_primaries, context.color_trc = 1, 1
        self._stream, self._first_s = stream, first_s


def _told(exc: Exception) -> str:
    number = getattr(exc, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else str(exc)
