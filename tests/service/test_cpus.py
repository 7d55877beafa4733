"""service.model.cpus: limits of containers, from files as the kernel shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.model.cpus import available_cpus, limited_threads


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(autouse=True)
def _sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


V2 = {"proc/self/cgroup": "0::/\n"}
V1 = {"proc/self/cgroup": "5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 16),
        (V2, 16),
        (V2 | {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 16),
        (V2 | {"sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        (V2 | {"sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2),
        (V2 | {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        (V2 | {"sys/fs/cgroup/cpu.max": "6400000 100000\n"}, 16),
        (V2 | {"sys/fs/cgroup/cpu.max": "nonsense"}, 16),
        (
            {"proc/self/cgroup": "0::/../../box\n", "sys/fs/cgroup/box/cpu.max": "300000 100000"},
            3,
        ),
        (V2 | {"sys/fs/cgroup/cpu.max": "100000 0"}, 16),
        (
            {
                "proc/self/cgroup": "0::/kube/pod/box\n",
                "sys/fs/cgroup/kube/pod/box/cpu.max": "max 100000",
                "sys/fs/cgroup/kube/pod/cpu.max": "300000 100000",
                "sys/fs/cgroup/kube/cpu.max": "800000 100000",
            },
            3,
        ),
        (
            V1
            | {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            V1
            | {
                "sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us": "150000\n",
                "sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            V1
            | {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            16,
        ),
    ],
)
def test_the_lowest_quota_on_the_way_up_counts(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    assert available_cpus(write(tmp_path, files)) == expected


def test_what_the_scheduler_allows_counts_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert available_cpus(tmp_path) == 2
    root = write(tmp_path, V2 | {"sys/fs/cgroup/cpu.max": "100000 100000"})
    assert available_cpus(root) == 1


def test_without_a_scheduler_to_ask_all_cores_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert available_cpus(tmp_path) == 16


def test_a_runtime_is_told_a_number_only_where_it_would_take_too_many(tmp_path: Path) -> None:
    assert limited_threads(0, tmp_path) == 0
    root = write(tmp_path, V2 | {"sys/fs/cgroup/cpu.max": "400000 100000"})
    assert limited_threads(0, root) == 4
    assert limited_threads(7, root) == 7
