"""The roll-out as a whole: a real server, a folder that changes, and stand-ins for what is loaded.

The last tests load real students, though tiny ones.
"""

from __future__ import annotations

import gc
import json
import shutil
import struct
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_stream

from clearcall.blocking import BlockingClient
from desktop.cli import main
from service.app import load_served
from service.keys import hash_of, make_key
from service.model.checkpoint import load_checkpoint
from service.rollout.remembered import PIN_FILE, Pin, read_pin, write_pin, write_served
from service.settings import Settings
from tests.service.live import Live, eventually, serve
from tests.service.pictures import jpeg_frame
from tests.service.rollout.students import CheckpointDouble, write_checkpoint

ADMIN = make_key()
LIMIT_S = 30.0
TOO_MUCH = 5.0  # levels, by which untouched pictures come out of it at 34 dB
NOT_TIMED: dict[str, Any] = {"checkpoint_max_slowdown": 0}  # other tests make this machine busy


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.safetensors"
    write_checkpoint(path, number=-1)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints"
    path.mkdir()
    return path


@pytest.fixture
def doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is loaded is a stand-in."""

    def load(_: Settings, named: Path) -> CheckpointDouble:
        return CheckpointDouble(named)

    monkeypatch.setattr("service.app.load_sharpener", load)


@contextmanager
def watching(folder: Path, own: Path, **settings: Any) -> Iterator[Live]:
    wanted: dict[str, Any] = {
        "checkpoint": own,
        "checkpoints": folder,
        "checkpoint_poll_s": 0.05,
        "ladder": (),
        "admin_keys": hash_of(ADMIN),
        "threads": 2,
        **NOT_TIMED,
        **settings,
    }
    with serve(model=load_served(Settings(**wanted)), **wanted) as live:
        yield live


def served(live: Live) -> str:
    return str(httpx.get(f"{live.url}/health/ready").json()["model"])


def models(live: Live) -> dict[str, Any]:
    return dict(httpx.get(f"{live.url}/models").raise_for_status().json())


def states(live: Live) -> dict[str, str]:
    return {each["file"]: each["state"] for each in models(live)["models"]}


def activate(live: Live, model_id: str, *, key: str = ADMIN, **query: Any) -> httpx.Response:
    return httpx.post(
        f"{live.url}/models/{model_id}/activate",
        params=query,
        headers={"Authorization": f"Bearer {key}"},
        timeout=LIMIT_S,
    )


def reloads(live: Live, result: str) -> float:
    return live.metric("clearcall_checkpoint_reloads_total", result=result)


def put(folder: Path, name: str, **options: Any) -> str:
    return write_checkpoint(folder / f"{name}.safetensors", **options).model_id


def put_and_wait(live: Live, folder: Path, name: str, **options: Any) -> str:
    model_id = put(folder, name, **options)
    eventually(lambda: served(live) == model_id, within_s=LIMIT_S)
    return model_id


@pytest.mark.usefixtures("doubles")
def test_a_new_checkpoint_is_served_and_told_everywhere(folder: Path, own: Path) -> None:
    with watching(folder, own) as live:
        before = served(live)
        model_id = put_and_wait(live, folder, "a", number=1)
        assert models(live)["models"] == [
            {
                **models(live)["models"][0],
                "id": model_id,
                "file": "a.safetensors",
                "state": "served",
            },
            {**models(live)["models"][1], "id": before, "is_own": True, "state": "available"},
        ]
        last = httpx.get(f"{live.url}/model").json()["last_reload"]
        assert (last["model"], last["result"], last["reason"]) == (model_id, "activated", "")
        assert reloads(live, "activated") == 1
        answer = httpx.post(f"{live.url}/sharpen", content=jpeg_frame())
        assert answer.headers["X-Clearcall-Model"] == model_id
        assert live.metric("clearcall_model_info", model=model_id, device="cpu", backend="fake")


@pytest.mark.usefixtures("doubles")
def test_what_the_gate_refuses_is_told_and_not_tried_again(folder: Path, own: Path) -> None:
    with watching(folder, own) as live:
        before = served(live)
        put(folder, "a", number=1, harm=TOO_MUCH)
        eventually(lambda: states(live).get("a.safetensors") == "refused", within_s=LIMIT_S)
        assert "worse than they came" in models(live)["models"][0]["reason"]
        last = httpx.get(f"{live.url}/model").json()["last_reload"]
        assert (last["file"], last["result"]) == ("a.safetensors", "refused")
        shutil.copy(folder / "a.safetensors", folder / "b.safetensors")  # the same under a new name
        put_and_wait(live, folder, "c", number=2)
        assert before != served(live)
        assert reloads(live, "refused") == 1
        put_and_wait(live, folder, "a", number=3)  # that file, changed


@pytest.mark.usefixtures("doubles")
def test_what_cannot_be_loaded_is_told_and_the_next_one_is_tried(folder: Path, own: Path) -> None:
    with watching(folder, own) as live:
        good = put_and_wait(live, folder, "good", number=1)
        encoded = bytearray((folder / "good.safetensors").read_bytes())
        encoded[-4:] = b"\x00\x00\xc0\x7f"  # NaN
        (folder / "nan.safetensors").write_bytes(encoded)
        eventually(lambda: states(live).get("nan.safetensors") == "refused", within_s=LIMIT_S)
        (folder / "text.safetensors").write_text("no checkpoint", encoding="utf-8")
        assert served(live) == good
        assert reloads(live, "invalid") == 1
        reason = next(m["reason"] for m in models(live)["models"] if m["file"].startswith("nan"))
        assert "NaN" in reason
        assert str(folder) not in json.dumps(models(live))


def test_what_is_renamed_while_it_is_loaded_is_not_to_blame(
    folder: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: Settings, named: Path) -> CheckpointDouble:
        if named.name == "a.safetensors":
            named.rename(folder / "b.safetensors")
            load_checkpoint(named)
        return CheckpointDouble(named)

    monkeypatch.setattr("service.app.load_sharpener", load)
    with watching(folder, own) as live:
        model_id = put_and_wait(live, folder, "a", number=1)
        assert states(live) == {"b.safetensors": "served", "own.safetensors": "available"}
        assert models(live)["models"][0]["id"] == model_id
        assert reloads(live, "invalid") == 0


@pytest.mark.usefixtures("doubles")
def test_of_many_at_once_only_the_newest_is_loaded(folder: Path, own: Path) -> None:
    with watching(folder, own) as live:
        encoded = {}
        for number in range(3):
            put(own.parent, "made", number=number)
            encoded[number] = (own.parent / "made.safetensors").read_bytes()
        for number in range(100):
            body = bytearray(encoded[number % 3])
            body[-4:] = struct.pack("<f", number / 1e9)  # all of them differ
            (own.parent / f"{number:03}.part").write_bytes(body)
        for number in range(100):
            (own.parent / f"{number:03}.part").rename(folder / f"{number:03}.safetensors")
        eventually(lambda: len(states(live)) == 101, within_s=LIMIT_S)
        eventually(lambda: "incomplete" not in states(live).values(), within_s=LIMIT_S)
        eventually(lambda: states(live)["099.safetensors"] == "served", within_s=LIMIT_S)
        assert reloads(live, "activated") <= 2  # they may arrive during a look


@pytest.mark.usefixtures("doubles")
def test_deleting_a_file_changes_nothing(folder: Path, own: Path) -> None:
    with watching(folder, own) as live:
        put_and_wait(live, folder, "a", number=1)
        second = put_and_wait(live, folder, "b", number=2)
        (folder / "b.safetensors").unlink()
        eventually(lambda: "b.safetensors" not in states(live))
        shutil.rmtree(folder)
        eventually(lambda: models(live)["problem"] is not None)
        assert served(live) == second
        folder.mkdir()
        put_and_wait(live, folder, "c", number=3)


@pytest.mark.usefixtures("doubles")
def test_a_pin_holds_against_newer_ones_until_it_is_taken_away(folder: Path, own: Path) -> None:
    with watching(folder, own) as live:
        first = put_and_wait(live, folder, "a", number=1)
        put_and_wait(live, folder, "b", number=2)
        answer = activate(live, first).raise_for_status().json()
        assert (answer["served"], answer["pinned"], answer["is_pin_kept"]) == (first, first, True)
        newer = put(folder, "c", number=3)
        eventually(lambda: states(live).get("c.safetensors") == "available", within_s=LIMIT_S)
        assert served(live) == first
        assert activate(live, "latest").raise_for_status().json()["served"] == newer
        back = activate(live, models(live)["models"][-1]["id"]).raise_for_status().json()
        assert back["models"][-1]["is_own"]
        assert back["models"][-1]["state"] == "served"


@pytest.mark.usefixtures("doubles")
def test_a_pin_set_by_another_service_on_the_folder_is_followed(folder: Path, own: Path) -> None:
    with watching(folder, own) as live:
        first = put_and_wait(live, folder, "a", number=1)
        put_and_wait(live, folder, "b", number=2)
        assert write_pin(folder, Pin(first))
        eventually(lambda: served(live) == first, within_s=LIMIT_S)


@pytest.mark.usefixtures("doubles")
def test_a_pin_set_while_another_model_is_taken_is_not_lost(
    folder: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pin_then_write(path: Path, model_id: str) -> bool:
        if model_id == second:
            assert write_pin(path, Pin(first))
        return write_served(path, model_id)

    monkeypatch.setattr("service.rollout.rollout.write_served", pin_then_write)
    first = second = ""
    with watching(folder, own) as live:
        first = put_and_wait(live, folder, "a", number=1)
        second = put(own.parent, "b", number=2)
        (own.parent / "b.safetensors").rename(folder / "b.safetensors")
        eventually(lambda: reloads(live, "activated") == 3, within_s=LIMIT_S)
        assert served(live) == first


@pytest.mark.usefixtures("doubles")
def test_who_may_activate_what(folder: Path, own: Path) -> None:
    with watching(folder, own) as live:
        refused = put(folder, "a", number=1, harm=TOO_MUCH)
        eventually(lambda: states(live).get("a.safetensors") == "refused", within_s=LIMIT_S)
        assert activate(live, refused, key="wrong").status_code == 401
        assert httpx.post(f"{live.url}/models/{refused}/activate").status_code == 401
        unknown = activate(live, "tiny-00000000")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "model-unknown")
        answer = activate(live, refused)
        assert (answer.status_code, answer.json()["code"]) == (409, "model-refused")
        assert "worse than they came" in answer.json()["detail"]
        forced = activate(live, refused, force=True).raise_for_status().json()
        assert forced["served"] == refused
        assert reloads(live, "forced") == 1


def test_without_admin_keys_and_without_a_folder() -> None:
    with serve() as live:
        assert models(live)["served"] == "fake-00000000"
        assert activate(live, "fake-00000000").status_code == 403


@pytest.mark.usefixtures("doubles")
def test_the_command_lists_and_activates(
    folder: Path, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with watching(folder, own) as live:
        first = put_and_wait(live, folder, "a", number=1)
        put_and_wait(live, folder, "b", number=2)
        call = ["--server", live.url, "--api-key", ADMIN]
        assert main(["models", "activate", first, *call]) == 0
        assert f"{first:28} served, pinned       a.safetensors" in capsys.readouterr().out
        assert main(["models", "list", "--json", *call]) == 0
        assert json.loads(capsys.readouterr().out)["pinned"] == first
        assert main(["models", "activate", "tiny-00000000", *call]) == 2
        assert "no model 'tiny-00000000'" in capsys.readouterr().err
    assert main(["models", "list", "--server", live.url]) == 2
    assert "Is the service running?" in capsys.readouterr().err
    for wrong in ("http://[::1", "http://127.0.0.1:99999", "http://", f"{live.url}/x y"):
        assert main(["models", "list", "--server", wrong]) == 2
    assert main(["models", "list", "--server", live.url, "--api-key", "clearcall_ü"]) == 2
    assert "clearcall_ü" not in capsys.readouterr().err


@pytest.mark.usefixtures("doubles")
def test_the_start_takes_what_was_served_last_then_the_newest_then_its_own(
    folder: Path, own: Path
) -> None:
    settings = Settings(checkpoint=own, checkpoints=folder)

    def first() -> str:
        return load_served(settings).checkpoint.model_id

    own_id = first()
    spoiling = put(folder, "spoiling", number=1, harm=TOO_MUCH, modified_s=3e9)
    assert first() == own_id
    good = put(folder, "good", number=2, modified_s=1e9)
    better = put(folder, "better", number=3, modified_s=2e9)
    assert first() == better
    assert write_served(folder, good)
    assert first() == good
    assert write_pin(folder, Pin(own_id))
    assert first() == own_id
    for nonsense in ("[" * 10_000, "{nonsense"):
        (folder / PIN_FILE).write_text(nonsense, encoding="utf-8")
        assert read_pin(folder) is None
    assert first() == good
    (folder / "good.safetensors").unlink()
    assert first() == better
    assert spoiling not in (own_id, good, better)


@pytest.mark.usefixtures("doubles")
def test_a_pin_survives_a_restart(folder: Path, own: Path) -> None:
    with watching(folder, own) as live:
        first = put_and_wait(live, folder, "a", number=1)
        put_and_wait(live, folder, "b", number=2)
        activate(live, first).raise_for_status()
    with watching(folder, own) as live:
        assert served(live) == first
        assert models(live)["pinned"] == first


# Streams


def ask(stream: ClientConnection) -> tuple[list[dict[str, Any]], bytes]:
    """Sends a frame; returns what was told before its answer, and the answer."""
    stream.send(jpeg_frame())
    told = []
    while isinstance(answer := stream.recv(timeout=LIMIT_S), str):
        told.append(json.loads(answer))
    return told, answer


def test_a_stream_goes_on_and_is_told(folder: Path, own: Path) -> None:
    with watching(folder, own) as live, connect_stream(live.stream_url) as stream:
        hello = json.loads(stream.recv(timeout=LIMIT_S))
        assert ask(stream)[1][45] == 0
        model_id = put_and_wait(live, folder, "a", number=1)
        told, answer = ask(stream)
        assert answer[45] == 0
        if not told:  # it came right behind the first answer with the new one
            told, answer = ask(stream)
        (notice,) = told
        assert notice["type"] == "model"
        assert (notice["model"], notice["students"]) == (model_id, [model_id])
        assert set(notice) < set(hello)


@pytest.mark.usefixtures("doubles")
def test_a_silent_stream_is_told_too_and_the_client_follows(folder: Path, own: Path) -> None:
    with watching(folder, own) as live, BlockingClient(live.stream_url) as client:
        model_id = put_and_wait(live, folder, "a", number=1)
        eventually(lambda: client.hello is not None and client.hello.model == model_id)
        assert client.hello is not None
        assert client.hello.students == (model_id,)


def test_replaced_under_load_nothing_fails_and_the_old_ones_are_freed(
    folder: Path, own: Path
) -> None:
    stop = threading.Event()
    failures: list[dict[str, Any]] = []
    answered: list[int] = []

    def stream() -> None:
        with connect_stream(live.stream_url) as connection:
            connection.recv(timeout=LIMIT_S)
            while not stop.is_set():
                told, answer = ask(connection)
                failures.extend(each for each in told if each["type"] != "model")
                answered.append(len(answer))

    def upload() -> None:
        with httpx.Client(base_url=live.url, timeout=LIMIT_S) as client:
            while not stop.is_set():
                if (answer := client.post("/sharpen", content=jpeg_frame())).status_code != 200:
                    failures.append({"status": answer.status_code})

    with watching(folder, own) as live:
        seen = []
        with ThreadPoolExecutor(2) as pool:
            work = [pool.submit(task) for task in (stream, upload)]
            try:
                for number in range(4):
                    put_and_wait(live, folder, "ab"[number % 2], number=number)
                    seen.append(weakref.ref(live.parts.engine.sharpener))
            finally:
                stop.set()
            for task in work:
                task.result(LIMIT_S)
        assert failures == []
        assert len(answered) > 4
        assert live.dropped() == {}
        gc.collect()
        eventually(lambda: [each() is not None for each in seen] == [False] * 3 + [True])
