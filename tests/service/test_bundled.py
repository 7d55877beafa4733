"""The service with the student that ships with Clearcall, end to end."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from websockets.sync.client import connect

from service.codec import decode_image
from service.frame_codec import decode_frame
from service.frames import Frame, pack_frame, parse_result
from service.model.sharpener import Sharpener
from tests.service.live import Live, serve
from tests.service.pictures import as_file, difference, jpeg_frame, landscape

WAIT_S = 30


@pytest.fixture(scope="module")
def real(bundled_sharpener: Sharpener) -> Iterator[Live]:
    with serve(model=bundled_sharpener) as live:
        yield live


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (61, 99), (240, 320)])
def test_any_size_comes_back_in_its_size_as_the_model_makes_it(
    real: Live, bundled_sharpener: Sharpener, height: int, width: int
) -> None:
    image = landscape(height, width)
    response = httpx.post(f"{real.url}/sharpen", content=as_file(image, "png"), timeout=WAIT_S)
    answer = decode_image(response.content, max_pixels=10**6).image
    np.testing.assert_array_equal(answer, bundled_sharpener.sharpen(image))
    assert response.headers["x-clearcall-model"] == bundled_sharpener.checkpoint.model_id


def test_frames_of_changing_sizes_come_back_as_the_model_makes_them(
    real: Live, bundled_sharpener: Sharpener
) -> None:
    sizes = [(48, 64), (61, 99), (9, 5), (120, 160)]
    answers = []
    with connect(real.stream_url, max_size=None, compression=None) as stream:
        stream.recv(WAIT_S)
        stream.send('{"type":"settings","format":"png","strength":0.5}')
        stream.recv(WAIT_S)
        for sequence, (height, width) in enumerate(sizes):
            stream.send(pack_frame(Frame(sequence, 0.0, jpeg_frame(height, width))))
            message = stream.recv(WAIT_S)
            assert isinstance(message, bytes)
            answers.append(parse_result(message))
    for (height, width), answer in zip(sizes, answers, strict=True):
        assert (answer.height_px, answer.width_px) == (height, width)
        source = decode_frame(jpeg_frame(height, width), max_pixels=10**6)
        expected = bundled_sharpener.sharpen(source, strength=0.5)
        assert difference(decode_image(answer.encoded, max_pixels=10**6).image, expected) == 0


def test_the_facts_of_the_checkpoint_are_told(real: Live, bundled_sharpener: Sharpener) -> None:
    told = httpx.get(f"{real.url}/model").json()
    assert told["id"] == bundled_sharpener.checkpoint.model_id
    assert told["training_steps"] > 0
    assert told["parameters"] > 0
    assert told["default_strength"] == bundled_sharpener.default_strength == 1
    assert told["precision"] == bundled_sharpener.precision
