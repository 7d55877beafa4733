"""Small students for the trainer's tests."""

from __future__ import annotations

from service.model.checkpoint import Checkpoint, Facts
from service.model.student import StudentConfig, build_student

__all__ = ["identity_checkpoint"]


def identity_checkpoint() -> Checkpoint:
    """A student whose correction is exactly zero."""
    config = StudentConfig(channels=8, unshuffle=2, blocks=1)
    network = build_student(config).eval().requires_grad_(requires_grad=False)
    network.tail.kernel.zero_()
    facts = Facts(
        config=config.to_json(),
        name="tiny",
        size_multiple=2,
        normalisation="instance",
        default_strength=1,
        training_steps=1,
    )
    return Checkpoint(network=network, facts=facts, model_id="tiny-0")
