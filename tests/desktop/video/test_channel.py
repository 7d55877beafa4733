"""desktop.video.channel: bounded, in order, closed from either side."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from desktop.video.channel import Channel, ChannelClosed


def test_items_come_out_in_order_and_end() -> None:
    channel: Channel[int] = Channel(3)
    for item in (5, 6, 7):
        channel.put(item)
    channel.finish()
    assert list(channel) == [5, 6, 7]
    assert channel.take() is None


def test_a_full_channel_makes_its_filler_wait() -> None:
    channel: Channel[int] = Channel(1)
    channel.put(1)
    is_in = threading.Event()

    def fill() -> None:
        channel.put(2)
        is_in.set()

    with ThreadPoolExecutor(1) as pool:
        filling = pool.submit(fill)
        assert not is_in.wait(0.05)
        assert channel.take() == (0, 1)
        filling.result(timeout=10)
    assert channel.take() == (1, 2)


def test_numbered_items_wait_for_those_before_them() -> None:
    channel: Channel[str] = Channel(9)
    with ThreadPoolExecutor(2) as pool:
        late = [
            pool.submit(channel.put, name, number=number) for number, name in ((2, "c"), (1, "b"))
        ]
        channel.put("between")
        channel.put("a", number=0)
        for each in late:
            each.result(timeout=10)
    channel.finish()
    assert list(channel) == ["between", "a", "b", "c"]


def test_closing_lets_both_sides_go() -> None:
    full: Channel[int] = Channel(1)
    full.put(1)
    empty: Channel[int] = Channel(1)
    with ThreadPoolExecutor(2) as pool:
        filling, taking = pool.submit(full.put, 2), pool.submit(empty.take)
        full.close()
        empty.close()
        with pytest.raises(ChannelClosed):
            filling.result(timeout=10)
        with pytest.raises(ChannelClosed):
            taking.result(timeout=10)
