"""Which experts of a student a training crop belongs to, by what was done to the crop.

The student's router sees only the picture. Told apart from the start which crops differ in kind, it
gives each kind kernels of its own within a few hundred steps, where the restoration terms alone
leave all experts alike for thousands.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.mixture import Mixture, is_from_pairs, sample_chain
from trainer.steps import Chain, Defocus, Gaussian, Halo, Jpeg, Motion, Rescale, Step, Video, WebP

__all__ = [
    "EXPERT_KINDS",
    "expert_of",
    "experts_of_samples",
    "has_experts_of_kinds",
    "routing_loss",
    "shares_of_kinds",
]

EXPERT_KINDS = (
    "light",
    "aliased small",
    "aliased large",
    "rescaled small",
    "rescaled large",
    "blurred little",
    "blurred much",
    "camera",
    "jpeg",
    "video",
)
"""The kinds of degradation that a student's experts are for, in their order.

A student of twenty experts has two for each kind: the first ten, and then another one for each.
"""

_NO_EXPERT = -1
_LARGE_FACTOR = 2.5
_LARGE_SIGMA_PX = 1.5
_LARGE_RADIUS_PX = 2.2
_LARGE_LENGTH_PX = 6.0


def expert_of(chain: Chain) -> int:
    """The number of the kind, and of its first expert, that a crop degraded by `chain` is of."""
    return EXPERT_KINDS.index(_kind_of(chain))


def _kind_of(chain: Chain) -> str:
    if any(_is_video(step) for step in chain):
        return "video"
    if all(isinstance(step, Halo) for step in chain):
        return "light"
    match chain:
        case (Jpeg() | WebP(),):
            return "jpeg"
        case (Rescale(between=None) as step,):
            is_large = step.factor >= _LARGE_FACTOR
            # The area filter averages as many pixels as it should only where these are many.
            averages = step.shrink.endswith("antialiased") or (step.shrink == "area" and is_large)
            return f"{'rescaled' if averages else 'aliased'} {'large' if is_large else 'small'}"
        case (Gaussian() | Defocus() | Motion() as step,):
            return "blurred much" if _is_wide(step) else "blurred little"
    return "camera"


def _is_video(step: Step) -> bool:
    return isinstance(step, Video) or (
        isinstance(step, Rescale) and isinstance(step.between, Video)
    )


def _is_wide(blur: Gaussian | Defocus | Motion) -> bool:
    match blur:
        case Gaussian(sigma_px=size):
            return size >= _LARGE_SIGMA_PX
        case Defocus(radius_px=size):
            return size >= _LARGE_RADIUS_PX
    return blur.length_px >= _LARGE_LENGTH_PX


def experts_of_samples(
    numbers: Sequence[int],
    *,
    seed: int,
    clean_share: float,
    mixture: Mixture,
    pair_share: float = 0.0,
    pair_kind: str = "",
) -> Tensor:
    """(N,) int64: the experts of the training samples with these numbers.

    Args:
        pair_share: see `mixture.is_from_pairs`.
        pair_kind: one of `EXPERT_KINDS`; "" = not known: such samples belong to no expert.
    """
    of_pairs = EXPERT_KINDS.index(pair_kind) if pair_kind else _NO_EXPERT

    def expert(number: int) -> int:
        if is_from_pairs(seed, number, share=pair_share):
            return of_pairs
        return expert_of(sample_chain(seed, number, clean_share=clean_share, mixture=mixture))

    return torch.tensor([expert(number) for number in numbers])


def has_experts_of_kinds(experts: int) -> bool:
    """Whether a network of so many experts has as many for each of `EXPERT_KINDS`, at least one."""
    return experts > 0 and experts % len(EXPERT_KINDS) == 0


def shares_of_kinds(shares: Tensor) -> Tensor:
    """Logarithms of the experts' shares (N, experts) -> of the kinds' shares (N, 10).

    As they are where there is but one expert for each.
    """
    if shares.shape[1] <= len(EXPERT_KINDS):
        return shares
    return shares.float().reshape(len(shares), -1, len(EXPERT_KINDS)).logsumexp(dim=1)


def routing_loss(shares: Tensor, experts: Tensor) -> Tensor:
    """Cross-entropy of each picture's shares (N, experts), as logarithms, with its expert: (N,).

    0 for samples that belong to none.
    """
    return F.cross_entropy(shares.float(), experts, reduction="none", ignore_index=_NO_EXPERT)
