"""Several training processes, as `torchrun` starts them; one process is the same with one rank.

The gradients of all processes are averaged by DistributedDataParallel. What the network counts
along (running statistics) is averaged too, so that the number of processes does not change the
result beyond rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["ALONE", "Processes", "joined_processes"]


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among all: its rank from 0, its rank on this machine, and how many there are."""

    rank: int = 0
    local_rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wrap(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module whose gradients are averaged over the processes in `backward`."""
        if self.count == 1:
            return module
        return DistributedDataParallel(
            module,
            device_ids=[device.index] if device.type == "cuda" else None,
            broadcast_buffers=False,
        )

    def average(self, tensors: list[Tensor]) -> None:
        """Replaces each tensor by its mean over the processes."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.count
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def any(self, condition: bool, device: torch.device) -> bool:
        """Whether the condition holds in any process; all of them learn the same."""
        if self.count == 1:
            return condition
        flag = torch.tensor([float(condition)], device=device)
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return bool(flag)

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            distributed.barrier()


ALONE = Processes()


@contextmanager
def joined_processes(device_type: str) -> Iterator[Processes]:
    """Joins the group that `torchrun` announces in the environment; alone without one."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    distributed.init_process_group("nccl" if device_type == "cuda" else "gloo")
    try:
        yield Processes(
            rank=distributed.get_rank(),
            local_rank=int(os.environ.get("LOCAL_RANK", "0")),
            count=count,
        )
    finally:
        distributed.destroy_process_group()
