"""docker/prometheus and docker/grafana, run through Prometheus itself."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.programs import program
from tests.service.live import serve

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "docker/prometheus"
DASHBOARD = ROOT / "docker/grafana/dashboards/clearcall.json"
_LIMIT_S = 30


@pytest.mark.parametrize(
    "argv", [("check", "config", "prometheus.yml"), ("test", "rules", "rules.test.yml")]
)
def test_promtool_finds_nothing_wrong(argv: tuple[str, ...]) -> None:
    *verb, file = argv
    done = subprocess.run(
        [program("promtool", "prometheus"), *verb, str(PROMETHEUS / file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def prometheus_of(target: str, folder: Path) -> Iterator[httpx.Client]:
    """A Prometheus that has scraped `target` at least twice, with our rules."""
    for name in ("rules.yml", "alerts.yml"):
        shutil.copy(PROMETHEUS / name, folder)
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 200ms, evaluation_interval: 200ms}\n"
        "rule_files: [rules.yml, alerts.yml]\n"
        "scrape_configs:\n"
        f"  - {{job_name: clearcall, static_configs: [{{targets: ['{target}']}}]}}\n"
    )
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            program("prometheus", "prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://{address}/api/v1") as client:
            end_s = time.monotonic() + _LIMIT_S
            while time.monotonic() < end_s and not _has_scraped_twice(client):
                time.sleep(0.05)
            yield client
    finally:
        process.terminate()
        process.wait()


def _has_scraped_twice(client: httpx.Client) -> bool:
    try:
        answer = client.get("/query", params={"query": "count_over_time(up[1m])"}).json()
    except (httpx.TransportError, json.JSONDecodeError):
        return False
    found = answer.get("data", {}).get("result", [])
    return bool(found) and int(found[0]["value"][1]) >= 2


def test_every_query_of_the_dashboard_runs_and_names_what_the_service_has(tmp_path: Path) -> None:
    assert len(queries()) > 20
    with serve() as live, prometheus_of(live.url.removeprefix("http://"), tmp_path) as client:
        page = httpx.get(f"{live.url}/metrics").text
        for query in queries():
            answer = client.get("/query", params={"query": query}).json()
            assert answer["status"] == "success", (query, answer)
        rules = client.get("/rules").json()["data"]["groups"]
        assert [
            rule["name"] for group in rules for rule in group["rules"] if rule["health"] == "err"
        ] == []
    written = [*queries(), (PROMETHEUS / "rules.yml").read_text()]
    written.append((PROMETHEUS / "alerts.yml").read_text())
    named = set(re.findall(r"\b(?:clearcall|process)_[a-z_]+", " ".join(written)))
    told = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    assert {name for name in named if not told & {name, *_without_suffix(name)}} == set()


def _without_suffix(name: str) -> set[str]:
    return {name.removesuffix(suffix) for suffix in ("_bucket", "_sum", "_count")}


def test_provisioning_points_at_the_dashboard_and_the_data_source() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    uids = {panel["datasource"]["uid"] for panel in dashboard["panels"] if "datasource" in panel}
    assert uids == {"prometheus"}
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
