"""The Compose files and Dockerfiles, as far as they can be read without an engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]


def compose(name: str = "docker-compose.yml") -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / name).read_text())
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize("name", ["service", "front", "prometheus", "trainer"])
def test_containers_can_write_to_their_volumes_only_and_gain_nothing(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_gpu_is_the_default_and_the_other_file_takes_it_away() -> None:
    for name in ("service", "trainer"):
        assert compose()["services"][name]["runtime"] == "nvidia"
        assert compose("docker-compose.cpu.yml")["services"][name]["runtime"] == "runc"


def test_every_variable_that_the_service_gets_is_a_setting() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    given = {
        name
        for file in ("docker-compose.yml", "docker-compose.cpu.yml")
        for name in compose(file)["services"]["service"]["environment"]
        if name.startswith(PREFIX)
    }
    assert given - known == set()


def test_every_variable_of_the_files_is_explained_in_the_example() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    images = {name for name in used if name.endswith("_IMAGE")}
    named = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert used - images - {"CLEARCALL_DEVICE"} <= named


def test_the_stop_leaves_more_time_than_the_drain_takes() -> None:
    service = compose()["services"]["service"]
    drain_s = float(service["environment"][f"{PREFIX}DRAIN_S"])
    assert float(service["stop_grace_period"].removesuffix("s")) > drain_s


@pytest.mark.parametrize("name", ["service", "trainer"])
def test_images_run_as_a_user_and_are_pinned(name: str) -> None:
    text = (ROOT / f"docker/{name}.Dockerfile").read_text()
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert text.count("FROM ${PYTHON_IMAGE}") == 2
    assert "--constraint /build/wheels/constraints.txt" in text


def test_constraints_are_exact_versions_with_nothing_of_a_machine() -> None:
    lines = (ROOT / "docker/constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert any(line.startswith("torch==") for line in pins)
    assert [line for line in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", line)] == []
