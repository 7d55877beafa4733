"""Tiny checkpoints, and a stand-in for what is loaded from them, which needs no network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from service.codec import ImageArray
from service.model.checkpoint import Checkpoint, Facts, load_checkpoint, save_checkpoint
from service.model.student import StudentConfig, StudentNetEnhanced, build_student
from tests.service.doubles import FakeSharpener

if TYPE_CHECKING:
    from service.model.sharpener import Description

__all__ = ["CONFIG", "CheckpointDouble", "tiny_network", "write_checkpoint"]

CONFIG = StudentConfig(
    channels=4,
    unshuffle=4,
    blocks=1,
    colour="luma",
    attention="channel",
    reduction=1,
    normalisation="frozen",
)


def tiny_network(*, harm: float = 0.0) -> StudentNetEnhanced:
    """A student that makes every picture brighter by `harm` levels, and corrects nothing."""
    network = build_student(CONFIG).eval()
    with torch.no_grad():
        network.tail.kernel.zero_()
        network.tail.bias.zero_()
        bias = network.refinement.bias
        assert bias is not None
        bias.fill_(harm / 255)
    return network


def write_checkpoint(
    path: Path, *, number: int = 0, harm: float = 0.0, modified_s: float | None = None
) -> Checkpoint:
    """Writes one that differs from others by its number, and says what it is when it is loaded."""
    facts = Facts(
        config=CONFIG.to_json(),
        name="tiny",
        size_multiple=CONFIG.size_multiple,
        normalisation=CONFIG.normalisation,
        default_strength=1.0,
        training_steps=1,
        created=str(number),
    )
    save_checkpoint(path, tiny_network(harm=harm), facts)
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
