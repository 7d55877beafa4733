"""Weights in a `.safetensors` file, JSON facts in its header: read strictly, written atomically.

What the weights are of is the caller's. Nothing in a file is run; everything that can be wrong with
one has an error of its own, see `service.errors`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, Self, TypeVar

import torch
from pydantic import Field, ValidationError
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
from service.model.atomic import write_bytes

__all__ = [
    "FileKind",
    "Finite",
    "facts_of_header",
    "read_weights",
    "require_finite",
    "require_matching",
    "write_weights",
]

_OUR_PREFIX = "clearcall"

Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class FileKind:
    """What tells one kind of our files from others.

    Attributes:
        key: the header's entry with the facts.
        version, architecture: that this build reads.
        made_by: the command that makes such files, for who has none.
        largest_bytes: of a file; a larger one is not read.
    """

    key: str
    version: int
    architecture: str
    made_by: str
    largest_bytes: int = 512 * 1024**2


class HeaderFacts(Protocol):
    """A pydantic model of what a header says."""

    @property
    def architecture(self) -> str: ...

    @classmethod
    def model_validate(cls, obj: Any, /) -> Self: ...


FactsType = TypeVar("FactsType", bound=HeaderFacts)


def write_weights(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Writes tensors and header to `path`, replacing what is there in one step.

    Raises:
        OSError: the folder cannot be written; what was there stays.
    """
    write_bytes(path, save(dict(tensors), metadata=dict(header)))


def read_weights(path: Path, kind: FileKind) -> tuple[dict[str, str], dict[str, Tensor], str]:
    """The header's own entries, the tensors and the SHA-256 of the file, in hex.

    Raises:
        CheckpointNotFound, CheckpointForeign, CheckpointCorrupt: it is no such file.
    """
    try:
        size_bytes = path.stat().st_size
        if not path.is_file():
            raise CheckpointNotFound(path, "not a file. Name a .safetensors file.")
        if size_bytes > kind.largest_bytes:
            raise CheckpointForeign(
                path,
                f"{size_bytes / 1e6:.0f} MB is far larger than what {kind.made_by} writes. "
                "Not loaded.",
            )
        # Read once: the hash is that of these weights, and a file that is cut short meanwhile is no
        # memory map whose end is gone, which would end the process.
        encoded = path.read_bytes()
        digest = hashlib.sha256(encoded).hexdigest()
        tensors = {name: tensor.clone() for name, tensor in load(encoded).items()}
        header = _metadata(encoded)
    except FileNotFoundError as exc:
        raise CheckpointNotFound(
            path, f"no such file. Train one with {kind.made_by}, or correct the path."
        ) from exc
    except OSError as exc:
        raise CheckpointNotFound(
            path, f"cannot be read ({exc.strerror or exc}). Check its permissions."
        ) from exc
    except SafetensorError as exc:
        raise CheckpointCorrupt(
            path,
            f"truncated, or not a safetensors file ({exc}). Copy it again or make it again.",
        ) from exc
    return header, tensors, digest


def _metadata(encoded: bytes) -> dict[str, str]:
    """The header's own entries, of a file whose header is known to be right."""
    length = int.from_bytes(encoded[:8], "little")
    metadata: dict[str, str] = json.loads(encoded[8 : 8 + length]).get("__metadata__") or {}
    return metadata


def facts_of_header(
    path: Path, header: Mapping[str, str], kind: FileKind, facts_type: type[FactsType]
) -> FactsType:
    """What a header says about its weights, checked; the path is for the messages.

    Raises:
        CheckpointError: the leaf says what is wrong.
    """
    if kind.key not in header:
        others = [f"'{key}'" for key in header if key.startswith(_OUR_PREFIX)]
        found = f"its header has {', '.join(others)} facts and" if others else "but its header has"
        raise CheckpointForeign(
            path,
            f"a safetensors file, {found} no '{kind.key}' facts. "
            f"Name one that was written by {kind.made_by}.",
        )
    try:
        raw: Any = json.loads(header[kind.key])
    except (json.JSONDecodeError, RecursionError) as exc:
        raise CheckpointFactsInvalid(path, "its facts are not JSON. Make it again.") from exc
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if isinstance(raw, dict) and version != kind.version:
        raise CheckpointVersionUnknown(
            path,
            f"format version {version!r}; this build reads version {kind.version}. "
            "Use the Clearcall version that wrote it, or make it again.",
        )
    try:
        facts = facts_type.model_validate(raw)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "facts"
        raise CheckpointFactsInvalid(path, f"{where}: {first['msg']}. Make it again.") from exc
    if facts.architecture != kind.architecture:
        raise CheckpointArchitectureUnknown(
            path, f"architecture {facts.architecture!r}; this build has only {kind.architecture}."
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
