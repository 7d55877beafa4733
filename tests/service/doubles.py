"""A small stand-in for the model, for the paths around it: it can be held, and it can fail."""

from __future__ import annotations

import threading
from collections.abc import Generator, Hashable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from service.frame_codec import ImageArray

if TYPE_CHECKING:
    from service.model.sharpener import Description, MeasuredSize, Sharpener

__all__ = ["FakeSharpener"]

_HOLD_LIMIT_S = 30


class FakeSharpener:
    """The interface of `service.model.sharpener.Sharpener`; the correction is of fine detail.

    It looks one pixel far.

    `hold` makes calls wait until `release`; `entered` tells that one is in. `failure` is raised by
    the next calls.
    """

    def __init__(self, *, lanes: int = 1) -> None:
        self.lanes = lanes
        self.checkpoint = SimpleNamespace(model_id="fake-00000000")
        self.device = "cpu"
        self.backend = "fake"
        self.precision = "fp32"
        self.threads = 0
        self.default_strength = 1.0
        self.name = "fake"
        self.work_per_px = 0.0
        self.max_batch = 1
        self.pieces_of_an_image = 1
        self.batches_seen: list[int] = []
        self.size_multiple = 1
        self.context_px = 1
        self.failure: Exception | None = None
        self.entered = threading.Semaphore(0)
        self.threads_seen: set[str] = set()
        self.shapes_seen: list[tuple[int, ...]] = []
        self.lanes_seen: list[int | None] = []
        self.descriptions_seen: list[Description | None] = []
        self.lanes_described: list[int | None] = []
        self._gate = threading.Event()
        self._gate.set()

    def hold(self) -> None:
        """From now on calls wait."""
        self._gate.clear()

    def release(self) -> None:
        """Lets the waiting calls, and all later ones, through."""
        self._gate.set()

    def as_sharpener(self) -> Sharpener:
        """Itself, for parameters that ask for the real one."""
        return cast("Sharpener", self)

    @property
    def gains_by_parts(self) -> bool:
        """As a CPU, unless it takes batches."""
        return self.max_batch == 1

    def describe(
        self,
        image: ImageArray,
        *,
        lane: int | None = None,
    ) -> Description:
        """(1, 64) fp32: the image's mean level, 64 times."""
        self.lanes_described.append(lane)
        return np.full((1, 64), image.mean(), np.float32)

    def sharpen(
        self,
        image: ImageArray,
        *,
        strength: float | None = None,
        description: Description | None = None,
        lane: int | None = None,
    ) -> ImageArray:
        """(H, W, 3) uint8 RGB -> the same, its fine detail 1 + strength times as large.

        The description plays no part, but is recorded.
        """
        self.descriptions_seen.append(description)
        self.lanes_seen.append(lane)
        self.entered.release()
        self.threads_seen.add(threading.current_thread().name)
        self.shapes_seen.append(image.shape)
        assert self._gate.wait(_HOLD_LIMIT_S), "held for too long"
        if self.failure is not None:
            raise type(self.failure)(*self.failure.args)
        blurred = cv2.GaussianBlur(image, (3, 3), 0).astype(np.float32)
        amount = self.default_strength if strength is None else strength
        corrected = image + amount * (image.astype(np.float32) - blurred)
        return np.clip(np.rint(corrected), 0, 255).astype(np.uint8)

    def pieces(
        self,
        image: ImageArray,
        *,
        strength: float | None = None,
        description: Description | None = None,
        tile_px: int | None = None,  # noqa: ARG002 - of the real one
    ) -> Generator[None, int | None, ImageArray]:
        """As `sharpen`, `pieces_of_an_image` times; the last one counts."""
        for _ in range(self.pieces_of_an_image):
            lane = yield
            sharpened = self.sharpen(image, strength=strength, description=description, lane=lane)
        return sharpened

    def batch_key(self, image: ImageArray) -> Hashable:
        """Equal sizes go together, where `max_batch` is above 1."""
        return image.shape if self.max_batch > 1 else None

    def sharpen_batch(
        self,
        images: Sequence[ImageArray],
        *,
        strength: float,
        descriptions: Sequence[Description],
        lane: int | None = None,
    ) -> list[ImageArray]:
        """Each by `sharpen`; `batches_seen` has how many."""
        self.batches_seen.append(len(images))
        return [
            self.sharpen(image, strength=strength, description=description, lane=lane)
            for image, description in zip(images, descriptions, strict=True)
        ]

    def measure(self) -> tuple[MeasuredSize, ...]:
        """One size."""
        from service.model.sharpener import MeasuredSize

        return (MeasuredSize(360, 640, 10.0),)

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def facts_json(self) -> dict[str, object]:
        """One fact."""
        return {"architecture": "fake"}
