"""The training loop: steps, logs, validations and saved states until there is a reason to stop."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from trainer.config import RunOptions, TrainingConfig
from trainer.deadline import deadline_s
from trainer.device import choose_device
from trainer.processes import ALONE, Processes, joined_processes
from trainer.run import Run, Task, learning_rate
from trainer.run_log import Meter, RunLog
from trainer.sources import Source

__all__ = ["train", "train_task"]

_log = logging.getLogger(__name__)


def train_task(
    make_task: Callable[[torch.device], tuple[Task, TrainingConfig]],
    source: Source,
    options: RunOptions,
) -> Path:
    """Makes a task on the device that the options name and trains it, in every process there is.

    Args:
        make_task: from the device to the task and the config of its run.
    """
    with joined_processes(choose_device(options.device).type) as processes:
        device = choose_device(options.device, local_rank=processes.local_rank)
        task, config = make_task(device)
        return train(task, source, config, options, device=device, processes=processes)


def train(
    task: Task,
    source: Source,
    config: TrainingConfig,
    options: RunOptions,
    *,
    device: torch.device,
    processes: Processes = ALONE,
) -> Path:
    """Trains until `config.steps`, until it stops getting better, or until the time is up.

    Resumes what is in the output folder. Ctrl-C and SIGTERM end it after the step that is under
    way, with the state saved and the checkpoint written.

    Returns:
        The exported checkpoint: the averaged weights, the best ones where there is a validation.

    Raises:
        DivergedError: a loss term became NaN or infinite; the last saved state is kept.
        StateMismatchError: the folder's state belongs to another config, other pictures or fonts.
        StateDamagedError: the folder's state cannot be read.
        KeyboardInterrupt: it was interrupted; state and checkpoint are written.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    run = Run(task, source, config, options, device=device, processes=processes)
    end_s = deadline_s(options.max_minutes, _now_s())
    meter = Meter(config.batch)
    log = RunLog(
        options.out,
        task.title,
        steps=config.steps,
        is_writing=processes.is_first,
        has_tensorboard=options.tensorboard,
    )
    with _stop_signals() as stop, log:
        log.advance(run.step)
        for degraded, clean in run.batches():
            meter.add(*run.train_step(degraded, clean))
            log.advance(run.step)
            if run.step % options.log_every == 0 or run.step == config.steps:
                meter.share(processes)
                log.training(meter.report(run.step, learning_rate(run.step - 1, config)))
            every = config.validate_every
            if every and (run.step % every == 0 or run.step == config.steps):
                run.validate(log)
            if run.step % options.save_every == 0:
                run.save()
            is_late = _now_s() > end_s
            if processes.any(is_late or stop.is_set(), device) or run.is_patience_over:
                break
    run.save()
    exported = run.export()
    if stop.is_set():
        raise KeyboardInterrupt("the state is saved, run it again to go on")
    if run.step < config.steps and processes.is_first:
        why = "no better metric" if run.is_patience_over else "the time is up; run again to go on"
        _log.info("stopped at step %d: %s", run.step, why)
    return exported


def _now_s() -> float:
    return time.monotonic()


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turns the first Ctrl-C or SIGTERM into an event; the second one is felt as ever."""
    stop = threading.Event()

    def request(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, previous[number])

    previous: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, request)
    try:
        yield stop
    finally:
        for caught, handler in previous.items():
            signal.signal(caught, handler)
