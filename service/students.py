"""The students side by side: the one that is served, and smaller ones for the quality ladder.

Another one can take the served one's place at any time; whoever works with the old one keeps it
until it is done, and then it is freed.

A smaller one is loaded and warmed up in a thread when it is first asked for; until it is there, the
next better one that is loaded does its work. One that cannot be loaded is told in the log once and
left out from then on. `unload` frees the smaller ones; the next that asks loads them again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # loading torch takes seconds
    from service.model.sharpener import MeasuredSize, Sharpener

__all__ = ["Students", "in_thread", "load_students", "smaller_sizes"]

T = TypeVar("T")

_LOGGER = logging.getLogger(__name__)


async def load_students(
    load: Callable[[], Sharpener],
    *,
    ladder: Sequence[str] = (),
    load_smaller: Callable[[str], Sharpener] | None = None,
) -> Students:
    """Loads the served student, warms it up and measures it, in a thread.

    Args:
        load: Makes the served student.
        ladder: Bundled sizes; those that are smaller than the served student can be asked for too.
        load_smaller: Loads one of them.

    Raises:
        ClearcallError: What `load` raised.
    """

    def load_and_measure() -> Students:
        served = load()
        served.warm_up()
        smaller = smaller_sizes(served, ladder)
        return Students(served, smaller, load_smaller, sizes=served.measure())

    return await in_thread(load_and_measure)


def smaller_sizes(served: Sharpener, listed: Sequence[str]) -> tuple[str, ...]:
    """Those of the listed bundled sizes that take less work than what is served, best first."""
    from service.model.student import SIZES

    works = {size: SIZES[size].multiplications_per_px for size in listed}
    smaller = [size for size in works if works[size] < served.work_per_px and size != served.name]
    return tuple(sorted(smaller, key=works.__getitem__, reverse=True))


class Students:
    """All that may be asked for. `pick` and `unload` are called from one thread."""

    def __init__(
        self,
        served: Sharpener,
        smaller: Sequence[str] = (),
        load: Callable[[str], Sharpener] | None = None,
        *,
        sizes: tuple[MeasuredSize, ...] = (),
    ) -> None:
        """Begins with the served one only.

        Args:
            served: Loaded and warmed up.
            smaller: Names below it, best first.
            load: Loads one of them.
            sizes: What the served one takes for them.
        """
        self.served = served
        self.sizes = sizes
        self._names = (served.name, *smaller) if load else (served.name,)
        self._load = load
        self._loaded = {served.name: served}
        self._loading: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """What can be asked for, best first; the served one is the first."""
        with self._lock:
            return self._names

    def replace(
        self, served: Sharpener, smaller: Sequence[str], *, sizes: tuple[MeasuredSize, ...]
    ) -> None:
        """Serves another one, warmed up and of as many lanes; what is loaded below it stays."""
        assert served.lanes == self.served.lanes, "the threads are started once"
        with self._lock:
            smaller = tuple(smaller) if self._load else ()
            kept = {name: self._loaded[name] for name in smaller if name in self._loaded}
            self.served, self.sizes = served, sizes
            self._names = (served.name, *smaller)
            self._loaded = {served.name: served} | kept

    def pick(self, name: str) -> Sharpener:
        """The student of this name, or while it is not loaded the next better one that is."""
        with self._lock:
            if name not in self._names:
                return self.served
            if name not in self._loaded and name not in self._loading:
                thread = threading.Thread(
                    target=self._load_one, args=(name,), name=f"clearcall-load-{name}", daemon=True
                )
                self._loading[name] = thread
                thread.start()
            better = self._names[: self._names.index(name) + 1]
            return next(self._loaded[each] for each in reversed(better) if each in self._loaded)

    def unload(self) -> None:
        """Frees all but the served one; what works with one keeps it until it is done."""
        with self._lock:
            self._loaded = {self.served.name: self.served}

    def close(self) -> None:
        """Waits for what is being loaded."""
        for thread in [*self._loading.values()]:
            thread.join()

    def _load_one(self, name: str) -> None:
        assert self._load is not None, "without it there are no smaller ones"
        try:
            student = self._load(name)
            if student.lanes != self.served.lanes:
                raise RuntimeError(f"it has {student.lanes} lanes, not {self.served.lanes}")
            student.warm_up()
        except Exception:
            _LOGGER.exception("the student %s cannot be loaded; the ladder goes without it", name)
            with self._lock:
                self._names = tuple(each for each in self._names if each != name)
                del self._loading[name]
            return
        with self._lock:
            if name in self._names[1:]:
                self._loaded[name] = student
            del self._loading[name]


async def in_thread(call: Callable[[], T], *, name: str = "clearcall-engine-load") -> T:
    """Calls in a thread that ends with the call: OpenVINO leaves a mark on the one it loads in."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            outcome: tuple[T | None, Exception | None] = call(), None
        except Exception as exc:
            outcome = None, exc
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, answer, *outcome)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await answer


def _settle(answer: asyncio.Future[Any], value: object, exc: Exception | None) -> None:
    if answer.done():
        return
    if exc is None:
        answer.set_result(value)
    else:
        answer.set_exception(exc)
