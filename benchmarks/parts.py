"""What each part of a student costs in OpenVINO, and what share of the machine's peak it reaches.

The peak is measured too: a 3x3 convolution of 128 channels, which keeps every multiplier busy.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from service.model.backends import (
    Precision,
    picture_graph,
    read_graph,
    traced_model,
)
from service.model.estimator import DESCRIPTION_LENGTH
from service.model.openvino_cpu import request_for
from service.model.student import StudentConfig
from trainer.bench import served_network
from trainer.timing import time_calls

__all__ = ["PARTS", "PartCosts", "part_costs", "peak_gflops"]

PARTS = (
    "head",
    "blocks",
    "channel_attention",
    "spatial_attention",
    "tail",
    "refinement",
    "router",
)
_PEAK_CHANNELS = 128
_PEAK_SIDE_PX = 128
_CALLS = 30


@dataclass(frozen=True, slots=True)
class PartCosts:
    """Of one student and picture; `parts_ms` by name, `rest` is conversion and rearrangement.

    `gflop` counts the 3x3 convolutions, two operations a multiplication.
    """

    what: str
    precision: str
    height: int
    width: int
    parts_ms: dict[str, float]
    gflop: float

    @property
    def total_ms(self) -> float:
        return sum(self.parts_ms.values())

    @property
    def gflops(self) -> float:
        """Per second, over the whole of the network."""
        return self.gflop / self.total_ms * 1000


def peak_gflops(precision: Precision, *, seconds: float) -> float:
    """The rate at which this machine convolves when nothing else holds it up."""
    convolution = nn.Conv2d(_PEAK_CHANNELS, _PEAK_CHANNELS, 3, padding=1).eval()
    shape = (1, _PEAK_CHANNELS, _PEAK_SIDE_PX, _PEAK_SIDE_PX)
    request = request_for(
        read_graph(convolution, [torch.zeros(shape)], [list(shape)], kind="convolution"),
        precision=precision,
    )
    inputs = {0: np.ones(shape, np.float32)}
    median_ms, _ = time_calls(lambda: request.infer(inputs, share_inputs=True), seconds=seconds)
    return _gflop(_PEAK_CHANNELS, _PEAK_CHANNELS, _PEAK_SIDE_PX**2) / median_ms * 1000


def part_costs(name: str, size: tuple[int, int], *, precision: Precision) -> PartCosts:
    """Milliseconds of each part of a named size, on noise of (height, width) px.

    The mean over calls of what OpenVINO's own counters say.

    Raises:
        RuntimeError: its nodes' names do not tell the parts.
    """
    network = served_network(name)
    graph, example, shapes = picture_graph(network, is_stronger=False)
    request = request_for(
        traced_model(graph, example, shapes), precision=precision, options={"PERF_COUNT": True}
    )
    planes = example[0].shape[3:]
    images = np.random.default_rng(0).integers(0, 256, (1, *size, *planes), np.uint8)
    inputs = {0: images, 1: np.float32(1), 2: np.zeros((1, DESCRIPTION_LENGTH), np.float32)}
    sums: dict[str, float] = defaultdict(float)
    for call in range(2 * _CALLS):
        request.infer(inputs, share_inputs=True)
        if call >= _CALLS:
            for node in request.profiling_info:
                milliseconds = node.real_time.total_seconds() * 1000
                sums[_part_of(node.node_name)] += milliseconds / _CALLS
    unseen = {"head", "blocks", "tail"} - sums.keys()
    if unseen:
        raise RuntimeError(f"OpenVINO names no node after {', '.join(sorted(unseen))}.")
    height, width = size
    return PartCosts(
        name, precision, height, width, dict(sums), _student_gflop(network.config, size)
    )


def _part_of(node: str) -> str:
    """By the module path that OpenVINO keeps in a node's name."""
    return next((part for part in PARTS if f".{part}" in node), "rest")


def _student_gflop(config: StudentConfig, size: tuple[int, int]) -> float:
    positions = size[0] * size[1] // config.unshuffle**2
    planes = config.planes * config.unshuffle**2
    return (
        _gflop(planes, config.channels, positions) * 2
        + _gflop(config.channels, config.channels, positions) * 2 * config.blocks
        + _gflop(1, planes, positions)
    )


def _gflop(inputs: int, outputs: int, positions: int) -> float:
    return 2 * 9 * inputs * outputs * positions / 1e9
