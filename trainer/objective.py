"""The loss of a step: the sum of the terms whose weight is not zero.

A module, so that the learned adapters of the feature term train with the network, and so that one
wrapper averages the gradients of all processes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from service.model.student import Answer, StudentNetEnhanced
from trainer.feature_distillation import FeatureAdapters
from trainer.lessons import Lesson
from trainer.losses import crop_importance, harm_loss, output_distillation_loss, weighted_terms
from trainer.nafnet import NAFNet
from trainer.perceptual import PerceptualLoss
from trainer.routing import EXPERT_KINDS, routing_loss, shares_of_kinds

__all__ = ["Objective"]


class Objective(nn.Module):
    """Degraded and clean crops in, the weighted terms out; their sum is the loss.

    Args:
        network: pixels -> pixels; a student where the feature term is used.
        weights: from a term's name to its weight; a term of weight 0 is never computed.
        balance: see `crop_importance`.
        kind_factors: by a term's name and `EXPERT_KINDS`, how much crops count in it; others
            count 1.
        precision: autocast's type for the network; the terms are computed in fp32.
        perceptual: needed where its weight is above 0.
        adapters: needed where the weight of `teacher_features` is above 0.
    """

    def __init__(
        self,
        network: nn.Module,
        weights: Mapping[str, float],
        *,
        balance: float = 0.0,
        kind_factors: Mapping[str, Mapping[str, float]] | None = None,
        precision: torch.dtype = torch.float32,
        perceptual: PerceptualLoss | None = None,
        adapters: FeatureAdapters | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.weights = dict(weights)
        self.balance = balance
        # The last factor is that of crops without an expert, whose number is -1.
        self._kind_factors = {
            term: torch.tensor([*(of_kinds.get(kind, 1.0) for kind in EXPERT_KINDS), 1.0])
            for term, of_kinds in (kind_factors or {}).items()
        }
        self.precision = precision
        self.perceptual = perceptual
        self.adapters = adapters

    def forward(
        self,
        degraded: Tensor,
        clean: Tensor,
        lesson: Lesson | None = None,
        experts: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Each term times its weight, averaged over the crops, and the sharpened pixels.

        Args:
            degraded: (N, 3, H, W) float RGB in [0, 1].
            clean: the same.
            lesson: the teacher's answer, where a term needs it.
            experts: of each crop, (N,), where the routing term or factors of kinds are in use.
        """
        with torch.autocast(
            degraded.device.type, self.precision, enabled=self.precision is not torch.float32
        ):
            answer = self._run(degraded)
        # Channels last, as a CPU's convolutions like it, is slow for the terms' windows.
        sharpened = answer.sharpened.float().contiguous()
        clean = clean.contiguous()
        terms = weighted_terms(
            sharpened,
            clean,
            self.weights,
            crop_importance(degraded, clean, balance=self.balance),
            factors=self._factors(experts),
            more={
                "harm": lambda: harm_loss(sharpened, degraded, clean),
                "perceptual": lambda: self._perceived(sharpened, clean),
                "teacher_output": lambda: output_distillation_loss(
                    sharpened, _given(lesson).taught
                ),
                "teacher_features": lambda: self._matched(answer, _given(lesson)),
                "routing": lambda: self._routed(answer, experts),
            },
        )
        return terms, sharpened

    def _run(self, degraded: Tensor) -> Answer:
        if isinstance(self.network, StudentNetEnhanced | NAFNet):
            return self.network.answer(degraded)
        none = degraded.new_empty(0)
        return Answer(self.network(degraded), features=none, shares=none)

    def _factors(self, experts: Tensor | None) -> dict[str, Tensor]:
        if experts is None:
            return {}
        return {
            term: of_kinds.to(experts.device)[experts]
            for term, of_kinds in self._kind_factors.items()
        }

    def _perceived(self, sharpened: Tensor, clean: Tensor) -> Tensor:
        assert self.perceptual is not None, "made where its weight is above 0"
        perceived: Tensor = self.perceptual(sharpened, clean)
        return perceived

    def _matched(self, answer: Answer, lesson: Lesson) -> Tensor:
        assert self.adapters is not None, "made where their weight is above 0"
        matched: Tensor = self.adapters(answer.features.float(), lesson.features)
        return matched

    def _routed(self, answer: Answer, experts: Tensor | None) -> Tensor:
        assert experts is not None, "the loop names them where the term is in use"
        return routing_loss(shares_of_kinds(answer.shares), experts)


def _given(lesson: Lesson | None) -> Lesson:
    assert lesson is not None, "the loop asks the teacher where a term needs it"
    return lesson
