"""The one path from an image to a sharpened image; service, evaluation and benchmarks all take it.

Pads to what the network needs (reflected; replicated where a picture is too small to reflect), runs
the backend's graph, crops. Large pictures go through in overlapping tiles, so that memory stays
bounded, and piece by piece where other work has to go in between.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from service.model.backends import Backend, Precision, create_backend
from service.model.bars import bars_around
from service.model.checkpoint import Checkpoint, load_checkpoint
from service.model.estimator import sample_image

__all__ = [
    "BUNDLED_SIZES",
    "DEFAULT_SIZE",
    "STRENGTH_RANGE",
    "Description",
    "MeasuredSize",
    "Sharpener",
    "bundled_checkpoint",
    "find_checkpoint",
]

STRENGTH_RANGE = (0.0, 2.0)
BUNDLED_SIZES = ("nano", "small", "base")
DEFAULT_SIZE = "small"
_WHOLE_PX = 2560 * 1600  # larger pictures go through in tiles
_TILE_PX = 1536
# The sides of pictures that are tried before the first real one, (height, width).
_WARM_UP_SIZES = ((256, 256), (360, 640))
# Frame sizes that are measured before the first real one, (height, width).
_MEASURED_SIZES = ((360, 640), (720, 1280), (1080, 1920))
_MEASURED_FOR_S = 0.2  # or twice, whatever is less
_NO_VIDEO_MS = 500  # larger frames than those that take so long are not worth the wait at the start

ImageArray = npt.NDArray[np.uint8]
Description = npt.NDArray[np.float32]
_Span: TypeAlias = tuple[slice, slice]


def bundled_checkpoint(size: str = DEFAULT_SIZE) -> Path:
    """The student of one of the `BUNDLED_SIZES` that ships with Clearcall."""
    return Path(str(resources.files("service") / "weights" / f"{size}.safetensors"))


def find_checkpoint(named: str | Path) -> Path:
    """The bundled student where a size is named, else the file."""
    return bundled_checkpoint(str(named)) if str(named) in BUNDLED_SIZES else Path(named)


@dataclass(frozen=True, slots=True)
class MeasuredSize:
    """What a picture of a size took on this machine, in the network and alone."""

    height: int
    width: int
    ms: float

    @property
    def px_per_s(self) -> float:
        return self.height * self.width / self.ms * 1000


class Sharpener:
    """A loaded student on a backend. Its owner keeps the backend's rule about lanes.

    Attributes:
        checkpoint: the network's facts and id.
        device: where it runs, such as `cpu` or `cuda:0`.
        backend: `openvino` or `torch`.
        threads: CPU threads that were asked for; 0 = all.
        lanes: how many pictures can be sharpened at once, each on its share of the machine.
        max_batch: how many pictures go through the network together.
        default_strength: where none is asked for.
        precision: that the network runs in: fp32, bf16 or fp16.
        size_multiple: what a picture is padded to, in px; a part of a picture that begins at
            multiples of it is worked on as in the whole.
        context_px: how far a pixel's correction looks at most, a multiple of `size_multiple`.
        name: the size of a bundled student, else the checkpoint's id.
    """

    def __init__(
        self, checkpoint: Checkpoint, backend: Backend, *, threads: int = 0, name: str | None = None
    ) -> None:
        self.checkpoint = checkpoint
        self.name = name or checkpoint.model_id
        self._backend = backend
        self.device = backend.device
        self.backend = backend.name
        self.precision = backend.precision
        self.lanes = backend.lanes
        self.max_batch = backend.max_batch
        self.threads = threads
        self.default_strength = checkpoint.facts.default_strength
        config = checkpoint.network.config
        self.size_multiple = config.size_multiple
        radius = config.receptive_radius_px + 1  # and a neighbour, for strengths above 1
        self.context_px = -(-radius // self.size_multiple) * self.size_multiple

    @classmethod
    def load(
        cls,
        named: str | Path = DEFAULT_SIZE,
        *,
        device: str = "auto",
        backend: str = "auto",
        threads: int = 0,
        precision: Precision = "auto",
    ) -> Sharpener:
        """Loads a checkpoint, a bundled size or a file, onto a backend (see `create_backend`).

        Raises:
            CheckpointError: the file cannot be served; the leaf says why.
            BackendUnavailable: the device or runtime is not on this machine, or cannot run in the
                precision.
        """
        checkpoint = load_checkpoint(find_checkpoint(named))
        chosen = create_backend(
            checkpoint.network,
            device=device,
            backend=backend,
            threads=threads,
            precision=precision,
        )
        name = str(named) if str(named) in BUNDLED_SIZES else None
        return cls(checkpoint, chosen, threads=threads, name=name)

    @property
    def work_per_px(self) -> float:
        """Multiplications for each pixel of a picture, by which students can be told apart."""
        return self.checkpoint.network.config.multiplications_per_px

    @property
    def gains_by_parts(self) -> bool:
        """Whether parts of a picture take much less time than the whole, as on a CPU. On a GPU each
        part waits for its launch, and one size that comes again and again is the fastest.
        """
        return self.device == "cpu" and self.max_batch == 1

    def describe(self, image: ImageArray, *, lane: int | None = None) -> Description:
        """How an image is degraded, as far as the student can tell: (1, D) fp32.

        From at most 36 squares of 64 px of it, whatever its size.
        """
        return self._backend.describe(sample_image(image)[None], lane=lane)

    def sharpen(
        self,
        image: ImageArray,
        *,
        strength: float | None = None,
        description: Description | None = None,
        lane: int | None = None,
    ) -> ImageArray:
        """Sharpens one image.

        Args:
            image: (H, W, 3) uint8 RGB, any size from 1x1 up, contiguous or not; it is not changed.
            strength: 0 (off), 1 (as trained) to 2 (stronger); None = `default_strength`.
            description: of another picture, such as the frame before, to go by; None = its own.
            lane: 0 to `lanes` - 1, while other lanes are at work too; None = the whole machine.

        Returns:
            An image of the same size.

        Raises:
            ValueError: the array is not such an image, or the strength is out of range.
        """
        pieces = self.pieces(image, strength=strength, description=description)
        try:
            next(pieces)
            while True:
                pieces.send(lane)
        except StopIteration as done:
            sharpened: ImageArray = done.value
            return sharpened

    def pieces(
        self,
        image: ImageArray,
        *,
        strength: float | None = None,
        description: Description | None = None,
        tile_px: int | None = None,
    ) -> Generator[None, int | None, ImageArray]:
        """Sharpens one image piece by piece, for an owner who has other work in between.

        Yields before each piece, is sent the lane for it, and returns the sharpened image at last.
        Of a picture with bars around it, what is between them is sharpened, unless it goes by the
        description of another one.
        A picture that is no more than a tile and its surroundings is one piece.

        Args:
            image: see `sharpen`, as are `strength` and `description`.
            tile_px: the sides of a piece; smaller ones take less time each and more in all. If it
                is not given, pictures of up to 4 megapixels are one piece.

        Raises:
            ValueError: at the first `next`, see `sharpen`.
        """
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or image.dtype != np.uint8:
            raise ValueError(f"an image is (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}")
        strength = self._checked(strength)
        lane = yield
        if strength == 0:
            return image.copy()
        if description is None:
            bars = bars_around(image)
            if bars is not None:
                within = bars.without(image)
                description = self.describe(within, lane=lane)
                parts = self._parts(within, strength, description, tile_px, lane)
                del within
                sharpened = yield from parts
                del parts  # which holds what is within
                return bars.around(image, sharpened)
            description = self.describe(image, lane=lane)
        return (yield from self._parts(image, strength, description, tile_px, lane))

    def _parts(
        self,
        image: ImageArray,
        strength: float,
        description: Description,
        tile_px: int | None,
        lane: int | None,
    ) -> Generator[None, int | None, ImageArray]:
        """The rest of `pieces`: the first part takes this lane, the others are sent theirs."""
        height, width = image.shape[:2]
        whole_px = _WHOLE_PX if tile_px is None else (tile_px + 2 * self.context_px) ** 2
        if height * width <= whole_px:
            return self._whole(image, strength, description, lane)
        side_px = tile_px or _TILE_PX
        sharpened = np.empty_like(image, order="C")
        is_first = True
        for rows, inner_rows in _spans(height, self.context_px, self.size_multiple, side_px):
            for columns, inner_columns in _spans(
                width, self.context_px, self.size_multiple, side_px
            ):
                if not is_first:
                    lane = yield
                is_first = False
                tile = self._whole(image[rows, columns], strength, description, lane)
                inner = _within(inner_rows, rows), _within(inner_columns, columns)
                sharpened[inner_rows, inner_columns] = tile[inner]
        return sharpened

    def batch_key(self, image: ImageArray) -> Hashable:
        """Images with an equal key can go through the network together; None = alone."""
        height, width = image.shape[:2]
        if self.max_batch == 1 or height * width > _WHOLE_PX:
            return None
        return (height + -height % self.size_multiple, width + -width % self.size_multiple)

    def sharpen_batch(
        self,
        images: Sequence[ImageArray],
        *,
        strength: float,
        descriptions: Sequence[Description],
        lane: int | None = None,
    ) -> list[ImageArray]:
        """Sharpens up to `max_batch` images with an equal `batch_key`, each as if it were alone.

        Args:
            images: see `sharpen`, as is `lane`.
            strength: for all of them.
            descriptions: one for each.
        """
        strength = self._checked(strength)
        if strength == 0:
            return [image.copy() for image in images]
        padded = np.stack([self._padded(image) for image in images])
        sharpened = self._backend.run(padded, strength, np.concatenate(descriptions), lane=lane)
        return [
            result[: image.shape[0], : image.shape[1]]
            for image, result in zip(images, sharpened, strict=True)
        ]

    def _checked(self, strength: float | None) -> float:
        if strength is None:
            strength = self.default_strength
        low, high = STRENGTH_RANGE
        if not low <= strength <= high:
            raise ValueError(f"strength must be {low:g} to {high:g}, not {strength}")
        return strength

    def _whole(
        self, image: ImageArray, strength: float, description: Description, lane: int | None
    ) -> ImageArray:
        height, width = image.shape[:2]
        padded = self._padded(image)
        sharpened: ImageArray = self._backend.run(padded[None], strength, description, lane=lane)[0]
        return sharpened[:height, :width]

    def _padded(self, image: ImageArray) -> ImageArray:
        """Reflected at the right and below up to the size multiple."""
        height, width = image.shape[:2]
        extra = (-height % self.size_multiple, -width % self.size_multiple)
        if not any(extra):
            return image
        mode = "reflect" if height > extra[0] and width > extra[1] else "edge"
        padded: ImageArray = np.pad(image, ((0, extra[0]), (0, extra[1]), (0, 0)), mode=mode)  # type: ignore[call-overload]
        return padded

    def warm_up(self) -> None:
        """Runs the common sizes by every graph, so that the first real picture is not slow."""
        for height, width in _WARM_UP_SIZES:
            image = np.zeros((height, width, 3), np.uint8)
            for strength in (1.0, 2.0):
                for lane in (None, *range(self.lanes)):
                    self.sharpen(image, strength=strength, lane=lane)

    def measure(self) -> tuple[MeasuredSize, ...]:
        """Times the common sizes of frames, small ones first, as far as they are fit for video."""
        measured: list[MeasuredSize] = []
        for height, width in _MEASURED_SIZES:
            ms = self._best_ms(np.zeros((height, width, 3), np.uint8))
            measured.append(MeasuredSize(height, width, ms))
            if ms > _NO_VIDEO_MS:
                break
        return tuple(measured)

    def _best_ms(self, image: ImageArray) -> float:
        times_s: list[float] = []
        while len(times_s) < 2 and sum(times_s) < _MEASURED_FOR_S:
            begun_s = time.perf_counter()
            self.sharpen(image)
            times_s.append(time.perf_counter() - begun_s)
        return min(times_s) * 1000

    def facts_json(self) -> dict[str, object]:
        """What is known about the checkpoint, for `GET /model`."""
        facts = self.checkpoint.facts.model_dump(mode="json")
        parameters = sum(p.numel() for p in self.checkpoint.network.parameters())
        return {**facts, "parameters": parameters}


def _spans(length: int, overlap_px: int, multiple: int, tile_px: int) -> Iterator[_Span]:
    """Splits 0..length: (what a tile reads, what it writes), the former wider by the overlap.

    Tiles start at multiples of the network's size multiple, so that they are unshuffled as the
    whole picture is.
    """
    count = -(-length // tile_px)
    step = -(-length // count // multiple) * multiple
    for start in range(0, length, step):
        stop = min(start + step, length)
        yield slice(max(0, start - overlap_px), min(length, stop + overlap_px)), slice(start, stop)


def _within(inner: slice, outer: slice) -> slice:
    """Where `inner` lies in `outer`."""
    return slice(inner.start - outer.start, inner.stop - outer.start)
