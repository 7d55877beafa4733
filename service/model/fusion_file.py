"""Fusion weights in one `.safetensors` file, and what is known about them as JSON in its header.

Written atomically, read strictly, never unpickled. The header's `clearcall-fusion` entry holds the
`FusionFacts`. The errors are those of `service.errors` for checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from service.errors import CheckpointFactsInvalid
from service.model.fusion_network import FusionConfig, FusionNetwork
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
    "FusionFacts",
    "FusionScore",
    "LoadedFusion",
    "bundled_fusion",
    "load_fusion",
    "save_fusion",
]

_ARCHITECTURE = "FusionNetwork"
_FORMAT_VERSION: Literal[2] = 2
_KIND = FileKind("clearcall-fusion", _FORMAT_VERSION, _ARCHITECTURE, "clearcall-train fusion")
_MOST_FEATURES = 256
_LARGEST_DEPTH = 16


class FusionScore(BaseModel):
    """Of crops of one kind that were not trained on: luma PSNR over the sharpened frame's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    crops: int
    mean_gain_db: Finite
    worst_gain_db: Finite
    worse_count: int


class FusionFacts(BaseModel):
    """What a file's header says about its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[2] = _FORMAT_VERSION
    architecture: str = _ARCHITECTURE
    config: dict[str, int]
    training_commit: str = "unknown"
    training_config: dict[str, int | float | str] = {}
    training_steps: int = Field(ge=1)
    scores: dict[str, FusionScore] = {}
    created: str = ""


@dataclass(frozen=True, slots=True)
class LoadedFusion:
    """A network on the CPU in evaluation mode, its facts, and an id of the file's content."""

    network: FusionNetwork
    facts: FusionFacts
    fusion_id: str


def bundled_fusion() -> Path:
    """The file that comes with Clearcall."""
    return Path(str(resources.files("service") / "fusion_weights" / "fusion.safetensors"))


def save_fusion(path: Path, network: FusionNetwork, facts: FusionFacts) -> None:
    """Writes weights (fp32) and facts to `path`, replacing what is there in one step.

    Raises:
        CheckpointNotFinite: a weight is NaN or infinite; nothing is written.
        OSError: the folder cannot be written.
    """
    tensors = {
        name: tensor.detach().float().contiguous().cpu()
        for name, tensor in network.state_dict().items()
    }
    require_finite(path, tensors)
    write_weights(path, tensors, {_KIND.key: facts.model_dump_json()})


def load_fusion(path: Path | None = None) -> LoadedFusion:
    """Reads and verifies a file; None = the bundled one.

    Raises:
        CheckpointError: the leaf says what is wrong with the file.
    """
    path = path or bundled_fusion()
    header, tensors, digest = read_weights(path, _KIND)
    facts = facts_of_header(path, header, _KIND, FusionFacts)
    try:
        config = FusionConfig(**facts.config)
    except TypeError as exc:
        raise CheckpointFactsInvalid(path, f"its network config is wrong ({exc}).") from exc
    if not (0 < config.width <= _MOST_FEATURES and 0 < config.depth <= _LARGEST_DEPTH):
        raise CheckpointFactsInvalid(
            path,
            f"width {config.width} or depth {config.depth} is out of range: at most "
            f"{_MOST_FEATURES} and {_LARGEST_DEPTH}.",
        )
    network = FusionNetwork(config)
    require_matching(path, network.state_dict(), tensors)
    require_finite(path, tensors)
    network.load_state_dict(tensors, strict=True)
    network.requires_grad_(requires_grad=False)
    return LoadedFusion(network.eval(), facts, fusion_id=f"fusion-{digest[:8]}")
