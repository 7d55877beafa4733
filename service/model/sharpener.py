"""The one path from an image to a sharpened image; service, evaluation and benchmarks all take it.

Pads to what the network needs (reflected; replicated where a picture is too small to reflect), runs
the backend's graph (network, unsharp mask, clamping), crops. Large pictures go through in
overlapping tiles, so that memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from service.model.backends import Backend, create_backend
from service.model.checkpoint import Checkpoint, load_checkpoint

__all__ = ["STRENGTH_RANGE", "Sharpener", "bundled_checkpoint"]

STRENGTH_RANGE = (0.0, 2.0)
_WHOLE_PX = 2560 * 1600  # larger pictures go through in tiles
_TILE_PX = 1536
# The sides of pictures that are tried before the first real one, (height, width).
_WARM_UP_SIZES = ((256, 256), (360, 640))

ImageArray = npt.NDArray[np.uint8]
_Span: TypeAlias = tuple[slice, slice]


def bundled_checkpoint() -> Path:
    """The student that ships with Clearcall."""
    return Path(str(resources.files("service") / "weights" / "student.safetensors"))


class Sharpener:
    """A loaded student on a backend. Its owner keeps the backend's rule about lanes.

    Attributes:
        checkpoint: the network's facts and id.
        device: where it runs, such as `cpu` or `cuda:0`.
        backend: `openvino` or `torch`.
        threads: CPU threads that were asked for; 0 = all.
        lanes: how many pictures can be sharpened at once, each on its share of the machine.
        default_strength: of the unsharp mask, the measured best for this student.
    """

    def __init__(self, checkpoint: Checkpoint, backend: Backend, *, threads: int = 0) -> None:
        self.checkpoint = checkpoint
        self._backend = backend
        self.device = backend.device
        self.backend = backend.name
        self.lanes = backend.lanes
        self.threads = threads
        self.default_strength = checkpoint.facts.default_strength
        config = checkpoint.network.config
        self._multiple = config.size_multiple
        radius = config.receptive_radius_px
        self._overlap_px = -(-radius // self._multiple) * self._multiple

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        *,
        device: str = "auto",
        backend: str = "auto",
        threads: int = 0,
    ) -> Sharpener:
        """Loads a checkpoint, the bundled one if none is named.

        Onto a backend (see `create_backend`).

        Raises:
            CheckpointError: the file cannot be served; the leaf says why.
            BackendUnavailable: the device or runtime is not on this machine.
        """
        checkpoint = load_checkpoint(path or bundled_checkpoint())
        chosen = create_backend(checkpoint.network, device=device, backend=backend, threads=threads)
        return cls(checkpoint, chosen, threads=threads)

    def sharpen(
        self, image: ImageArray, *, strength: float | None = None, lane: int | None = None
    ) -> ImageArray:
        """Sharpens one image.

        Args:
            image: (H, W, 3) uint8 RGB, any size from 1x1 up, contiguous or not; it is not changed.
            strength: of the unsharp mask after the network, 0 (off) to 2; None =
                `default_strength`.
            lane: 0 to `lanes` - 1, while other lanes are at work too; None = the whole machine.

        Returns:
            An image of the same size.

        Raises:
            ValueError: the array is not such an image, or the strength is out of range.
        """
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or image.dtype != np.uint8:
            raise ValueError(f"an image is (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}")
        if strength is None:
            strength = self.default_strength
        low, high = STRENGTH_RANGE
        if not low <= strength <= high:
            raise ValueError(f"strength must be {low:g} to {high:g}, not {strength}")
        height, width = image.shape[:2]
        if height * width <= _WHOLE_PX:
            return self._whole(image, strength, lane)
        return self._tiled(image, strength)

    def _whole(self, image: ImageArray, strength: float, lane: int | None) -> ImageArray:
        height, width = image.shape[:2]
        padded = self._padded(image)
        sharpened: ImageArray = self._backend.run(padded[None], strength, lane=lane)[0]
        return sharpened[:height, :width]

    def _tiled(self, image: ImageArray, strength: float) -> ImageArray:
        """As if the picture went through whole: tiles overlap by what a pixel's correction sees.

        What attention takes from the whole picture, the mean of its features, is collected in a
        first pass.
        """
        height, width = image.shape[:2]
        tiles = [
            (rows, columns)
            for rows in _spans(height, self._overlap_px, self._multiple)
            for columns in _spans(width, self._overlap_px, self._multiple)
        ]
        pooled = self._pooled(image, tiles)
        sharpened = np.empty_like(image, order="C")
        for (rows, inner_rows), (columns, inner_columns) in tiles:
            padded = self._padded(image[rows, columns])
            tile = self._backend.run_tile(padded[None], strength, pooled)[0]
            inner = _within(inner_rows, rows), _within(inner_columns, columns)
            sharpened[inner_rows, inner_columns] = tile[inner]
        return sharpened

    def _pooled(
        self, image: ImageArray, tiles: list[tuple[_Span, _Span]]
    ) -> npt.NDArray[np.float32]:
        """The mean of the whole picture's features, (1, C, 1, 1)."""
        total, count = np.zeros(1), 0
        for (rows, inner_rows), (columns, inner_columns) in tiles:
            features = self._backend.features(self._padded(image[rows, columns])[None])[0]
            inner = (
                _within(inner_rows, rows, self._multiple),
                _within(inner_columns, columns, self._multiple),
            )
            kept = features[:, inner[0], inner[1]]
            total = total + kept.sum(axis=(1, 2), dtype=np.float64)
            count += kept[0].size
        return (total / count).astype(np.float32)[None, :, None, None]

    def _padded(self, image: ImageArray) -> ImageArray:
        """Reflected at the right and below up to the size multiple."""
        height, width = image.shape[:2]
        extra = (-height % self._multiple, -width % self._multiple)
        if not any(extra):
            return image
        mode = "reflect" if height > extra[0] and width > extra[1] else "edge"
        padded: ImageArray = np.pad(image, ((0, extra[0]), (0, extra[1]), (0, 0)), mode=mode)  # type: ignore[call-overload]
        return padded

    def warm_up(self) -> None:
        """Runs the common sizes with and without the mask.

        So that the first real picture is not the slow one.
        """
        for height, width in _WARM_UP_SIZES:
            image = np.zeros((height, width, 3), np.uint8)
            for strength in {0.0, self.default_strength, 0.5}:
                for lane in (None, *range(self.lanes)):
                    self.sharpen(image, strength=strength, lane=lane)

    def facts_json(self) -> dict[str, object]:
        """What is known about the checkpoint, for `GET /model`."""
        facts = self.checkpoint.facts.model_dump(mode="json")
        parameters = sum(p.numel() for p in self.checkpoint.network.parameters())
        return {**facts, "parameters": parameters}


def _spans(length: int, overlap_px: int, multiple: int) -> Iterator[_Span]:
    """Splits 0..length: (what a tile reads, what it writes), the former wider by the overlap.

    Tiles start at multiples of the network's size multiple, so that they are unshuffled as the
    whole picture is.
    """
    count = -(-length // _TILE_PX)
    step = -(-length // count // multiple) * multiple
    for start in range(0, length, step):
        stop = min(start + step, length)
        yield slice(max(0, start - overlap_px), min(length, stop + overlap_px)), slice(start, stop)


def _within(inner: slice, outer: slice, unit: int = 1) -> slice:
    """Where `inner` lies in `outer`, in units of so many px, the last one begun counts."""
    return slice((inner.start - outer.start) // unit, -(-(inner.stop - outer.start) // unit))
