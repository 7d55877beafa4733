"""service.codec: damaged files of every kind end in a picture or one of our errors."""

from __future__ import annotations

import contextlib
import io
import resource
from functools import cache
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import ClearcallError
from service.picture_options import PictureOptions, decode_for, encode_for
from tests.service.pictures import as_file, landscape
from tests.service.test_metadata import XMP, phone_exif

MANY_PX = 1_000_000
MOST_MORE_BYTES = 200_000_000  # of which a damaged picture may make this process grow
IMAGE = landscape(24, 32)
CLEAR = np.dstack((IMAGE, IMAGE[..., 0]))


@cache
def seeds() -> dict[str, bytes]:
    """A sound file of each kind, most with metadata."""
    exif = phone_exif(6)
    carried: dict[str, Any] = {"exif": exif.tobytes(), "xmp": XMP}
    deep: Any = (IMAGE.astype(np.uint16) << 8) + 37
    bilevel = Image.fromarray(IMAGE).convert("1")
    heic = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(CLEAR)).save(heic, quality=60, **carried)
    return {
        "jpeg": as_file(IMAGE, "jpeg", **carried),
        "png": as_file(IMAGE, "png", exif=exif),
        "png of 16 bits": cv2.imencode(".png", deep)[1].tobytes(),
        "webp": as_file(IMAGE, "webp", lossless=True, **carried),
        "webp with alpha": as_file(CLEAR, "webp", xmp=XMP),
        "tiff": as_file(IMAGE, "tiff", exif=exif, compression="raw"),
        "tiff of 16 bits": cv2.imencode(".tiff", deep)[1].tobytes(),
        "tiff, deflated": as_file(CLEAR, "tiff", compression="tiff_adobe_deflate"),
        "tiff with a jpeg": as_file(IMAGE, "tiff", compression="jpeg"),
        "tiff, bilevel": as_file(bilevel, "tiff", compression="group4"),
        "avif": as_file(IMAGE, "avif", **carried),
        "avif with alpha": as_file(CLEAR, "avif"),
        "heic": heic.getvalue(),
    }


def most_bytes_so_far() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def goes_through(encoded: bytes, options: PictureOptions) -> None:
    """Decodes and encodes, but for one of our errors."""
    with contextlib.suppress(ClearcallError):
        picture = decode_for(encoded, options, max_pixels=MANY_PX)
        height, width, _ = picture.image.shape
        assert height * width <= MANY_PX
        encode_for(picture, picture.image, options)


# Pillow warns of damaged directories, and libraries on stderr; both are the file's fault.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", seeds())
@settings(max_examples=12)  # of each of a dozen kinds
@given(st.data())
def test_a_damaged_file_is_a_picture_or_one_of_our_errors(kind: str, data: st.DataObject) -> None:
    seed = seeds()[kind]
    damaged = bytearray(seed)
    # Most of what can go wrong is decided in the first bytes, and in a TIFF's last ones.
    where = st.integers(0, min(700, len(seed) - 1)) | st.integers(0, len(seed) - 1)
    for at, value in data.draw(st.lists(st.tuples(where, st.integers(0, 255)), max_size=8)):
        damaged[at] = value
    end = data.draw(st.just(len(seed)) | st.integers(1, len(seed)))
    options = PictureOptions(
        format=data.draw(st.sampled_from((None, "png", "tiff", "jpeg"))),
        keep_location=data.draw(st.booleans()),
    )
    before = most_bytes_so_far()
    goes_through(bytes(damaged[:end]), options)
    assert most_bytes_so_far() - before < MOST_MORE_BYTES
