"""OpenVINO's CPU plugin: its entrance, and the number format that is fastest on this CPU."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np

from service.model.timing import is_faster

__all__ = [
    "cpu_precision",
    "openvino_abilities",
    "openvino_core",
    "precision_hint",
    "request_for",
]

# What is timed: most of a student's time are such convolutions.
_PROBE_CHANNELS = 16
_PROBE_SIDE = 128
_PROBE_LAYERS = 4

_measuring = threading.Lock()


@functools.cache
def openvino_core() -> Any:
    """OpenVINO's entrance, one for the process and kept for good.

    Its CPU plugin gives the thread that loads it a signal stack, and frees it when the Core goes
    but may leave it in use: with two of them, the next signal could end the process.
    """
    import openvino

    return openvino.Core()


def openvino_abilities() -> tuple[str, ...]:
    """What OpenVINO calculates in on this CPU, such as FP32, INT8 and BF16.

    Raises:
        ImportError: It is not installed.
        RuntimeError: It does not work here.
    """
    return tuple(openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def cpu_precision(asked: str) -> str:
    """What OpenVINO is to calculate in here: `auto` is bf16 where that is faster.

    That is measured, once for the process and in some tenths of a second, on CPUs that multiply in
    bf16: with matrix tiles (AMX) it takes half of the time of fp32, without them, in AVX-512, three
    quarters on some CPUs and half as long again on others.
    """
    if asked != "auto":
        return asked
    with _measuring:
        return "bf16" if "BF16" in openvino_abilities() and _bf16_is_faster() else "fp32"


@functools.cache
def _bf16_is_faster() -> bool:
    model = _probe()
    picture = np.full((1, _PROBE_CHANNELS, _PROBE_SIDE, _PROBE_SIDE), 0.5, dtype=np.float32)
    options = {"INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
    bf16, fp32 = (request_for(model, precision=name, options=options) for name in ("bf16", "fp32"))
    return is_faster(
        lambda: bf16.infer({0: picture}, share_inputs=True),
        lambda: fp32.infer({0: picture}, share_inputs=True),
    )


def _probe() -> Any:
    """3x3 convolutions one after the other, with kernels that do nothing."""
    from openvino import Model, Type, opset13

    kernels = np.zeros((_PROBE_CHANNELS, _PROBE_CHANNELS, 3, 3), dtype=np.float32)
    kernels[range(_PROBE_CHANNELS), range(_PROBE_CHANNELS), 1, 1] = 1
    shape = [1, _PROBE_CHANNELS, _PROBE_SIDE, _PROBE_SIDE]
    picture = features = opset13.parameter(shape, Type.f32)
    for _ in range(_PROBE_LAYERS):
        around = opset13.convolution(features, kernels, [1, 1], [1, 1], [1, 1], [1, 1])
        features = opset13.relu(around)
    return Model([features], [picture])


def precision_hint(precision: str) -> dict[str, str]:
    """OpenVINO's option for `fp32` or `bf16`."""
    return {"INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision]}


def request_for(
    model: Any, *, precision: str = "fp32", options: dict[str, Any] | None = None
) -> Any:
    """An inference request that uses every core for one input."""
    settings = {"PERFORMANCE_HINT": "LATENCY"} | precision_hint(precision) | (options or {})
    return openvino_core().compile_model(model, "CPU", settings).create_infer_request()
