"""A real Ray Serve on this machine, with two replicas, seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.service import free_port
from clearcall.blocking import BlockingClient
from service.cluster import app
from service.errors import SettingsInvalid
from tests.service.pictures import jpeg_frame

pytestmark = pytest.mark.timeout(240)

_START_LIMIT_S = 120.0
_RECONNECT_LIMIT_S = 3.0


@dataclass
class Cluster:
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stream_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/stream"

    def replicas(self) -> dict[int, psutil.Process]:
        """The processes of the replicas that are there."""
        found = {}
        for each in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if "ServeReplica:" in " ".join(each.cmdline()):
                    found[each.pid] = each
            except psutil.Error:
                continue
        return found

    def by_replica(self, name: str) -> dict[str, float]:
        """A metric without other labels, by replica."""
        answer = httpx.get(f"{self.url}/metrics", timeout=20).raise_for_status()
        return {
            sample.labels["replica"]: sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name == name
        }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    port = free_port()
    config = {
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": [
            {
                "name": "clearcall",
                "route_prefix": "/",
                "import_path": "service.cluster:app",
                "args": {
                    "checkpoint": "nano",
                    "ladder": "none",
                    "cpus": 1,
                    "streams": 2,
                    "min_replicas": 1,
                    "max_replicas": 2,
                    "upscale_delay_s": 0,
                    "downscale_delay_s": 4,
                },
            }
        ],
    }
    (folder / "serve.yaml").write_text(yaml.safe_dump(config))
    log = folder / "log.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("serve")), "run", str(folder / "serve.yaml")],
            env=os.environ
            | {
                "HOME": str(folder),
                "RAY_AUTH_MODE": "disabled",
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
                "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
            },
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    made = Cluster(port, process, log)
    try:
        _wait(lambda: _is_ready(made), _START_LIMIT_S, log)
        yield made
    finally:
        everything = psutil.Process(process.pid).children(recursive=True)
        process.terminate()  # SIGINT may be ignored here, as in a shell's background
        process.wait(30)
        _, left = psutil.wait_procs(everything, 10)
        for each in left:
            each.kill()
        psutil.wait_procs(left, 10)


def _is_ready(cluster: Cluster) -> bool:
    assert cluster.process.poll() is None, cluster.log.read_text()
    try:
        return len(cluster.by_replica("clearcall_streams_active")) == 1
    except httpx.HTTPError:
        return False


def _wait(condition: Callable[[], bool], limit_s: float, log: Path) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, log.read_text()[-5000:]
        time.sleep(0.05)


def _streams(cluster: Cluster, staying: ExitStack, leaving: ExitStack) -> list[BlockingClient]:
    """Three streams on one replica and, on the one that they make necessary, a fourth.

    Args:
        cluster: With one replica.
        staying: Closes the first and the last.
        leaving: Closes the second and the third.
    """
    _wait(lambda: len(cluster.by_replica("clearcall_streams_active")) == 1, 60, cluster.log)
    clients = [
        stack.enter_context(BlockingClient(cluster.stream_url))
        for stack in (staying, leaving, leaving)
    ]
    _wait(lambda: len(cluster.by_replica("clearcall_streams_active")) == 2, 60, cluster.log)
    clients.append(staying.enter_context(BlockingClient(cluster.stream_url)))
    assert sorted(cluster.by_replica("clearcall_streams_active").values()) == [1, 3]
    return clients


def _answered(client: BlockingClient, frames: int = 1) -> None:
    for _ in range(frames):
        client.offer(jpeg_frame())
        client.result(timeout_s=20)


def test_pictures_errors_and_the_page_are_as_without_a_cluster(cluster: Cluster) -> None:
    answer = httpx.post(f"{cluster.url}/sharpen", content=jpeg_frame(), timeout=60)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-clearcall-model"].startswith("nano-")
    refused = httpx.post(f"{cluster.url}/sharpen", content=b"no picture", timeout=60)
    assert refused.status_code == 415
    assert refused.json()["code"] == "image-unsupported"
    assert "Clearcall" in httpx.get(cluster.url).text
    assert httpx.get(f"{cluster.url}/health/ready").json()["status"] == "ready"


def test_streams_make_replicas_and_stay_with_theirs_until_it_goes(cluster: Cluster) -> None:
    with ExitStack() as staying:
        with ExitStack() as leaving:
            clients = _streams(cluster, staying, leaving)
            before = cluster.by_replica("clearcall_frames_sent_total")
            for client in clients:
                _answered(client, frames=10)
            after = cluster.by_replica("clearcall_frames_sent_total")
            assert sorted(after[each] - before.get(each, 0) for each in after) == [10, 30]
        # Two streams are work for one replica: the other one sends its stream elsewhere and goes.
        first, last = clients[0], clients[3]
        _wait(lambda: first.reconnects + last.reconnects > 0, 60, cluster.log)
        _answered(first)
        _answered(last)
        assert first.reconnects + last.reconnects == 1
        _wait(lambda: len(cluster.replicas()) == 1, 60, cluster.log)
        assert list(cluster.by_replica("clearcall_streams_active").values()) == [2]
        assert first.reconnects + last.reconnects == 1


def test_a_killed_replica_loses_only_its_own_streams_which_come_back(cluster: Cluster) -> None:
    with ExitStack() as stack:
        clients = _streams(cluster, stack, stack)
        next(iter(cluster.replicas().values())).kill()
        killed_s = time.monotonic()
        _wait(lambda: sum(each.reconnects for each in clients) in (1, 3), 10, cluster.log)
        for client in clients:
            _answered(client)
        assert time.monotonic() - killed_s < _RECONNECT_LIMIT_S
        assert [each.reconnects for each in clients] in ([1, 1, 1, 0], [0, 0, 0, 1])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"min_replicas": "3", "max_replicas": "2"}, r"min_replicas \(3\) is more than"),
        ({"cpus": "none"}, "cpus is 'none'"),
        ({"checkpoint": "nano", "portt": "1"}, "portt is not a setting"),
        ({"threads": "many"}, "CLEARCALL_THREADS"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsInvalid, match=told):
        app(arguments)


def test_a_replica_keeps_to_its_cores_and_all_take_each_others_tokens() -> None:
    built = app({"cpus": "3", "gpus": "0", "streams": "5", "max_replicas": "7"})
    deployment = built._bound_deployment
    settings = deployment.init_args[0]
    assert (settings.threads, settings.codec_threads, settings.device) == (3, 3, "cpu")
    assert settings.token_secret is not None
    assert deployment.ray_actor_options == {"num_cpus": 3.0, "num_gpus": 0.0}
