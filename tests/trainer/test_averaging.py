"""Averaging: a student between others, its facts, and what cannot be averaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from service.model.checkpoint import Score, load_checkpoint, save_checkpoint
from service.model.student import StudentConfig, build_student
from tests.trainer.students import identity_checkpoint
from trainer.__main__ import main
from trainer.averaging import average_checkpoints

SCORE = Score(pictures=1, input_psnr_db=30, psnr_db=31, input_ssim=0.8, ssim=0.9, worse_count=0)
CONFIG = StudentConfig(channels=8, unshuffle=2, blocks=1, experts=2, normalisation="frozen")


def written(path: Path, value: float, config: StudentConfig = CONFIG) -> Path:
    """A student whose weights are all one value."""
    network = build_student(config)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.fill_(value)
    update = {
        "config": config.to_json(),
        "size_multiple": config.size_multiple,
        "normalisation": config.normalisation,
        "scores": {"webcam": SCORE},
    }
    save_checkpoint(path, network, identity_checkpoint().facts.model_copy(update=update))
    return path


def weights(path: Path) -> set[float]:
    state = load_checkpoint(path).network.state_dict()
    return {float(value) for tensor in state.values() for value in tensor.unique()}


@pytest.mark.parametrize(
    ("shares", "mean"), [([], 1.5), (["--shares", "1", "3"], 1.75), (["--shares", "6", "2"], 1.25)]
)
def test_every_weight_lies_between_those_of_the_sources(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shares: list[str], mean: float
) -> None:
    sources = [written(tmp_path / f"{value}.safetensors", value) for value in (1.0, 2.0)]
    output = tmp_path / "new" / "mean.safetensors"
    assert main(["average", *map(str, sources), "--out", str(output), *shares]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    assert weights(output) == {mean}


def test_the_facts_name_the_sources_and_claim_no_scores(tmp_path: Path) -> None:
    sources = [written(tmp_path / f"{value}.safetensors", value) for value in (1.0, 2.0, 4.0)]
    output = tmp_path / "mean.safetensors"
    made = average_checkpoints(sources, output, shares=[2, 1, 1])
    assert made.model_id == load_checkpoint(output).model_id
    ids = [load_checkpoint(source).model_id for source in sources]
    assert made.facts.training_config["averaged"] == f"{ids[0]}=0.5 {ids[1]}=0.25 {ids[2]}=0.25"
    assert made.facts.scores == {}
    assert weights(output) == {2.0}


@pytest.mark.parametrize("shares", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_shares_that_do_not_fit_are_refused(tmp_path: Path, shares: list[float]) -> None:
    sources = [written(tmp_path / f"{value}.safetensors", value) for value in (1.0, 2.0)]
    output = tmp_path / "mean.safetensors"
    with pytest.raises(ValueError, match="one positive number for each of the 2"):
        average_checkpoints(sources, output, shares=shares)
    assert not output.exists()


def test_students_of_other_shapes_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = written(tmp_path / "one.safetensors", 1.0)
    wider = StudentConfig(channels=16, unshuffle=2, blocks=1, experts=2, normalisation="frozen")
    other = written(tmp_path / "other.safetensors", 2.0, wider)
    assert main(["average", str(one), str(other), "--out", str(tmp_path / "mean.safetensors")]) == 2
    assert "another shape than one.safetensors (channels)" in " ".join(
        capsys.readouterr().err.replace(f"{tmp_path}/", "").split()
    )


def test_one_checkpoint_alone_is_refused(tmp_path: Path) -> None:
    one = written(tmp_path / "one.safetensors", 1.0)
    with pytest.raises(ValueError, match="two checkpoints or more"):
        average_checkpoints([one], tmp_path / "mean.safetensors")
