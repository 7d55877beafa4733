"""All pictures, several side by side: files are read and written while the network is busy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice

from desktop.images.conversion import Done
from desktop.images.errors import Interrupted, reason_of
from desktop.images.finding import Missed
from desktop.images.places import Place

__all__ = ["run_batch"]


def run_batch(
    places: Sequence[Place],
    convert: Callable[[Place], Done],
    note: Callable[[Done | Missed], None],
    *,
    jobs: int,
    stop: threading.Event,
) -> None:
    """Tells `note`, in this thread, what became of each picture, as they are done.

    Args:
        places: In this order they begin.
        convert: Does one; what it raises is a failure of that picture alone.
        note: Takes an outcome.
        jobs: How many at a time.
        stop: Set on Ctrl-C (KeyboardInterrupt), so that `convert` ends soon.

    Raises:
        KeyboardInterrupt: After the threads have ended; what they had done by then is noted.
    """
    waiting = iter(places)
    running: dict[Future[Done], Place] = {}
    with ThreadPoolExecutor(jobs, thread_name_prefix="clearcall-image") as pool:
        try:
            while True:
                # No more than are in work are handed over, so that there is nothing to call back.
                for place in islice(waiting, jobs - len(running)):
                    running[pool.submit(convert, place)] = place
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    note(_outcome(future, running.pop(future)))
        except BaseException:
            stop.set()
            wait(running)
            for future, place in running.items():
                if not isinstance(future.exception(), Interrupted):
                    note(_outcome(future, place))
            raise


def _outcome(future: Future[Done], place: Place) -> Done | Missed:
    try:
        return future.result()
    except Exception as exc:  # one picture must not cost the others, whatever it is
        return Missed(place.name, reason_of(exc))
