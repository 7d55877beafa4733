"""docker/kuberay.yaml against what Ray and Clearcall take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from service.cluster import app

_DOCKER = Path(__file__).parents[2] / "docker"


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    manifest = yaml.safe_load((_DOCKER / "kuberay.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayService")
    found: dict[str, Any] = manifest["spec"]
    return found


def test_its_serve_config_is_one_whose_application_is_built(spec: dict[str, Any]) -> None:
    config = ServeDeploySchema.model_validate(yaml.safe_load(spec["serveConfigV2"]))
    (application,) = config.applications
    assert application.import_path == "service.cluster:app"
    assert application.args["gpus"] == 1
    app(application.args)


def test_a_worker_has_room_for_a_replica(spec: dict[str, Any]) -> None:
    wanted = yaml.safe_load(spec["serveConfigV2"])["applications"][0]["args"]
    (workers,) = spec["rayClusterConfig"]["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    assert float(limits["cpu"]) > wanted["cpus"]  # Ray's own processes need a share
    assert limits["nvidia.com/gpu"] >= wanted["gpus"]
    assert workers["maxReplicas"] >= wanted["max_replicas"]


def test_its_ray_is_the_images(spec: dict[str, Any]) -> None:
    constraints = (_DOCKER / "constraints.txt").read_text()
    pinned = re.search(r"^ray==(.+)$", constraints, re.MULTILINE)
    assert pinned is not None
    assert spec["rayClusterConfig"]["rayVersion"] == pinned[1]
