"""What the commands refuse before their work, so that nothing that was measured is thrown away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.trainer.datasets import write_picture
from trainer.__main__ import main
from trainer.commands import exporting, measuring, pictures, training


@pytest.fixture(autouse=True)
def _no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where the work is begun."""

    def begun(*_: object, **__: object) -> None:
        raise AssertionError("the work was begun")

    for module, names in (
        (measuring, ("evaluate", "best_strength", "write_rating_page", "summarise_ratings")),
        (pictures, ("write_preview", "write_pack", "write_call_frames")),
        (exporting, ("export_checkpoint", "export_onnx", "average_checkpoints")),
        (training, ("ablate", "distill")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, begun)


@pytest.fixture
def places(samples: Path, tmp_path: Path) -> dict[str, str]:
    """A folder, a file, an empty folder, one with a tiny picture, and one with what is no video."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("text")
    write_picture(tmp_path / "tiny" / "a.png", np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "talk.mp4").write_bytes(b"no video")
    named = {name: tmp_path / name for name in ("empty", "tiny", "broken", "none")}
    named |= {"samples": samples, "folder": tmp_path, "file": tmp_path / "file.txt"}
    return {name: str(path) for name, path in named.items()}


def error_of(words: str, places: dict[str, str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main([word.format(**places) for word in words.split()]) == 2
    return "".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--clips {none}", "--clips {none}: no such file or folder"),
        ("--clips {empty}", "--clips {empty} holds no video"),
        ("--clips {broken}", "--clips {broken} holds no video"),
        ("--clips {broken} --clip-frames 1", "--clip-frames must be 2 or more, not 1"),
        ("--look-ahead {file}", "pass --clips"),
        ("--log {file}", "--log is for the curves of the report card: pass --html"),
        ("--html {folder}/r.html --log {none}", "--log {none} cannot be read (No such file"),
        ("--html {folder}/r.html --log {folder}", "--log {folder} cannot be read (Is a directory"),
        ("--html {folder}", "--html {folder} is a folder"),
        ("--html {file}/r.html", "--html {file}/r.html: {file} is a file and no folder"),
        ("--json {folder}", "--json {folder} is a folder"),
        ("--grids {file}", "--grids {file} is a file"),
        ("--teacher-window 64", "--teacher-window is of the teacher: pass --teacher"),
        ("--teacher {none}.safetensors", "no such file"),
        ("--lpips-weights {none}", "{none}: no such file"),
    ],
)
def test_evaluate_refuses_what_it_could_not_use_at_the_end(
    options: str, message: str, places: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    told = error_of(f"evaluate --checkpoint nano --data {{samples}} {options}", places, capsys)
    assert "".join(message.format(**places).split()) in told


def test_evaluate_loads_the_fusion_before_it_measures(
    places: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainer.commands.evaluation_checks.has_clip", lambda _place: True)
    command = "evaluate --checkpoint nano --data {samples} --clips {empty} --look-ahead {file}"
    assert "--look-ahead" + places["file"] in error_of(command, places, capsys)


def test_evaluate_says_at_once_that_no_picture_is_large_enough_for_a_crop(
    places: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    told = error_of("evaluate --checkpoint nano --data {tiny} --still", places, capsys)
    assert "--stillmeasurescropsof256px" in told


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("preview --data {samples} --out {folder}", "--out {folder} is a folder"),
        ("pack --data {samples} --out {folder}", "--out {folder} is a folder"),
        ("calls --data {samples} --out {file}", "--out {file} is a file"),
        (
            "calls --data {samples} --out {empty} --clips-per-picture 0",
            "--clips-per-picture must be 1 or more, not 0",
        ),
        ("calls --data {samples} --out {empty} --seed -1", "--seed must be 0 or more, not -1"),
        (
            "calls --data {folder} --out {folder}/calls",
            "--out {folder}/calls is in {folder}, where its frames would be taken for sharp",
        ),
        ("average a.safetensors b.safetensors --out {folder}", "--out {folder} is a folder"),
        ("export --checkpoint a.safetensors --out {file}", "--out {file} is a file"),
        ("export --checkpoint a.safetensors --out {file}/x.onnx --onnx", "is a file and no folder"),
        ("mos page {samples} --out {file}", "--out {file} is a file"),
        ("mos table {file} --key {file} --json {folder}", "--json {folder} is a folder"),
        ("distill --data {samples} --out {file}", "--out {file} is a file"),
    ],
)
def test_an_output_without_a_place_is_refused_before_the_work(
    command: str, message: str, places: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "".join(message.format(**places).split()) in error_of(command, places, capsys)


@pytest.mark.parametrize("command", ["ablate", "fusion"])
def test_what_ends_a_run_needs_its_place_in_the_run_s_folder(
    command: str, places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ablation.json", "fusion.safetensors"):
        (tmp_path / "run" / name).mkdir(parents=True)
    told = error_of(f"{command} --data {{samples}} --out {tmp_path}/run", places, capsys)
    assert "isafolder" in told


@pytest.mark.parametrize("options", ["--strength 0.5", "--opset 18"])
def test_export_refuses_what_is_of_onnx_alone(
    options: str, places: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"export --checkpoint a.safetensors --out {{empty}} {options}"
    assert "pass--onnx" in error_of(command, places, capsys)


@pytest.mark.parametrize("threads", ["-1", "1.5", "100000"])
@pytest.mark.parametrize("command", ["evaluate", "bench", "fusion"])
def test_threads_that_cannot_be_had_are_refused(
    command: str, threads: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--out", "o"] if command == "fusion" else []
    with pytest.raises(SystemExit, match="2"):
        main([command, *folders, "--threads", threads])
    assert f"{threads} is not a whole number from 0 to 1024" in capsys.readouterr().err


def test_missing_folders_of_an_output_are_no_reason_to_refuse(
    places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def write(_paths: list[Path], out: Path, **_: object) -> Path:
        written.append(out)
        return out

    monkeypatch.setattr(pictures, "write_preview", write)
    assert main(["preview", "--data", places["samples"], "--out", places["none"] + "/a/b.png"]) == 0
    assert [str(path) for path in written] == [places["none"] + "/a/b.png"]
