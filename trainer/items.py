"""Single images and pairs: where they are kept, and reading many of them with all cores."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trainer.pictures import ImageArray, ImageUnreadable, load_picture

__all__ = ["ImageRef", "Item", "Loaded", "PictureFile", "Skipped", "read_ahead"]


class ImageRef(Protocol):
    """Where an image is kept. Small, and can be sent to another process."""

    @property
    def path(self) -> Path:
        """The file that it is in."""

    def read(self) -> ImageArray:
        """The image, (H, W, 3) uint8 RGB.

        Raises:
            ImageUnreadable: the file is missing or damaged.
        """


@dataclass(frozen=True, slots=True)
class PictureFile:
    """An image with a file of its own."""

    path: Path

    def read(self) -> ImageArray:
        return load_picture(self.path)


@dataclass(frozen=True, slots=True)
class Item:
    """A clean image, or a pair of a degraded and a clean one; `name` is unique in its source."""

    name: str
    clean: ImageRef
    degraded: ImageRef | None = None

    @property
    def refs(self) -> tuple[ImageRef, ...]:
        return (self.clean,) if self.degraded is None else (self.clean, self.degraded)


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something of a source that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """An item whose images (the clean one first) have been read, and their SHA-256."""

    item: Item
    images: tuple[ImageArray, ...]
    digests: tuple[bytes, ...]

    @classmethod
    def of(cls, item: Item, *images: ImageArray) -> Loaded:
        digests = (hashlib.sha256(image.reshape(-1).data).digest() for image in images)
        return cls(item, images, tuple(digests))


def read_ahead(items: Iterable[Item]) -> Iterator[Loaded | Skipped]:
    """Reads items with all cores, in their order; few are in memory at a time."""
    threads = min(16, os.cpu_count() or 1)
    waiting: deque[Future[Loaded | Skipped]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(_load, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _load(item: Item) -> Loaded | Skipped:
    try:
        return Loaded.of(item, *(ref.read() for ref in item.refs))
    except ImageUnreadable as exc:
        return Skipped(item.name, str(exc))
