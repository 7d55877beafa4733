"""What a run tells while it goes on: lines of JSON, TensorBoard, a progress bar.

Only the first process of several writes.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from trainer.processes import Processes

__all__ = ["Meter", "RunLog"]

_log = logging.getLogger(__name__)


class Meter:
    """Means since the last report, and images a second."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._clear()

    def _clear(self) -> None:
        self._since_s = time.monotonic()
        self._count = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, terms: dict[str, Tensor], psnr: Tensor) -> None:
        """One step's weighted terms and mean PSNR; nothing is copied from the device yet."""
        self._count += 1
        total = torch.stack(list(terms.values())).sum()
        for name, value in (*terms.items(), ("psnr_db", psnr), ("loss", total)):
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()

    def share(self, processes: Processes) -> None:
        """Means over all processes, each of which calls it."""
        processes.average(list(self._sums.values()))

    def report(self, step: int, rate: float) -> dict[str, Any]:
        """The means, as a line of the log; starts anew."""
        line: dict[str, Any] = {"step": step, "rate": rate}
        line |= {name: float(total) / self._count for name, total in self._sums.items()}
        seconds = time.monotonic() - self._since_s
        line["images_per_s"] = self._count * self._batch_size / max(seconds, 1e-9)
        self._clear()
        return line


class RunLog:
    """`log.jsonl`, a TensorBoard folder where wanted, and the bar.

    What cannot be written is lost and the run goes on; the first time it is warned of.

    Args:
        folder: the run's folder.
        is_writing: False in all processes but the first: then nothing is written or shown.
        has_tensorboard: also write `tensorboard/`; needs the package.
    """

    def __init__(
        self, folder: Path, title: str, *, steps: int, is_writing: bool, has_tensorboard: bool
    ) -> None:
        self._path = folder / "log.jsonl"
        self._is_writing = is_writing
        self._has_warned = False
        self._board_folder = folder / "tensorboard"
        self._board: Any = _board(self._board_folder) if is_writing and has_tensorboard else None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[report]}"),
            TimeRemainingColumn(),
            disable=not is_writing,
        )
        self._task = self._bar.add_task(title, total=steps, report="")

    def __enter__(self) -> RunLog:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        self._on_board(lambda board: board.close())

    def advance(self, step: int) -> None:
        """Moves the bar."""
        self._bar.update(self._task, completed=step)

    def training(self, line: dict[str, Any]) -> None:
        """Writes what a `Meter` reported."""
        self._bar.update(
            self._task,
            report=f"loss {line['loss']:.4f}  PSNR {line['psnr_db']:.2f} dB  "
            f"{line['images_per_s']:.0f} images/s",
        )
        self._write(line, prefix="training")

    def validation(self, line: dict[str, Any]) -> None:
        """Writes one validation: flat numbers, `step` and `metric` among them."""
        self._write({"validation": True, **line}, prefix="validation")

    def pictures(self, step: int, grid: Tensor) -> None:
        """Shows a grid of pictures, (3, H, W) in [0, 1], in TensorBoard."""
        self._on_board(lambda board: board.add_image("crops", grid, step))

    def _write(self, line: dict[str, Any], *, prefix: str) -> None:
        if not self._is_writing:
            return
        try:
            _append(self._path, json.dumps(line))
        except OSError as exc:
            if not self._has_warned:
                self._has_warned = True
                _warn(self._path, exc)
        self._on_board(lambda board: _add_scalars(board, prefix, line))

    def _on_board(self, act: Callable[[Any], None]) -> None:
        """TensorBoard's writer does not recover from a failure, and is not asked again."""
        if self._board is None:
            return
        try:
            act(self._board)
        except OSError as exc:
            self._board = None
            _warn(self._board_folder, exc)


def _add_scalars(board: Any, prefix: str, line: dict[str, Any]) -> None:
    for name, value in line.items():
        if isinstance(value, float):
            board.add_scalar(f"{prefix}/{name}", value, line["step"])


def _warn(path: Path, exc: OSError) -> None:
    _log.warning(
        "%s cannot be written (%s): what it lacks is lost, the run goes on.",
        path,
        exc.strerror or exc,
    )


def _append(path: Path, line: str) -> None:
    """A line of its own, also where the one before was cut off by a full disk or an end."""
    with path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else f"\n{line}"
        file.write(f"{line}\n".encode())


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as exc:
        raise ValueError(
            "TensorBoard is not installed. Install it (pip install tensorboard) or leave out "
            "--tensorboard."
        ) from exc
    writer: Any = SummaryWriter  # releases of torch differ in how they type it
    return writer(str(folder))
