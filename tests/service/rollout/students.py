"""Tiny checkpoints, and a stand-in for what is loaded from them, which needs no network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.checkpoints import harmless_student
from service.frame_codec import ImageArray
from service.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tests.service.doubles import FakeSharpener

if TYPE_CHECKING:
    from service.model.sharpener import Description

__all__ = ["CheckpointDouble", "write_checkpoint"]


def write_checkpoint(
    path: Path, *, number: int = 0, harm: float = 0.0, modified_s: float | None = None
) -> Checkpoint:
    """Writes one that differs from others by its number, and says what it is when it is loaded.

    Its student makes every picture brighter by `harm` levels, and corrects nothing.
    """
    network, facts = harmless_student()
    bias = network.refinement.bias
    assert bias is not None
    with torch.no_grad():
        bias.fill_(harm / 255)
    save_checkpoint(path, network, facts.model_copy(update={"created": str(number)}))
    if modified_s is not None:
        os.utime(path, (modified_s, modified_s))
    return load_checkpoint(path)


class CheckpointDouble(FakeSharpener):
    """Loads a tiny checkpoint and does what its network would do: nothing, but for its harm."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        loaded = load_checkpoint(path)
        self.checkpoint = loaded  # type: ignore[assignment]
        self.name = loaded.model_id
        bias = loaded.network.refinement.bias
        assert bias is not None
        self._harm = round(float(bias.mean()) * 255)

    def sharpen(
        self,
        image: ImageArray,
        *,
        strength: float | None = None,  # noqa: ARG002 - of the real one
        description: Description | None = None,  # noqa: ARG002
        lane: int | None = None,  # noqa: ARG002
    ) -> ImageArray:
        """(H, W, 3) uint8 RGB -> the same, brighter by the harm."""
        return np.clip(image.astype(np.int16) + self._harm, 0, 255).astype(np.uint8)
