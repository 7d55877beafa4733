"""desktop.doctor.machine: what the kernel tells."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from desktop.doctor.machine import cpu_features, look_at_machine, problems_of_machine

CPUINFO = """\
processor\t: 0
model name\t: Some CPU @ 3.00GHz
flags\t\t: fpu avx2 avx512f avx512_vnni amx_bf16 amx_int8 avx512_bf16
"""
MEMINFO = "MemTotal: 16777216 kB\nMemFree: 1048576 kB\nMemAvailable: 8388608 kB\n"


def kernel(folder: Path) -> Path:
    (folder / "proc").mkdir()
    (folder / "proc" / "cpuinfo").write_text(CPUINFO)
    (folder / "proc" / "meminfo").write_text(MEMINFO)
    (folder / "sys" / "fs" / "cgroup").mkdir(parents=True)
    return folder


def test_features_are_those_that_a_network_profits_from() -> None:
    assert cpu_features(CPUINFO) == (
        "AVX2",
        "AVX-512",
        "AVX-512 bf16",
        "AVX-512 VNNI",
        "AMX bf16",
        "AMX int8",
    )
    assert cpu_features("Features\t: fp asimd bf16 i8mm\n") == ("NEON", "bf16", "int8 matrices")
    assert cpu_features("") == ()


def test_cpu_memory_and_disk_are_told(tmp_path: Path) -> None:
    machine = look_at_machine(kernel(tmp_path), tmp_path)
    assert machine.cpu == "Some CPU @ 3.00GHz"
    assert (machine.memory_bytes, machine.memory_free_bytes) == (16 << 30, 8 << 30)
    assert machine.disk_free_bytes > 0
    assert 1 <= machine.cpus_allowed <= machine.cpus


def test_the_limit_of_a_container_is_its_memory(tmp_path: Path) -> None:
    root = kernel(tmp_path)
    (root / "sys" / "fs" / "cgroup" / "memory.max").write_text(f"{512 << 20}\n")
    machine = look_at_machine(root, tmp_path)
    assert (machine.memory_bytes, machine.memory_free_bytes) == (512 << 20, 512 << 20)
    assert "512 MiB of memory" in problems_of_machine(machine)[0].what


def test_too_little_room_and_an_old_cpu_are_problems_but_not_essential(tmp_path: Path) -> None:
    good = dataclasses.replace(look_at_machine(kernel(tmp_path)), system="Linux 6 x86_64")
    fit = dataclasses.replace(good, disk_free_bytes=1 << 40)
    assert problems_of_machine(fit) == []
    poor = dataclasses.replace(good, disk_free_bytes=1 << 20, cpu_features=("AVX VNNI",))
    problems = problems_of_machine(poor)
    assert ["1 MiB are free" in problems[0].what, "AVX2" in problems[1].what] == [True, True]
    assert not any(problem.is_essential for problem in problems)
