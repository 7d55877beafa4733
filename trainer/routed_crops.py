"""Which kinds of degradation the crops of a run have, where the routing term is in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from trainer.config import TrainingConfig
from trainer.mixture import Mixture
from trainer.routing import EXPERT_KINDS, experts_of_samples, has_experts_of_kinds
from trainer.sources import Source

__all__ = ["experts_of_run"]


def experts_of_run(
    config: TrainingConfig, source: Source, *, experts: int
) -> Callable[[Sequence[int]], Tensor] | None:
    """A function from crops' numbers to their experts (N,), int64; see `experts_of_samples`.

    None where the routing term has no weight, where the network's experts are not the kinds of
    `trainer.routing`, or where it is not known what was done to the crops.

    Raises:
        ValueError: none, and crops of some kinds are to count more or less in a term.
    """
    if not config.routing or not has_experts_of_kinds(experts) or source.is_paired:
        for term in config.kind_factors():
            raise ValueError(
                f"{term}_kinds needs sharp pictures and a network of {len(EXPERT_KINDS)} experts, "
                "or twice, three times as many: of others it is not known of which kind a crop is"
            )
        return None
    mixture = Mixture.parse(config.mixture)
    return lambda numbers: experts_of_samples(
        numbers,
        seed=config.seed,
        clean_share=config.clean_share,
        mixture=mixture,
        pair_share=config.pair_share,
        pair_kind=config.pair_kind,
    )
