"""What a library does to the scheduling of threads is undone."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest

from service.model.scheduling import kept_scheduling

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such calls")


@pytest.fixture
def other_thread() -> Iterator[int]:
    """The id of a thread that is there already, with a policy of its own."""
    done, begun = threading.Event(), threading.Event()

    def run() -> None:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        begun.set()
        done.wait(timeout=60)

    thread = threading.Thread(target=run)
    thread.start()
    begun.wait(timeout=60)
    assert thread.native_id is not None
    yield thread.native_id
    done.set()
    thread.join()


def test_the_caller_and_new_threads_get_its_policy_back(other_thread: int) -> None:
    done = threading.Event()
    made = threading.Thread(target=done.wait, kwargs={"timeout": 60})
    with kept_scheduling():
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        made.start()
        assert made.native_id is not None
        assert os.sched_getscheduler(made.native_id) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == os.sched_getscheduler(made.native_id) == os.SCHED_OTHER
    assert os.sched_getscheduler(other_thread) == os.SCHED_BATCH
    done.set()
    made.join()


def test_it_is_given_back_after_an_error_too() -> None:
    def fail() -> None:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        raise RuntimeError

    with pytest.raises(RuntimeError), kept_scheduling():
        fail()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
