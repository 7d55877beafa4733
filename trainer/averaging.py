"""One student between several that were trained on from the same weights.

Runs that part from one checkpoint end in weights whose mean is a student as well (model soups,
arXiv 2203.05482; WiSE-FT, arXiv 2109.01903). Of runs that began apart it is not. What it does to
pictures that none of them was trained on, such as those of one colour, has to be measured anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from service.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

__all__ = ["average_checkpoints"]


def average_checkpoints(
    sources: Sequence[Path], output: Path, *, shares: Sequence[float] | None = None
) -> Checkpoint:
    """Writes the checkpoint whose weights are the weighted mean of those of others.

    Its facts are those of the first, without scores; `averaged` among the facts of the training
    names the sources and their shares.

    Args:
        sources: two or more `.safetensors` checkpoints of students of one shape.
        output: the file to write; what is there is replaced in one step.
        shares: one positive number for each, of any sum; None = equal ones.

    Returns:
        What was written.

    Raises:
        CheckpointError: a source cannot be served; the leaf says why.
        ValueError: fewer than two sources, shares that do not fit them, or other shapes.
        OSError: the folder cannot be written, or the disk is full; what was at `output` stays.
    """
    shares = _parts_of_one(len(sources), shares)
    checkpoints = [load_checkpoint(source) for source in sources]
    first = checkpoints[0]
    for source, checkpoint in zip(sources, checkpoints, strict=True):
        config, expected = checkpoint.network.config.to_json(), first.network.config.to_json()
        if config != expected:
            others = ", ".join(name for name in expected if config[name] != expected[name])
            raise ValueError(
                f"{source} is a student of another shape than {sources[0]} ({others}): only "
                "weights that have a place in both can be averaged."
            )
    all_weights = [checkpoint.network.state_dict() for checkpoint in checkpoints]
    mean = {
        name: sum(share * weights[name] for share, weights in zip(shares, all_weights, strict=True))
        for name in all_weights[0]
    }
    first.network.load_state_dict(mean, strict=True)
    described = " ".join(
        f"{checkpoint.model_id}={share:.3g}"
        for checkpoint, share in zip(checkpoints, shares, strict=True)
    )
    training = {**first.facts.training_config, "averaged": described}
    facts = first.facts.model_copy(update={"scores": {}, "training_config": training})
    save_checkpoint(output, first.network, facts)
    return load_checkpoint(output)


def _parts_of_one(count: int, shares: Sequence[float] | None) -> list[float]:
    if count < 2:
        raise ValueError("an average takes two checkpoints or more")
    shares = [1.0] * count if shares is None else shares
    if len(shares) != count or not all(0 < share < float("inf") for share in shares):
        raise ValueError(
            f"shares are one positive number for each of the {count} checkpoints, not "
            f"{', '.join(f'{share:g}' for share in shares)}"
        )
    return [share / sum(shares) for share in shares]
