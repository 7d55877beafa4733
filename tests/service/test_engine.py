"""service.engine: order, bounds, one owner, failures, cancellation, start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import numpy as np
import pytest

from service.codec import ImageArray
from service.engine import MAX_FRAMES_BEFORE_AN_IMAGE, Engine, Sharpened
from service.errors import CheckpointNotFound, EngineStopped, QueueFull, SharpeningFailed
from tests.service.doubles import FakeSharpener
from tests.service.pictures import landscape

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(
    sharpener: FakeSharpener, *, max_waiting_images: int = 8
) -> AsyncIterator[Engine]:
    engine = Engine(max_waiting_images=max_waiting_images)
    await engine.start(sharpener.as_sharpener)
    try:
        yield engine
    finally:
        sharpener.release()
        await engine.stop()


async def entered(sharpener: FakeSharpener) -> None:
    """Waits until a call is in the model."""
    assert await asyncio.to_thread(sharpener.entered.acquire, timeout=10)


def of_width(width: int) -> ImageArray:
    """An image that can be told from others by its width."""
    return np.zeros((4, width, 3), np.uint8)


def widths_seen(sharpener: FakeSharpener) -> list[int]:
    return [shape[1] for shape in sharpener.shapes_seen]


async def started(*calls: asyncio.Task[Sharpened]) -> None:
    """Lets the tasks run up to where they wait."""
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(call.done() for call in calls)


async def test_an_image_comes_back_sharpened_with_its_times() -> None:
    sharpener = FakeSharpener()
    async with running(sharpener) as engine:
        sharpened = await engine.sharpen(landscape(), 1.0, "image")
    np.testing.assert_array_equal(sharpened.image, sharpener.sharpen(landscape(), strength=1.0))
    assert sharpened.queue_ms >= 0
    assert sharpened.inference_ms > 0


async def test_only_the_engines_threads_run_the_model() -> None:
    sharpener = FakeSharpener()
    async with running(sharpener) as engine:
        await asyncio.gather(*(engine.sharpen(landscape(), 0.5, "frame") for _ in range(20)))
    assert sharpener.threads_seen == {"clearcall-engine-0"}


async def test_a_frame_that_is_alone_has_the_whole_machine() -> None:
    sharpener = FakeSharpener(lanes=2)
    async with running(sharpener) as engine:
        for _ in range(3):
            await engine.sharpen(landscape(), 0.5, "frame")
    assert sharpener.lanes_seen == [None] * 3


async def test_frames_that_meet_run_side_by_side_on_lanes_of_their_own() -> None:
    sharpener = FakeSharpener(lanes=2)
    async with running(sharpener) as engine:
        sharpener.hold()
        calls = [asyncio.create_task(engine.sharpen(landscape(), 0.5, "frame")) for _ in range(4)]
        await entered(sharpener)
        await entered(sharpener)
        assert engine.waiting("frame") == 2
        sharpener.release()
        await asyncio.gather(*calls)
    assert sharpener.lanes_seen.count(None) <= 1
    assert {0, 1} & set(sharpener.lanes_seen)
    assert sharpener.threads_seen == {"clearcall-engine-0", "clearcall-engine-1"}


async def test_a_frame_does_not_wait_for_images_where_there_are_lanes() -> None:
    sharpener = FakeSharpener(lanes=2)
    async with running(sharpener) as engine:
        sharpener.hold()
        images = [asyncio.create_task(engine.sharpen(of_width(2), 0.5, "image")) for _ in range(2)]
        await entered(sharpener)
        await started(*images)
        assert engine.waiting("image") == 1
        frame = asyncio.create_task(engine.sharpen(of_width(3), 0.5, "frame"))
        await entered(sharpener)
        assert widths_seen(sharpener) == [2, 3]
        sharpener.release()
        await asyncio.gather(*images, frame)
    assert widths_seen(sharpener) == [2, 3, 2]


async def test_frames_go_before_images() -> None:
    sharpener = FakeSharpener()
    async with running(sharpener) as engine:
        sharpener.hold()
        first = asyncio.create_task(engine.sharpen(of_width(1), 0.5, "frame"))
        await entered(sharpener)
        image = asyncio.create_task(engine.sharpen(of_width(2), 0.5, "image"))
        await started(image)
        frame = asyncio.create_task(engine.sharpen(of_width(3), 0.5, "frame"))
        await started(frame)
        sharpener.release()
        await asyncio.gather(first, image, frame)
    assert widths_seen(sharpener) == [1, 3, 2]


async def test_an_image_is_not_overtaken_by_frames_without_end() -> None:
    sharpener = FakeSharpener()
    async with running(sharpener) as engine:
        sharpener.hold()
        calls = [asyncio.create_task(engine.sharpen(of_width(1), 0.5, "frame"))]
        await entered(sharpener)
        calls.append(asyncio.create_task(engine.sharpen(of_width(2), 0.5, "image")))
        frames = range(2 * MAX_FRAMES_BEFORE_AN_IMAGE)
        calls += [asyncio.create_task(engine.sharpen(of_width(3), 0.5, "frame")) for _ in frames]
        await started(*calls)
        sharpener.release()
        await asyncio.gather(*calls)
    assert widths_seen(sharpener).index(2) == 1 + MAX_FRAMES_BEFORE_AN_IMAGE


async def test_an_image_beyond_those_that_may_wait_is_refused_with_when_to_come_back() -> None:
    async with running(FakeSharpener(), max_waiting_images=1) as engine, AsyncExitStack() as places:
        for _ in range(2):
            assert await places.enter_async_context(engine.image_place()) < 1000
        waiting = asyncio.create_task(places.enter_async_context(engine.image_place()))
        await asyncio.sleep(0)
        assert engine.waiting("image") == 1
        with pytest.raises(QueueFull) as caught:
            async with engine.image_place():
                pass
        assert caught.value.limit == 1
        assert caught.value.retry_after_s >= 1
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert engine.waiting("image") == 0
        engine.check_admission()


async def test_places_are_given_in_the_order_of_arrival_and_free_after_an_error() -> None:
    async with running(FakeSharpener()) as engine:
        order: list[int] = []

        async def visit(number: int) -> None:
            async with engine.image_place():
                order.append(number)
                await asyncio.sleep(0)
                raise ValueError

        await asyncio.gather(*(visit(number) for number in range(6)), return_exceptions=True)
        assert order == list(range(6))
        engine.check_admission()
        assert engine.waiting("image") == 0


async def test_a_cancelled_caller_takes_its_image_out_of_the_queue() -> None:
    sharpener = FakeSharpener()
    async with running(sharpener) as engine:
        sharpener.hold()
        first = asyncio.create_task(engine.sharpen(of_width(1), 0.5, "frame"))
        await entered(sharpener)
        second = asyncio.create_task(engine.sharpen(of_width(2), 0.5, "frame"))
        await started(second)
        assert engine.waiting("frame") == 1
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert engine.waiting("frame") == 0
        sharpener.release()
        await first
    assert widths_seen(sharpener) == [1]


async def test_a_caller_that_leaves_while_its_image_is_in_the_model_harms_nobody() -> None:
    sharpener = FakeSharpener()
    async with running(sharpener) as engine:
        sharpener.hold()
        first = asyncio.create_task(engine.sharpen(of_width(1), 0.5, "frame"))
        await entered(sharpener)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        sharpener.release()
        assert (await engine.sharpen(of_width(2), 0.5, "frame")).image.shape == (4, 2, 3)


async def test_a_failing_network_fails_that_image_only_and_keeps_the_cause() -> None:
    sharpener = FakeSharpener()
    async with running(sharpener) as engine:
        sharpener.failure = RuntimeError("out of memory at /secret/path")
        with pytest.raises(SharpeningFailed) as caught:
            await engine.sharpen(landscape(), 0.5, "image")
        assert "/secret" not in str(caught.value)
        assert isinstance(caught.value.__cause__, RuntimeError)
        sharpener.failure = None
        await engine.sharpen(landscape(), 0.5, "image")


async def test_a_model_that_cannot_be_loaded_is_told_by_its_own_error(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    missing = CheckpointNotFound(
        tmp_path_factory.mktemp("none") / "student.safetensors", "no such file"
    )

    def load() -> FakeSharpener:
        raise missing

    engine = Engine(max_waiting_images=1)
    with pytest.raises(CheckpointNotFound) as caught:
        await engine.start(load)  # type: ignore[arg-type]
    assert caught.value is missing
    assert not engine.is_ready
    await engine.stop()


async def test_before_its_start_and_after_its_stop_an_engine_takes_nothing() -> None:
    engine = Engine(max_waiting_images=1)
    for _ in range(2):
        assert not engine.is_ready
        with pytest.raises(EngineStopped):
            await engine.sharpen(landscape(), 0.5, "frame")
        with pytest.raises(EngineStopped):
            engine.check_admission()
        with pytest.raises(EngineStopped):
            _ = engine.sharpener
        if not engine._lanes.are_alive and engine._students is None:
            await engine.start(FakeSharpener().as_sharpener)
            assert engine.is_ready
            await engine.stop()


async def test_stopping_fails_what_waits_and_lets_the_running_image_finish() -> None:
    sharpener = FakeSharpener()
    engine = Engine(max_waiting_images=1)
    await engine.start(sharpener.as_sharpener)
    sharpener.hold()
    first = asyncio.create_task(engine.sharpen(of_width(1), 0.5, "frame"))
    await entered(sharpener)
    second = asyncio.create_task(engine.sharpen(of_width(2), 0.5, "frame"))
    await started(second)
    stopping = asyncio.create_task(engine.stop())
    await asyncio.sleep(0)
    sharpener.release()
    await stopping
    assert (await first).image.shape == (4, 1, 3)
    with pytest.raises(EngineStopped):
        await second
