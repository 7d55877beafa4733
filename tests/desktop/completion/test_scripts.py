"""desktop.completion: what the Tab key offers, in real shells."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from desktop.cli import main
from tests.programs import program

# For bash-completion's own way of calling: the words so far; prints what is offered.
BASH = """
source "$1"; shift
complete -p clearcall >&2
offer=$(complete -p clearcall | sed 's/.*-F \\([^ ]*\\).*/\\1/')
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
$offer
printf '%s\\n' "${COMPREPLY[@]}"
"""
CASES = [
    (["clearcall", "ser"], {"serve"}),
    (["clearcall", "--v"], {"--version"}),
    (["clearcall", "video", "--preci"], {"--precision"}),
    (["clearcall", "video", "--precision", ""], {"auto", "fp32", "bf16"}),
    (["clearcall", "video", "--device", "c"], {"cpu", "cuda"}),
    (["clearcall", "serve", "--log-format", ""], {"text", "json"}),
    (["clearcall", "serve", "--checkpoints", ""], {"folder"}),
    (["clearcall", "camera", "--fit", "c"], {"crop"}),
    (["clearcall", "camera", "--record", "ta"], {"talk.mp4"}),
    (["clearcall", "video", "ta"], {"talk.mp4"}),
    (["clearcall", "video", "talk.mp4", "-o", "talk"], {"talk.mp4"}),
    (["clearcall", "video", "--checkpoint", "ba"], {"base"}),
    (["clearcall", "video", "--checkpoint", "tr"], {"trained.safetensors"}),
    (["clearcall", "models", ""], {"activate", "list"}),
    (["clearcall", "models", "activate", "--f"], {"--force"}),
    (["clearcall", "completion", ""], {"bash", "fish", "zsh"}),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "talk.mp4").touch()
    (tmp_path / "trained.safetensors").touch()
    (tmp_path / "folder").mkdir()
    return tmp_path


def written(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    path = folder.parent / f"completion.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def test_bash_completes_commands_options_choices_and_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = written("bash", folder, capsys)
    for words, expected in CASES:
        done = subprocess.run(
            [program("bash", "bash"), "--norc", "-c", BASH, "bash", script, *words],
            capture_output=True,
            text=True,
            check=True,
            cwd=folder,
        )
        assert set(done.stdout.split()) == expected, words


def test_fish_completes_commands_options_choices_and_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = written("fish", folder, capsys)
    home = {"HOME": str(folder.parent), "XDG_CONFIG_HOME": str(folder.parent / "config")}
    asks = "; ".join(f'complete -C "{" ".join(words)}"; echo ==' for words, _ in CASES)
    done = subprocess.run(
        [program("fish", "fish"), "--no-config", "-c", f'source "{script}"; {asks}'],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={**os.environ, **home},
    )
    answers = done.stdout.split("==\n")
    for (words, expected), answer in zip(CASES, answers, strict=False):
        offered = {line.split("\t")[0].rstrip("/") for line in answer.splitlines()}
        assert offered == expected, words


def test_zsh_takes_the_script(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = written("zsh", folder, capsys)
    load = f'autoload -U compinit; compinit -D; eval "$(<{script})"; print -r -- $_comps[clearcall]'
    done = subprocess.run(
        [program("zsh", "zsh"), "-fc", load], capture_output=True, text=True, check=True, cwd=folder
    )
    assert done.stderr == ""
    assert done.stdout.strip() == "_shtab_clearcall"


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "choose from" in capsys.readouterr().err
