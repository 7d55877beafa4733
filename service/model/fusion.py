"""A sharpened frame made better by the frames around it: numpy in, numpy out.

For who has the next frames already: a file, a recording, a player with a jitter buffer. A live
stream that waits for nobody has none.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from service.model.alignment import SMALLEST_SIDE_PX
from service.model.backends import cpu_precision, read_graph, request_for
from service.model.fusion_file import LoadedFusion, load_fusion
from service.model.fusion_network import NEIGHBOURS, FusionNetwork
from service.model.neighbours import FloatArray, Shot, beside_neighbours

__all__ = ["MOST_LOOK_AHEAD", "Fusion"]

ImageArray = npt.NDArray[np.uint8]

MOST_LOOK_AHEAD = max(NEIGHBOURS)  # frames
_TRACED_SIDE_PX = 64


class Fusion:
    """The network on a device: OpenVINO on the CPU where it is installed, else PyTorch in fp32.

    OpenVINO calculates in bf16 where the CPU multiplies in it.
    """

    def __init__(self, loaded: LoadedFusion, *, device: str = "cpu", threads: int = 0) -> None:
        """Args:
        device: cpu, mps, cuda or cuda:N, as a `Sharpener` has it.
        threads: CPU threads; 0 = all cores.
        """
        self.fusion_id = loaded.fusion_id
        graph = _FusionGraph(loaded.network).eval()
        has_openvino = importlib.util.find_spec("openvino") is not None
        run = _openvino_run if device == "cpu" and has_openvino else _torch_run
        self._run = run(graph, device, threads)

    @classmethod
    def load(cls, path: Path | None = None, *, device: str = "cpu", threads: int = 0) -> Fusion:
        """Loads a file; None = the bundled one.

        Raises:
            CheckpointError: the leaf says what is wrong with the file.
        """
        return cls(load_fusion(path), device=device, threads=threads)

    def fuse(
        self, shot: Shot, neighbours: Sequence[Shot | None], *, amount: float = 1.0
    ) -> ImageArray:
        """The sharpened frame with what its neighbours add to it.

        Args:
            shot: of any size; below `SMALLEST_SIDE_PX` nothing is added.
            neighbours: of the same size, in the order of `NEIGHBOURS`; None where there is none.
            amount: of what is added, 0 to 1.

        Returns:
            (H, W, 3) uint8 RGB; the arrays of the shots are not changed.

        Raises:
            ValueError: there are more or fewer neighbours, or their sizes differ.
        """
        if len(neighbours) != len(NEIGHBOURS):
            raise ValueError(f"there are {len(NEIGHBOURS)} neighbours, not {len(neighbours)}")
        there = [neighbour for neighbour in neighbours if neighbour is not None]
        if any(neighbour.image.shape != shot.image.shape for neighbour in there):
            raise ValueError("neighbours have the size of the frame")
        if not there or not amount or min(shot.image.shape[:2]) < SMALLEST_SIDE_PX:
            return shot.sharpened
        planes, differences = beside_neighbours(shot, neighbours)
        height, width = shot.image.shape[:2]
        added = self._run(_even(planes), _even(differences.transpose(0, 3, 1, 2)))
        fused = shot.sharpened + amount * added[:height, :width]
        return np.clip(np.rint(fused), 0, 255).astype(np.uint8)


class _FusionGraph(nn.Module):
    """Planes (1, 2 + 2 K, H, W), differences (K, 3, H, W) -> what is added, (H, W, 3) fp32."""

    def __init__(self, network: FusionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, planes: Tensor, differences: Tensor) -> Tensor:
        weights: Tensor = self.network(planes)[0].unsqueeze(1)
        return (weights * differences).sum(0).permute(1, 2, 0)


_Run = Callable[[FloatArray, FloatArray], FloatArray]


def _openvino_run(graph: _FusionGraph, _device: str, threads: int) -> _Run:
    count = len(NEIGHBOURS)
    side = _TRACED_SIDE_PX
    example = [torch.zeros(1, 2 + 2 * count, side, side), torch.zeros(count, 3, side, side)]
    shapes = [[1, 2 + 2 * count, -1, -1], [count, 3, -1, -1]]
    model = read_graph(graph, example, shapes, kind=(type(graph), graph.network.config))
    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads} if threads else {}
    request = request_for(model, precision=cpu_precision("auto"), options=options)

    def run(planes: FloatArray, differences: FloatArray) -> FloatArray:
        request.infer([planes[None], differences])
        added: FloatArray = request.get_output_tensor().data.copy()
        return added

    return run


def _torch_run(graph: nn.Module, device: str, threads: int) -> _Run:
    if threads:
        torch.set_num_threads(threads)
    place = torch.device(device)
    graph.to(place)

    def run(planes: FloatArray, differences: FloatArray) -> FloatArray:
        with torch.inference_mode():
            inputs = (torch.from_numpy(part).to(place) for part in (planes[None], differences))
            added: FloatArray = graph(*inputs).cpu().numpy()
            return added

    return run


def _even(planes: FloatArray) -> FloatArray:
    """(..., H, W) with the last row or column twice where their number is odd."""
    down, right = (side % 2 for side in planes.shape[-2:])
    if down or right:
        edges = [(0, 0)] * (planes.ndim - 2) + [(0, down), (0, right)]
        planes = np.pad(planes, edges, mode="edge")
    return np.ascontiguousarray(planes)
