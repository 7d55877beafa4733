"""desktop.video.fusing: in which order frames leave, and what a file gains."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
import pytest

from desktop.cli import main
from desktop.video.fusing import Fusing
from desktop.video.pipeline import Passed, Picture, Tally
from service.model.fusion import Fusion
from service.model.fusion_file import bundled_fusion
from service.model.neighbours import Fused, Shot
from tests.desktop.video.conftest import Run
from tests.service.pictures import sample


class Adding:
    """A fusion that adds 100 levels to every frame."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def fuse_backwards(
        self, shots: Sequence[Shot | None], **_: Shot | None
    ) -> Iterator[Fused | None]:
        self.sizes.append(len(shots))
        for shot in reversed(shots):
            if shot is None:
                yield None
            else:
                alone = Fused.alone(shot)
                yield replace(alone, levels=alone.levels + np.float32(100))


def pictures(count: int) -> Iterator[Picture]:
    for number in range(count):
        image = np.full((4, 4, 3), number, np.uint8)
        yield Picture(av.VideoFrame(4, 4, "yuv420p"), image, image.copy())


def stage(fusion: Adding, *, look_ahead: int, strength: float = 1.0) -> Fusing:
    tally = Tally()
    return Fusing(cast(Fusion, fusion), look_ahead=look_ahead, strength=strength, tally=tally)


def levels_of(passed: Iterable[Passed]) -> list[int]:
    return [
        int(p.sharpened[0, 0, 0])
        for p in passed
        if isinstance(p, Picture) and p.sharpened is not None
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 36, 37, 38, 80])
@pytest.mark.parametrize("look_ahead", [1, 3])
def test_no_frame_is_lost_however_short_the_clip(count: int, look_ahead: int) -> None:
    passed = stage(Adding(), look_ahead=look_ahead).through(pictures(count))
    assert levels_of(passed) == [100 + number for number in range(count)]


def test_no_more_frames_wait_than_a_window_has_and_packets_never_do() -> None:
    taken = 0
    packet = av.Packet(b"sound")

    def counted() -> Iterator[Passed]:
        nonlocal taken
        for picture in pictures(50):
            taken += 1
            yield picture
            if taken == 1:
                yield packet

    passing = iter(stage(Adding(), look_ahead=2).through(counted()))
    assert next(passing) is packet
    assert isinstance(next(passing), Picture)
    assert taken == 38


def test_what_is_added_fades_with_a_strength_below_one() -> None:
    for strength, level in ((0.5, 50), (1.0, 100), (2.0, 100)):
        fusing = stage(Adding(), look_ahead=1, strength=strength)
        assert levels_of(fusing.through(pictures(2))) == [level, level + 1]


def test_pictures_that_were_not_sharpened_pass() -> None:
    plain = [Picture(p.frame, p.image) for p in pictures(3)]
    assert list(stage(Adding(), look_ahead=2).through(iter(plain))) == plain


def noisy_clip(path: Path, frames: int = 8) -> npt.NDArray[np.uint8]:
    """A still photograph with other noise in each frame, kept without loss; the photograph."""
    clean = np.ascontiguousarray(sample("man-in-profile")[100:260, 150:390])
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("ffv1", rate=15)
        video.height, video.width = clean.shape[:2]
        video.pix_fmt = "bgr0"
        for _ in range(frames):
            noisy = np.clip(clean + rng.normal(0, 6, clean.shape), 0, 255).astype(np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24")))
        container.mux(video.encode(None))
    return clean


def test_a_noisy_recording_is_nearer_to_what_was_filmed(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "noisy.mkv"
    clean = noisy_clip(path)

    def error(*options: str) -> float:
        output = tmp_path / f"out{len(options)}.mkv"
        summary = run(path, output, "--encoder", "ffv1", *options)
        assert summary["frames"] == 8
        assert summary["look_ahead"] == (3 if options else 0)
        assert (summary["fusing_ms"] > 0) == bool(options)
        with av.open(str(output)) as container:
            shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return float(np.square(np.stack(shown).astype(float) - clean).mean())

    assert error("--look-ahead", "3") < 0.85 * error()


def test_weights_of_one_s_own_are_used_and_others_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = tmp_path / "noisy.mkv", tmp_path / "out.mkv"
    noisy_clip(path, frames=3)
    own = tmp_path / "own.safetensors"
    own.write_bytes(bundled_fusion().read_bytes())
    options = ("--encoder", "ffv1", "--look-ahead", "1", "--fusion")
    assert run(path, output, *options, str(own))["frames"] == 3
    own.write_bytes(b"nothing")
    command = ["video", str(path), "-o", str(tmp_path / "other.mkv"), *options, str(own)]
    assert main(command) == 2
    assert "own.safetensors" in capsys.readouterr().err
    assert not (tmp_path / "other.mkv").exists()


def test_a_look_ahead_that_is_too_long_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["video", "in.mp4", "-o", str(tmp_path / "out.mp4"), "--look-ahead", "4"]) == 2
    assert "--look-ahead" in capsys.readouterr().err


def test_with_the_strength_off_no_frame_is_waited_for(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "noisy.mkv"
    noisy_clip(path, frames=3)
    options = ("--encoder", "ffv1", "--look-ahead", "3", "--strength", "0")
    summary = run(path, tmp_path / "out.mkv", *options)
    assert (summary["frames"], summary["look_ahead"], summary["fusing_ms"]) == (3, 0, 0)


def test_a_video_is_opened_before_torch_is_loaded() -> None:
    code = "import sys, desktop.video.conversion; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
