"""One `.safetensors` file.

The student's weights, and what is known about them as JSON in the header.

Written atomically, read strictly, never unpickled. The header's `clearcall` entry holds the
`Facts`; everything that can be wrong with a file has an error of its own, see `service.errors`.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from service.errors import (
    CheckpointArchitectureUnknown,
    CheckpointCorrupt,
    CheckpointFactsInvalid,
    CheckpointForeign,
    CheckpointNotFinite,
    CheckpointNotFound,
    CheckpointVersionUnknown,
    CheckpointWeightsMismatch,
)
from service.model.student import ARCHITECTURE, StudentConfig, StudentNetEnhanced, build_student

__all__ = [
    "FORMAT_VERSION",
    "Checkpoint",
    "Facts",
    "Score",
    "load_checkpoint",
    "require_finite",
    "require_matching",
    "save_checkpoint",
]

FORMAT_VERSION: Literal[2] = 2
_HEADER_KEY = "clearcall"
_LARGEST_FILE_BYTES = 512 * 1024 * 1024

Finite = Annotated[float, Field(allow_inf_nan=False)]


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
    encoded = save(tensors, metadata={_HEADER_KEY: facts.model_dump_json()})
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(encoded)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads and verifies a checkpoint.

    Raises:
        CheckpointError: the leaf says what is wrong with the file.
    """
    header, tensors, digest = _read(path)
    facts = _parse_facts(path, header)
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


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor], str]:
    try:
        size_bytes = path.stat().st_size
        if not path.is_file():
            raise CheckpointNotFound(path, "not a file. Name a .safetensors checkpoint.")
        if size_bytes > _LARGEST_FILE_BYTES:
            raise CheckpointForeign(
                path, f"{size_bytes / 1e6:.0f} MB is far larger than any student. Not loaded."
            )
        # Read once: the hash is that of these weights, and a file that is cut short meanwhile is no
        # memory map whose end is gone, which would end the process.
        encoded = path.read_bytes()
        digest = hashlib.sha256(encoded).hexdigest()
        tensors = {name: tensor.clone() for name, tensor in load(encoded).items()}
        header = _metadata(encoded)
    except FileNotFoundError as exc:
        raise CheckpointNotFound(
            path, "no such file. Train one with clearcall-train distill, or correct the path."
        ) from exc
    except OSError as exc:
        raise CheckpointNotFound(
            path, f"cannot be read ({exc.strerror or exc}). Check its permissions."
        ) from exc
    except SafetensorError as exc:
        raise CheckpointCorrupt(
            path,
            f"truncated, or not a safetensors file ({exc}). Copy it again or export it again.",
        ) from exc
    return header, tensors, digest


def _metadata(encoded: bytes) -> dict[str, str]:
    """The header's own entries, of a file whose header is known to be right."""
    length = int.from_bytes(encoded[:8], "little")
    metadata: dict[str, str] = json.loads(encoded[8 : 8 + length]).get("__metadata__") or {}
    return metadata


def _parse_facts(path: Path, header: Mapping[str, str]) -> Facts:
    if _HEADER_KEY not in header:
        raise CheckpointForeign(
            path,
            "a safetensors file, but its header has no 'clearcall' facts. "
            "Only checkpoints written by clearcall-train can be served.",
        )
    try:
        raw: Any = json.loads(header[_HEADER_KEY])
    except (json.JSONDecodeError, RecursionError) as exc:
        raise CheckpointFactsInvalid(
            path, "its facts are not JSON. Export the checkpoint again."
        ) from exc
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if isinstance(raw, dict) and version != FORMAT_VERSION:
        raise CheckpointVersionUnknown(
            path,
            f"format version {version!r}; this build reads version {FORMAT_VERSION}. "
            "Export it with the Clearcall version that serves it.",
        )
    try:
        facts = Facts.model_validate(raw)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "facts"
        raise CheckpointFactsInvalid(
            path, f"{where}: {first['msg']}. Export the checkpoint again."
        ) from exc
    if facts.architecture != ARCHITECTURE:
        raise CheckpointArchitectureUnknown(
            path, f"architecture {facts.architecture!r}; this build has only {ARCHITECTURE}."
        )
    return facts


def require_matching(
    path: Path,
    wanted: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    *,
    stored_type: Callable[[Tensor], torch.dtype] = lambda _: torch.float32,
) -> None:
    """Refuses tensors whose names, shapes or types are not those of a state dict.

    Args:
        stored_type: of each tensor in the file; fp32 unless told.

    Raises:
        CheckpointWeightsMismatch: names the first that differ.
    """
    missing, unexpected = wanted.keys() - tensors.keys(), tensors.keys() - wanted.keys()
    if missing or unexpected:
        parts = [
            f"{word} {', '.join(sorted(names)[:3])}{' ...' if len(names) > 3 else ''}"
            for word, names in (("lacks", missing), ("has unexpected", unexpected))
            if names
        ]
        raise CheckpointWeightsMismatch(
            path, f"it {' and '.join(parts)}. Weights and config do not belong together."
        )
    for name, tensor in wanted.items():
        found, dtype = tensors[name], stored_type(tensor)
        if found.shape != tensor.shape or found.dtype != dtype:
            raise CheckpointWeightsMismatch(
                path,
                f"{name} is {tuple(found.shape)} {found.dtype}, expected {tuple(tensor.shape)} "
                f"{dtype}. Weights and config do not belong together.",
            )


def require_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuses weights that no picture should meet.

    Raises:
        CheckpointNotFinite: a weight is NaN or infinite.
    """
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointNotFinite(
                path, f"{name} holds NaN or infinity: the training diverged. Use an earlier one."
            )
