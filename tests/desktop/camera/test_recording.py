"""desktop.camera.recording: playable, in time, and never over another file."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest

from desktop.camera.errors import OutputUnavailable
from desktop.camera.frames import Shown
from desktop.camera.output import OutputThread
from desktop.camera.recording import Recording
from tests.desktop.camera.doubles import flat
from tests.service.pictures import difference, landscape

ROOT = Path(__file__).parents[3]
TIMES_S = [100.0, 100.04, 100.3, 100.31, 101.0, 103.5]  # a network that did not keep up


def record(recording: Recording, pictures: list[Shown]) -> OutputThread:
    """Runs a recording over pictures, none of which is skipped."""
    thread = OutputThread(recording, threading.Event(), lambda _: None)
    try:
        for shown in pictures:
            recording._write(shown)
    finally:
        recording.close()
    return thread


def frames_of(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize("name", ["call.mkv", "call.mp4"])
def test_frames_keep_the_times_at_which_they_were_captured(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    image = landscape(96, 128)
    record(Recording(path), [Shown(image, time_s, 5.0) for time_s in TIMES_S])
    frames = frames_of(path)
    times_s = [float(frame.time or 0) - float(frames[0].time or 0) for frame in frames]
    assert times_s == pytest.approx([time_s - 100 for time_s in TIMES_S], abs=0.002)
    assert difference(np.asarray(frames[-1].to_ndarray(format="rgb24"), np.uint8), image) < 4
    assert frames[0].colorspace == 1, "BT.709, and tagged so"
    assert frames[5].key_frame, "after 2 s without one"


def test_odd_sides_other_sizes_and_a_camera_that_is_away(tmp_path: Path) -> None:
    path = tmp_path / "call.mkv"
    pictures = [
        Shown(flat(90, 97, 129), 0.0, 5.0),
        Shown(flat(30, 97, 129), 0.1, is_notice=True),
        Shown(flat(200, 48, 64), 0.2, 5.0),
    ]
    record(Recording(path), pictures)
    frames = frames_of(path)
    assert {(frame.width, frame.height) for frame in frames} == {(128, 96)}
    assert [round(frame.to_ndarray(format="rgb24").mean() / 10) for frame in frames] == [9, 20]


@pytest.mark.parametrize("name", ["call.mkv", "call.mp4"])
def test_what_was_recorded_before_a_crash_can_be_played(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    script = f"""
import sys
from pathlib import Path
from desktop.camera.frames import Shown
from desktop.camera.recording import Recording
from tests.service.pictures import landscape
recording = Recording(Path({str(path)!r}))
for number in range(200):
    recording._write(Shown(landscape(96, 128), number / 20, 5.0))
print("written", flush=True)
sys.stdin.read()
"""
    crashing = subprocess.Popen(
        [sys.executable, "-c", script], stdin=-1, stdout=-1, text=True, cwd=ROOT
    )
    with crashing:
        assert crashing.stdout is not None
        assert crashing.stdout.readline() == "written\n"
        crashing.send_signal(signal.SIGKILL)
    frames = frames_of(path)
    assert len(frames) >= 200 - 3 * 20, "all but the last seconds"


def test_a_file_that_is_there_is_kept_unless_it_may_go(tmp_path: Path) -> None:
    path = tmp_path / "call.mkv"
    path.write_bytes(b"dear to somebody")
    with pytest.raises(OutputUnavailable, match="--force"):
        Recording(path)
    assert path.read_bytes() == b"dear to somebody"
    Recording(path, overwrites=True).close()
    assert path.read_bytes() == b"dear to somebody", "as long as there is nothing else"
    record(Recording(path, overwrites=True), [Shown(landscape(), 0.0, 5.0)])
    assert len(frames_of(path)) == 1


def test_a_name_may_look_like_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("call:12.mkv")
    record(Recording(path), [Shown(flat(90), 0.0, 5.0)])
    assert len(frames_of(path.absolute())) == 1


def test_nothing_is_left_of_a_recording_without_a_frame(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "call.mkv")
    recording.close()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_recorded_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OutputUnavailable, match=r"ends in \.mkv or \.mp4"):
        Recording(tmp_path / "call.avi")
    with pytest.raises(OutputUnavailable, match="cannot be written: No such file or directory"):
        Recording(tmp_path / "none" / "call.mkv")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(OutputUnavailable, match=r"clearcall\[video\]"):
        Recording(tmp_path / "call.mkv")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is of Linux")
def test_a_full_disk_ends_the_recording_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "call.mkv"
    path.symlink_to("/dev/full")
    failures: list[OutputThread] = []
    thread = OutputThread(Recording(path, overwrites=True), threading.Event(), failures.append)
    thread.start()
    number = 0
    while not failures and number < 5000:
        thread.frames.put(Shown(landscape(96, 128), number / 20, 5.0))
        number += 1
    thread.finish()
    assert failures == [thread]
    assert str(thread.failure) == f"{path}: recording stopped: {os.strerror(errno.ENOSPC)}"
