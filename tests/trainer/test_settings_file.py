"""The settings file: what it may hold, what a word on the command line changes, plain refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.config import DistillConfig, RunOptions, TeacherConfig
from trainer.settings_file import SettingsError, as_toml, read_settings

GIVEN = ("data=pictures", "out=runs/a")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text('data = "pictures"\nout = "runs/a"\nsteps = 10\nrate = 1\nsize = "nano"\n')
    return path


def test_a_file_is_read_with_the_types_of_the_settings(file: Path) -> None:
    config, options = read_settings(DistillConfig, file)
    assert config == DistillConfig(steps=10, rate=1.0, size="nano")
    assert isinstance(config.rate, float)
    assert options == RunOptions(data=Path("pictures"), out=Path("runs/a"))


def test_words_override_the_file_and_later_ones_earlier_ones(file: Path) -> None:
    changes = ["steps=20", "size=base", "steps=30", "tensorboard=true", "validation=v"]
    config, options = read_settings(DistillConfig, file, changes)
    assert (config.steps, config.size) == (30, "base")
    assert options.tensorboard
    assert options.validation == Path("v")


def test_what_is_printed_can_be_read_again(tmp_path: Path) -> None:
    config, options = read_settings(
        TeacherConfig, None, [*GIVEN, 'vgg_weights=a "b"\\c', "rate=0.0005"]
    )
    path = tmp_path / "again.toml"
    path.write_text(as_toml(config, options))
    assert read_settings(TeacherConfig, path) == (config, options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["rte=1"], "unknown setting 'rte'. Did you mean rate"),
        (["size"], "'size' is not key=value"),
        (["steps=many"], "steps must be a whole number, not 'many'"),
        (["steps=1.5"], "steps must be a whole number, not 1.5"),
        (["steps=true"], "steps must be a whole number, not True"),
        (["rate=fast"], "rate must be a number, not 'fast'"),
        (["tensorboard=1"], "tensorboard must be true or false, not 1"),
        (["rate=7"], "rate must be 0 to 1, not 7"),
        (["workers=-1"], "workers must be 0 or more"),
    ],
)
def test_a_wrong_word_is_named_with_what_is_allowed(changes: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_settings(DistillConfig, None, [*GIVEN, *changes])


def test_a_text_where_a_number_belongs_is_refused_in_a_file_too(file: Path) -> None:
    file.write_text('data = "a"\nout = 3\n')
    with pytest.raises(SettingsError, match="out must be a path in quotes, not 3"):
        read_settings(DistillConfig, file)


def test_a_folder_that_is_not_given_is_asked_for() -> None:
    with pytest.raises(SettingsError, match="data, out must be given"):
        read_settings(DistillConfig, None)


@pytest.mark.parametrize("content", [b"steps 10", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="is not a TOML file"):
        read_settings(DistillConfig, path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml cannot be read"):
        read_settings(DistillConfig, tmp_path / "none.toml")
