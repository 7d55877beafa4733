"""A teacher from a file and into one, and its use on pictures of any size.

Two kinds of file are read. `.pth`: weights as the NAFNet authors publish them, tensors under the
key `params` or at the top level; what the network looks like is read from their names and shapes.
`.safetensors`: ours, whose header's `clearcall-teacher` entry holds the `TeacherFacts`. No code in
a file is run, all of its tensors must fit the network, and a student's checkpoint is never taken
for a teacher nor the other way round.

The errors are those of `service.errors` for checkpoints.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from torch import Tensor
from torch.nn import functional as F

from service.errors import (
    CheckpointArchitectureUnknown,
    CheckpointCorrupt,
    CheckpointFactsInvalid,
    CheckpointForeign,
    CheckpointNotFound,
    CheckpointWeightsMismatch,
)

# One check for students and teachers alike.
from service.model.checkpoint import Score
from service.model.weights_file import (
    FileKind,
    facts_of_header,
    read_weights,
    require_finite,
    require_matching,
    write_weights,
)
from trainer.nafnet import ARCHITECTURE, NAFNet, NAFNetConfig

__all__ = [
    "BUNDLED_TEACHERS",
    "TEACHER_FORMAT_VERSION",
    "LoadedTeacher",
    "TeacherFacts",
    "find_teacher",
    "load_teacher",
    "save_teacher",
    "teach",
]

BUNDLED_TEACHERS = ("compact",)
TEACHER_FORMAT_VERSION: Literal[1] = 1
_KIND = FileKind(
    key="clearcall-teacher",
    version=TEACHER_FORMAT_VERSION,
    architecture=ARCHITECTURE,
    made_by="clearcall-train teacher",
    largest_bytes=2 * 1024**3,
)
_PUBLISHED_SUFFIXES = (".pth", ".pt")
_BLOCK_NAME = re.compile(r"(?:(encoders|decoders)\.(\d+)|(middle_blks))\.(\d+)\.")


class TeacherFacts(BaseModel):
    """What is known about a teacher's weights; of a published file, little besides the config."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = TEACHER_FORMAT_VERSION
    architecture: str = ARCHITECTURE
    config: dict[str, int | list[int]] = Field(description="`NAFNetConfig.to_json`")
    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="named shape or nickname")
    value_range: tuple[float, float] = (0.0, 1.0)
    colour_order: Literal["RGB"] = "RGB"
    training_commit: str = "unknown"
    training_config: dict[str, JsonValue] = {}
    training_steps: int = Field(default=0, ge=0, description="ours; 0 = published weights")
    data_manifest_hash: str = ""
    scores: dict[str, Score] = {}
    created: str = ""


@dataclass(frozen=True, slots=True)
class LoadedTeacher:
    """A network on the CPU in evaluation mode without gradients, its facts.

    And an id that changes with the file's content.
    """

    network: NAFNet
    facts: TeacherFacts
    teacher_id: str


def find_teacher(named: str | Path) -> Path:
    """The bundled teacher where one of `BUNDLED_TEACHERS` is named, else the file."""
    if str(named) in BUNDLED_TEACHERS:
        return Path(str(resources.files("trainer") / "weights" / f"{named}.safetensors"))
    return Path(named)


def load_teacher(path: Path, *, expected: NAFNetConfig | None = None) -> LoadedTeacher:
    """Reads and verifies a teacher, `.pth` (published) or `.safetensors` (ours).

    Args:
        expected: refuse any other shape.

    Raises:
        CheckpointError: the leaf says what is wrong with the file.
    """
    if path.suffix.lower() in _PUBLISHED_SUFFIXES:
        digest = _digest(path)
        tensors = _read_published(path)
        config = _published_config(path, tensors)
        name = re.sub(r"[^A-Za-z0-9._-]", "-", path.stem)[:64]
        facts = TeacherFacts(config=config.to_json(), name=name)
    elif path.suffix.lower() == ".safetensors":
        header, tensors, digest = read_weights(path, _KIND)
        facts = facts_of_header(path, header, _KIND, TeacherFacts)
        config = _config_of_facts(path, facts)
    else:
        raise CheckpointForeign(
            path, "a teacher is a .pth (published weights) or a .safetensors (trained here) file."
        )
    if expected is not None and config != expected:
        raise CheckpointWeightsMismatch(
            path,
            f"it holds {_described(config)}; asked for was {_described(expected)}. "
            "Name the shape that the file has, or another file.",
        )
    with torch.device("meta"):
        network = NAFNet(config)
    require_matching(path, network.state_dict(), tensors)
    require_finite(path, tensors)
    network.load_state_dict(tensors, strict=True, assign=True)
    network.requires_grad_(requires_grad=False)
    return LoadedTeacher(network.eval(), facts, teacher_id=f"{facts.name}-{digest[:8]}")


def save_teacher(path: Path, network: NAFNet, facts: TeacherFacts) -> None:
    """Writes weights (fp32) and facts to `path`, replacing what is there in one step.

    Raises:
        ValueError: the path does not end in `.safetensors`, or the facts are of another shape.
        CheckpointNotFinite: a weight is NaN or infinite; nothing is written.
        OSError: the folder cannot be written, or the disk is full; the old file is kept.
    """
    if path.suffix.lower() != ".safetensors":
        raise ValueError(f"a teacher is saved as .safetensors, not as {path.name}")
    if facts.config != network.config.to_json():
        raise ValueError("the facts describe another network than the one to be saved")
    tensors = {
        name: tensor.detach().float().contiguous().cpu()
        for name, tensor in network.state_dict().items()
    }
    require_finite(path, tensors)
    write_weights(path, tensors, {_KIND.key: facts.model_dump_json()})


def teach(network: NAFNet, pixels: Tensor) -> Tensor:
    """The teacher's output for pixels of any size, without gradient.

    Padded right and below to the size multiple (reflected; repeated where the picture is too small
    to be reflected), run in evaluation mode, cropped and clamped.

    Args:
        pixels: (N, 3, H, W) float RGB in [0, 1].

    Returns:
        The same shape and type, in [0, 1].
    """
    height, width = pixels.shape[-2:]
    down, right = (-length % network.config.size_multiple for length in (height, width))
    if down or right:
        mode = "reflect" if down < height and right < width else "replicate"
        padded = F.pad(pixels, (0, right, 0, down), mode=mode)
    else:
        padded = pixels
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            taught: Tensor = network(padded)
    finally:
        network.train(was_training)
    return taught[..., :height, :width].clamp(0, 1).to(pixels.dtype)


def _digest(path: Path) -> str:
    try:
        if not path.exists():
            raise CheckpointNotFound(
                path, f"no such file. Train one with {_KIND.made_by}, or correct the path."
            )
        if not path.is_file():
            raise CheckpointNotFound(path, "not a file. Name a .pth or .safetensors file.")
        size_bytes = path.stat().st_size
        if size_bytes > _KIND.largest_bytes:
            raise CheckpointForeign(
                path, f"{size_bytes / 1e9:.1f} GB is far larger than any teacher. Not loaded."
            )
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise CheckpointNotFound(
            path, f"cannot be read ({exc.strerror or exc}). Check its permissions."
        ) from exc


def _read_published(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as exc:
        raise CheckpointForeign(
            path,
            "not a file of weights alone: either damaged or holding Python objects, which are not "
            "loaded. Take the authors' .pth file as it was published.",
        ) from exc
    # On a damaged file torch's reader fails with whatever error lies nearest to the damage.
    except Exception as exc:
        raise CheckpointCorrupt(
            path, f"truncated, or not a torch file ({_first_line(exc)}). Copy it again."
        ) from exc
    tensors = content.get("params", content) if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not tensors or not _are_named_tensors(tensors.items()):
        raise CheckpointForeign(
            path, "holds no tensors under 'params' nor at its top level: not a NAFNet's weights."
        )
    return {name: tensor.float() for name, tensor in tensors.items()}


def _are_named_tensors(items: Iterable[tuple[object, object]]) -> bool:
    return all(
        isinstance(name, str) and isinstance(tensor, Tensor) and tensor.is_floating_point()
        for name, tensor in items
    )


def _published_config(path: Path, tensors: Mapping[str, Tensor]) -> NAFNetConfig:
    """The shape that names and shapes tell; whether all of them fit it is checked later."""
    blocks: dict[tuple[str, int], set[int]] = {}
    for name in tensors:
        if match := _BLOCK_NAME.match(name):
            stage, level, middle, block = match.groups()
            blocks.setdefault((stage or middle, int(level or 0)), set()).add(int(block))
    levels = {
        stage: tuple(
            len(blocks.get((stage, level), ()))
            for level in range(sum(s == stage for s, _ in blocks))
        )
        for stage in ("encoders", "middle_blks", "decoders")
    }
    intro = tensors.get("intro.weight")
    if intro is None or not all(levels.values()):
        raise CheckpointArchitectureUnknown(
            path, "its tensors are not a NAFNet's. Take a file published for NAFNet."
        )
    try:
        return NAFNetConfig(
            len(intro), levels["encoders"], levels["middle_blks"][0], levels["decoders"]
        )
    except ValueError as exc:
        raise CheckpointArchitectureUnknown(
            path, f"not a NAFNet that can be built here ({exc})."
        ) from exc


def _config_of_facts(path: Path, facts: TeacherFacts) -> NAFNetConfig:
    try:
        return NAFNetConfig.from_json(facts.config)
    except (TypeError, ValueError) as exc:
        raise CheckpointFactsInvalid(
            path, f"its network config is wrong ({exc}). Train it again."
        ) from exc


def _described(config: NAFNetConfig) -> str:
    encoder, decoder = (
        "-".join(str(count) for count in blocks)
        for blocks in (config.encoder_blocks, config.decoder_blocks)
    )
    squares = f", unshuffle {config.unshuffle}" if config.unshuffle > 1 else ""
    blocks = f"{encoder}/{config.middle_blocks}/{decoder}"
    return f"a NAFNet of width {config.width}, blocks {blocks}{squares}"


def _first_line(exc: Exception) -> str:
    return " ".join((type(exc).__name__, *str(exc).splitlines()[:1]))
