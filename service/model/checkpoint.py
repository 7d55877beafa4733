"""One `.safetensors` file.

The student's weights, and what is known about them as JSON in the header.

Written atomically, read strictly, never unpickled. The header's `clearcall` entry holds the
`Facts`; everything that can be wrong with a file has an error of its own, see `service.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from service.errors import CheckpointFactsInvalid, CheckpointWeightsMismatch
from service.model.student import ARCHITECTURE, StudentConfig, StudentNetEnhanced, build_student
from service.model.weights_file import (
    FileKind,
    Finite,
    facts_of_header,
    read_weights,
    require_finite,
    require_matching,
    write_weights,
)

__all__ = [
    "FORMAT_VERSION",
    "Checkpoint",
    "Facts",
    "Score",
    "load_checkpoint",
    "save_checkpoint",
]

FORMAT_VERSION: Literal[2] = 2
_KIND = FileKind("clearcall", FORMAT_VERSION, ARCHITECTURE, "clearcall-train distill")


class Score(BaseModel):
    """Mean quality under one protocol, the input's own beside it.

    `worse_count` is the number of pictures whose PSNR the student lowered by more than 0.05 dB.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pictures: int
    input_psnr_db: Finite
    psnr_db: Finite
    input_ssim: Finite
    ssim: Finite
    worse_count: int


class Facts(BaseModel):
    """What a checkpoint's header says about its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[2] = FORMAT_VERSION
    architecture: str = ARCHITECTURE
    config: dict[str, int | float | str]
    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="size or nickname")
    size_multiple: int = Field(ge=1, le=64, description="px")
    value_range: tuple[float, float] = (0.0, 1.0)
    colour_order: Literal["RGB"] = "RGB"
    normalisation: Literal["instance", "frozen"]
    default_strength: float = Field(ge=0, le=2, description="of the correction")
    training_commit: str = "unknown"
    training_config: dict[str, int | float | str] = {}
    training_steps: int = Field(ge=1, description="0 would be untrained: never served")
    data_manifest_hash: str = ""
    scores: dict[str, Score] = {}
    created: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network on the CPU in evaluation mode, its facts.

    And an id that changes with the file's content, whose SHA-256 is the digest, in hex.
    """

    network: StudentNetEnhanced
    facts: Facts
    model_id: str
    digest: str = ""


def save_checkpoint(path: Path, network: StudentNetEnhanced, facts: Facts) -> None:
    """Writes weights and facts to `path`, replacing what is there in one step.

    Expert kernels are stored in fp16, all else in fp32: rounding them alters no picture by more
    than a fraction of a level, and halves the file.

    Raises:
        CheckpointNotFinite: a weight is NaN or infinite; nothing is written.
        OSError: the folder cannot be written.
    """
    tensors = {
        name: tensor.detach().to(_stored_type(tensor)).contiguous().cpu()
        for name, tensor in network.state_dict().items()
    }
    require_finite(path, tensors)
    write_weights(path, tensors, {_KIND.key: facts.model_dump_json()})


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads and verifies a checkpoint.

    Raises:
        CheckpointError: the leaf says what is wrong with the file.
    """
    header, tensors, digest = read_weights(path, _KIND)
    facts = facts_of_header(path, header, _KIND, Facts)
    try:
        config = StudentConfig(**facts.config)  # type: ignore[arg-type]
    except (TypeError, ValueError) as exc:
        raise CheckpointFactsInvalid(
            path, f"its network config is wrong ({exc}). Export the checkpoint again."
        ) from exc
    if (config.size_multiple, config.normalisation) != (facts.size_multiple, facts.normalisation):
        raise CheckpointFactsInvalid(
            path, "its facts contradict its network config. Export the checkpoint again."
        )
    network = _empty_student(path, config, tensors)
    require_matching(path, network.state_dict(), tensors, stored_type=_stored_type)
    require_finite(path, tensors)
    precise = {name: tensor.float() for name, tensor in tensors.items()}
    network.load_state_dict(precise, strict=True, assign=True)
    network.requires_grad_(requires_grad=False)
    return Checkpoint(
        network=network.eval(),
        facts=facts,
        model_id=f"{facts.name}-{digest[:8]}",
        digest=digest,
    )


def _empty_student(
    path: Path, config: StudentConfig, tensors: Mapping[str, Tensor]
) -> StudentNetEnhanced:
    """A student to be filled; made only if the file has about as many weights as the config needs.

    Not on PyTorch's meta device, whose first use in a process takes more than a second.
    """
    least = 2 * config.blocks * config.experts * 9 * config.channels**2
    if (found := sum(tensor.numel() for tensor in tensors.values())) < least:
        raise CheckpointWeightsMismatch(
            path,
            f"it has {found} weights, and its config needs more than {least}. Weights and config "
            "do not belong together.",
        )
    with torch.random.fork_rng(devices=()):  # the first weights are drawn, and thrown away
        return build_student(config)


def _stored_type(tensor: Tensor) -> torch.dtype:
    is_expert_kernel = tensor.dim() == 5  # experts, outputs, inputs, height, width
    return torch.float16 if is_expert_kernel else torch.float32
