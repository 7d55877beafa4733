"""The command line: pictures in, a checkpoint and a report out, plain words on mistakes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.model.checkpoint import load_checkpoint
from service.model.sharpener import bundled_checkpoint
from trainer.__main__ import main
from trainer.degradation import PROTOCOLS
from trainer.overlaid_protocols import OVERLAID_PROTOCOLS
from trainer.still_scene import NOISES
from trainer.teacher_file import load_teacher
from trainer.wide_protocols import WIDE_PROTOCOLS

QUICK = ("--size", "nano", "--steps", "2", "--batch", "2", "--crop", "64", "--workers", "0")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    out = tmp_path_factory.mktemp("run")
    assert main(["distill", "--data", str(samples), "--out", str(out), *QUICK]) == 0
    return out / "student.safetensors"


def test_distill_writes_a_checkpoint_that_loads(checkpoint: Path) -> None:
    assert load_checkpoint(checkpoint).facts.training_steps == 2


def test_a_second_call_with_the_same_settings_finds_nothing_left_to_do(
    checkpoint: Path, samples: Path
) -> None:
    before = load_checkpoint(checkpoint).network.state_dict()
    out = checkpoint.parent
    assert main(["distill", "--data", str(samples), "--out", str(out), *QUICK]) == 0
    after = load_checkpoint(checkpoint).network.state_dict()
    assert all(bool((after[name] == tensor).all()) for name, tensor in before.items())


def test_a_settings_file_is_changed_by_set_and_by_flags(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "run.toml"
    settings.write_text(
        f'data = "{samples}"\nout = "{tmp_path / "run"}"\nsize = "nano"\nsteps = 9\nbatch = 2\n'
        "crop = 96\nworkers = 0\nrate = 0.5\n"
    )
    assert main(["distill", str(settings), "--set", "steps=1", "--set=rate=0.1", "--crop=64"]) == 0
    facts = load_checkpoint(tmp_path / "run" / "student.safetensors").facts
    assert facts.training_steps == 1
    assert facts.training_config["rate"] == 0.1
    assert facts.training_config["crop"] == 64
    printed = capsys.readouterr().err
    assert "steps = 1" in printed
    assert "rate = 0.1" in printed


def test_a_teacher_is_trained_and_teaches(samples: Path, tmp_path: Path) -> None:
    quick = ("--steps", "2", "--batch", "2", "--crop", "64", "--workers", "0")
    folders = ("--data", str(samples), "--out")
    assert main(["teacher", *folders, str(tmp_path / "t"), "--shape", "tiny", *quick]) == 0
    teacher = tmp_path / "t" / "teacher.safetensors"
    loaded = load_teacher(teacher)
    assert loaded.facts.training_steps == 2
    more = ("--shape", "tiny", "--init", str(teacher))
    assert main(["teacher", *folders, str(tmp_path / "t2"), *more, *quick]) == 0
    fine_tuned = load_teacher(tmp_path / "t2" / "teacher.safetensors")
    assert fine_tuned.facts.training_config["init"] == loaded.teacher_id
    taught = ("--size", "nano", "--teacher", str(teacher), "--teacher-output", "0.5")
    assert main(["distill", *folders, str(tmp_path / "s"), *taught, *quick]) == 0
    student = load_checkpoint(tmp_path / "s" / "student.safetensors")
    assert student.facts.training_config["teacher"] == loaded.teacher_id


def test_a_checkpoint_is_exported_for_the_service_and_as_onnx(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "volume")]
    (tmp_path / "volume").mkdir()
    assert main(arguments) == 0
    exported = Path(capsys.readouterr().out.strip())
    assert load_checkpoint(exported).model_id == exported.stem
    assert main([*arguments, "--onnx"]) == 0
    assert exported.with_suffix(".onnx").stat().st_size > 1000


def test_a_report_card_is_written_with_teacher_and_grids(
    checkpoint: Path, samples: Path, tmp_path: Path
) -> None:
    quick = ("--steps", "1", "--batch", "2", "--crop", "64", "--workers", "0", "--shape", "tiny")
    assert main(["teacher", "--data", str(samples), "--out", str(tmp_path), *quick]) == 0
    arguments = ["--checkpoint", str(checkpoint), "--data", str(samples), "--region", "crop"]
    report = tmp_path / "report.html"
    options = ["--limit", "2", "--teacher", str(tmp_path / "teacher.safetensors")]
    outputs = ["--html", str(report), "--grids", str(tmp_path / "grids")]
    log = ["--log", str(checkpoint.parent / "log.jsonl")]
    assert main(["evaluate", *arguments, *options, *outputs, *log]) == 0
    text = report.read_text()
    assert "teacher" in text
    assert load_checkpoint(checkpoint).model_id in text
    assert len(list((tmp_path / "grids").glob("*.png"))) == len(PROTOCOLS)


def test_a_pack_can_be_trained_on(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = tmp_path / "crops.pack"
    arguments = ["--crop", "64", "--crops-per-picture", "2", "--degrade", "jpeg=1"]
    assert main(["pack", "--data", str(samples), "--out", str(pack), *arguments]) == 0
    assert "10" in capsys.readouterr().out
    assert main(["distill", "--data", str(pack), "--out", str(tmp_path / "run"), *QUICK]) == 0


def test_a_preview_is_a_picture(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "preview.png"
    assert main(["preview", "--data", str(samples), "--out", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_bench_ends_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--students", "nano", "--sizes", "64x48", "--backends", "torch"]
    assert main(["bench", *arguments, "--precisions", "fp32", "--seconds", "0"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["reference"]["what"] == "reference"
    assert [row["what"] for row in report["timings"]] == ["nano"]


def test_evaluate_prints_tables_writes_json_and_scores(
    checkpoint: Path, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    arguments = ["--checkpoint", str(checkpoint), "--data", str(samples), "--region", "crop"]
    options = [
        "--limit",
        "2",
        "--still",
        "--json",
        str(report),
        "--find-strength",
        "--write-scores",
    ]
    assert main(["evaluate", *arguments, *options]) == 0
    printed = capsys.readouterr().out
    for column in ("input", "unsharp", "cas", "student", *PROTOCOLS, "still scenes"):
        assert column in printed
    assert json.loads(report.read_text())["means"]["crop"].keys() == PROTOCOLS.keys()
    assert len(json.loads(report.read_text())["still"]["scenes"]) == 2 * len(NOISES)
    assert json.loads(report.read_text())["model"] == load_checkpoint(checkpoint).model_id
    facts = load_checkpoint(checkpoint).facts
    assert facts.scores.keys() == PROTOCOLS.keys()
    assert 0.6 <= facts.default_strength <= 1.4


@pytest.mark.parametrize("missing", ["av", "scipy"])
def test_a_missing_extra_is_named(missing: str) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None; from trainer.__main__ import main;"
        "sys.exit(main(['--help']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == f"clearcall-train needs {missing}: pip install 'clearcall[trainer]'\n"


def test_an_interrupted_process_ends_by_the_signal_so_that_a_shells_loop_ends_too() -> None:
    script = (
        "import sys, trainer.cli; from trainer.__main__ import start;"
        "trainer.cli.run = lambda _: 130; sys.exit(start())"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert done.returncode == -signal.SIGINT
    assert done.stderr == b""


@pytest.mark.parametrize("flag", ["--find-strength", "--write-scores"])
@pytest.mark.parametrize(
    "named", [[], ["--checkpoint", "service/../service/weights/small.safetensors"]]
)
def test_evaluate_writes_into_nothing_that_came_with_it(
    flag: str,
    named: list[str],
    samples: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    before = bundled_checkpoint("small").read_bytes()
    assert main(["evaluate", "--data", str(samples), "--region", "crop", *named, flag]) == 2
    assert "came with Clearcall" in " ".join(capsys.readouterr().err.split())
    assert bundled_checkpoint("small").read_bytes() == before


@pytest.mark.parametrize("flag", ["--recordings", "--look-ahead"])
def test_evaluate_refuses_what_is_of_videos_alone(
    flag: str, samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--data", str(samples), flag]) == 2
    assert "pass --clips" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("flag", ["--wide", "--overlays"])
def test_evaluate_measures_other_degradations_too(
    flag: str, checkpoint: Path, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protocols = {"--wide": set(WIDE_PROTOCOLS), "--overlays": set(OVERLAID_PROTOCOLS)}[flag]
    report, grids = tmp_path / "report.json", tmp_path / "grids"
    arguments = ["--checkpoint", str(checkpoint), "--data", str(samples), "--region", "crop"]
    options = ["--limit", "1", flag, "--json", str(report), "--grids", str(grids)]
    assert main(["evaluate", *arguments, *options]) == 0
    assert f"of {len(protocols)} degraded made worse" in capsys.readouterr().out
    assert json.loads(report.read_text())["means"]["crop"].keys() == protocols
    assert len(list(grids.glob("*.png"))) == len(protocols)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["distill", "--data", "nowhere", "--out", "{out}"], "nowhere"),
        (["distill", "--data", "no [bold]/[/where]", "--out", "{out}"], "no [bold]/[/where]"),
        (
            ["distill", "--data", "{samples}", "--out", "{out}", "--rate", "7"],
            "rate must be 0 to 1",
        ),
        (
            ["distill", "--data", "{samples}", "--out", "{out}", "--size", "big"],
            "size must be one of",
        ),
        (
            ["distill", "--data", "{samples}", "--out", "{out}", "--set", "rte=1"],
            "Did you mean rate",
        ),
        (["distill", "--out", "{out}"], "data must be given"),
        (["distill", "--data", "{samples}", "--out", "{out}", "--teacher-output", "1"], "teacher"),
        (["teacher", "--data", "{samples}", "--out", "{out}", "--shape", "big"], "shape must be"),
        (["teacher", "--data", "{samples}", "--out", "{out}", "--crop", "72"], "multiple of 16"),
        (
            ["teacher", "--data", "{samples}", "--out", "{out}", "--shape=tiny", "--init", "none"],
            "none",
        ),
        (["ablate", "--data", "{samples}", "--out", "{out}"], "pass --validation"),
        (["pack", "--data", "{samples}", "--out", "{out}/p", "--degrade", "rain=1"], "rain"),
        (
            ["pack", "--data", "{samples}", "--out", "{out}/p", "--clean-share", "3"],
            "--clean-share must be 0 to 1",
        ),
        (["preview", "--data", "nowhere", "--out", "{out}/p.png"], "holds no pictures"),
        (["export", "--checkpoint", "none", "--out", "{out}"], "no such file"),
        (["bench", "--students", "huge"], "huge"),
        (["mos", "page", "nowhere", "--out", "{out}/page"], "nowhere"),
        (["mos", "table", "none.json", "--key", "none.key.json"], "none"),
        (["evaluate", "--data", "nowhere"], "holds no pictures"),
        (["evaluate", "--data", "x", "--checkpoint", "none"], "no such file"),
        (["evaluate", "--data", "x", "--write-scores", "--region=whole"], "--region crop or both"),
        (["evaluate", "--data", "x", "--write-scores", "--wide"], "leave out --wide"),
        (["evaluate", "--data", "x", "--write-scores", "--overlays"], "leave out --overlays"),
        (["evaluate", "--data", "x", "--write-scores", "--strength=0"], "leave out --strength"),
        (
            ["evaluate", "--data", "x", "--find-strength", "--strength=1"],
            "--find-strength measures strengths",
        ),
        (["evaluate", "--data", "x", "--strength", "9"], "--strength must be 0 to 2"),
        (["evaluate", "--data", "x", "--limit", "-1"], "--limit must be 0 (all) or more"),
    ],
)
def test_mistakes_are_said_in_one_line_and_exit_with_2(
    arguments: list[str],
    message: str,
    samples: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [argument.format(samples=samples, out=tmp_path) for argument in arguments]
    assert main(filled) == 2
    errors = " ".join(capsys.readouterr().err.split())
    assert "error:" in errors
    assert message in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "command", ["distill", "teacher", "evaluate", "bench", "fusion", "export", "pack", "preview"]
)
def test_help_tells_a_default_once_and_only_where_there_is_one(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert not re.search(r"default: (None|False|\)|\[\]|/)", told)
    for option in told.split(" --"):
        assert option.count("(default: ") <= 1
