"""Where training pictures come from: what a path holds is recognised, and opened.

| path | becomes |
|---|---|
| folder with blurred and sharp pictures, see `layouts` | pairs, used as they are |
| folder with other pictures | clean pictures, to be degraded |
| video file, or folder with videos | frames, to be degraded |
| pack, see `pack_file` | its crops, or pairs of crops |

Files that cannot be used are named in the log and left out.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from trainer.items import Item, Loaded, Skipped
from trainer.layouts import find_pairs
from trainer.pack_file import is_pack, open_pack
from trainer.picture_set import PictureSet, open_picture_files
from trainer.pictures import PICTURE_EXTENSIONS, ImageArray, ImageUnreadable
from trainer.videos import VIDEO_EXTENSIONS, find_videos, sample_frames, video_size

__all__ = ["Source", "open_source"]

_EXPECTED = (
    "Expected is a folder of sharp pictures, a folder with blurred and sharp ones (blurry and "
    "sharp, or the layout of GoPro, REDS or HIDE), a video, a folder of videos, or a pack."
)
_PACK_EXTENSIONS = frozenset({".zip", ".pack"})

_log = logging.getLogger(__name__)


class Source(Protocol):
    """Clean images, or pairs of a degraded and a clean one. Never empty."""

    @property
    def kind(self) -> str:
        """`pictures`, `pairs`, `video` or `pack`."""

    @property
    def manifest_hash(self) -> str:
        """SHA-256 over the names and the pixels of all items."""

    @property
    def is_paired(self) -> bool:
        """Whether every item has a degraded image of its own; otherwise none has."""

    def __len__(self) -> int: ...

    def describe(self) -> str:
        """One line for the user: what was recognised, how many items, how many were skipped."""

    def pair(self, index: int) -> tuple[ImageArray | None, ImageArray]:
        """(degraded, clean) of an item, each (H, W, 3) uint8 RGB; not to be written to.

        None = the source has the clean image alone.
        """


def open_source(
    path: Path,
    *,
    smallest_px: int,
    cache_bytes: int,
    frames_per_video: int = 24,
    run_length: int = 1,
) -> PictureSet:
    """Opens whatever training pictures are at `path`; everything is read once.

    Args:
        smallest_px: pictures with a smaller side are left out; the crop's side.
        cache_bytes: decoded images are held in shared memory up to this.
        frames_per_video: the most frames of one video file, spread evenly over it.
        run_length: neighbouring frames that are taken together, see `videos.sample_frames`.

    Raises:
        FileNotFoundError: nothing that can be used; says what was found and what is expected.
        PackError: the pack is damaged or foreign.
        OSError: the path cannot be read.
    """
    limits = {"smallest_px": smallest_px, "cache_bytes": cache_bytes}
    frames = {"frames_per_video": frames_per_video, "run_length": run_length}
    if path.is_file():
        if path.suffix.lower() in VIDEO_EXTENSIONS:
            return _open_videos(path.parent, [path], **limits, **frames)
        if path.suffix.lower() in _PACK_EXTENSIONS or is_pack(path):
            return open_pack(path, **limits)
        raise FileNotFoundError(f"{path} is neither a video nor a pack. {_EXPECTED}")
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such file or folder. {_EXPECTED}")
    pictures = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in PICTURE_EXTENSIONS and file.is_file()
    )
    videos = find_videos(path)
    if not pictures and not videos:
        raise FileNotFoundError(f"{path} holds {_contents(path)}. {_EXPECTED}")
    if not pictures:
        return _open_videos(path, videos, **limits, **frames)
    if videos:
        _log.warning("%d videos in %s are not used: name them alone", len(videos), path)
    layout = find_pairs(path, pictures)
    if layout is None:
        return PictureSet.open(path, **limits)
    return open_picture_files(
        layout.pairs, layout.skipped, kind="pairs", layout=layout.name, root=path, **limits
    )


def _open_videos(
    root: Path,
    paths: Sequence[Path],
    *,
    smallest_px: int,
    cache_bytes: int,
    frames_per_video: int,
    run_length: int,
) -> PictureSet:
    needed_bytes = 0
    for path in paths:
        try:
            height, width = video_size(path)
        except ImageUnreadable:
            continue  # reported when its frames are asked for
        needed_bytes += height * width * 3 * frames_per_video
    return PictureSet.collect(
        _frames(root, paths, frames_per_video, run_length),
        kind="video",
        layout=f"frames of {len(paths)} video{'s' if len(paths) > 1 else ''}",
        root=root,
        smallest_px=smallest_px,
        cache_bytes=min(cache_bytes, needed_bytes),
    )


def _frames(
    root: Path, paths: Sequence[Path], count: int, run_length: int
) -> Iterator[Loaded | Skipped]:
    for path in paths:
        name = path.relative_to(root).as_posix()
        try:
            for frame, image in sample_frames(path, count=count, run_length=run_length):
                yield Loaded.of(Item(f"{name}#{frame.number}", frame), image)
        except ImageUnreadable as exc:
            yield Skipped(name, str(exc))


def _contents(folder: Path) -> str:
    """What a folder holds instead, such as "3 .txt, 1 .csv"."""
    kinds = Counter(
        path.suffix.lower() or "files without an extension"
        for path in folder.rglob("*")
        if path.is_file()
    )
    if not kinds:
        return "nothing"
    return "only " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4))
