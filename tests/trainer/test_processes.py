"""Several processes: their gradients, statistics and files are those of one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from service.model.checkpoint import load_checkpoint
from trainer.config import DistillConfig, RunOptions
from trainer.distillation import distill, distill_task
from trainer.picture_set import PictureSet
from trainer.processes import Processes, joined_processes
from trainer.run import Run

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
CONFIG = DistillConfig(
    size="nano", steps=3, batch=4, crop=64, warmup=1, freeze_norm_at=1, precision="fp32", seed=5
)


def options(out: Path, data: Path) -> RunOptions:
    return RunOptions(data=data, out=out, device="cpu", workers=0, threads=1)


def first_gradients(out: Path, data: Path) -> dict[str, torch.Tensor]:
    """The gradients of the first step in this process, one of as many as there are."""
    pictures = PictureSet.open(data, smallest_px=64, cache_bytes=10**8)
    with joined_processes("cpu") as processes:
        chosen = options(out / str(processes.rank), data)
        task, config = distill_task(pictures, CONFIG, chosen, device=CPU)
        run = Run(task, pictures, config, chosen, device=CPU, processes=processes)
        run.compute_gradients(*next(run.batches()))
        return {
            name: parameter.grad
            for name, parameter in run.network.named_parameters()
            if parameter.grad is not None
        }


def in_two_processes(code: str, *arguments: str) -> None:
    """Runs Python code twice, as `torchrun --nproc-per-node 2` would start it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    started = [
        subprocess.Popen(
            [sys.executable, *(("-c", code) if code else ("-m", "trainer")), *arguments],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in started:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors


GRADIENTS = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from tests.trainer.test_processes import first_gradients
import os
torch.set_num_threads(1)
found = first_gradients(Path(sys.argv[1]), Path(sys.argv[2]))
torch.save(found, Path(sys.argv[1]) / f"gradients-{os.environ['RANK']}.pt")
"""


def test_the_gradients_of_two_processes_are_those_of_one(tmp_path: Path, samples: Path) -> None:
    in_two_processes(GRADIENTS, str(tmp_path), str(samples))
    expected = first_gradients(tmp_path / "one", samples)
    for rank in range(2):
        found = torch.load(tmp_path / f"gradients-{rank}.pt", weights_only=True)
        assert found.keys() == expected.keys()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_a_run_of_two_processes_ends_with_the_weights_and_statistics_of_one(
    tmp_path: Path, samples: Path, pictures: PictureSet
) -> None:
    settings = [
        f"--{name.replace('_', '-')}={getattr(CONFIG, name)}"
        for name in ("size", "steps", "batch", "crop", "warmup", "freeze_norm_at", "seed")
    ]
    folders = ["--data", str(samples), "--out", str(tmp_path / "two"), "--device", "cpu"]
    more = ["--precision", "fp32", "--workers", "0", "--threads", "1"]
    in_two_processes("", "distill", *folders, *settings, *more)
    one = distill(pictures, CONFIG, options(tmp_path / "one", samples))
    expected = load_checkpoint(one).network.state_dict()
    found = load_checkpoint(tmp_path / "two" / "student.safetensors").network.state_dict()
    for name, tensor in found.items():
        # AdamW divides by the root of the squared gradient: rounding moves a weight by a share of
        # the rate, 2e-3, however small its gradient is.
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-3, msg=name)
    assert len((tmp_path / "two" / "log.jsonl").read_text().splitlines()) == 1


def test_a_batch_that_cannot_be_shared_out_is_refused(
    tmp_path: Path, samples: Path, pictures: PictureSet
) -> None:

    chosen = options(tmp_path, samples)
    task, config = distill_task(pictures, replace(CONFIG, batch=3), chosen, device=CPU)
    with pytest.raises(ValueError, match="batch must be a multiple"):
        Run(task, pictures, config, chosen, device=CPU, processes=Processes(count=2))
