"""service.codec_pool: calls leave the event loop, are timed themselves, and can be given up."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest

from service.codec_pool import CodecPool
from service.errors import ImageBroken

pytestmark = pytest.mark.anyio


async def test_a_call_runs_in_a_named_thread_and_is_timed_by_the_clock() -> None:
    ticks = itertools.count(10.0, 0.25)
    pool = CodecPool(threads=1, name="test", clock=lambda: next(ticks))
    timed = await pool.run(lambda: threading.current_thread().name)
    pool.close()
    assert timed.value.startswith("clearcall-test")
    assert (timed.started_s, timed.took_ms) == (10.0, 250.0)


async def test_arguments_are_passed_on_and_errors_come_back() -> None:
    pool = CodecPool(threads=1, name="test")

    def fail(reason: str, *, code: int) -> None:
        raise ImageBroken(f"{reason} {code}")

    with pytest.raises(ImageBroken, match="broken 7"):
        await pool.run(fail, "broken", code=7)
    pool.close()


async def test_a_cancelled_call_that_has_not_begun_never_begins() -> None:
    pool = CodecPool(threads=1, name="test")
    gate = threading.Event()
    has_run: list[int] = []
    first = asyncio.create_task(pool.run(gate.wait, 10))
    second = asyncio.create_task(pool.run(has_run.append, 2))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    gate.set()
    await first
    pool.close()
    assert has_run == []
