"""The machine: its CPU and what that multiplies in, memory, disk. No package is needed for it."""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from desktop.doctor.problem import Problem
from service.model.cpus import available_cpus

__all__ = ["Machine", "cpu_features", "look_at_machine", "problems_of_machine"]

# The kernel's names for what speeds a network up, x86 and ARM.
_FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512 bf16",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "amx_bf16": "AMX bf16",
    "amx_int8": "AMX int8",
    "asimd": "NEON",
    "sve": "SVE",
    "bf16": "bf16",
    "i8mm": "int8 matrices",
}
_LITTLE_MEMORY_BYTES = 1 << 30
_LITTLE_DISK_BYTES = 500 << 20
_CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
_NO_LIMIT_BYTES = 1 << 60  # what version 1 of control groups says where there is none


@dataclass(frozen=True, slots=True)
class Machine:
    """What it is; bytes and counts. None = this system does not tell."""

    system: str
    python: str
    cpu: str
    cpu_features: tuple[str, ...]
    cpus: int
    cpus_allowed: int
    memory_bytes: int | None
    memory_free_bytes: int | None
    disk_folder: str
    disk_free_bytes: int


def look_at_machine(root: Path = Path("/"), folder: Path | None = None) -> Machine:
    """Reads what the kernel tells.

    Args:
        root: What holds `proc` and `sys`.
        folder: Where there should be room; None = the current one.
    """
    folder = folder or Path.cwd()
    cpuinfo = _text(root / "proc" / "cpuinfo")
    memory, free = _memory(root)
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        cpu=_field(cpuinfo, "model name") or platform.processor() or platform.machine(),
        cpu_features=cpu_features(cpuinfo),
        cpus=os.cpu_count() or 1,
        cpus_allowed=available_cpus(root),
        memory_bytes=memory,
        memory_free_bytes=free,
        disk_folder=str(folder),
        disk_free_bytes=shutil.disk_usage(folder).free,
    )


def cpu_features(cpuinfo: str) -> tuple[str, ...]:
    """What `/proc/cpuinfo` names of the instructions that a network profits from."""
    flags = set((_field(cpuinfo, "flags") or _field(cpuinfo, "Features")).split())
    return tuple(told for flag, told in _FEATURES.items() if flag in flags)


def problems_of_machine(machine: Machine) -> list[Problem]:
    """Too little memory, disk or CPU."""
    problems = []
    free = machine.memory_free_bytes
    if free is not None and free < _LITTLE_MEMORY_BYTES:
        problems.append(
            Problem(
                f"only {free >> 20} MiB of memory are free",
                "close other programs, or give the container more; a student takes up to 1 GiB",
            )
        )
    if machine.disk_free_bytes < _LITTLE_DISK_BYTES:
        problems.append(
            Problem(
                f"only {machine.disk_free_bytes >> 20} MiB are free in {machine.disk_folder}",
                "make room before sharpening videos or recording there",
            )
        )
    is_x86 = machine.system.endswith(("x86_64", "AMD64"))
    if is_x86 and machine.cpu_features and "AVX2" not in machine.cpu_features:
        problems.append(
            Problem(
                "this CPU has no AVX2, so the network is slow",
                "use --checkpoint nano, or --server URL for a Clearcall on another machine; in a "
                "virtual machine, let it see the host's CPU",
            )
        )
    return problems


def _memory(root: Path) -> tuple[int | None, int | None]:
    meminfo = _text(root / "proc" / "meminfo")
    kib = {key: int(value) for key, value in re.findall(r"^(\w+):\s+(\d+) kB", meminfo, re.M)}
    if "MemTotal" not in kib:
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
        except (AttributeError, ValueError, OSError):  # Windows
            return None, None
    total = kib["MemTotal"] << 10
    free = kib.get("MemAvailable", kib.get("MemFree", 0)) << 10
    for name in _CGROUP_LIMITS:
        said = _text(root / "sys" / "fs" / "cgroup" / name).strip()
        if said.isdecimal() and int(said) < min(total, _NO_LIMIT_BYTES):
            total = int(said)
            free = min(free, total)
    return total, free


def _field(cpuinfo: str, name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.*)$", cpuinfo, re.M)
    return found[1].strip() if found else ""


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # no Linux
        return ""
