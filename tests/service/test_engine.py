"""service.engine: order, bounds, one owner, failures, cancellation, start and stop."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import numpy as np
import pytest

from service.engine import MAX_FRAMES_BEFORE_AN_IMAGE, Engine, Sharpened, WorkKind
from service.errors import (
    CheckpointNotFound,
    EngineBusy,
    EngineStopped,
    QueueFull,
    SharpeningFailed,
)
from service.frame_codec import ImageArray
from service.ladder import Rung
from service.model.sharpener import Sharpener
from tests.clock import Clock
from tests.service.doubles import FakeSharpener
from tests.service.pictures import landscape

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(
    sharpener: FakeSharpener,
    *,
    max_waiting_images: int = 8,
    ladder: Sequence[str] = (),
    load_smaller: Callable[[str], Sharpener] | None = None,
    **options: Any,
) -> AsyncIterator[Engine]:
    engine = Engine(max_waiting_images=max_waiting_images, **options)
    await engine.start(sharpener.as_sharpener, ladder=ladder, load_smaller=load_smaller)
    try:
        yield engine
    finally:
        sharpener.release()
        await engine.stop()


async def entered(sharpener: FakeSharpener) -> None:
    """Waits until a call is in the model."""
    assert await asyncio.to_thread(sharpener.entered.acquire, timeout=10)


async def one_frame(engine: Engine, image: ImageArray) -> Sharpened:
    """The only frame of a stream."""
    stream = engine.open_stream()
    try:
        return await stream.sharpen(image, 0.5)
    finally:
        stream.close()


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
        sharpened = await engine.sharpen(landscape(), 1.0)
    np.testing.assert_array_equal(sharpened.image, sharpener.sharpen(landscape(), strength=1.0))
    assert sharpened.queue_ms >= 0
    assert sharpened.inference_ms > 0


async def test_only_the_engines_threads_run_the_model() -> None:
    sharpener = FakeSharpener()
    async with running(sharpener) as engine:
        await asyncio.gather(*(one_frame(engine, landscape()) for _ in range(20)))
    assert sharpener.threads_seen == {"clearcall-engine-0"}


async def test_a_frame_that_is_alone_has_the_whole_machine() -> None:
    sharpener = FakeSharpener(lanes=2)
    async with running(sharpener) as engine:
        for _ in range(3):
            await one_frame(engine, landscape())
    assert sharpener.lanes_seen == [None] * 3


async def test_frames_that_meet_run_side_by_side_on_lanes_of_their_own() -> None:
    sharpener = FakeSharpener(lanes=2)
    async with running(sharpener) as engine:
        sharpener.hold()
        calls = [asyncio.create_task(one_frame(engine, landscape())) for _ in range(4)]
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
        images = [asyncio.create_task(engine.sharpen(of_width(2), 0.5)) for _ in range(2)]
        await entered(sharpener)
        await started(*images)
        assert engine.waiting("image") == 1
        frame = asyncio.create_task(one_frame(engine, of_width(3)))
        await entered(sharpener)
        assert widths_seen(sharpener) == [2, 3]
        sharpener.release()
        await asyncio.gather(*images, frame)
    assert widths_seen(sharpener) == [2, 3, 2]


async def test_frames_go_before_images() -> None:
    sharpener = FakeSharpener()
    async with running(sharpener) as engine:
        sharpener.hold()
        first = asyncio.create_task(one_frame(engine, of_width(1)))
        await entered(sharpener)
        image = asyncio.create_task(engine.sharpen(of_width(2), 0.5))
        await started(image)
        frame = asyncio.create_task(one_frame(engine, of_width(3)))
        await started(frame)
        sharpener.release()
        await asyncio.gather(first, image, frame)
    assert widths_seen(sharpener) == [1, 3, 2]


async def test_an_image_is_not_overtaken_by_frames_without_end() -> None:
    sharpener = FakeSharpener()
    async with running(sharpener) as engine:
        sharpener.hold()
        calls = [asyncio.create_task(one_frame(engine, of_width(1)))]
        await entered(sharpener)
        calls.append(asyncio.create_task(engine.sharpen(of_width(2), 0.5)))
        frames = range(2 * MAX_FRAMES_BEFORE_AN_IMAGE)
        calls += [asyncio.create_task(one_frame(engine, of_width(3))) for _ in frames]
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
        first = asyncio.create_task(one_frame(engine, of_width(1)))
        await entered(sharpener)
        second = asyncio.create_task(one_frame(engine, of_width(2)))
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
        first = asyncio.create_task(one_frame(engine, of_width(1)))
        await entered(sharpener)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        sharpener.release()
        assert (await one_frame(engine, of_width(2))).image.shape == (4, 2, 3)


async def test_a_failing_network_fails_that_image_only_and_keeps_the_cause() -> None:
    sharpener = FakeSharpener()
    async with running(sharpener) as engine:
        sharpener.failure = RuntimeError("out of memory at /secret/path")
        with pytest.raises(SharpeningFailed) as caught:
            await engine.sharpen(landscape(), 0.5)
        assert "/secret" not in str(caught.value)
        assert isinstance(caught.value.__cause__, RuntimeError)
        sharpener.failure = None
        await engine.sharpen(landscape(), 0.5)


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
            await one_frame(engine, landscape())
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
    first = asyncio.create_task(one_frame(engine, of_width(1)))
    await entered(sharpener)
    second = asyncio.create_task(one_frame(engine, of_width(2)))
    await started(second)
    stopping = asyncio.create_task(engine.stop())
    await asyncio.sleep(0)
    sharpener.release()
    await stopping
    assert (await first).image.shape == (4, 1, 3)
    with pytest.raises(EngineStopped):
        await second


async def test_a_large_fast_stream_does_not_starve_a_small_slow_one() -> None:
    sharpener = FakeSharpener()
    async with running(sharpener) as engine:
        sharpener.hold()
        large, small = engine.open_stream(), engine.open_stream()
        calls = [asyncio.create_task(large.sharpen(of_width(16), 0.5, reuses_still=False))]
        await entered(sharpener)
        calls += [
            asyncio.create_task(large.sharpen(of_width(16), 0.5, reuses_still=False))
            for _ in range(3)
        ]
        calls += [
            asyncio.create_task(small.sharpen(of_width(4), 0.5, reuses_still=False))
            for _ in range(6)
        ]
        await started(*calls)
        assert engine.waiting("frame") == 9
        sharpener.release()
        await asyncio.gather(*calls)
    assert widths_seen(sharpener) == [16, 4, 4, 4, 4, 16, 4, 4, 16, 16]


async def test_equal_streams_take_turns() -> None:
    sharpener = FakeSharpener()
    async with running(sharpener) as engine:
        sharpener.hold()
        first = asyncio.create_task(one_frame(engine, of_width(1)))
        await entered(sharpener)
        streams = [engine.open_stream() for _ in range(3)]
        heights = (2, 3, 4)  # of 12 pixels each
        images = [np.zeros((height, 12 // height, 3), np.uint8) for height in heights]
        calls = [
            asyncio.create_task(stream.sharpen(image, 0.5, reuses_still=False))
            for stream, image in zip(streams, images, strict=True)
            for _ in range(3)
        ]
        await started(first, *calls)
        sharpener.release()
        await asyncio.gather(first, *calls)
    assert [shape[0] for shape in sharpener.shapes_seen[1:]] == [*heights] * 3


async def test_a_frame_is_answered_between_two_pieces_of_an_upload() -> None:
    sharpener = FakeSharpener()
    sharpener.pieces_of_an_image = 4
    async with running(sharpener) as engine:
        alone = await engine.sharpen(landscape(), 0.5)
        sharpener.shapes_seen.clear()
        sharpener.hold()
        upload = asyncio.create_task(engine.sharpen(landscape(), 0.5))
        for _ in range(5):  # four of the one before
            await entered(sharpener)
        stream = engine.open_stream()
        live = asyncio.create_task(stream.sharpen(of_width(7), 0.5))
        await started(upload, live)
        sharpener.release()
        assert (await live).image.shape == (4, 7, 3)
        together = await upload
    widths = widths_seen(sharpener)
    assert widths == [64, 7, 64, 64, 64]
    np.testing.assert_array_equal(together.image, alone.image)


async def test_an_upload_that_is_given_up_between_two_pieces_is_not_gone_on_with() -> None:
    sharpener = FakeSharpener()
    sharpener.pieces_of_an_image = 50
    async with running(sharpener) as engine:
        sharpener.hold()
        upload = asyncio.create_task(engine.sharpen(landscape(), 0.5))
        await entered(sharpener)
        upload.cancel()
        await asyncio.gather(upload, return_exceptions=True)
        sharpener.release()
        await one_frame(engine, of_width(7))
        assert engine.waiting("image") == 0
    assert widths_seen(sharpener) == [64, 7]


async def test_frames_of_equal_size_go_through_together_where_that_is_faster() -> None:
    sharpener = FakeSharpener()
    sharpener.max_batch = 4
    async with running(sharpener) as engine:
        sharpener.hold()
        first = asyncio.create_task(one_frame(engine, of_width(1)))
        await entered(sharpener)
        streams = [engine.open_stream() for _ in range(6)]
        images = [landscape() + np.uint8(number) for number in range(6)]
        calls = [
            asyncio.create_task(stream.sharpen(image, 0.5))
            for stream, image in zip(streams, images, strict=True)
        ]
        other = asyncio.create_task(streams[0].sharpen(of_width(9), 0.5))
        stronger = asyncio.create_task(streams[1].sharpen(landscape(), 1.5))
        await started(first, *calls, other, stronger)
        sharpener.release()
        answers = await asyncio.gather(*calls)
        assert [(await call).batch for call in (other, stronger)] == [1, 1]
        await first
    assert sharpener.batches_seen == [4, 2]
    assert [answer.batch for answer in answers] == [4] * 4 + [2] * 2
    alone = FakeSharpener()
    for answer, image in zip(answers, images, strict=True):
        np.testing.assert_array_equal(answer.image, alone.sharpen(image, strength=0.5))


@pytest.mark.parametrize("reuses_still", [True, False])
async def test_what_stands_still_in_frames_that_go_together_keeps_its_correction(
    reuses_still: bool,
) -> None:
    sharpener = FakeSharpener()
    sharpener.max_batch = 2
    async with running(sharpener, batch_wait_ms=60_000) as engine:
        streams = [engine.open_stream() for _ in range(2)]
        answers = []
        for _ in range(2):
            calls = [
                stream.sharpen(landscape(), 0.5, reuses_still=reuses_still) for stream in streams
            ]
            answers += await asyncio.gather(*calls)
    assert [answer.batch for answer in answers] == [2] * 4
    assert [answer.still_share for answer in answers] == [0, 0, 1, 1] if reuses_still else [0] * 4
    for answer in answers:
        np.testing.assert_array_equal(answer.image, sharpener.sharpen(landscape(), strength=0.5))


async def test_frames_with_bars_go_alone_once_the_bars_are_known() -> None:
    sharpener = FakeSharpener()
    sharpener.max_batch = 4
    barred = np.pad(landscape() // 2 + np.uint8(100), ((16, 16), (0, 0), (0, 0)))
    async with running(sharpener, batch_wait_ms=60_000) as engine:
        streams = [engine.open_stream() for _ in range(2)]
        batches = []
        for _ in range(2):
            calls = [asyncio.create_task(stream.sharpen(barred, 0.5)) for stream in streams]
            batches.append([answer.batch for answer in await asyncio.gather(*calls)])
    assert batches == [[2, 2], [1, 1]]


async def test_a_frame_waits_for_company_as_long_as_is_set_and_no_longer() -> None:
    sharpener = FakeSharpener()
    sharpener.max_batch = 4
    async with running(sharpener, batch_wait_ms=50) as engine:
        one, _two = engine.open_stream(), engine.open_stream()
        sharpened = await one.sharpen(landscape(), 0.5)
    assert sharpened.batch == 1
    assert sharpened.queue_ms >= 50


async def test_company_that_comes_while_a_frame_waits_goes_with_it_at_once() -> None:
    sharpener = FakeSharpener()
    sharpener.max_batch = 4
    async with running(sharpener, batch_wait_ms=60_000) as engine:
        one, two = engine.open_stream(), engine.open_stream()
        waiting = asyncio.create_task(one.sharpen(landscape(), 0.5))
        await started(waiting)
        together = await asyncio.gather(waiting, two.sharpen(landscape(), 0.5))
        assert [answer.batch for answer in together] == [2, 2]
        two.close()
        assert (await one.sharpen(landscape(), 0.5)).batch == 1  # nobody is left to wait for


async def test_a_frame_that_fails_in_company_fails_alone() -> None:
    class FailingOnWhite(FakeSharpener):
        def sharpen(self, image: ImageArray, **options: Any) -> ImageArray:
            if image.min() == 255:
                raise RuntimeError("white")
            return super().sharpen(image, **options)

    sharpener = FailingOnWhite()
    sharpener.max_batch = 2
    async with running(sharpener, batch_wait_ms=60_000) as engine:
        one, two = engine.open_stream(), engine.open_stream()
        sound, failed = await asyncio.gather(
            one.sharpen(landscape(), 0.5),
            two.sharpen(np.full_like(landscape(), 255), 0.5),
            return_exceptions=True,
        )
    assert isinstance(sound, Sharpened)
    assert sound.batch == 1
    assert isinstance(failed, SharpeningFailed)


async def test_at_the_limit_of_the_load_new_streams_and_uploads_are_refused() -> None:
    clock = Clock()
    async with running(FakeSharpener(), max_pixels_per_s=1_000, clock=clock) as engine:
        stream = engine.open_stream()
        for _ in range(2):
            await stream.sharpen(of_width(100), 0.5)
            engine.check_admission()
            engine.open_stream().close()
        await stream.sharpen(of_width(100), 0.5)  # 1200 pixels in the first second
        with pytest.raises(EngineBusy) as caught:
            engine.open_stream()
        assert caught.value.limit_px_per_s == 1_000
        assert caught.value.load_px_per_s == 1_200
        with pytest.raises(EngineBusy):
            engine.check_admission()
        engine.check_ready()
        await stream.sharpen(of_width(100), 0.5)  # what is admitted goes on
        clock.now_s += 5
        engine.open_stream().close()
        stream.close()
        engine.check_admission()


async def test_each_sharpened_picture_is_noted() -> None:
    noted: list[tuple[WorkKind, int]] = []
    async with running(
        FakeSharpener(), note=lambda kind, done: noted.append((kind, done.image.shape[1]))
    ) as engine:
        await engine.sharpen(of_width(2), 0.5)
        await one_frame(engine, of_width(3))
    assert noted == [("image", 2), ("frame", 3)]


async def test_a_rung_is_done_by_its_student_at_its_scale() -> None:
    served, nano = FakeSharpener(), FakeSharpener()
    served.name, served.work_per_px = "small", 7_776
    nano.name = "nano"
    may_load = threading.Event()

    def load(size: str) -> Sharpener:
        assert size == "nano"
        assert may_load.wait(20)
        return nano.as_sharpener()

    async with running(served, ladder=("base", "small", "nano"), load_smaller=load) as engine:
        assert engine.students == ("small", "nano")
        stream = engine.open_stream()
        rung = Rung("nano", 0.5)
        first = await stream.sharpen(landscape(), 0.5, rung=rung)
        assert (first.student, first.scale) == ("small", 0.5)
        assert served.shapes_seen[-1] == (24, 32, 3)
        may_load.set()
        while (await stream.sharpen(landscape(), 0.5, rung=rung)).student == "small":
            await asyncio.sleep(0.01)
        assert nano.shapes_seen[-1] == (24, 32, 3)
        back = await stream.sharpen(landscape(), 0.5)
        assert (back.student, back.scale) == ("small", 1.0)
        assert back.image.shape == landscape().shape


async def test_a_closed_stream_takes_no_frames_and_those_that_waited_are_told() -> None:
    sharpener = FakeSharpener()
    async with running(sharpener) as engine:
        sharpener.hold()
        first = asyncio.create_task(one_frame(engine, of_width(1)))
        await entered(sharpener)
        stream = engine.open_stream()
        second = asyncio.create_task(stream.sharpen(of_width(2), 0.5))
        await started(second)
        stream.close()
        stream.close()
        with pytest.raises(EngineStopped, match="closed"):
            await second
        with pytest.raises(EngineStopped, match="closed"):
            await stream.sharpen(of_width(2), 0.5)
        sharpener.release()
        await first
        assert engine.load_px_per_s == 0


async def test_a_draining_engine_refuses_what_is_new_and_finishes_what_is_not() -> None:
    sharpener = FakeSharpener()
    async with running(sharpener) as engine:
        sharpener.hold()
        stream = engine.open_stream()
        async with engine.image_place():
            upload = asyncio.create_task(engine.sharpen(of_width(2), 0.5))
            await entered(sharpener)
            engine.begin_drain()
            assert engine.draining.is_set()
            assert not engine.is_ready
            for refused in (engine.open_stream, engine.check_admission, engine.check_ready):
                with pytest.raises(EngineStopped, match="stopping"):
                    refused()
            drained = asyncio.create_task(engine.drained())
            last = asyncio.create_task(stream.sharpen(of_width(3), 0.5))
            await asyncio.sleep(0)
            sharpener.release()
            assert (await last).image.shape == (4, 3, 3)
            assert (await upload).image.shape == (4, 2, 3)
            assert engine.sharpener.name == "fake"
            stream.close()
            await asyncio.sleep(0)
            assert not drained.done()
        await asyncio.wait_for(drained, 10)


async def test_what_sizes_take_is_told() -> None:
    async with running(FakeSharpener()) as engine:
        assert [(size.height, size.width, size.ms) for size in engine.sizes] == [(360, 640, 10.0)]


async def test_a_limit_beyond_the_machine_is_hinted_at(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        async with running(FakeSharpener(), max_pixels_per_s=23_040_001):
            pass
    assert "measured to do about 23040000" in caplog.text


async def test_another_student_is_served_from_the_next_picture_on_and_the_old_one_is_freed() -> (
    None
):
    old, new = FakeSharpener(), FakeSharpener()
    new.name = "new"
    held = weakref.ref(old)
    async with running(FakeSharpener()) as engine:
        engine.swap(old.as_sharpener(), sizes=engine.sizes)
        stream = engine.open_stream()
        old.hold()
        in_work = asyncio.create_task(stream.sharpen(landscape(), 0.5))
        await entered(old)
        engine.swap(new.as_sharpener(), sizes=engine.sizes)
        assert (engine.revision, engine.students) == (2, ("new",))
        old.release()
        assert (await in_work).student == "fake"
        assert (await engine.sharpen(landscape(), 0.5)).student == "new"
        del old, in_work
        gc.collect()
        # The stream sends nothing, and no thread is at work: neither holds it.
        assert held() is None
        assert (await stream.sharpen(landscape(), 0.5)).student == "new"
        stream.close()


async def test_a_student_that_runs_in_another_way_is_not_taken() -> None:
    async with running(FakeSharpener(lanes=2)) as engine:
        with pytest.raises(ValueError, match="its lanes is 1, and that of what is served 2"):
            engine.swap(FakeSharpener().as_sharpener(), sizes=())
        assert engine.revision == 0


async def test_a_trial_runs_any_student_and_is_counted_nowhere() -> None:
    noted: list[WorkKind] = []
    other = FakeSharpener()
    other.name = "other"
    async with running(FakeSharpener(), note=lambda kind, _: noted.append(kind)) as engine:
        assert (await engine.trial(other.as_sharpener(), landscape())).student == "other"
        assert engine.sharpener.name == "fake"
    assert noted == []
    with pytest.raises(EngineStopped):
        await engine.trial(other.as_sharpener(), landscape())
