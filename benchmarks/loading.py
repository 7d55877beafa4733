"""Images a second that the training loader makes: `python -m benchmarks.loading --data FOLDER`.

With loader processes, each degrading its crops, and with clean crops degraded in batches on the
device instead. A training step that is faster than this waits for its pictures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import torch
from rich.console import Console
from rich.table import Table

from trainer.data import CropDataset, PictureSet, crop_batches
from trainer.device_degradation import degrade_batch

__all__ = ["Rate", "loading_rates", "main"]

_SAMPLES = Path(__file__).parents[1] / "tests" / "samples"
_WARM_UP_BATCHES = 2
_FEWEST_BATCHES = 3
_SEED = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """What one way of loading does.

    Attributes:
        degraded_on: "loader" or a torch device.
        workers: loader processes; 0 = the crops are made in the training process.
    """

    degraded_on: str
    workers: int
    images_per_s: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loading",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", type=Path, default=_SAMPLES, help="folder of pictures")
    parser.add_argument("--crop", type=int, default=128, help="side of a crop, px")
    parser.add_argument("--batch", type=int, default=16, help="crops a batch")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement")
    arguments = parser.parse_args(argv)
    pictures = PictureSet.open(
        arguments.data, smallest_px=arguments.crop, cache_bytes=4_000_000_000
    )
    rates = loading_rates(
        pictures,
        crop_px=arguments.crop,
        batch_size=arguments.batch,
        workers=arguments.workers,
        device=torch.device(arguments.device),
        seconds=arguments.seconds,
    )
    table = Table(
        title=f"{arguments.crop} px crops in batches of {arguments.batch}, default mixture"
    )
    for name in ("degraded on", "loader processes", "images/s"):
        table.add_column(name, justify="right")
    for rate in rates:
        table.add_row(rate.degraded_on, str(rate.workers), f"{rate.images_per_s:.0f}")
    Console().print(table)
    facts = {
        "crop_px": arguments.crop,
        "batch": arguments.batch,
        "pictures": len(pictures),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "rates": [asdict(rate) for rate in rates],
    }
    print(json.dumps(facts))
    return 0


def loading_rates(
    pictures: PictureSet,
    *,
    crop_px: int,
    batch_size: int,
    workers: Sequence[int],
    device: torch.device,
    seconds: float,
) -> list[Rate]:
    """Measures every number of workers, with the loader and with the device degrading."""
    cv2.setNumThreads(1)
    rates = []
    for is_on_device, count in itertools.product((False, True), workers):
        dataset = CropDataset(pictures, crop_px=crop_px, seed=_SEED, degrade_on_device=is_on_device)
        batches = crop_batches(
            dataset, first_step=0, last_step=1_000_000, batch_size=batch_size, workers=count
        )
        made: Iterator[torch.Tensor] = (pair[0].to(device, non_blocking=True) for pair in batches)
        if is_on_device:
            made = _degraded(made, batch_size)
        place = str(device) if is_on_device else "loader"
        rates.append(Rate(place, count, round(_images_per_s(made, device, seconds), 1)))
    return rates


def _degraded(batches: Iterator[torch.Tensor], batch_size: int) -> Iterator[torch.Tensor]:
    for step, clean in enumerate(batches):
        yield degrade_batch(clean, seed=_SEED, first_number=step * batch_size)


def _images_per_s(batches: Iterator[torch.Tensor], device: torch.device, seconds: float) -> float:
    """After a warm-up; the device's work is waited for at both ends."""
    for _ in itertools.islice(batches, _WARM_UP_BATCHES):
        pass
    _wait_for(device)
    started_s = time.perf_counter()
    images = 0
    for number, batch in enumerate(batches, start=1):
        images += len(batch)
        if number >= _FEWEST_BATCHES and time.perf_counter() - started_s >= seconds:
            break
    _wait_for(device)
    return images / (time.perf_counter() - started_s)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    sys.exit(main())
