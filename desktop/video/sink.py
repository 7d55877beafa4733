"""The new file: the encoded video where the old one was, all other streams copied.

It is written beside its place under a hidden name, and takes its place when it is whole. Until then
nothing is there, or what was there before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av import FFmpegError, Packet, VideoFrame
from av.codec.context import Flags
from av.codec.hwaccel import HWAccel
from av.container import OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from desktop.video.colour import matrix_at
from desktop.video.copying import CopiedStream, in_words
from desktop.video.covers import cover_of, is_cover
from desktop.video.encoders import Encoder
from desktop.video.errors import VideoError
from desktop.video.hdr import HdrFacts, hdr_options
from desktop.video.opening import has_unknown_sound
from desktop.video.source import Source
from service.model.atomic import temporary_beside
from service.model.scheduling import kept_scheduling

__all__ = ["Sink", "open_sink", "says_alpha"]

_FULL_RANGE = 2
# What muxers write anew, or what would be said of the old stream.
_STALE = ("_STATISTICS", "BPS", "NUMBER_OF_", "DURATION", "SOURCE_ID")
_OF_CONTAINER = {"major_brand", "minor_version", "compatible_brands", "encoder"}
_OF_NO_KIND = {"data", "unknown"}
_ALPHA_MODE = "alpha_mode"  # Matroska's word for a second picture that holds the transparency
_KEEPS_ROTATION = {"mp4", "mov", "matroska", "webm", "ipod", "3gp", "3g2"}
# Encoders that count time in no finer units than this, or in frames only.
_COARSE = {"mpeg4": 65_535, "mpeg2video": 0, "mpeg1video": 0}
_MOST_REORDERED_S = 600  # between decoding and showing a frame; encoders look seconds ahead
_MOST_APART_S = 0.1  # sound that is so much off is noticed
_FRAME_TIMED_FORMATS = {"avi"}
_KEEPS_FIELDS = {"libx264", "mpeg2video"}


@contextmanager
def open_sink(path: Path, source: Source, *, drops_unsupported: bool = False) -> Iterator[Sink]:
    """A file being written; if it is not `finish`ed when the block ends, nothing is left behind.

    Args:
        path: where the file will be; until then it is written beside its place.
        source: what is copied and encoded.
        drops_unsupported: whether streams that the container cannot hold are left out.

    Raises:
        VideoError: it cannot be written there, or FFmpeg knows no such format.
    """
    with ExitStack() as stack:
        try:
            temporary = stack.enter_context(temporary_beside(path, suffix=path.suffix))
        except OSError as exc:
            raise VideoError(path, f"cannot be written: {exc.strerror}") from exc
        try:
            container = av.open(
                f"file:{temporary}", "w", container_options=_container_options(source, path)
            )
        except (FFmpegError, ValueError) as exc:
            raise VideoError(
                path,
                f"FFmpeg has no format for {path.suffix or 'a name without suffix'}; name "
                "the output .mp4, .mkv, .mov or .webm",
            ) from exc
        stack.callback(_close, container)
        if container.format.no_file:
            raise VideoError(
                path,
                f"{container.format.name} writes several files beside each other; name the output "
                ".mp4, .mkv, .mov or .webm",
            )
        yield Sink(path, temporary, container, source, drops_unsupported=drops_unsupported)


class Sink:
    """See `open_sink`.

    Attributes:
        path: where the file will be.
        left_out: what the container cannot hold, in words.
        warnings: what could not be kept, as sentences.
        is_interlaced: whether frames are encoded as two fields, once it is begun.
    """

    def __init__(
        self,
        path: Path,
        temporary: Path,
        container: OutputContainer,
        source: Source,
        *,
        drops_unsupported: bool,
    ) -> None:
        self.path = path
        self.left_out: list[str] = []
        self.warnings: list[str] = []
        self.is_interlaced = False
        self._temporary = temporary
        self._container = container
        self._source = source
        self._drops_unsupported = drops_unsupported
        self._copied: dict[int, CopiedStream] = {}
        self._covers: set[int] = set()  # streams that are written once, at the beginning
        self._cover_packets: list[Packet[Any]] = []
        self._picture_begins_s = Fraction(0)
        self._last_pts: int | None = None
        self._durations: dict[int, int] = {}
        self._video: VideoStream | None = None

    def begin(
        self, first: VideoFrame, fitted: VideoFrame, encoder: Encoder, *, size_px: tuple[int, int]
    ) -> None:
        """Sets all streams up.

        Args:
            first: the source's, whose side data tell how it is to be shown.
            fitted: the same as it will be encoded, but for its pixels and its size.
            encoder: see `choose_encoder`.
            size_px: (height, width) of the encoded frames.

        Raises:
            VideoError: the encoder does not work here, or the container cannot hold a stream.
        """
        container, source = self._container, self._source
        if first.pts is not None and first.time_base is not None:
            self._picture_begins_s = first.pts * first.time_base
        for stream in source.container.streams:
            if stream.index == source.stream.index:
                self._video = self._add_video(first, fitted, encoder, size_px)
            elif is_cover(stream):
                self._add_cover(stream)
            else:
                self._add_copied(stream)
        container.metadata.update(
            {
                key: value
                for key, value in source.container.metadata.items()
                if key.lower() not in _OF_CONTAINER
            }
        )
        container.set_chapters(source.chapters())
        try:
            container.start_encoding()
        except OSError as exc:
            raise VideoError(self.path, f"cannot be written: {exc.strerror}") from exc
        except (FFmpegError, ValueError) as exc:
            kinds = ", ".join(self.copied_kinds())
            raise VideoError(
                self.path,
                f"{container.format.name} cannot hold these streams together: {encoder.name}, "
                f"{kinds}; name the output .mkv",
            ) from exc
        for packet in self._cover_packets:
            with self._writing():
                container.mux_one(packet)

    def copy(self, packet: Packet[Any]) -> None:
        """Writes a packet of another stream; one that is damaged is left out and counted.

        Raises:
            VideoError: the disk is full, or the container refuses it, or all of its stream.
        """
        copied = self._copied.get(packet.stream_index)
        if copied is not None:
            with self._writing():
                copied.write(packet)

    def encode(self, frame: VideoFrame | None) -> None:
        """Encodes and writes the next frame; None: all that the encoder still holds.

        Raises:
            VideoError: see `copy`.
        """
        video = self._video
        assert video is not None, "begin was called"
        if frame is not None:
            assert frame.pts is not None, "the source gave it"
            assert frame.time_base is not None, "the source gave it"
            time_base = video.codec_context.time_base
            if frame.time_base != time_base:
                frame.duration = max(1, round(frame.duration * frame.time_base / time_base))
                frame.pts = self._in_order(round(frame.pts * frame.time_base / time_base))
                frame.time_base = time_base
            self._durations[frame.pts] = frame.duration
            frame.pict_type = 0  # as the encoder likes it, not as the old one did
        try:
            packets = video.encode(frame)
        except EOFError:
            return
        except FFmpegError as exc:
            raise VideoError(self.path, f"the encoder failed ({exc.strerror})") from exc
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration or 0)
                _mend_order(packet, packet.pts)
            with self._writing():
                self._container.mux_one(packet)

    def finish(self) -> None:
        """Completes the file and puts it into its place.

        Raises:
            VideoError: the disk is full, or all packets of a stream were refused.
        """
        for copied in self._copied.values():
            if copied.refusal is not None:
                with self._writing():
                    raise copied.refusal
        self._tell_what_is_apart()
        try:
            self._container.close()
            with self._temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(self._temporary, self.path)
        except (FFmpegError, OSError) as exc:
            raise VideoError(self.path, f"cannot be written: {exc.strerror}") from exc

    @property
    def is_like_source(self) -> bool:
        """Whether both files are of one format, whose clock may begin at any time."""
        return self._container.format.name in self._source.container.format.name.split(",")

    def copied_kinds(self) -> list[str]:
        """What was copied, such as `audio aac`, in order."""
        return [
            in_words(stream)
            for stream in self._source.copied
            if stream.index in self._copied or stream.index in self._covers
        ]

    def damaged_in_words(self) -> list[str]:
        """How many packets were left out because they are damaged, such as `3 of audio aac`."""
        return [
            f"{copied.damaged} of {in_words(copied.output)}"
            for copied in self._copied.values()
            if copied.damaged
        ]

    def _add_video(
        self, first: VideoFrame, fitted: VideoFrame, encoder: Encoder, size_px: tuple[int, int]
    ) -> VideoStream:
        source = self._source.stream
        options = dict(encoder.options)
        for name, value in hdr_options(encoder.name, HdrFacts.of(first)).items():
            options[name] = f"{options[name]}:{value}" if name in options else value
        try:
            video = self._container.add_stream(
                encoder.name,
                rate=self._source.rate,
                options=options,
                hwaccel=HWAccel(encoder.hardware) if encoder.hardware else None,
            )
        except ValueError as exc:
            raise VideoError(
                self.path,
                f"{self._container.format.name} cannot hold what {encoder.name} makes; choose "
                "another --encoder, or name the output .mp4 or .mkv",
            ) from exc
        video = cast(VideoStream, video)
        context = video.codec_context
        context.height, context.width = size_px
        context.pix_fmt = encoder.encoded_pixels
        context.time_base = self._time_base(encoder.name)
        video.time_base = context.time_base
        context.colorspace = matrix_at(fitted, context.height)
        context.color_range = fitted.color_range
        context.color_primaries, context.color_trc = fitted.color_primaries, fitted.color_trc
        if fitted.format.name.startswith("yuvj"):
            context.color_range = _FULL_RANGE
        context.thread_count = encoder.threads
        if source.sample_aspect_ratio:
            context.sample_aspect_ratio = source.sample_aspect_ratio
        if encoder.quantiser is not None:
            context.flags |= Flags.qscale
            context.global_quality = encoder.quantiser * 118  # FF_QP2LAMBDA
        is_scaled = abs(size_px[0] - first.height) > 1  # which mixes fields; one row is padding
        has_fields = fitted.interlaced_frame and not is_scaled
        self.is_interlaced = has_fields and encoder.name in _KEEPS_FIELDS
        if self.is_interlaced:
            context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        if self._container.format.name == "avi":
            context.max_b_frames = 0  # AVI has no times but the order of its frames
        if encoder.name in ("libx265", "hevc_nvenc") and self._holds_boxes():
            context.codec_tag = "hvc1"  # what Apple's players ask for
        self._describe(video, source)
        self._turn(video, first)
        try:
            with kept_scheduling():
                context.open()
        except (FFmpegError, ValueError) as exc:
            raise VideoError(
                self.path, f"the encoder {encoder.name} {_why_closed(encoder, exc)}"
            ) from exc
        return video

    def _time_base(self, encoder: str) -> Fraction:
        """The source's, so that times stay what they are, or as fine as encoder and container
        can count."""
        ticks = self._source.time_base
        per_frame = 1 / self._source.rate
        if self._container.format.name in _FRAME_TIMED_FORMATS:
            return per_frame
        finest = _COARSE.get(encoder)
        if finest is None:
            return ticks
        return ticks if 0 < ticks.denominator <= finest else per_frame

    def _turn(self, video: VideoStream, first: VideoFrame) -> None:
        """Keeps how the picture is to be turned when it is shown."""
        matrix: Any = first.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return
        if self._container.format.name.split(",")[0] in _KEEPS_ROTATION:
            video.set_display_matrix(np.frombuffer(matrix, np.int32).tolist())
        else:
            self.warnings.append(
                f"{self._container.format.name} cannot say that the picture is turned by "
                f"{-first.rotation} degrees: players will show it lying; name the output .mp4 or "
                ".mkv"
            )

    def _add_copied(self, stream: Stream) -> None:
        what = f"{stream.type} {stream.name or 'of an unknown codec'}"
        if stream.type in _OF_NO_KIND and self._container.format.name != "mpegts":
            # Chapters and time codes are tracks of this kind in MP4, and are written anew.
            if "timecode" in stream.metadata:
                self._container.metadata["timecode"] = stream.metadata["timecode"]
            elif not self._source.container.chapters():
                self.left_out.append(what)
            return
        if has_unknown_sound(stream):
            self.left_out.append(what)
            self.warnings.append(
                f"its stream {stream.index}, {what}, has no sound in the first five minutes or "
                "100 MB: it is left out"
            )
            return
        try:
            copied = self._container.add_stream_from_template(stream, opaque=True)
        except (ValueError, FFmpegError) as exc:
            if not self._drops_unsupported and stream.type not in _OF_NO_KIND:
                raise VideoError(
                    self.path,
                    f"{self._container.format.name} cannot hold the stream {stream.index}, {what}; "
                    f"name the output {self._source.path.suffix or '.mkv'}, or leave such streams "
                    "out with --drop",
                ) from exc
            self.left_out.append(what)
            return
        self._describe(copied, stream)
        # Whether AAC comes with headers; elsewhere they are in the file once.
        has_adts = stream.name == "aac" and self._source.container.format.name == "mpegts"
        self._copied[stream.index] = CopiedStream(self._container, copied, has_adts=has_adts)

    def _add_cover(self, stream: Stream) -> None:
        """A cover picture, where the container has a place for one; none needs to be asked for."""
        form, cover = self._container.format.name, None
        if form == "matroska" or (form == "mp4" and not _has_own_keys(self._source)):
            cover = cover_of(self._source.path, stream)
        if cover is None:
            self.left_out.append(in_words(stream))
            return
        self._covers.add(stream.index)
        if form == "matroska":
            self._container.add_attachment(cover.name, cover.media_type, cover.encoded)
            return
        output = self._container.add_stream_from_template(stream, opaque=True)
        self._describe(output, stream)
        packet: Packet[Any] = Packet(cover.encoded)
        packet.pts = packet.dts = 0
        packet.time_base, packet.is_keyframe, packet.stream = Fraction(1, 1000), True, output
        self._cover_packets.append(packet)

    def _describe(self, output: Stream, source: Stream) -> None:
        output.metadata.update(
            {
                key: value
                for key, value in source.metadata.items()
                if not key.upper().startswith(_STALE)
                and (output.type != "video" or key.lower() != "encoder")
                and (source is not self._source.stream or key.lower() != _ALPHA_MODE)
            }
        )
        output.disposition = source.disposition
        if self._holds_boxes() or self._container.format.name == "mpegts":
            output.id = source.id

    def _holds_boxes(self) -> bool:
        return self._container.format.name.split(",")[0] in ("mp4", "mov", "ipod", "3gp", "3g2")

    def _in_order(self, pts: int) -> int:
        """Later than the frame before: coarser time bases may make two of them equal."""
        pts = pts if self._last_pts is None else max(pts, self._last_pts + 1)
        self._last_pts = pts
        return pts

    def _tell_what_is_apart(self) -> None:
        """Warns of sound that begins at another time than the picture where that cannot be said."""
        if self._container.format.name not in _FRAME_TIMED_FORMATS:
            return
        for copied in self._copied.values():
            if copied.output.type != "audio" or copied.begins_s is None:
                continue
            late_s = float(copied.begins_s - self._picture_begins_s)
            if abs(late_s) > _MOST_APART_S:
                self.warnings.append(
                    f"{self._container.format.name} cannot say that {in_words(copied.output)} "
                    f"begins {abs(late_s):.1f} s {'after' if late_s > 0 else 'before'} the picture:"
                    " it will be out of time; name the output .mp4 or .mkv"
                )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise VideoError(self.path, f"cannot be written: {exc.strerror}") from exc
        except (FFmpegError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or str(exc)
            raise VideoError(
                self.path, f"{self._container.format.name} refuses a packet ({reason})"
            ) from exc


def says_alpha(metadata: Mapping[str, str]) -> bool:
    """Whether a stream of a Matroska file is said to be transparent."""
    return any(key.lower() == _ALPHA_MODE and value == "1" for key, value in metadata.items())


def _mend_order(packet: Packet[Any], pts: int) -> None:
    """x265 leaves the time of decoding to chance where a video has one or two frames."""
    dts = packet.dts
    if dts is None or dts > pts or (pts - dts) * packet.time_base > _MOST_REORDERED_S:
        packet.dts = pts


def _close(container: OutputContainer) -> None:
    # Closing writes the end of a file that nobody will see; a full disk is no news then.
    with suppress(FFmpegError, OSError, ValueError):
        container.close()


def _container_options(source: Source, path: Path) -> dict[str, str]:
    if path.suffix.lower() not in (".mp4", ".m4v", ".mov", ".m4a", ".3gp"):
        return {}
    flags = "+faststart"
    if _has_own_keys(source):
        flags += "+use_metadata_tags"
    return {"movflags": flags}


def _has_own_keys(source: Source) -> bool:
    """Whether there are keys such as phones and cameras write, which only one kind of list in MP4
    can hold; that list has no place for a cover picture."""
    return any("." in key for key in source.container.metadata)


def _why_closed(encoder: Encoder, exc: Exception) -> str:
    reason = getattr(exc, "strerror", None) or str(exc)
    hardware = ("nvenc", "qsv", "vaapi", "videotoolbox", "amf", "v4l2m2m", "mf")
    if encoder.name.endswith(hardware):
        return f"does not work on this machine ({reason}); leave --encoder out to encode on the CPU"
    return f"refuses --crf, --preset or the size of the frames ({reason})"
