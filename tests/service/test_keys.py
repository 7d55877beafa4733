"""service.keys and service.key_command: how keys are made, kept and found."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from unittest.mock import Mock

import pytest

from service.cli import main
from service.errors import SettingsInvalid
from service.keys import KeyRing, hash_of, make_key, parse_hashes
from service.settings import Settings, load_settings
from tests.clock import Clock


def test_a_key_is_found_by_its_hash_and_no_other_is() -> None:
    key = make_key()
    ring = KeyRing(
        parse_hashes(f"{hash_of(make_key())}, {hash_of(key, 'lap')}"), None, clock=Clock()
    )
    found = ring.find(key)
    assert found is not None
    assert found.name == "lap"
    assert found.id in hash_of(key)
    assert ring.with_id(found.id) == found
    for wrong in ("", key[:-1], key + " ", key.lower(), hash_of(key), "\udcff"):
        assert ring.find(wrong) is None


def test_keys_are_long_and_never_the_same() -> None:
    keys = {make_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) == len("clearcall_") + 43 for key in keys)


@pytest.mark.parametrize("entry", ["secret", "sha256:12", f"a b=sha256:{'0' * 64}", "x" * 64])
def test_what_is_no_hash_is_refused_and_not_repeated(entry: str) -> None:
    with pytest.raises(ValueError, match="entry 2 is not a hash") as caught:
        parse_hashes(f"{hash_of('a')},{entry}")
    assert entry not in str(caught.value)
    with pytest.raises(SettingsInvalid, match=r"CLEARCALL_API_KEYS.*not shown") as told:
        load_settings({"api_keys": entry})
    assert f"'{entry}'" not in str(told.value)


def test_a_file_is_read_again_when_it_changes_and_a_bad_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    old, new = make_key(), make_key()
    file = tmp_path / "keys"
    file.write_text(f"# of the team\n{hash_of(old, 'old')}  # until May\n\n")
    ring = KeyRing((), file, clock=clock)
    assert ring.find(old)

    file.write_text(f"{hash_of(new)}\n{hash_of(old)}\n")
    clock.now_s += 2
    assert ring.find(new)
    assert ring.find(old)

    file.write_text("half of a ha")
    clock.now_s += 2
    with caplog.at_level(logging.ERROR):
        assert ring.find(new)
    assert "stay as they were" in caplog.text

    file.unlink()
    clock.now_s += 2
    assert ring.find(new)

    file.write_text("")
    clock.now_s += 2
    assert ring.find(new) is None
    assert ring.is_on, "an empty file lets nobody in"


def test_a_file_that_cannot_be_read_once_is_read_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    old, new = make_key(), make_key()
    file = tmp_path / "keys"
    file.write_text(hash_of(old))
    ring = KeyRing((), file, clock=clock)
    file.write_text(f"\ufeff{hash_of(new)}\r\n", "utf-8")  # as Windows' Notepad has it
    clock.now_s += 2
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", Mock(side_effect=PermissionError(13, "denied")))
        assert ring.find(old)
    clock.now_s += 2
    assert ring.find(new)
    assert ring.find(old) is None


def test_a_missing_file_of_keys_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="cannot be used"):
        KeyRing((), tmp_path / "none", clock=Clock())


def test_the_command_prints_a_key_and_the_hash_that_finds_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["key", "laptop", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert Settings.model_validate({"api_keys": made["hash"]}).api_keys[0].name == "laptop"
    assert hash_of(made["key"], "laptop") == made["hash"]
    assert main(["key", "--admin"]) == 0
    assert "CLEARCALL_ADMIN_KEYS" in capsys.readouterr().out
    assert main(["key", "no name"]) == 2
    assert "no name for a key" in capsys.readouterr().err
