"""A sharpened frame made better by the frames around it: numpy in, numpy out.

For who has the next frames already: a file, a recording, a player with a jitter buffer. A live
stream that waits for nobody has none.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from service.model.alignment import SMALLEST_SIDE_PX
from service.model.backends import read_graph
from service.model.fusion_file import LoadedFusion, load_fusion
from service.model.fusion_network import FusionNetwork
from service.model.neighbours import NEIGHBOURS, PLANES, FloatArray, Fused, Shot, beside_neighbours
from service.model.openvino_cpu import cpu_precision, request_for

__all__ = ["Fusion"]

_TRACED_SIDE_PX = 64


class Fusion:
    """The network on a device: OpenVINO on the CPU where it is installed, else PyTorch in fp32.

    OpenVINO calculates in bf16 where that is faster. For one thread at a time.
    """

    def __init__(self, loaded: LoadedFusion, *, device: str = "cpu", threads: int = 0) -> None:
        """Args:
        device: cpu, mps, cuda or cuda:N, as a `Sharpener` has it.
        threads: CPU threads; 0 = all cores.
        """
        self.fusion_id = loaded.fusion_id
        has_openvino = importlib.util.find_spec("openvino") is not None
        run = _openvino_run if device == "cpu" and has_openvino else _torch_run
        self._run = run(loaded.network, device, threads)

    @classmethod
    def load(cls, path: Path | None = None, *, device: str = "cpu", threads: int = 0) -> Fusion:
        """Loads a file; None = the bundled one.

        Raises:
            CheckpointError: the leaf says what is wrong with the file.
        """
        return cls(load_fusion(path), device=device, threads=threads)

    def fuse(self, frame: Fused, neighbours: Sequence[Fused | None]) -> Fused:
        """The sharpened frame with what its neighbours add to it.

        Args:
            frame: alone so far, of any size; below `SMALLEST_SIDE_PX` nothing is added.
            neighbours: of the same size, in the order of `NEIGHBOURS`, those after the frame fused
                themselves; None where there is none.

        Raises:
            ValueError: there are more or fewer neighbours, or their sizes differ.
        """
        if len(neighbours) != len(NEIGHBOURS):
            raise ValueError(f"there are {len(NEIGHBOURS)} neighbours, not {len(neighbours)}")
        there = [neighbour for neighbour in neighbours if neighbour is not None]
        if any(neighbour.seen.shape != frame.seen.shape for neighbour in there):
            raise ValueError("neighbours have the size of the frame")
        if not there or min(frame.seen.shape) < SMALLEST_SIDE_PX:
            return frame
        planes, differences = beside_neighbours(frame, neighbours)
        levels = frame.levels.copy()
        height, width = frame.seen.shape
        for weights, difference, neighbour in zip(
            self._run(_even(planes)), differences, neighbours, strict=True
        ):
            if neighbour is not None:
                share = weights[:height, :width]
                cv2.accumulateProduct(cv2.merge([share] * 3), difference, levels)
        return replace(frame, levels=np.clip(levels, 0, 255, out=levels))

    def fuse_backwards(
        self, shots: Sequence[Shot | None], *, before: Shot | None = None
    ) -> Iterator[Fused | None]:
        """Each frame of a clip with what its neighbours hold, from the last one to the first.

        Args:
            shots: of one size, one after the other; None where there is none.
            before: the one before the first.

        Raises:
            ValueError: their sizes differ.
        """
        known: dict[int, Fused | None] = {}
        earlier = _alone(shots[-1]) if shots else None
        for at in range(len(shots) - 1, -1, -1):
            frame, earlier = earlier, _alone(shots[at - 1] if at else before)
            known[at - 1] = earlier
            known.pop(at + max(NEIGHBOURS) + 1, None)
            neighbours = [known.get(at + offset) for offset in NEIGHBOURS]
            known[at] = None if frame is None else self.fuse(frame, neighbours)
            yield known[at]


def _alone(shot: Shot | None) -> Fused | None:
    return None if shot is None else Fused.alone(shot)


_Run = Callable[[FloatArray], FloatArray]  # planes -> weights, see `FusionNetwork`, of one frame


def _openvino_run(network: FusionNetwork, _device: str, threads: int) -> _Run:
    example = torch.zeros(1, PLANES, _TRACED_SIDE_PX, _TRACED_SIDE_PX)
    kind = (type(network), network.config)
    model = read_graph(network, [example], [[1, PLANES, -1, -1]], kind=kind)
    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads} if threads else {}
    request = request_for(model, precision=cpu_precision("auto"), options=options)

    def run(planes: FloatArray) -> FloatArray:
        outputs = request.infer({0: planes[None]}, share_inputs=True, share_outputs=True)
        weights: FloatArray = next(iter(outputs.values()))[0]
        return weights

    return run


def _torch_run(network: FusionNetwork, device: str, threads: int) -> _Run:
    if threads:
        torch.set_num_threads(threads)
    place = torch.device(device)
    network = copy.deepcopy(network).to(place)

    def run(planes: FloatArray) -> FloatArray:
        with torch.inference_mode():
            weights: FloatArray = network(torch.from_numpy(planes[None]).to(place))[0].cpu().numpy()
            return weights

    return run


def _even(planes: FloatArray) -> FloatArray:
    """(K, H, W) with the last row or column twice where their number is odd."""
    down, right = (side % 2 for side in planes.shape[1:])
    if not (down or right):
        return planes
    return np.pad(planes, ((0, 0), (0, down), (0, right)), mode="edge")
