"""service.rollout.folder: what is there, whether it is whole, and in which order it came."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from service.rollout.folder import Folder, Sighting
from tests.clock import Clock
from tests.service.rollout.students import write_checkpoint

SETTLE_S = 10.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path, clock: Clock) -> Folder:
    watched = Folder(tmp_path, settle_s=SETTLE_S, clock=clock)
    watched.look()
    return watched


def seen(folder: Folder, clock: Clock, *, looks: int = 2) -> dict[str, Sighting]:
    for _ in range(looks):
        clock.now_s += 1
        found = folder.look()
    return {each.name: each for each in found}


def test_a_file_is_read_when_two_looks_found_it_the_same(
    folder: Folder, clock: Clock, tmp_path: Path
) -> None:
    expected = write_checkpoint(tmp_path / "a.safetensors")
    assert seen(folder, clock, looks=1)["a.safetensors"].state == "incomplete"
    found = seen(folder, clock, looks=1)["a.safetensors"]
    assert (found.state, found.model_id) == ("complete", expected.model_id)
    assert found.digest == expected.digest


def test_what_lies_there_at_the_start_is_read_at_once_the_newest_last(tmp_path: Path) -> None:
    for number, modified_s in enumerate((2e9, 1e9, 3e9)):
        path = tmp_path / f"{number}.safetensors"
        write_checkpoint(path, number=number, modified_s=modified_s)
    found = Folder(tmp_path, settle_s=SETTLE_S).look()
    assert [each.name[0] for each in found] == ["2", "0", "1"]
    assert [each.arrival for each in found] == [3, 2, 1]


def test_a_later_arrival_is_first_whatever_its_writers_clock_says(
    folder: Folder, clock: Clock, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "future.safetensors", number=1, modified_s=4e9)
    seen(folder, clock)
    write_checkpoint(tmp_path / "past.safetensors", number=2, modified_s=1.0)
    found = seen(folder, clock)
    assert found["past.safetensors"].arrival > found["future.safetensors"].arrival


def test_half_a_file_is_waited_for_and_then_told_as_cut_short(
    folder: Folder, clock: Clock, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    write_checkpoint(whole)
    path = tmp_path / "a.safetensors"
    path.write_bytes(whole.read_bytes()[:-100])
    half = seen(folder, clock, looks=3)["a.safetensors"]
    assert half.state == "incomplete"
    assert "cut short" in half.problem
    clock.now_s += SETTLE_S
    assert seen(folder, clock, looks=1)["a.safetensors"].state == "broken"
    path.write_bytes(whole.read_bytes())
    assert seen(folder, clock)["a.safetensors"].state == "complete"


@pytest.mark.parametrize(
    "content", [b"", b"1234", b"not a checkpoint at all, but some text", bytes(3000)]
)
def test_what_is_no_checkpoint_is_broken_in_the_end(
    folder: Folder, clock: Clock, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    seen(folder, clock)
    clock.now_s += SETTLE_S
    assert seen(folder, clock, looks=1)["a.safetensors"].state == "broken"


def test_a_touch_and_a_copy_are_no_arrival(folder: Folder, clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_checkpoint(path)
    before = seen(folder, clock)["a.safetensors"]
    os.utime(path, (5e8, 5e8))
    after = seen(folder, clock)["a.safetensors"]
    assert (after.arrival, after.digest) == (before.arrival, before.digest)
    shutil.copy(path, tmp_path / "b.safetensors")
    assert seen(folder, clock)["b.safetensors"].model_id == before.model_id


def test_a_file_that_gets_its_old_content_back_has_arrived_again(
    folder: Folder, clock: Clock, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    arrivals = []
    for number in (1, 2, 1):
        write_checkpoint(path, number=number)
        arrivals.append(seen(folder, clock)["a.safetensors"].arrival)
    assert arrivals == [1, 2, 3]


def test_a_change_that_a_coarse_clock_hides_is_found(
    folder: Folder, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Such a file system tells the same times and inode for both contents.
    monkeypatch.setattr("service.rollout.folder._signature_of", lambda _: (2000, 0o100644, 1, 1, 1))
    contents = iter(["one", "two"])

    def read(sighting: Sighting, _: object, *, is_final: bool) -> Sighting:  # noqa: ARG001
        return Sighting(sighting.name, sighting.path, state="complete", digest=next(contents))

    monkeypatch.setattr("service.rollout.folder._read", read)
    (tmp_path / "a.safetensors").touch()
    assert seen(folder, clock)["a.safetensors"].digest == "one"
    assert seen(folder, clock, looks=3)["a.safetensors"].digest == "two"
    seen(folder, clock, looks=5)  # and not read again, or the contents would end


def test_links_folders_pipes_and_hidden_files(folder: Folder, clock: Clock, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    write_checkpoint(real)
    (tmp_path / "link.safetensors").symlink_to(real)
    (tmp_path / "dead.safetensors").symlink_to(tmp_path / "nothing")
    (tmp_path / "folder.safetensors").mkdir()
    os.mkfifo(tmp_path / "pipe.safetensors")  # opening it would wait for ever
    write_checkpoint(tmp_path / ".hidden.safetensors")
    found = seen(folder, clock)
    assert {name: each.state for name, each in found.items()} == {
        "link.safetensors": "complete",
        "folder.safetensors": "broken",
        "pipe.safetensors": "broken",
    }


def test_a_file_that_cannot_be_read_is_tried_again(
    folder: Folder, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "a.safetensors")
    with monkeypatch.context() as denied:

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        denied.setattr(Path, "open", refuse)  # a test may run as root, who may read everything
        unreadable = seen(folder, clock)["a.safetensors"]
        assert (unreadable.state, unreadable.arrival) == ("unreadable", 0)
        assert "Permission denied" in unreadable.problem
    assert seen(folder, clock, looks=1)["a.safetensors"].state == "complete"


def test_what_cannot_be_seen_for_a_while_has_not_arrived_again(
    folder: Folder, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "new.safetensors", number=1, modified_s=3e9)
    seen(folder, clock)
    write_checkpoint(tmp_path / "old.safetensors", number=2, modified_s=1e9)
    before = seen(folder, clock)
    away = tmp_path.rename(tmp_path.with_name("away"))
    assert seen(folder, clock, looks=1) == {}
    away.rename(tmp_path)
    assert seen(folder, clock) == before

    real_stat = Path.stat

    def stale(path: Path, **options: bool) -> os.stat_result:
        if path.name == "old.safetensors":
            raise OSError(116, "Stale file handle")
        return real_stat(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", stale)
        seen(folder, clock)
    assert seen(folder, clock) == before


def test_a_file_under_another_name_has_not_arrived_again(
    folder: Folder, clock: Clock, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "a.safetensors", number=1)
    seen(folder, clock)
    write_checkpoint(tmp_path / "b.safetensors", number=2)
    before = seen(folder, clock)
    (tmp_path / "a.safetensors").rename(tmp_path / "z.safetensors")
    after = seen(folder, clock, looks=1)
    assert list(after) == ["b.safetensors", "z.safetensors"]
    assert after["z.safetensors"].arrival == before["a.safetensors"].arrival
    assert after["z.safetensors"].digest == before["a.safetensors"].digest
    (tmp_path / ".hidden").write_bytes((tmp_path / "z.safetensors").read_bytes())
    (tmp_path / ".hidden").rename(tmp_path / "z.safetensors")  # replaced by its own copy
    assert list(seen(folder, clock)) == ["b.safetensors", "z.safetensors"]


def test_other_content_in_the_place_of_a_file_that_is_gone_has_arrived(
    folder: Folder, clock: Clock, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "a.safetensors", number=1, modified_s=1e9)
    before = seen(folder, clock)["a.safetensors"]
    other = write_checkpoint(tmp_path / ".other", number=2)
    inherited = (tmp_path / "a.safetensors").rename(tmp_path / "b.safetensors")  # its inode
    inherited.write_bytes((tmp_path / ".other").read_bytes())
    os.utime(inherited, (1e9, 1e9))
    after = seen(folder, clock)["b.safetensors"]
    assert after.digest == other.digest
    assert after.arrival > before.arrival


def test_a_folder_may_be_missing_and_appear_later(tmp_path: Path, clock: Clock) -> None:
    folder = Folder(tmp_path / "later", settle_s=SETTLE_S, clock=clock)
    assert folder.look() == ()
    assert "cannot be read" in folder.problem
    write_checkpoint(tmp_path / "later" / "a.safetensors")
    assert seen(folder, clock)["a.safetensors"].state == "complete"
    assert folder.problem == ""
    shutil.rmtree(tmp_path / "later")
    assert folder.look() == ()
