"""From trained weights to the checkpoint file that the service loads.

A run writes `student.safetensors` as it goes (`export_student`); `export_checkpoint` carries such a
file to where the service looks, and takes nothing on trust: what was written is loaded as the
service loads it and has to do what the source does.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from service.model.atomic import replacing
from service.model.backends import TorchBackend
from service.model.checkpoint import Checkpoint, Facts, Score, load_checkpoint, save_checkpoint
from service.model.sharpener import Sharpener
from service.model.student import StudentConfig, build_student
from trainer.config import DistillConfig

__all__ = [
    "LARGEST_DIFFERENCE",
    "ExportMismatchError",
    "Exported",
    "export_checkpoint",
    "export_student",
    "largest_difference",
    "rewrite_facts",
    "target_path",
    "training_commit",
    "trial_images",
]

# Levels of 255 by which two ways to compute one student may differ: rounding at a level's edge.
LARGEST_DIFFERENCE = 1
# Sides, (height, width) in px: even, odd, thin, too small to be reflected for padding, and so large
# that only a sample of the picture is described.
_TRIAL_SIZES = ((64, 96), (37, 51), (5, 130), (2, 3), (1, 1), (700, 1000))
_TRIAL_STRENGTHS = (1.0, 2.0)  # as trained, and through the limit on more than that

ImageArray = npt.NDArray[np.uint8]


class ExportMismatchError(ValueError):
    """What was written does not do what its source does; it was not kept."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written and verified.

    `largest_difference` is that of any trial picture from the source's output, in levels of 255.
    """

    path: Path
    model_id: str
    largest_difference: int


def export_student(
    path: Path,
    *,
    weights: Mapping[str, Tensor],
    student: StudentConfig,
    is_frozen: bool,
    config: DistillConfig,
    step: int,
    manifest_hash: str,
) -> None:
    """Writes `weights` (a student's state dict) with the facts of its training.

    Scores come from the evaluation.
    """
    if is_frozen and student.normalisation != "frozen":
        student = replace(student, normalisation="frozen")
    network = build_student(student)
    network.load_state_dict(dict(weights), strict=True)
    facts = Facts(
        config=student.to_json(),
        name=config.size,
        size_multiple=student.size_multiple,
        normalisation=student.normalisation,
        default_strength=1.0,
        training_commit=training_commit(),
        training_config=asdict(config),
        training_steps=step,
        data_manifest_hash=manifest_hash,
        created=datetime.now(UTC).date().isoformat(),
    )
    save_checkpoint(path, network, facts)


def rewrite_facts(
    path: Path,
    checkpoint: Checkpoint,
    *,
    scores: Mapping[str, Score] | None = None,
    default_strength: float | None = None,
) -> None:
    """Writes `checkpoint` to `path` again with measured scores or default strength."""
    changes: dict[str, object] = {}
    if scores is not None:
        changes["scores"] = dict(scores)
    if default_strength is not None:
        changes["default_strength"] = default_strength
    save_checkpoint(path, checkpoint.network, checkpoint.facts.model_copy(update=changes))


def export_checkpoint(source: Path, output: Path) -> Exported:
    """Writes a run's checkpoint where the service finds it, byte for byte, scores included.

    The copy is loaded through `service.model` before it takes its place: its facts and weights must
    be the source's bit for bit, and the student that the service runs (normalisation folded) must
    agree with the one that was trained (not folded) on pictures of even and odd sizes.

    Args:
        source: a `.safetensors` checkpoint.
        output: the file to write, or a folder, which gets `<model id>.safetensors`. What is there
            is replaced in one step.

    Raises:
        CheckpointError: the source cannot be served; the leaf says why.
        ExportMismatchError: the copy is not the source's equal; what was at `output` stays.
        OSError: the folder cannot be written, or the disk is full; what was at `output` stays.
    """
    trained = load_checkpoint(source)
    path = target_path(output, trained.model_id, ".safetensors")
    with replacing(path) as temporary:
        shutil.copyfile(source, temporary)
        served = Sharpener.load(temporary, device="cpu", backend="torch")
        _require_equal(served.checkpoint, trained)
        unfolded = Sharpener(trained, TorchBackend(trained.network, device="cpu"))
        difference = max(
            largest_difference(
                served.sharpen(image, strength=strength),
                unfolded.sharpen(image, strength=strength),
            )
            for image in trial_images()
            for strength in _TRIAL_STRENGTHS
        )
        if difference > LARGEST_DIFFERENCE:
            raise ExportMismatchError(
                f"{source}: as the service runs it, the student differs from the trained one by "
                f"{difference} levels of 255; at most {LARGEST_DIFFERENCE} is rounding. "
                f"{path} was not written. Take an earlier checkpoint of the run."
            )
    return Exported(path, trained.model_id, difference)


def _require_equal(copy: Checkpoint, source: Checkpoint) -> None:
    expected = source.network.state_dict()
    unequal = [
        name
        for name, tensor in copy.network.state_dict().items()
        if not torch.equal(tensor, expected[name])
    ]
    if unequal or (copy.facts, copy.model_id) != (source.facts, source.model_id):
        raise ExportMismatchError(
            f"The copy of {source.model_id} came back changed "
            f"({', '.join(unequal[:3]) or 'its facts'}). The source was being written, or the disk "
            "is failing: export it again."
        )


def target_path(output: Path, model_id: str, suffix: str) -> Path:
    """`output` where it names a file of that suffix, else `<output>/<model_id><suffix>`."""
    if output.suffix == suffix and not output.is_dir():
        return output
    return output / f"{model_id}{suffix}"


def trial_images() -> list[ImageArray]:
    """Images (H, W, 3) uint8 RGB of even and odd sizes: soft shapes, edges and noise; always the
    same ones.
    """
    rng = np.random.default_rng(0)
    images = []
    for height, width in _TRIAL_SIZES:
        down, across = np.mgrid[0:height, 0:width]
        waves = np.sin(down / 7)[..., None] + np.cos(across[..., None] / np.array([5, 9, 13]))
        edges = 60 * ((down // 8 + across // 8) % 2)[..., None]
        noise = rng.normal(0, 12, (height, width, 3))
        images.append(np.clip(100 + 30 * waves + edges + noise, 0, 255).astype(np.uint8))
    return images


def largest_difference(one: ImageArray, other: ImageArray) -> int:
    """Of any value, in levels of 255."""
    return int(np.abs(one.astype(np.int16) - other.astype(np.int16)).max())


def training_commit() -> str:
    """The commit of the code that trains, `+` if it was changed since.

    "unknown" outside a checkout.
    """
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
        is_changed = subprocess.run(
            ["git", "diff", "--quiet", "HEAD"], cwd=here, check=False, timeout=10
        ).returncode
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}+" if is_changed else commit
