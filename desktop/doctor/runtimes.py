"""What runs the network: PyTorch, OpenVINO, a GPU."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from desktop.doctor.problem import Problem

__all__ = ["Gpu", "Runtimes", "look_at_runtimes"]

_NVIDIA = Path("/proc/driver/nvidia/version")
_HAS_OPENVINO = ("x86_64", "AMD64", "aarch64", "arm64")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A device that torch can use."""

    device: str
    name: str
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Runtimes:
    """Versions, None where it cannot be imported; what they say of the machine."""

    torch: str | None
    torch_cpu: str | None
    openvino: str | None
    openvino_cpu: tuple[str, ...]
    gpus: tuple[Gpu, ...]


def look_at_runtimes(nvidia: Path = _NVIDIA) -> tuple[Runtimes, list[Problem]]:
    """Imports both and asks them.

    Args:
        nvidia: There if the driver of an NVIDIA GPU is.
    """
    problems: list[Problem] = []
    torch_version, torch_cpu, gpus = _torch(problems)
    openvino_version, abilities = _openvino(problems)
    if nvidia.exists() and torch_version and not gpus:
        problems.append(
            Problem(
                f"there is an NVIDIA GPU, but torch {torch_version} cannot use it",
                "install a torch built for CUDA (pytorch.org tells how), or a newer driver; in a "
                "container, start it with --gpus all",
            )
        )
    runtimes = Runtimes(torch_version, torch_cpu, openvino_version, abilities, gpus)
    return runtimes, problems


def _torch(problems: list[Problem]) -> tuple[str | None, str | None, tuple[Gpu, ...]]:
    try:
        import torch

        gpus = [
            Gpu(f"cuda:{index}", facts.name, int(facts.total_memory))
            for index in range(torch.cuda.device_count())
            for facts in (torch.cuda.get_device_properties(index),)
        ]
        if torch.backends.mps.is_available():
            gpus.append(Gpu("mps", "Apple GPU", None))
        return torch.__version__, torch.backends.cpu.get_cpu_capability(), tuple(gpus)
    except (ImportError, OSError, RuntimeError) as exc:
        problems.append(
            Problem(
                f"torch does not work: {_said(exc)}",
                "install it again: pip install --force-reinstall torch",
                is_essential=True,
            )
        )
        return None, None, ()


def _openvino(problems: list[Problem]) -> tuple[str | None, tuple[str, ...]]:
    try:
        import openvino

        from service.model.openvino_cpu import openvino_abilities

        abilities = openvino_abilities()
    except (ImportError, OSError, RuntimeError) as exc:
        if platform.machine() in _HAS_OPENVINO:
            problems.append(
                Problem(
                    f"OpenVINO does not work, so the CPU is slower than it could be: {_said(exc)}",
                    "install it again: pip install --force-reinstall openvino",
                )
            )
        return None, ()
    return openvino.__version__.partition("-")[0], abilities


def _said(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
