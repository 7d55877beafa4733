"""The roll-out as the settings want it: what is served first, and the watch from then on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from service.engine import Engine
from service.metrics import Metrics
from service.rollout.folder import Folder, sight_file
from service.rollout.gate import Gate
from service.rollout.golden_set import load_golden_set
from service.rollout.rollout import Rollout
from service.rollout.start import choose_first
from service.settings import Settings

if TYPE_CHECKING:  # loading torch takes seconds
    from service.model.sharpener import Sharpener

__all__ = ["load_first", "watched"]

_SETTLE_S = 10.0  # without a change, an incomplete file is taken as cut short

Load = Callable[[Path], "Sharpener"]


def load_first(settings: Settings, load: Load) -> Sharpener:
    """Loads what is served first: of the watched folder, or what the settings name.

    Raises:
        ClearcallError: What `load` raised for what the settings name.
    """
    if settings.checkpoints is None:
        return load(settings.checkpoint)
    return choose_first(
        settings.checkpoints, own=settings.checkpoint, load=load, gate=_gate(settings)
    )


@asynccontextmanager
async def watched(
    settings: Settings, engine: Engine, metrics: Metrics, load: Load
) -> AsyncIterator[Rollout | None]:
    """Watches the folder of the settings until the block ends; None = none is to be watched."""
    if settings.checkpoints is None:
        yield None
        return
    from service.model.sharpener import find_checkpoint

    rollout = Rollout(
        Folder(settings.checkpoints, settle_s=max(_SETTLE_S, 3 * settings.checkpoint_poll_s)),
        engine=engine,
        gate=_gate(settings),
        load=load,
        own=replace(sight_file(find_checkpoint(settings.checkpoint)), path=settings.checkpoint),
        metrics=metrics,
        poll_s=settings.checkpoint_poll_s,
    )
    watching = asyncio.create_task(rollout.run())
    try:
        yield rollout
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await rollout.settle()


def _gate(settings: Settings) -> Gate:
    return Gate(
        load_golden_set(),
        tolerance_db=settings.checkpoint_tolerance_db,
        max_slowdown=settings.checkpoint_max_slowdown,
    )
