"""Makes the golden set that the roll-out's gate judges by: `python -m benchmarks.golden`.

Squares of the sample pictures (tests/samples, CC0 1.0) and what fixed protocols make of them, as
lossless WebP in service/rollout/golden. A change of it changes every verdict: it is made anew only
when a protocol does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.degradation import PROTOCOLS

__all__ = ["main"]

_REPOSITORY = Path(__file__).parents[1]
_FOLDER = _REPOSITORY / "service" / "rollout" / "golden"
_SIDE_PX = 144
# Pictures and where their square begins, as shares of the room that there is: (down, right).
_SQUARES = {
    "woman-with-hat": (0.35, 0.5),
    "man-in-profile": (0.3, 0.5),
    "colosseum": (0.6, 0.4),
    "neon-frames": (0.5, 0.5),
}
_PROTOCOLS = {
    "bicubic": "bicubic x2",
    "gaussian-1": "gaussian 1.0",
    "gaussian-2": "gaussian 2.0",
    "webcam": "webcam",
}


def main() -> int:
    """Writes `NAME.clean.webp` and `NAME.KIND.webp` for each picture and kind."""
    _FOLDER.mkdir(exist_ok=True)
    for number, (name, place) in enumerate(_SQUARES.items()):
        with Image.open(_REPOSITORY / "tests" / "samples" / f"{name}.jpg") as opened:
            whole = np.asarray(opened.convert("RGB"))
        room = (whole.shape[0] - _SIDE_PX, whole.shape[1] - _SIDE_PX)
        top, left = (round(share * px) for share, px in zip(place, room, strict=True))
        clean = whole[top : top + _SIDE_PX, left : left + _SIDE_PX]
        _save(f"{name}.clean", clean)
        for kind, protocol in _PROTOCOLS.items():
            _save(f"{name}.{kind}", PROTOCOLS[protocol](clean, np.random.default_rng(number)))
    return 0


def _save(name: str, image: np.ndarray) -> None:
    Image.fromarray(image).save(_FOLDER / f"{name}.webp", lossless=True, method=6)


if __name__ == "__main__":
    sys.exit(main())
