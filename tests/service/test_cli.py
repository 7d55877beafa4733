"""service.cli: the command line as its user meets it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from service.__main__ import _with_command
from service.cli import main
from service.keys import hash_of
from service.model.checkpoint import Facts, save_checkpoint
from service.model.student import SIZES, build_student
from service.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"clearcall \d\S*\n", capsys.readouterr().out)


def test_help_names_every_setting_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for name, field in Settings.model_fields.items():
        if name == "token_secret":  # a secret is no flag: others see those
            assert "secret" not in said.replace(str(field.description), "")
            continue
        assert f"--{name.replace('_', '-')}" in said
        assert str(field.description) in said
    assert "(default 8000)" in said


@pytest.mark.parametrize("argv", [[], ["dance"], ["serve", "--colour", "red"], ["serve", "--port"]])
def test_a_wrong_command_line_is_exit_2(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    assert "usage: clearcall" in capsys.readouterr().err


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("clearcall: ")
    return captured.err


def test_a_wrong_setting_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "high"]) == 2
    assert "CLEARCALL_PORT (--port) is 'high'" in one_line(capsys)


def test_a_wrong_variable_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARCALL_THREADS", "all")
    assert main(["serve"]) == 2
    assert "CLEARCALL_THREADS" in one_line(capsys)


def test_a_port_in_use_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "Cannot listen" in one_line(capsys)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "none.safetensors"), (b"not a checkpoint", "bad.safetensors")]
)
def test_a_missing_or_bad_checkpoint_is_one_line_and_exit_2(
    content: bytes | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / said
    if content is not None:
        path.write_bytes(content)
    assert main(["serve", "--port", "0", "--checkpoint", str(path)]) == 2
    assert said in one_line(capsys)


def test_a_device_that_is_not_here_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = saved_checkpoint(tmp_path)
    assert (
        main(["serve", "--port", "0", "--checkpoint", str(checkpoint), "--device", "cuda:99"]) == 2
    )
    assert "CUDA" in one_line(capsys)


def test_a_variable_that_nothing_reads_is_named_with_what_was_meant(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLEARCALL_PROT", "9000")
    assert main(["serve", "--port", "0", "--checkpoint", str(tmp_path / "none")]) == 2
    assert "CLEARCALL_PROT is not a setting" in (said := capsys.readouterr().err)
    assert "did you mean CLEARCALL_PORT?" in said


@pytest.mark.parametrize(
    ("host", "key", "is_warned"),
    [
        ("0.0.0.0", "", True),
        ("::", "", True),
        ("0.0.0.0", hash_of("k"), False),
        ("127.0.0.2", "", False),
        ("localhost", "", False),
    ],
)
def test_a_public_address_without_a_key_is_warned_of(
    *,
    host: str,
    key: str,
    is_warned: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLEARCALL_API_KEYS", key)
    none = str(tmp_path / "none")
    assert main(["serve", "--host", host, "--port", "0", "--checkpoint", none]) == 2
    assert ("without an API key" in capsys.readouterr().err) is is_warned


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        ([], ["serve"]),
        (["--port", "1"], ["serve", "--port", "1"]),
        (["serve", "--port", "1"], ["serve", "--port", "1"]),
        (["--version"], ["--version"]),
        (["-h"], ["-h"]),
    ],
)
def test_python_m_service_serves(argv: list[str], command: list[str]) -> None:
    assert _with_command(argv) == command


def saved_checkpoint(folder: Path) -> Path:
    """A small checkpoint of random weights, as a file that can be loaded."""
    network = build_student(SIZES["nano"])
    path = folder / "student.safetensors"
    config = network.config
    facts = Facts(
        config=config.to_json(),
        name="nano",
        size_multiple=config.size_multiple,
        normalisation="instance",
        default_strength=1.0,
        training_steps=1,
    )
    save_checkpoint(path, network, facts)
    return path


def test_it_starts_says_what_to_open_serves_and_stops_on_a_signal(tmp_path: Path) -> None:
    checkpoint = saved_checkpoint(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "--port", "0", "--log-level", "warning"],
        cwd=ROOT,
        env={
            **os.environ,
            "CLEARCALL_CHECKPOINT": str(checkpoint),
            "CLEARCALL_DEVICE": "cpu",
            "CLEARCALL_PRECISION": "fp32",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        ready = re.fullmatch(
            r"Clearcall is ready: open (http://127\.0\.0\.1:\d+) "
            r"\((nano-\w+) on cpu, openvino in fp32\)\n",
            line,
        )
        assert ready, line or process.stderr.read()
        response = httpx.get(f"{ready[1]}/health/ready")
        model = httpx.get(f"{ready[1]}/model").json()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
    assert response.json()["model"] == model["id"] == ready[2]
    assert (model["device"], model["backend"], model["precision"]) == ("cpu", "openvino", "fp32")
    assert model["default_strength"] == 1.0
