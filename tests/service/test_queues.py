"""service.queues: whose turn it is."""

from __future__ import annotations

from collections import Counter

from service.queues import (
    MAX_FRAMES_BEFORE_AN_IMAGE,
    MAX_FRAMES_BETWEEN_PIECES,
    Job,
    Queues,
    StreamQueue,
)

SMALL_PX = 640 * 360
LARGE_PX = 1920 * 1080


def put(queues: Queues[Job], stream: StreamQueue, *, px: int = 1, key: object = None) -> Job:
    job = Job(cost_px=px, stream=stream, key=key)
    queues.put(job)
    return job


def put_image(queues: Queues[Job], *, px: int = 1) -> Job:
    job = Job(cost_px=px)
    queues.put(job)
    return job


def run_next(queues: Queues[Job]) -> Job:
    job = queues.start_next(max_images=1)
    assert job is not None
    queues.finish(job)
    return job


def test_streams_with_equal_frames_take_turns_in_the_order_of_arrival() -> None:
    queues: Queues[Job] = Queues()
    streams = [queues.open_stream() for _ in range(3)]
    for stream in (streams[1], streams[0], streams[2]):
        for _ in range(3):
            put(queues, stream)
    order = [streams.index(s) for s in (run_next(queues).stream for _ in range(9)) if s]
    assert order == [0, 1, 2] * 3


def test_a_stream_of_large_frames_gets_as_much_of_the_machine_as_one_of_small_frames() -> None:
    queues: Queues[Job] = Queues()
    large, small = queues.open_stream(), queues.open_stream()
    for _ in range(100):
        put(queues, large, px=LARGE_PX)
        put(queues, small, px=SMALL_PX)
    turns = Counter(run_next(queues).stream for _ in range(50))
    assert turns[small] == 45
    assert turns[large] == 5


def test_a_small_slow_stream_waits_for_at_most_one_frame_of_a_large_fast_one() -> None:
    queues: Queues[Job] = Queues()
    fast, slow = queues.open_stream(), queues.open_stream()
    for _ in range(50):
        put(queues, fast, px=LARGE_PX)
    for _ in range(4):
        running = queues.start_next(max_images=1)
        put(queues, slow, px=SMALL_PX)  # arrives while a large frame is in the network
        assert running is not None
        assert running.stream is fast
        queues.finish(running)
        assert run_next(queues).stream is slow


def test_a_stream_that_paused_has_saved_nothing_up() -> None:
    queues: Queues[Job] = Queues()
    busy, back = queues.open_stream(), queues.open_stream()
    for _ in range(20):
        put(queues, busy, px=10)
        run_next(queues)
    for _ in range(4):
        put(queues, busy, px=10)
        put(queues, back, px=10)
    order = [run_next(queues).stream for _ in range(8)]
    assert order in ([back, busy] * 4, [busy, back] * 4)


def test_a_new_stream_does_not_go_before_all_others_until_it_has_had_as_much() -> None:
    queues: Queues[Job] = Queues()
    old = queues.open_stream()
    for _ in range(100):
        put(queues, old, px=10)
    for _ in range(50):
        run_next(queues)
    new = queues.open_stream()
    for _ in range(10):
        put(queues, new, px=10)
    assert Counter(run_next(queues).stream for _ in range(10))[old] == 5


def test_frames_go_before_images_but_not_without_end() -> None:
    queues: Queues[Job] = Queues()
    stream = queues.open_stream()
    image = put_image(queues)
    for _ in range(100):
        put(queues, stream)
    order = [run_next(queues) for _ in range(MAX_FRAMES_BEFORE_AN_IMAGE + 1)]
    assert order[-1] is image
    assert image not in order[:-1]


def test_waiting_frames_go_between_two_pieces_of_an_image_and_do_not_stop_it() -> None:
    queues: Queues[Job] = Queues()
    stream = queues.open_stream()
    image, second = put_image(queues), put_image(queues)
    assert queues.start_next(max_images=1) is image
    for _ in range(100):
        put(queues, stream)
    queues.put_back(image)
    order = [run_next(queues) for _ in range(MAX_FRAMES_BETWEEN_PIECES + 1)]
    assert image not in order[:-1]
    assert order[-1] is image
    assert queues.images[0] is second


def test_an_image_that_goes_on_is_before_the_images_behind_it() -> None:
    queues: Queues[Job] = Queues()
    first, second = put_image(queues), put_image(queues)
    assert queues.start_next(max_images=1) is first
    queues.put_back(first)
    assert [run_next(queues), run_next(queues)] == [first, second]


def test_only_so_many_images_run_at_once() -> None:
    queues: Queues[Job] = Queues()
    put_image(queues)
    put_image(queues)
    assert queues.start_next(max_images=1) is not None
    assert queues.start_next(max_images=1) is None
    stream = queues.open_stream()
    frame = put(queues, stream)
    assert queues.start_next(max_images=1) is frame


def test_a_job_is_alone_when_nothing_runs_and_no_frame_waits() -> None:
    queues: Queues[Job] = Queues()
    stream = queues.open_stream()
    put(queues, stream)
    first = queues.start_next(max_images=1)
    put(queues, stream)
    put(queues, stream)
    second = queues.start_next(max_images=1)
    assert first is not None
    assert second is not None
    assert (first.is_alone, second.is_alone) == (True, False)
    queues.finish(first)
    queues.finish(second)
    assert run_next(queues).is_alone


def test_frames_of_an_equal_key_go_together_whoever_had_least_first() -> None:
    queues: Queues[Job] = Queues()
    one, two, three = (queues.open_stream() for _ in range(3))
    first = put(queues, one, key="720p")
    put(queues, two, key="360p")
    with_it = put(queues, three, key="720p")
    behind = put(queues, one, key="720p")
    put(queues, two, key="720p")  # is not the next frame of its stream
    assert queues.start_next(max_images=1) is first
    assert queues.start_companions(first, 8) == [with_it, behind]
    assert queues.running == [first, with_it, behind]
    assert queues.frames_waiting == 2


def test_companions_are_bounded_and_a_frame_without_a_key_has_none() -> None:
    queues: Queues[Job] = Queues()
    stream = queues.open_stream()
    first = put(queues, stream, key="k")
    others = [put(queues, stream, key="k") for _ in range(5)]
    assert queues.start_next(max_images=1) is first
    assert queues.start_companions(first, 2) == others[:2]
    assert queues.start_companions(first, 0) == []
    alone = Job(cost_px=1, stream=stream)
    assert queues.start_companions(alone, 8) == []


def test_a_job_can_be_taken_out_and_a_stream_ended() -> None:
    queues: Queues[Job] = Queues()
    stream = queues.open_stream()
    first, second = put(queues, stream), put(queues, stream)
    image = put_image(queues)
    queues.remove(first)
    queues.remove(first)
    assert queues.waiting() == [second, image]
    assert queues.close_stream(stream) == [second]
    assert queues.close_stream(stream) == []
    queues.remove(second)
    queues.remove(image)
    assert queues.waiting() == []
    assert queues.streams_open == 0


def test_while_another_stream_is_at_work_a_stream_does_not_have_every_lane() -> None:
    queues: Queues[Job] = Queues()
    large, small = queues.open_stream(), queues.open_stream()
    put(queues, small)
    run_next(queues)
    first, second = put(queues, large, px=LARGE_PX), put(queues, large, px=LARGE_PX)
    assert queues.start_next(max_images=1, max_of_stream=1) is first
    assert queues.start_next(max_images=1, max_of_stream=1) is None
    quick = put(queues, small, px=SMALL_PX)
    assert queues.start_next(max_images=1, max_of_stream=1) is quick
    queues.finish(first)
    assert queues.start_next(max_images=1, max_of_stream=1) is second


def test_a_stream_whose_neighbours_do_nothing_has_every_lane() -> None:
    queues: Queues[Job] = Queues()
    busy, paused = queues.open_stream(), queues.open_stream()
    queues.open_stream()  # has never sent a frame
    put(queues, paused)
    run_next(queues)
    for _ in range(31):
        put(queues, busy)
        run_next(queues)
    both = [put(queues, busy), put(queues, busy)]
    assert [queues.start_next(max_images=1, max_of_stream=1) for _ in both] == both
