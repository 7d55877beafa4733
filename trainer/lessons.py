"""What the teacher makes of each crop, computed live or kept on disk.

A lesson is rounded the same way whether it is kept or not (the output to 16 bits, features to
fp16), so that both give the same loss.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from service.model.atomic import write_bytes
from trainer.nafnet import NAFNet

__all__ = ["CachedLessons", "Lesson", "Lessons", "LiveLessons"]

_LEVELS = 65_535


@dataclass(frozen=True, slots=True)
class Lesson:
    """The teacher's answer to a stack of degraded crops.

    Attributes:
        taught: its output, (N, 3, H, W) float RGB in [0, 1].
        features: by layer, (N, C, H', W') float.
    """

    taught: Tensor
    features: dict[str, Tensor]


class Lessons(Protocol):
    """Where lessons come from."""

    def lesson(self, numbers: Sequence[int], degraded: Tensor) -> Lesson:
        """Of the crops with these numbers, whose degraded pixels (N, 3, H, W) are given."""
        ...


class LiveLessons:
    """Asks the teacher every time.

    Args:
        teacher: it is moved to `device` and never trained.
        layers: whose features are wanted.
        precision: autocast's type; fp32 switches it off.
    """

    def __init__(
        self,
        teacher: NAFNet,
        *,
        layers: Sequence[str],
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self.layers = tuple(layers)
        self._teacher = teacher.to(device).eval().requires_grad_(False)
        self._device = device
        self._precision = precision

    def lesson(self, numbers: Sequence[int], degraded: Tensor) -> Lesson:  # noqa: ARG002
        """See `Lessons`; the numbers do not matter here."""
        with (
            torch.no_grad(),
            torch.autocast(
                self._device.type, self._precision, enabled=self._precision is not torch.float32
            ),
        ):
            taught, features = self._teacher.forward_with_features(degraded, self.layers)
        # In one memory layout, because another one sums in another order.
        levels = (taught.float().clamp(0, 1) * _LEVELS).round().contiguous()
        return Lesson(
            levels / _LEVELS,
            {name: layer.half().float().contiguous() for name, layer in features.items()},
        )


class CachedLessons:
    """Keeps each crop's lesson on disk, so that the teacher is asked once per crop.

    Memory-mapped arrays of `crop_set` places, filled as crops come up. What is kept belongs to one
    teacher and one set of crops: `facts` tell which, and other facts get another folder.

    Args:
        folder: created if it is not there; holds one folder per set of facts.
        facts: everything that the crops and the lessons depend on.
    """

    def __init__(
        self, live: LiveLessons, folder: Path, *, crop_set: int, facts: dict[str, Any]
    ) -> None:
        if crop_set < 1:
            raise ValueError("a cache of the teacher's output needs crop_set above 0")
        text = json.dumps({**facts, "crop_set": crop_set, "layers": live.layers}, sort_keys=True)
        self._live = live
        self._crop_set = crop_set
        self._folder = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        _write_once(self._folder / "facts.json", text)
        self._is_kept = _mapped(self._folder / "kept.u8", np.uint8, (crop_set,))
        self._kept: dict[str, npt.NDArray[Any]] = {}

    def lesson(self, numbers: Sequence[int], degraded: Tensor) -> Lesson:
        """See `Lessons`; a crop that is kept is not shown to the teacher again."""
        places = [number % self._crop_set for number in numbers]
        missing = [at for at, place in enumerate(places) if not self._is_kept[place]]
        if missing:
            self._keep([places[at] for at in missing], self._live.lesson([], degraded[missing]))
        read = {
            name: torch.from_numpy(self._array(name)[places].astype(np.float32)).to(degraded.device)
            for name in ("taught", *self._live.layers)
        }
        taught = read.pop("taught") / _LEVELS
        return Lesson(taught, read)

    def _keep(self, places: list[int], lesson: Lesson) -> None:
        stacks = {"taught": lesson.taught, **lesson.features}
        _write_once(
            self._folder / "shapes.json",
            json.dumps({name: list(stack.shape[1:]) for name, stack in stacks.items()}),
        )
        for name, stack in stacks.items():
            array = self._array(name)
            values = stack.float().cpu()
            levels = (values * _LEVELS).round() if name == "taught" else values
            array[places] = levels.numpy().astype(array.dtype)
        self._is_kept[places] = 1

    def _array(self, name: str) -> npt.NDArray[Any]:
        if name not in self._kept:
            shape = json.loads((self._folder / "shapes.json").read_text())[name]
            kind: type[np.generic] = np.uint16 if name == "taught" else np.float16
            path = self._folder / f"{name}.{np.dtype(kind).name}"
            self._kept[name] = _mapped(path, kind, (self._crop_set, *shape))
        return self._kept[name]


def _mapped(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A file as an array, zeros at first; sparse where the file system can."""
    size_bytes = int(np.prod(shape)) * np.dtype(kind).itemsize
    with path.open("ab") as file:
        if file.tell() < size_bytes:
            os.truncate(path, size_bytes)
    return np.memmap(path, dtype=kind, mode="r+", shape=shape)


def _write_once(path: Path, text: str) -> None:
    if not path.exists():
        write_bytes(path, text.encode())
