"""Export: facts rewritten without touching weights; checkpoints carried to the service whole."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.errors import CheckpointCorrupt, CheckpointNotFound
from service.model.checkpoint import Checkpoint, Score, load_checkpoint, save_checkpoint
from service.model.sharpener import Sharpener
from service.model.student import StudentConfig, build_student
from tests.trainer.students import identity_checkpoint
from trainer import export
from trainer.config import DistillConfig
from trainer.export import (
    ExportMismatchError,
    export_checkpoint,
    export_student,
    largest_difference,
    rewrite_facts,
    target_path,
    training_commit,
    trial_images,
)

SCORE = Score(pictures=1, input_psnr_db=30, psnr_db=31, input_ssim=0.8, ssim=0.9, worse_count=0)


@pytest.fixture(params=["rgb", "luma"])
def trained(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run's checkpoint: frozen, measured, with corrections that show."""
    colour = request.param
    torch.manual_seed(1)
    config = StudentConfig(
        channels=8, unshuffle=4, blocks=2, experts=2, colour=colour, normalisation="frozen"
    )
    network = build_student(config).eval().requires_grad_(requires_grad=False)
    for tensor in network.state_dict().values():
        tensor.add_(torch.randn_like(tensor).abs() * 0.03)
    facts = identity_checkpoint().facts.model_copy(
        update={
            "config": config.to_json(),
            "size_multiple": 4,
            "normalisation": "frozen",
            "scores": {"webcam": SCORE},
            "default_strength": 0.2,
        }
    )
    path = tmp_path / "run" / "student.safetensors"
    save_checkpoint(path, network, facts)
    return path


def test_scores_and_strength_are_written_beside_the_same_weights(tmp_path: Path) -> None:
    path, student = tmp_path / "s.safetensors", identity_checkpoint()
    save_checkpoint(path, student.network, student.facts)
    before = load_checkpoint(path)
    rewrite_facts(path, before, scores={"webcam": SCORE}, default_strength=0.2)
    loaded = load_checkpoint(path)
    assert loaded.facts.scores == {"webcam": SCORE}
    assert loaded.facts.default_strength == 0.2
    rewrite_facts(path, loaded, default_strength=0.1)
    again = load_checkpoint(path)
    assert again.facts.scores == {"webcam": SCORE}
    for name, tensor in before.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor)


def test_a_student_that_trained_frozen_is_exported_frozen(tmp_path: Path) -> None:
    network = identity_checkpoint().network
    export_student(
        tmp_path / "s.safetensors",
        weights=network.state_dict(),
        student=network.config,
        is_frozen=True,
        config=DistillConfig(),
        step=3,
        manifest_hash="abc",
    )
    facts = load_checkpoint(tmp_path / "s.safetensors").facts
    assert (facts.normalisation, facts.training_steps) == ("frozen", 3)
    assert facts.data_manifest_hash == "abc"


def test_the_commit_is_a_hash_or_said_to_be_unknown() -> None:
    assert re.fullmatch(r"[0-9a-f]{12}\+?|unknown", training_commit())


def test_the_exported_file_is_the_runs_with_its_id_and_scores(
    trained: Path, tmp_path: Path
) -> None:
    exported = export_checkpoint(trained, tmp_path / "volume" / "student.safetensors")
    source, copy = load_checkpoint(trained), load_checkpoint(exported.path)
    assert exported.path == tmp_path / "volume" / "student.safetensors"
    assert exported.path.read_bytes() == trained.read_bytes()
    assert exported.model_id == copy.model_id == source.model_id
    assert copy.facts.scores == {"webcam": SCORE}
    assert exported.largest_difference <= 1
    image = trial_images()[1]
    sharpened = Sharpener.load(exported.path, device="cpu", backend="torch").sharpen(image)
    assert largest_difference(sharpened, image) > 2


def test_a_folder_gets_a_file_named_by_the_models_id(trained: Path, tmp_path: Path) -> None:
    exported = export_checkpoint(trained, tmp_path / "volume")
    assert exported.path == tmp_path / "volume" / f"{exported.model_id}.safetensors"
    assert [path.name for path in exported.path.parent.iterdir()] == [exported.path.name]


@pytest.mark.parametrize("name", ["volume", "volume.safetensors"])
def test_a_folder_that_is_there_is_a_folder_whatever_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    path = target_path(tmp_path / name, "tiny-1", ".safetensors")
    assert path == tmp_path / name / "tiny-1.safetensors"


def test_an_export_replaces_what_is_there(trained: Path, tmp_path: Path) -> None:
    target = tmp_path / "served.safetensors"
    target.write_bytes(b"the student of last week")
    export_checkpoint(trained, target)
    assert target.read_bytes() == trained.read_bytes()


def test_a_broken_or_missing_source_leaves_the_served_file_alone(
    trained: Path, tmp_path: Path
) -> None:
    target = tmp_path / "served.safetensors"
    shutil.copy(trained, target)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(trained.read_bytes()[:-50])
    for source, error in ((broken, CheckpointCorrupt), (tmp_path / "none", CheckpointNotFound)):
        with pytest.raises(error):
            export_checkpoint(source, target)
    assert target.read_bytes() == trained.read_bytes()


def test_a_copy_that_came_out_different_is_not_kept(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_badly(source: Path, target: Path) -> None:
        checkpoint = load_checkpoint(source)
        checkpoint.network.head.weight.view(-1)[0] += 1e-6
        save_checkpoint(target, checkpoint.network, checkpoint.facts)

    monkeypatch.setattr(shutil, "copyfile", copy_badly)
    with pytest.raises(ExportMismatchError, match=r"came back changed \(head\.weight\)"):
        export_checkpoint(trained, tmp_path / "volume")
    assert list((tmp_path / "volume").iterdir()) == []


def test_a_student_that_the_service_would_run_differently_is_not_kept(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Rounding(Sharpener):
        """Runs what it loads four levels too bright."""

        def sharpen(self, image: Any, **options: Any) -> Any:
            sharpened = super().sharpen(image, **options)
            is_loaded = self.checkpoint.network is not unfolded[0].network
            return np.minimum(sharpened, 251) + np.uint8(4 * is_loaded)

    unfolded: list[Checkpoint] = []

    def load_and_remember(path: Path) -> Checkpoint:
        unfolded.append(load_checkpoint(path))
        return unfolded[-1]

    monkeypatch.setattr(export, "Sharpener", Rounding)
    monkeypatch.setattr(export, "load_checkpoint", load_and_remember)
    with pytest.raises(ExportMismatchError, match="differs from the trained one by 4 levels"):
        export_checkpoint(trained, tmp_path / "volume")
    assert list((tmp_path / "volume").iterdir()) == []


def test_a_full_disk_leaves_the_served_file_alone(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "volume" / "served.safetensors"
    export_checkpoint(trained, target)

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", no_space)
    with pytest.raises(OSError, match="No space left"):
        export_checkpoint(trained, target)
    assert [path.name for path in target.parent.iterdir()] == ["served.safetensors"]
    assert target.read_bytes() == trained.read_bytes()
