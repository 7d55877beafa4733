"""Atomic writing: a file is the old one or the new one, whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.model.atomic import replacing, temporary_beside, write_bytes


def test_a_file_is_written_into_folders_that_were_not_there(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "file.bin", b"new")
    assert (tmp_path / "a" / "b" / "file.bin").read_bytes() == b"new"


def test_the_umask_says_who_may_read_a_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "file.bin", b"new")
    finally:
        os.umask(before)
    assert (tmp_path / "file.bin").stat().st_mode & 0o777 == 0o640


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert temporary.parent == path.parent
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("No space left"), KeyboardInterrupt()])
def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"ne")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_ctrl_c_while_the_temporary_file_is_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def open_and_interrupt(path: Path, mode: str) -> object:
        opened(path, mode).close()
        assert list(tmp_path.iterdir()) == [path]
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "open", open_and_interrupt)
    with pytest.raises(KeyboardInterrupt), temporary_beside(tmp_path / "file.bin"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_file_stands_beside_a_name_as_long_as_names_can_be(tmp_path: Path) -> None:
    path = tmp_path / f"{'n' * 250}.mp4"
    with temporary_beside(path, suffix=path.suffix) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".mp4"
        assert temporary.read_bytes() == b""
    assert list(tmp_path.iterdir()) == []
