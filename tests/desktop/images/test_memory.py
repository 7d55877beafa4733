"""desktop.images.memory: how much is in work at a time."""

from __future__ import annotations

import threading
from typing import Any

import cv2
import numpy as np
import pytest

from desktop.images.conversion import pixels_in_work
from desktop.images.errors import Interrupted
from desktop.images.memory import PixelBudget
from service.codec import ImageFormat
from service.picture_options import PictureOptions


def test_a_picture_larger_than_the_limit_is_let_in_alone() -> None:
    budget = PixelBudget(100)
    with budget.taken(1000, stop=threading.Event()):
        pass


@pytest.mark.parametrize(
    ("bits", "to", "counted_px"),
    [(8, "png", 12), (16, "png", 36), (16, "tiff", 36), (16, "jpeg", 12)],
)
def test_pictures_of_16_bits_count_threefold_where_they_stay(
    bits: int, to: ImageFormat, counted_px: int
) -> None:
    samples: Any = np.zeros((3, 4, 3), np.uint16 if bits == 16 else np.uint8)
    encoded = cv2.imencode(".png", samples)[1].tobytes()
    assert pixels_in_work(encoded, PictureOptions(format=to)) == counted_px
    assert pixels_in_work(encoded, PictureOptions(format=to, upscale=2)) == 4 * counted_px


def test_another_waits_for_room() -> None:
    budget = PixelBudget(100)
    stop = threading.Event()
    is_in = threading.Event()

    def enter() -> None:
        with budget.taken(60, stop=stop):
            is_in.set()

    with budget.taken(60, stop=stop):
        thread = threading.Thread(target=enter)
        thread.start()
        assert not is_in.wait(0.05)
    assert is_in.wait(10)
    thread.join()


def test_a_wait_ends_when_all_is_to_end() -> None:
    budget = PixelBudget(100)
    stop = threading.Event()
    with budget.taken(60, stop=stop):
        stop.set()
        with pytest.raises(Interrupted), budget.taken(60, stop=stop):
            pass
