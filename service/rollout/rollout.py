"""The roll-out: which model of the watched folder is served, and how another one takes its place.

- The wanted model is the pinned one, else the last that arrived. Deleting a file changes nothing
  that is served.
- It is loaded beside the running one, verified, warmed up and put through the `gate`. Then the
  engine swaps it in between two pictures. What is refused stays refused until its content changes.
- The student that the settings name can always be gone back to, past the gate if need be.

One change is made at a time. All but loading and looking runs in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.engine import Engine
from service.errors import (
    CheckpointError,
    ClearcallError,
    EngineStopped,
    ModelRefused,
    ModelUnknown,
)
from service.metrics import Metrics, ReloadResult
from service.rollout.folder import Folder, Sighting, sight_file
from service.rollout.gate import Gate
from service.rollout.remembered import Pin, read_pin, write_pin, write_served
from service.students import in_thread

if TYPE_CHECKING:  # loading torch takes seconds
    from service.model.sharpener import Sharpener

__all__ = ["LATEST", "Rollout", "RolloutFacts"]

LATEST = "latest"  # in the place of an id: no pin, the last that arrived

_LOGGER = logging.getLogger(__name__)
_MAX_REMEMBERED = 1_000
_LOOK = "clearcall-look"  # the threads that touch the folder

Load = Callable[[Path], "Sharpener"]


@dataclass(frozen=True, slots=True)
class RolloutFacts:
    """The last change that was made or refused, for `GET /model`; times in ISO 8601, UTC."""

    model: str
    file: str
    result: ReloadResult
    reason: str
    at: str


class _Refused(Exception):
    """A checkpoint that is not taken, with what it counts as; None = it will be seen anew."""

    def __init__(self, result: ReloadResult | None, reason: str) -> None:
        super().__init__(reason)
        self.result = result


class Rollout:
    """Watches one folder for one engine, in whose event loop it is called."""

    def __init__(
        self,
        folder: Folder,
        *,
        engine: Engine,
        gate: Gate,
        load: Load,
        own: Sighting,
        metrics: Metrics,
        poll_s: float,
    ) -> None:
        """Prepares; `run` watches.

        Args:
            folder: What is watched.
            engine: Runs when `run` begins.
            gate: Judges.
            load: Loads a checkpoint, in a thread.
            own: The checkpoint that the settings name.
            metrics: Where it is counted.
            poll_s: The time between two looks.
        """
        self._folder = folder
        self._engine = engine
        self._gate = gate
        self._load = load
        self._own = own
        self._metrics = metrics
        self._poll_s = poll_s
        self._sightings: tuple[Sighting, ...] = ()
        self._served_arrival: int | None = None  # None: not found out yet
        self._pin = Pin()
        self._is_pin_kept = True
        self._refusals: dict[str, str] = {}  # by digest
        self._told: dict[str, Sighting] = {}
        self._folder_told = ""
        self._last: RolloutFacts | None = None
        self._changing = asyncio.Lock()
        self._loading: asyncio.Future[Sharpener] | None = None

    @property
    def last(self) -> RolloutFacts | None:
        """The last change, made or refused; None = there was none."""
        return self._last

    async def run(self) -> None:
        """Watches until it is cancelled. Whatever goes wrong is told, and tried again."""
        while True:
            try:
                async with self._changing:
                    await self._look()
                    await self._follow()
            except EngineStopped:
                return
            except Exception:
                _LOGGER.exception("the watch of %s failed; it goes on", self._folder.path)
            await asyncio.sleep(self._poll_s)

    async def settle(self) -> None:
        """Waits for the thread that loads, after `run` was cancelled."""
        if self._loading is not None:
            with contextlib.suppress(Exception):
                await self._loading

    async def activate(self, model_id: str, *, is_forced: bool = False) -> None:
        """Serves a model and pins it, or ends the pin.

        Args:
            model_id: Of the listing, or `latest`.
            is_forced: Without the gate, and whether it was refused before.

        Raises:
            ModelUnknown: It is not there.
            ModelRefused: It cannot be loaded, or the gate refuses it; what is served stays.
            EngineStopped: The service stops.
        """
        async with self._changing:
            await self._look()
            if model_id == LATEST:
                await self._set_pin(Pin())
                self._served_arrival = 0
                await self._follow()
                return
            target = self._find(model_id)
            if target is None:
                raise ModelUnknown(model_id)
            if model_id != self._served_id:
                try:
                    await self._take(target, is_forced=is_forced)
                except _Refused as exc:
                    raise ModelRefused(f"{model_id}: {exc}. {self._served_id} stays.") from exc
            await self._set_pin(Pin(model_id))

    def listing(self) -> dict[str, Any]:
        """All models that can be activated or were refused, as JSON: see docs/checkpoints.md."""
        served_id, pinned = self._served_id, self._pin.model_id
        models = [self._entry(each, served_id) for each in (*self._sightings, self._own)]
        return {
            "served": served_id,
            "pinned": pinned,
            "is_pin_kept": self._is_pin_kept if pinned else None,
            "problem": self._folder.problem or None,
            "models": models,
        }

    def _entry(self, each: Sighting, served_id: str) -> dict[str, Any]:
        reason = self._refusals.get(each.digest, "") or each.problem
        if each.state == "complete" and each.model_id == served_id:
            state, reason = "served", ""
        elif each.state == "incomplete":
            state = "incomplete"
        elif reason:
            state = "refused"
        else:
            state = "available"
        return {
            "id": each.model_id or None,
            "file": each.name,
            "is_own": each is self._own,
            "state": state,
            "reason": reason or None,
            "size_bytes": each.size_bytes,
            "modified": _iso(each.modified_s),
        }

    @property
    def _served_id(self) -> str:
        return str(self._engine.sharpener.checkpoint.model_id)

    def _find(self, model_id: str) -> Sighting | None:
        everything = (*self._sightings, self._own)
        return next((each for each in everything if each.model_id == model_id), None)

    # What is there

    async def _look(self) -> None:
        def look() -> tuple[tuple[Sighting, ...], Pin | None]:
            return self._folder.look(), read_pin(self._folder.path)

        # A thread of its own: a mount that hangs keeps no thread that others wait for.
        self._sightings, pin = await in_thread(look, name=_LOOK)
        if pin is not None and self._is_pin_kept:
            # Set by another service on the same folder, or before this one started.
            self._pin = pin
        if self._served_arrival is None:
            served = self._find(self._served_id)
            self._served_arrival = served.arrival if served else 0
        self._tell_problems()

    def _tell_problems(self) -> None:
        if self._folder.problem != self._folder_told:
            self._folder_told = self._folder.problem
            if self._folder.problem:
                _LOGGER.warning("%s: %s", self._folder.path, self._folder.problem)
        told: dict[str, Sighting] = {}
        for each in self._sightings:
            if each.state in ("broken", "unreadable"):
                told[each.name] = each
                if self._told.get(each.name) != each:
                    self._note(each, "invalid", each.problem)
        self._told = told

    # What is served

    async def _follow(self) -> None:
        """Serves what is wanted, if it is not served and not refused."""
        pinned = self._pin.model_id
        if pinned is not None:
            target = self._find(pinned)
            if target is not None and pinned != self._served_id:
                await self._try(target)
            return
        for each in self._sightings:  # the last arrival first
            if each.state != "complete" or each.arrival <= (self._served_arrival or 0):
                continue
            if each.model_id == self._served_id or await self._try(each):
                self._served_arrival = each.arrival
                return

    async def _try(self, target: Sighting) -> bool:
        if target.digest in self._refusals:
            return False
        try:
            await self._take(target)
        except _Refused:
            return False
        return True

    async def _take(self, target: Sighting, *, is_forced: bool = False) -> None:
        """Loads, judges and serves; notes what came of it.

        Raises:
            _Refused: What is served stays.
            EngineStopped: The service stops.
        """
        try:
            await self._load_and_swap(target, is_forced=is_forced)
        except _Refused as exc:
            if exc.result is not None:
                self._note(target, exc.result, str(exc))
                self._refuse(target.digest, str(exc))
            raise
        self._refusals.pop(target.digest, None)
        self._served_arrival = target.arrival
        self._note(target, "forced" if is_forced else "activated", "")
        model = self._engine.sharpener
        self._metrics.describe_model(
            model=self._served_id, device=model.device, backend=model.backend
        )
        served_id = self._served_id
        await in_thread(lambda: write_served(self._folder.path, served_id), name=_LOOK)

    async def _load_and_swap(self, target: Sighting, *, is_forced: bool) -> None:
        try:
            candidate = await self._loaded(target)
            current = self._engine.sharpener
            slowdown = candidate.work_per_px / (current.work_per_px or 1) or 1.0
            if not is_forced:
                verdict = await self._gate.judge(candidate, current, self._engine.trial)
                if verdict.fault is not None:
                    raise _Refused("refused", verdict.fault)
                slowdown = verdict.slowdown or slowdown
            # Measuring would take the machine away from live frames.
            sizes = [replace(size, ms=size.ms * slowdown) for size in self._engine.sizes]
            self._engine.swap(candidate, sizes=sizes)
        except (_Refused, EngineStopped):
            raise
        except CheckpointError as exc:
            raise _Refused("invalid", exc.reason.rstrip(".")) from None
        except (ClearcallError, ValueError) as exc:
            raise _Refused("invalid", str(exc).rstrip(".")) from None
        except Exception as exc:
            _LOGGER.exception("%s cannot be taken into service", target.name)
            raise _Refused("error", f"{type(exc).__name__} in the service, see its log") from None

    async def _loaded(self, target: Sighting) -> Sharpener:
        from service.model.sharpener import find_checkpoint

        changed = _Refused(None, "it was replaced or removed while it was loaded; try again")

        def load_and_warm_up() -> Sharpener:
            try:
                sharpener = self._load(target.path)
            except CheckpointError:
                # Only what was seen is to blame, not what lies there now.
                if sight_file(find_checkpoint(target.path)).digest == target.digest:
                    raise
                raise changed from None
            if sharpener.checkpoint.digest != target.digest:
                raise changed
            sharpener.warm_up()
            return sharpener

        self._loading = asyncio.ensure_future(in_thread(load_and_warm_up, name="clearcall-load"))
        try:
            return await asyncio.shield(self._loading)
        finally:
            if self._loading.done():
                self._loading = None

    def _refuse(self, digest: str, reason: str) -> None:
        self._refusals[digest] = reason
        while len(self._refusals) > _MAX_REMEMBERED:
            self._refusals.pop(next(iter(self._refusals)))

    def _note(self, target: Sighting, result: ReloadResult, reason: str) -> None:
        self._metrics.note_reload(result)
        model = target.model_id or "-"
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._last = RolloutFacts(model, target.name, result, reason, now)
        if result in ("activated", "forced"):
            _LOGGER.info("%s (%s) is served now", model, target.name)
        else:
            _LOGGER.warning("%s (%s) is not served: %s", target.name, model, reason)

    async def _set_pin(self, pin: Pin) -> None:
        self._pin = pin
        is_kept = await in_thread(lambda: write_pin(self._folder.path, pin), name=_LOOK)
        if self._is_pin_kept and not is_kept:
            _LOGGER.warning(
                "%s cannot be written: a pin holds only until this service ends", self._folder.path
            )
        self._is_pin_kept = is_kept


def _iso(seconds: float) -> str | None:
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):  # a clock that is far off
        return None
