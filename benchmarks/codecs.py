"""What a JPEG frame costs in each binding: `python -m benchmarks.codecs`.

JPEG to RGB and RGB to JPEG on one thread, of a photograph, as the service needs it: OpenCV's swap
of red and blue counts. The bindings take turns, a few calls at a time: the machine's moods meet all
of them alike, and none pays for the memory that another one gave back. PyTurboJPEG is measured
where it and its library are installed: it brings none.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from service.frame_codec import ImageArray, decode_frame, encode_frame

__all__ = ["CodecTiming", "codec_timings", "main"]

_PHOTOGRAPH = Path(__file__).parents[1] / "tests" / "samples" / "man-in-profile.jpg"
_SIZES_PX = ((360, 640), (720, 1280), (1080, 1920))
_QUALITIES = (80, 90)
_CALLS_A_TURN = 6
_WARM_UP_CALLS = 2  # of each turn

Subsampling = Literal["4:2:0", "4:4:4"]


@dataclass(frozen=True, slots=True)
class CodecTiming:
    """The median of one operation in one binding; `kbytes` is the size of the JPEG."""

    binding: str
    operation: Literal["decode", "encode"]
    height: int
    width: int
    quality: int
    subsampling: Subsampling
    median_ms: float
    kbytes: float


@dataclass(frozen=True, slots=True)
class _Binding:
    name: str
    decode: Callable[[bytes], ImageArray]
    encode: Callable[[ImageArray, int, Subsampling], bytes]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.codecs",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--calls", type=int, default=40, help="of each binding and operation")
    arguments = parser.parse_args(argv)
    timings = codec_timings(calls=arguments.calls)
    table = Table(title="JPEG on one thread, median ms")
    names = list(dict.fromkeys(timing.binding for timing in timings))
    for heading in ("", "picture", "quality", "chroma", *names):
        table.add_column(heading, justify="right")
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for timing in timings:
        size = f"{timing.width}x{timing.height}"
        key = (timing.operation, size, str(timing.quality), timing.subsampling)
        rows.setdefault(key, {})[timing.binding] = timing.median_ms
    for row, by_name in rows.items():
        table.add_row(*row, *(f"{by_name[name]:.2f}" if name in by_name else "" for name in names))
    Console(width=110).print(table)
    print(json.dumps([asdict(timing) for timing in timings]))
    return 0


def codec_timings(*, calls: int, qualities: Sequence[int] = _QUALITIES) -> list[CodecTiming]:
    """Every size, quality, chroma subsampling, operation and binding, in this order."""
    cv2.setNumThreads(1)
    photograph = cv2.imread(str(_PHOTOGRAPH), cv2.IMREAD_COLOR)
    assert photograph is not None, f"{_PHOTOGRAPH} is part of the repository"
    bindings = _bindings()
    timings = []
    subsamplings: tuple[Subsampling, ...] = ("4:2:0", "4:4:4")
    for height, width in _SIZES_PX:
        scaled = cv2.resize(photograph, (width, height), interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.cvtColor(scaled, cv2.COLOR_BGR2RGB), np.uint8)
        for quality in qualities:
            for subsampling in subsamplings:
                timings += _compare(bindings, image, quality, subsampling, calls)
    return timings


def _compare(
    bindings: list[_Binding],
    image: ImageArray,
    quality: int,
    subsampling: Subsampling,
    calls: int,
) -> list[CodecTiming]:
    encoded = _opencv_encode(image, quality, subsampling)
    # The service's own encoder has no choice of chroma.
    encoders = [each for each in bindings if each.name != "service" or subsampling == "4:2:0"]
    decoding = {each.name: partial(each.decode, encoded) for each in bindings}
    encoding = {each.name: partial(each.encode, image, quality, subsampling) for each in encoders}
    sizes = {each.name: len(each.encode(image, quality, subsampling)) for each in encoders}
    height, width = image.shape[:2]
    fact = partial(
        CodecTiming, height=height, width=width, quality=quality, subsampling=subsampling
    )
    return [
        fact(name, "decode", median_ms=ms, kbytes=len(encoded) / 1000)
        for name, ms in _medians_ms(decoding, calls).items()
    ] + [
        fact(name, "encode", median_ms=ms, kbytes=sizes[name] / 1000)
        for name, ms in _medians_ms(encoding, calls).items()
    ]


def _medians_ms(by_name: Mapping[str, Callable[[], Any]], calls: int) -> dict[str, float]:
    times_ms: dict[str, list[float]] = {name: [] for name in by_name}
    for _ in range(math.ceil(calls / (_CALLS_A_TURN - _WARM_UP_CALLS))):
        for name, call in by_name.items():
            for number in range(_CALLS_A_TURN):
                started_s = time.perf_counter()
                call()
                if number >= _WARM_UP_CALLS:
                    times_ms[name].append((time.perf_counter() - started_s) * 1000)
    return {name: float(np.median(each)) for name, each in times_ms.items()}


def _bindings() -> list[_Binding]:
    bindings = [
        _Binding(
            "service",
            lambda encoded: decode_frame(encoded, max_pixels=100_000_000),
            lambda image, quality, _: encode_frame(image, "jpeg", quality=quality),
        ),
        _Binding("OpenCV", _opencv_decode, _opencv_encode),
    ]
    for find in (_simplejpeg, _pyturbojpeg):
        try:
            bindings.append(find())
        except (ImportError, RuntimeError, AttributeError, OSError) as exc:
            print(f"{find.__name__.strip('_')} is not measured: {exc}", file=sys.stderr)
    return bindings


def _opencv_decode(encoded: bytes) -> ImageArray:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    assert bgr is not None, "a JPEG made here"
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _opencv_encode(image: ImageArray, quality: int, subsampling: Subsampling) -> bytes:
    factor = {
        "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
        "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    }[subsampling]
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
    _, buffer = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return buffer.tobytes()


def _simplejpeg() -> _Binding:
    import simplejpeg

    def encode(image: ImageArray, quality: int, subsampling: Subsampling) -> bytes:
        chroma = subsampling.replace(":", "")
        return bytes(simplejpeg.encode_jpeg(image, quality, "RGB", chroma, fastdct=False))

    return _Binding("simplejpeg", simplejpeg.decode_jpeg, encode)


def _pyturbojpeg() -> _Binding:
    import turbojpeg

    turbo = turbojpeg.TurboJPEG()
    factors = {"4:2:0": turbojpeg.TJSAMP_420, "4:4:4": turbojpeg.TJSAMP_444}

    def decode(encoded: bytes) -> ImageArray:
        return np.asarray(turbo.decode(encoded, pixel_format=turbojpeg.TJPF_RGB))

    def encode(image: ImageArray, quality: int, subsampling: Subsampling) -> bytes:
        return bytes(turbo.encode(image, quality, turbojpeg.TJPF_RGB, factors[subsampling]))

    return _Binding("PyTurboJPEG", decode, encode)


if __name__ == "__main__":
    sys.exit(main())
