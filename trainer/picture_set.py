"""The images of a source, alone or in pairs, held in memory that loader processes share.

A `PictureSet` is what every kind of source becomes once its images have been seen: a list of items
with the way back to each one's file, and a cache. What cannot be used is named in the log and left
out; only a set with nothing in it is an error.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.items import ImageRef, Item, Loaded, PictureFile, Skipped, read_ahead
from trainer.pictures import ImageArray, ImageUnreadable, find_pictures, picture_size

__all__ = ["PictureSet", "open_picture_files"]

_LOGGED_SKIPS = 20
_NOT_CACHED = -1

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PictureSet:
    """The usable items of a source. Satisfies `sources.Source`.

    As many of the images as fit are held decoded, in memory that loader processes share; the others
    are read when they are needed.

    Attributes:
        kind: `pictures`, `pairs`, `video` or `pack`.
        layout: what was recognised, for the user.
        items: in the order of their names.
        shapes: (height, width) of each, in px.
        manifest_hash: SHA-256 over the names and the pixels of all items.
        cache: every byte that is held, or None.
        offsets: where in the cache an item starts, its degraded image behind its clean one.
        skipped: how many files or pairs were left out.
    """

    kind: str
    layout: str
    items: tuple[Item, ...]
    shapes: tuple[tuple[int, int], ...]
    manifest_hash: str
    cache: Tensor | None
    offsets: tuple[int, ...]
    skipped: int

    @classmethod
    def open(cls, folder: Path, *, smallest_px: int, cache_bytes: int) -> PictureSet:
        """Reads every picture of a folder of sharp pictures once.

        Files that cannot be read or are smaller than `smallest_px` are named in the log and left
        out.

        Raises:
            FileNotFoundError: no picture is left.
        """
        items = [
            Item(path.relative_to(folder).as_posix(), PictureFile(path))
            for path in find_pictures(folder)
        ]
        return open_picture_files(
            items,
            (),
            kind="pictures",
            layout="folder of sharp pictures",
            root=folder,
            smallest_px=smallest_px,
            cache_bytes=cache_bytes,
        )

    @classmethod
    def collect(
        cls,
        found: Iterable[Loaded | Skipped],
        *,
        kind: str,
        layout: str,
        root: Path,
        smallest_px: int,
        cache_bytes: int,
    ) -> PictureSet:
        """Keeps what can be used; `found` is gone through once.

        Args:
            smallest_px: the least side of a usable image.
            cache_bytes: the size of the cache; no more than what all images need.

        Raises:
            FileNotFoundError: nothing is left; the message says what is wrong with the first.
        """
        cache = _Cache(cache_bytes)
        manifest = hashlib.sha256()
        items: list[Item] = []
        shapes: list[tuple[int, int]] = []
        offsets: list[int] = []
        skipped: list[Skipped] = []
        for one in found:
            problem = one if isinstance(one, Skipped) else _problem(one, smallest_px)
            if problem is not None:
                skipped.append(problem)
                if len(skipped) <= _LOGGED_SKIPS:
                    _log.warning("skipped %s: %s", root / problem.name, problem.reason)
                continue
            assert isinstance(one, Loaded)
            manifest.update(one.item.name.encode())
            for digest in reversed(one.digests):
                manifest.update(digest)
            items.append(one.item)
            shapes.append((one.images[0].shape[0], one.images[0].shape[1]))
            offsets.append(cache.add(one.images))
        if len(skipped) > _LOGGED_SKIPS:
            _log.warning("and skipped %d more", len(skipped) - _LOGGED_SKIPS)
        if not items:
            raise FileNotFoundError(_nothing_left(root, layout, smallest_px, skipped))
        return cls(
            kind=kind,
            layout=layout,
            items=tuple(items),
            shapes=tuple(shapes),
            manifest_hash=manifest.hexdigest(),
            cache=cache.held,
            offsets=tuple(offsets),
            skipped=len(skipped),
        )

    def __len__(self) -> int:
        return len(self.items)

    @property
    def is_paired(self) -> bool:
        """Whether every item has a degraded image of its own; otherwise none has."""
        return self.items[0].degraded is not None

    def describe(self) -> str:
        noun = "blurred/sharp pairs" if self.is_paired else "sharp images"
        held = sum(offset != _NOT_CACHED for offset in self.offsets)
        where = "all" if held == len(self) else f"{held}" if held else "none"
        return f"{self.layout}: {len(self)} {noun}, {self.skipped} skipped, {where} held in memory"

    def pair(self, index: int) -> tuple[ImageArray | None, ImageArray]:
        """(degraded, clean) of item `index`, each (H, W, 3) uint8 RGB; not to be written to.

        None = the source has the clean image alone.

        Raises:
            OSError: the file changed or vanished since it was opened.
        """
        item = self.items[index]
        degraded = None if item.degraded is None else self._image(index, 1, item.degraded)
        return degraded, self._image(index, 0, item.clean)

    def image(self, index: int) -> ImageArray:
        """The clean image of item `index`, see `pair`."""
        return self._image(index, 0, self.items[index].clean)

    def _image(self, index: int, place: int, ref: ImageRef) -> ImageArray:
        height, width = self.shapes[index]
        if self.cache is not None and self.offsets[index] != _NOT_CACHED:
            size = height * width * 3
            start = self.offsets[index] + place * size
            return self.cache.numpy()[start : start + size].reshape(height, width, 3)
        try:
            image = ref.read()
        except ImageUnreadable as exc:
            raise OSError(f"{ref.path} changed or vanished during training: {exc}.") from exc
        if image.shape[:2] != (height, width):
            raise OSError(f"{ref.path} changed or vanished during training. Put it back.")
        return image


def open_picture_files(
    items: Iterable[Item],
    skipped: Iterable[Skipped],
    *,
    kind: str,
    layout: str,
    root: Path,
    smallest_px: int,
    cache_bytes: int,
) -> PictureSet:
    """The set of items whose images have files of their own.

    The headers are read first, so that no more memory than needed is set aside.

    Raises:
        FileNotFoundError: nothing is left.
    """
    usable: list[Item] = []
    unusable = list(skipped)
    needed_bytes = 0
    for item in items:
        try:
            sizes = [picture_size(ref.path) for ref in item.refs]
        except ImageUnreadable as exc:
            unusable.append(Skipped(item.name, str(exc)))
            continue
        usable.append(item)
        needed_bytes += sum(height * width * 3 for height, width in sizes)
    return PictureSet.collect(
        chain(unusable, read_ahead(usable)),
        kind=kind,
        layout=layout,
        root=root,
        smallest_px=smallest_px,
        cache_bytes=min(cache_bytes, needed_bytes),
    )


def _problem(loaded: Loaded, smallest_px: int) -> Skipped | None:
    height, width = loaded.images[0].shape[:2]
    for image in loaded.images[1:]:
        if image.shape != loaded.images[0].shape:
            sizes = f"{image.shape[1]}x{image.shape[0]} blurred, {width}x{height} sharp"
            return Skipped(loaded.item.name, f"the two pictures differ in size ({sizes})")
    if min(height, width) < smallest_px:
        return Skipped(loaded.item.name, f"{width}x{height}, smaller than {smallest_px} px")
    return None


def _nothing_left(root: Path, layout: str, smallest_px: int, skipped: list[Skipped]) -> str:
    example = f", such as {skipped[0].name}: {skipped[0].reason}" if skipped else ""
    return (
        f"Nothing in {root} ({layout}) can be read and is at least {smallest_px} px on its short "
        f"side; {len(skipped)} skipped{example}. Pass larger pictures or a smaller crop."
    )


class _Cache:
    """Fills one block of shared memory, first come, first served."""

    def __init__(self, size_bytes: int) -> None:
        self.held: Tensor | None = None
        self._used = 0
        if size_bytes <= 0:
            return
        try:
            self.held = torch.empty(size_bytes, dtype=torch.uint8)
        except RuntimeError:
            _log.warning("%.1f GB do not fit into memory: nothing is held", size_bytes / 1e9)
            return
        try:
            self.held.share_memory_()  # type: ignore[no-untyped-call]
        except RuntimeError as exc:  # containers often have 64 MB of it
            _log.warning("no shared memory for the pictures (%s): each process may copy them", exc)

    def add(self, images: tuple[ImageArray, ...]) -> int:
        """The offset of the first image, or `_NOT_CACHED` where they do not fit."""
        size = sum(image.nbytes for image in images)
        if self.held is None or self._used + size > self.held.numel():
            return _NOT_CACHED
        flat = self.held.numpy()
        start = self._used
        for image in images:
            flat[self._used : self._used + image.nbytes] = np.ravel(image)
            self._used += image.nbytes
        return start
