"""Checkpoints to be rolled out again and again."""

from __future__ import annotations

from pathlib import Path

import torch

from service.model.checkpoint import Facts, load_checkpoint, save_checkpoint
from service.model.sharpener import bundled_checkpoint
from service.model.student import StudentConfig, StudentNetEnhanced, build_student

__all__ = ["CheckpointMaker", "harmless_student"]

_NAMES = ("a", "b", "c", "d")  # replaced in turn


class CheckpointMaker:
    """Writes checkpoints into a folder that differ in their facts only."""

    def __init__(self, folder: Path, student: str | None = None) -> None:
        """Of a bundled student, or of tiny ones."""
        self._folder = folder
        if student:
            loaded = load_checkpoint(bundled_checkpoint(student))
            self._network, self._facts = loaded.network, loaded.facts
        else:
            self._network, self._facts = harmless_student()

    def make(self, number: int) -> None:
        """Replaces one of the files."""
        path = self._folder / f"{_NAMES[number % len(_NAMES)]}.safetensors"
        facts = self._facts.model_copy(update={"created": str(number)})
        save_checkpoint(path, self._network, facts)


def harmless_student() -> tuple[StudentNetEnhanced, Facts]:
    """A tiny student that corrects nothing, so that each passes the gate after the other."""
    config = StudentConfig(
        channels=4,
        unshuffle=4,
        blocks=1,
        colour="luma",
        attention="channel",
        reduction=1,
        normalisation="frozen",
    )
    network = build_student(config).eval()
    with torch.no_grad():
        network.tail.kernel.zero_()
        network.tail.bias.zero_()
    facts = Facts(
        config=config.to_json(),
        name="tiny",
        size_multiple=config.size_multiple,
        normalisation=config.normalisation,
        default_strength=1.0,
        training_steps=1,
    )
    return network, facts
