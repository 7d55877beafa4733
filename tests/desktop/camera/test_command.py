"""`clearcall camera` as its user meets it: a film as the camera, and what can go wrong."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from desktop.camera.frames import Shown
from desktop.cli import main
from tests.desktop.camera.doubles import fake_pyvirtualcam, write_film
from tests.desktop.camera.sources import MjpegServer
from tests.service.doubles import FakeSharpener
from tests.service.live import eventually, serve

ROOT = Path(__file__).parents[3]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "film.avi", range(10, 250, 5), fps=100)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSharpener:
    """The student; nothing has to be loaded."""
    sharpener = FakeSharpener()
    monkeypatch.setattr("desktop.options.load_model", lambda _: sharpener)
    return sharpener


Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `clearcall camera`: exit code, the JSON, stderr."""

    def call(*arguments: str | Path) -> tuple[int, dict[str, Any], str]:
        code = main(["camera", *map(str, arguments), "--checkpoint", "nano", "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else {}, err

    return call


def test_a_film_is_sharpened_by_the_real_student_recorded_and_summed_up(
    film: Path, tmp_path: Path
) -> None:
    record = tmp_path / "call.mkv"
    command = [sys.executable, "-m", "desktop", "camera", str(film), "--loop", "--frames", "20"]
    options = ["--checkpoint", "nano", "--record", str(record), "--json", "--threads", "1"]
    ran = subprocess.run([*command, *options], capture_output=True, text=True, cwd=ROOT, check=True)
    summary = json.loads(ran.stdout)
    assert summary["source"] == str(film)
    assert summary["frames_shown"] == 20
    assert summary["frames_captured"] >= 20
    assert (summary["student"], summary["failures"]) == ("nano", [])
    assert summary["fps_average"] > 0
    assert summary["inference_ms"]["p95"] >= summary["inference_ms"]["p50"] > 0
    recorded = summary["outputs"]["recording"]["frames"]
    with av.open(str(record)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == recorded
    assert (frames[0].width, frames[0].height) == (64, 48)
    assert ran.stderr == ""


@pytest.mark.usefixtures("fake")
def test_a_film_ends_the_session_at_its_end(film: Path, tmp_path: Path, run: Run) -> None:
    code, summary, _ = run(film, "--record", tmp_path / "call.mp4")
    assert code == 0
    assert summary["frames_captured"] == 48
    assert summary["frames_shown"] + summary["frames_skipped"] == 48


def test_the_film_that_is_played_is_never_its_own_recording(
    film: Path, tmp_path: Path, run: Run
) -> None:
    own = film.rename(tmp_path / "film.mkv")
    link = tmp_path / "link.mkv"
    link.symlink_to(own)
    before = own.read_bytes()
    for record in (own, link):
        code, _, told = run(own, "--record", record, "--force")
        assert code == 2
        assert told == f"clearcall: {record}: is the film itself; name another file\n"
    assert own.read_bytes() == before


def test_every_output_at_once(
    film: Path, tmp_path: Path, run: Run, fake: FakeSharpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, cameras = fake_pyvirtualcam()
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)
    outputs = ["--virtual", "--record", tmp_path / "call.mkv", "--preview-port", "0"]
    code, summary, told = run(film, "--loop", "--frames", "30", "-v", *outputs)
    assert code == 0
    assert set(summary["outputs"]) == {"virtual", "recording", "preview"}
    assert summary["outputs"]["virtual"]["size"] == "1280x720"
    assert cameras[0].is_closed
    assert "preview: open http://127.0.0.1:" in told
    assert "choose it as the camera in your meeting program" in told
    assert (48, 64, 3) in fake.shapes_seen


@pytest.mark.usefixtures("fake")
def test_an_output_that_fails_ends_alone_and_the_exit_code_tells(
    film: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("desktop.camera.recording.Recording._write", fail)
    record = tmp_path / "call.mkv"
    code, summary, told = run(film, "--record", record, "--preview-port", "0")
    assert code == 1
    assert summary["frames_shown"] > 1
    assert summary["failures"] == [f"{record}: recording stopped: No space left on device"]
    assert "No space left on device" in told
    again = tmp_path / "again.mkv"
    code, _, told = run(film, "--loop", "--record", again)
    assert code == 2, "no output is left"
    assert told == f"clearcall: {again}: recording stopped: No space left on device\n"


@pytest.mark.usefixtures("fake")
def test_without_an_output_there_is_a_preview_where_there_can_be_no_window(
    film: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cv2.currentUIFramework", lambda: "")
    seen: list[str] = []
    looking = threading.Event()

    def look(_: object, shown: Shown) -> None:
        if not looking.is_set():
            looking.set()
            seen.append(shown.caption[1])

    monkeypatch.setattr("desktop.camera.preview.Preview._show", look)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # it is taken already
            other.bind(("127.0.0.1", 8001))
            other.listen()
        code, _, told = run(film, "--frames", "3")
    assert code == 0
    assert "no window: this OpenCV is built without windows; pip uninstall -y" in told
    assert re.search(r"preview: open http://127\.0\.0\.1:(?!8001)\d+/", told)
    assert seen == ["fake  strength 1"]


@pytest.mark.usefixtures("fake")
def test_a_window_that_there_cannot_be_is_refused(
    film: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cv2.currentUIFramework", lambda: "")
    code, _, told = run(film, "--window")
    assert code == 2
    assert told.startswith("clearcall: window: this OpenCV is built without windows")
    monkeypatch.setattr("cv2.currentUIFramework", lambda: "QT")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "there is no display" in run(film, "--window")[2]


def test_frames_are_sharpened_by_a_server(film: Path, run: Run, tmp_path: Path) -> None:
    with serve() as live:
        code, summary, _ = run(
            *(film, "--loop", "--server", live.url, "--strength", "0.5"),
            *("--frames", "10", "--record", tmp_path / "call.mkv"),
        )
        assert live.sharpener.shapes_seen
    assert code == 0
    assert summary["frames_shown"] == 10
    assert (summary["student"], summary["strength"]) == ("fake", 0.5)
    assert summary["server"] == f"{live.stream_url}"
    assert summary["server_reconnects"] == 0


@pytest.mark.usefixtures("fake")
def test_a_network_camera_can_be_filmed_for_some_time(run: Run, tmp_path: Path) -> None:
    camera = MjpegServer()
    try:
        record = tmp_path / "call.mkv"
        code, summary, _ = run(camera.url, "--seconds", "0.6", "--record", record)
    finally:
        camera.kill()
    assert code == 0
    assert summary["frames_shown"] >= 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none.mp4"], "none.mp4: no such file, and no camera number or URL either"),
        (["two\nlines.mp4"], r"two\nlines.mp4: no such file, and no camera number or URL either"),
        (["97"], "camera 97: "),
        (["gopher://cam"], "gopher://cam: gopher:// is not read"),
        (["FILM", "--record", "call.avi"], "call.avi: a recording ends in .mkv or .mp4"),
        (["FILM", "--record", "FILM.mkv"], "FILM.mkv: it exists; name another file, or give"),
        (["FILM", "--preview-port", "TAKEN"], "preview port TAKEN: "),
        (["FILM", "--server", "ftp://x"], "ftp://x: not a server; write it as http://HOST:PORT"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    arguments: list[str], told: str, film: Path, run: Run
) -> None:
    film.with_suffix(".avi.mkv").touch()
    with socket.create_server(("127.0.0.1", 0)) as other:
        names = {"TAKEN": str(other.getsockname()[1]), "FILM": str(film)}

        def named(text: str) -> str:
            for name, value in names.items():
                text = text.replace(name, value)
            return text

        code, _, err = run(*map(named, arguments))
    assert code == 2
    lines = [line for line in err.splitlines() if not line.startswith("clearcall: no window")]
    lines = [line for line in lines if not line.startswith("clearcall: preview: open")]
    assert len(lines) == 1
    assert lines[0].startswith(f"clearcall: {named(told)}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--size", "wide"],
        ["--size", "1280x0"],
        ["--fps", "0"],
        ["--frames", "0"],
        ["--preview-port", "70000"],
        ["--quality", "0"],
        ["--fourcc", "MJPEG"],
        ["--fit", "stretch"],
    ],
)
def test_wrong_use_is_refused_by_the_parser(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["camera", *arguments]) == 2
    assert arguments[0] in capsys.readouterr().err


def test_no_camera_is_an_empty_list(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("desktop.camera.command.list_cameras", lambda: [])
    assert main(["camera", "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"cameras": []}
    assert main(["camera", "--list"]) == 2
    assert "no camera is connected" in capsys.readouterr().err


class Running:
    """The command in a process and a terminal of its own."""

    def __init__(self, *arguments: str | Path) -> None:
        self._terminal, inner = pty.openpty()
        script = (
            "import fcntl, sys, termios, desktop.options\n"
            "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
            "from tests.service.doubles import FakeSharpener\n"
            "desktop.options.load_model = lambda _: FakeSharpener()\n"
            "from desktop.cli import main\n"
            "sys.exit(main(sys.argv[1:]))"
        )
        command = ["camera", *map(str, arguments), "--preview-port", "0", "--checkpoint", "nano"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *command],
            stdin=inner,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(inner)
        assert self.process.stderr is not None
        while "preview" not in (line := self.process.stderr.readline()):
            assert line, "it ended"
        self.url = line.split()[-1]
        eventually(lambda: bool(self.state()["caption"]), within_s=30)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = httpx.get(f"{self.url}state.json", timeout=20).json()
        return state

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def end(self) -> tuple[int, dict[str, Any]]:
        out, _ = self.process.communicate(timeout=20)
        os.close(self._terminal)
        return self.process.returncode, json.loads(out)


def test_keys_in_the_terminal_change_the_strength_and_q_ends(film: Path) -> None:
    running = Running(film, "--loop", "--json")
    running.press("++-+")
    eventually(lambda: running.state()["strength"] == 1.2)
    running.press("q")
    code, summary = running.end()
    assert (code, summary["strength"]) == (0, 1.2)


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)]
)
def test_a_signal_ends_in_order_with_a_recording_that_can_be_played(
    film: Path, tmp_path: Path, number: signal.Signals, expected: int
) -> None:
    if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("nohup ignores it, and hands that on")
    record = tmp_path / "call.mp4"
    running = Running(film, "--loop", "--json", "--record", record)
    running.process.send_signal(number)
    code, summary = running.end()
    assert code == expected
    with av.open(str(record)) as container:
        recorded = sum(1 for _ in container.decode(video=0))
    assert recorded == summary["outputs"]["recording"]["frames"] > 0


def test_a_laptop_that_has_a_server_do_the_work_loads_no_network() -> None:
    script = (
        "import sys, desktop.camera.command, desktop.camera.remote; print('torch' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert ran.stdout.strip() == "False"
