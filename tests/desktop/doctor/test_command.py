"""`clearcall doctor` as its user meets it; students are doubles but in one test."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from desktop.cli import main
from desktop.doctor import command, media, runtimes
from desktop.doctor.extras import look_at_extras
from desktop.doctor.runtimes import look_at_runtimes
from desktop.doctor.speed import measure_students
from service.errors import CheckpointNotFound
from tests.clock import Clock
from tests.desktop.doctor.doubles import fake_student


@pytest.fixture
def students(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0.0)
    loaded = {
        "nano": fake_student(clock, 30, 29.0),
        "small": fake_student(clock, 120, 29.5),
        "base": fake_student(clock, 900, 29.8),
    }
    monkeypatch.setattr(
        command,
        "measure_students",
        lambda names, _: measure_students(names, loaded.__getitem__, clock=clock),
    )


@pytest.mark.usefixtures("students")
def test_it_tells_what_there_is_the_measurement_and_what_to_run_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    for row in ("CPU", "memory", "torch", "OpenVINO", "GPU", "pictures", "video", "cameras"):
        assert f"\n  {row} " in said.out
    table = said.out.partition("Students on cpu")[2].splitlines()
    assert table[1].split() == ["256x256", "640x360", "1280x720"]
    assert [line.split()[0] for line in table[2:5]] == ["nano", "small", "base"]
    assert table[5].split() == ["30", "FPS", "small", "small", "nano"]
    assert "\nNext: clearcall " in said.out


@pytest.mark.usefixtures("students")
def test_json_is_one_object_with_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert found["machine"]["cpus_allowed"] >= 1
    assert [each["student"] for each in found["advice"]["live"]] == ["small", "small", "nano"]
    small = found["measurements"][1]["speeds"][1]
    assert small["fps"] == pytest.approx(1000 / small["ms"], abs=0.1)
    assert found["advice"]["command"].startswith("clearcall ")
    assert {"video", "camera", "client", "heic", "otel", "trainer"} == found["extras"].keys()


def test_no_measure_loads_no_student(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("it measures")

    monkeypatch.setattr(command, "measure_students", fail)
    assert main(["doctor", "--no-measure", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measurements"] == []


def test_the_bundled_students_are_measured_for_real(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.model.sharpener.BUNDLED_SIZES", ("nano",))
    monkeypatch.setattr("desktop.doctor.speed.SIZES", ((64, 64),))
    assert main(["doctor", "--json"]) == 0
    (nano,) = json.loads(capsys.readouterr().out)["measurements"]
    assert (nano["student"], nano["speeds"][0]["runs"] > 1) == ("nano", True)
    assert nano["psnr_db"] > 25


def test_a_broken_student_is_exit_1_and_says_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise CheckpointNotFound(Path("nano.safetensors"), "it is not there")

    monkeypatch.setattr(command, "measure_students", missing)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "broken: the bundled students do not run: " in said
    assert "nano.safetensors" in said
    assert "-> install Clearcall again" in said
    assert "Next: clearcall doctor\n" in said


def test_a_broken_torch_is_exit_1_and_the_rest_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert any(p["is_essential"] and "torch" in p["what"] for p in found["problems"])
    assert found["media"]["pictures"]


def test_without_pyav_it_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["doctor", "--no-measure"]) == 0
    assert "needs PyAV: pip install 'clearcall[video]'" in capsys.readouterr().out


def test_a_gpu_that_torch_cannot_use_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "_torch", lambda _: ("2.13.0+cpu", "AVX2", ()))
    driver = tmp_path / "version"
    assert look_at_runtimes(driver)[1] == []
    driver.touch()
    (problem,) = look_at_runtimes(driver)[1]
    assert "torch 2.13.0+cpu cannot use it" in problem.what


def test_an_encoder_of_hardware_that_does_not_open_does_not_work() -> None:
    assert not media._works("h264_no_such_nvenc")
    assert media._works("libx264")  # the same steps with an encoder that is always there


def test_a_camera_that_cannot_be_opened_is_a_problem_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from desktop.camera.devices import CameraFacts

    monkeypatch.setattr(
        "desktop.camera.devices.list_cameras", lambda: [CameraFacts(97, "Webcam", 0, 0, 0.0)]
    )
    problems: list[Any] = []
    cameras, *_ = media.look_at_cameras(problems)
    assert [camera["name"] for camera in cameras] == ["Webcam"]
    (problem,) = problems
    assert problem.what == "camera 97 (Webcam) cannot be opened"
    assert "close the program that uses it" in problem.remedy


def test_extras_are_there_only_with_all_that_they_bring(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look_at_extras()["client"] is True
    monkeypatch.setattr(
        "desktop.doctor.extras._EXTRAS", {"none": ("json", "no_such_package.inner")}
    )
    assert look_at_extras() == {"none": False}
