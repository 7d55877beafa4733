"""desktop.cli: the whole command as its user meets it, and what all commands have in common."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from desktop.cli import clearcall_parser, main
from desktop.completion.values import public_actions, subcommands

ROOT = Path(__file__).parents[2]

# What an option is everywhere: its metavar (None = it takes no value), and a word of its help.
SHARED = {
    "-o/--output": ("OUT", ""),
    "--force": (None, "replace|though"),
    "--checkpoint": ("NAME", "student: .*nano, small, base, or a checkpoint's path"),
    "--strength": ("S", "0 = off, 1 = as trained"),
    "--device": ("DEVICE", "where the network runs: auto, cpu, mps, cuda or cuda:N"),
    "--backend": ("BACKEND", "what runs the network: auto, torch or openvino"),
    "--precision": ("PRECISION", "what the network calculates in: auto"),
    "--threads": ("N", "CPU threads of the network; .*0 = all cores that the process may use"),
    "--json": (None, "print (one JSON object|a JSON line for each)"),
    "-v/--verbose": (None, ""),
    "--quality": ("Q", "1 to 100"),
    "--resize": ("SIZE", "before the network"),
    "--upscale": ("X", "after the network"),
    "--overlay": (None, "FPS"),
    "--server": ("URL", ""),
    "--api-key": ("KEY", "CLEARCALL_API_KEY"),
    "--preview": ("TIME", ""),
}


def commands(
    parser: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    for name, command in subcommands(parser).items():
        yield (*path, name), command
        yield from commands(command, (*path, name))


COMMANDS = [pytest.param(path, id=" ".join(path)) for path, _ in commands(clearcall_parser())]


def parser_of(path: tuple[str, ...]) -> argparse.ArgumentParser:
    return dict(commands(clearcall_parser()))[path]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"clearcall \d\S*\n", capsys.readouterr().out)


def test_without_a_command_the_help_is_printed_and_the_exit_code_is_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert main(["--help"]) == 0
    assert said.err == capsys.readouterr().out


def test_help_has_a_line_for_each_command_examples_and_where_the_documents_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main(["--help"])
    said = capsys.readouterr().out
    listed = re.findall(r"^  (\w+) {2,}\S.*$", said.partition("commands:")[2], re.M)
    assert listed[: len(subcommands(clearcall_parser()))] == list(subcommands(clearcall_parser()))
    assert "\nexamples:\n  clearcall " in said
    for document in re.findall(r"\S+\.md", said):
        assert (ROOT / document).is_file()
    assert max(map(len, said.splitlines())) <= 90


def test_help_needs_neither_torch_nor_opencv_nor_pyav() -> None:
    script = (
        "import sys; from desktop.cli import main; main(['--help']); main(['completion', 'bash']);"
        "heavy = {'torch', 'cv2', 'av', 'openvino', 'fastapi'} & sys.modules.keys();"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_tells_what_it_does_with_examples_that_can_be_parsed(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*path, "--help"]) == 0
    said = capsys.readouterr().out
    _, heading, examples = said.partition("\nexamples:\n")
    assert heading, "no examples"
    shown = re.findall(rf"^  .*?clearcall ({' '.join(path)}(?: .*)?)$", examples, re.M)
    assert shown
    for line in shown:
        words = shlex.split(re.split(r" {2,}|\)? [|<>] ?", line)[0].removesuffix(")"))
        clearcall_parser().parse_args(words)  # it would exit


@pytest.mark.parametrize("path", COMMANDS)
def test_shared_options_are_called_take_and_mean_the_same_in_every_command(
    path: tuple[str, ...],
) -> None:
    for action in public_actions(parser_of(path)):
        flags = [flag for flag in action.option_strings if not flag.startswith("--no-")]
        for name, (metavar, meaning) in SHARED.items():
            if set(flags) & set(name.split("/")):
                assert "/".join(flags) == name
                assert (None if action.nargs == 0 else action.metavar) == metavar, name
                assert re.search(meaning, str(action.help)), (name, action.help)


def test_an_option_takes_a_value_of_the_same_name_in_every_command() -> None:
    metavars: dict[str, set[object]] = {}
    for path, command in commands(clearcall_parser()):
        if path == ("serve",):  # settings: held to the table above where they are shared
            continue
        for action in public_actions(command):
            for flag in action.option_strings:
                shown = None if action.nargs == 0 else action.metavar
                metavars.setdefault(flag, set()).add(shown)
    assert {flag: shown for flag, shown in metavars.items() if len(shown) > 1} == {}


@pytest.mark.parametrize("arguments", [["completion", "bash"], ["key", "x"]])
def test_a_reader_that_has_gone_is_no_error(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "desktop", *arguments],
        check=False,
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr


def test_what_cannot_be_printed_is_told() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "desktop", "completion", "bash"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 1
    assert done.stderr.decode().startswith("clearcall: what was to be printed cannot be written: ")


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("desktop.doctor.command.examine", Mock(side_effect=KeyboardInterrupt))
    assert main(["doctor"]) == 130


@pytest.mark.parametrize("path", [("image",), ("video",), ("camera",)], ids=" ".join)
@pytest.mark.parametrize("threads", ["-3", "1025", "x"])
def test_a_number_of_threads_that_cannot_be_is_refused_as_it_is_by_serve(
    path: tuple[str, ...], threads: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = [] if path == ("camera",) else ["-o", "out"]
    assert main([*path, "in", *output, f"--threads={threads}"]) == 2
    reason = f"argument --threads: {threads} is not a whole number from 0 to 1024"
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", ["image in -o out --upscale x", "video in -o out --strength x", "camera --fps x"]
)
def test_what_is_no_number_is_called_so(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    option = words.split()[-2]
    assert capsys.readouterr().err.endswith(f"error: argument {option}: x is not a number\n")


def test_the_overview_has_an_example_of_every_command_and_of_nothing_else() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    headings = re.findall(r"^## `clearcall (\w+)`$", text, re.M)
    assert sorted(headings) == sorted(subcommands(clearcall_parser()))
    for line in re.findall(r"^clearcall (.+)$", text, re.M):
        words = re.split(r" {2,}| >", line)[0].split()
        if words != ["--help"]:
            clearcall_parser().parse_args(words)
