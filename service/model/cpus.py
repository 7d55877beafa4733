"""How many CPUs this process may use: a container's limit, not what the host has.

The kernel's files are read from a folder that is passed in. A limit of a control group holds for
all groups below it, so every group from the process's own up to the root is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["available_cpus", "limited_threads"]

_V1_CONTROLLERS = {"cpu", "cpuacct"}


def available_cpus(root: Path = Path("/")) -> int:
    """The CPUs that this process may keep busy, at least 1.

    The fewest of what the scheduler lets it run on and the quotas of its control groups (v2
    `cpu.max`, v1 `cpu.cfs_quota_us`). A quota of 2.5 CPUs counts as 2: whoever uses his quota up
    stands still, with all threads, for the rest of each 100 ms.

    Args:
        root: What holds `proc` and `sys`.
    """
    quotas = [*_quotas(root)]
    return max(1, int(min([_schedulable_cpus(), *quotas])))


def limited_threads(asked: int, root: Path = Path("/")) -> int:
    """The number of threads to ask a runtime for; 0 = let it count the machine's cores itself.

    Args:
        asked: By the user; 0 = all.
        root: See `available_cpus`.
    """
    if asked:
        return asked
    available = available_cpus(root)
    # A runtime knows physical cores from their threads, so it is asked where nothing limits it.
    return available if available < (os.cpu_count() or 1) else 0


def _schedulable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Each quota that holds for this process, in CPUs."""
    mounts = root / "sys" / "fs" / "cgroup"
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            for group in _up_from(mounts, path):
                yield from _cpus(*_text(group / "cpu.max").split())
        elif "cpu" in (named := set(controllers.split(","))) and named <= _V1_CONTROLLERS:
            for name in (controllers, "cpu"):  # where it is mounted differs
                for group in _up_from(mounts / name, path):
                    quota, period = (
                        _text(group / f"cpu.cfs_{what}_us").strip() for what in ("quota", "period")
                    )
                    yield from _cpus(quota, period)


def _up_from(mount: Path, path: str) -> Iterator[Path]:
    """A group's folder and those above it; in a container only the mount itself may be there."""
    # A group outside of the container's own namespace is shown as "/../...".
    parts = [part for part in PurePosixPath(path.strip().lstrip("/")).parts if part != ".."]
    for depth in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:depth])


def _cpus(quota: str = "", period: str = "") -> Iterator[float]:
    """The quota in CPUs, if there is one: "max" and -1 are none."""
    if quota.isdecimal() and period.isdecimal() and int(period):
        yield int(quota) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # not this kind of control group, or no Linux
        return ""
