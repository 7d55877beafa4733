"""Examples to look at: the best, the median and the worst pictures, rendered again.

The choice is made from the measurements; the images are reproduced, not kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from trainer.clip_evaluation import ClipQuality, ladders
from trainer.evaluation import CROP_PX, Quality, change_db, reproduce, worst
from trainer.methods import ImageArray, Method
from trainer.summary import grouped

__all__ = ["Case", "choose_cases", "clip_cases", "render_cases"]


@dataclass(frozen=True, slots=True)
class Case:
    """One example.

    Attributes:
        rank: `worst 1` (the lowest change of PSNR) to `worst 5`, `median`, `best`, or the codec's
            rung for a frame of a clip.
        change_db: what the student did to the PSNR of the whole crop, picture or clip.
        images: `clean` and each method's result, (H, W, 3) uint8 RGB of one size.
        psnr_db, ssim: by method.
    """

    protocol: str
    name: str
    rank: str
    change_db: float
    images: dict[str, ImageArray]
    psnr_db: dict[str, float]
    ssim: dict[str, float]


def choose_cases(
    measured: Sequence[Quality], *, method: str = "student", worst_count: int = 5
) -> list[tuple[str, Quality]]:
    """The best, the median and the worst pictures of each protocol, with their ranks.

    From the crops where there are any, else from the whole pictures. With few pictures one may be
    several at once; it is then listed as the worst that it is.
    """
    regions = grouped(measured, lambda q: q.region)
    group = regions.get("crop") or regions.get("whole") or []
    chosen = []
    for in_protocol in grouped(group, lambda q: q.protocol).values():
        ordered = worst(in_protocol, method, count=len(in_protocol))
        ranks = {number: f"worst {number + 1}" for number in range(min(worst_count, len(ordered)))}
        ranks.setdefault(len(ordered) // 2, "median")
        ranks.setdefault(len(ordered) - 1, "best")
        chosen += [(rank, ordered[place]) for place, rank in ranks.items()]
    return chosen


def render_cases(
    folder: Path,
    chosen: Sequence[tuple[str, Quality]],
    methods: Mapping[str, Method],
    *,
    method: str = "student",
) -> list[Case]:
    """Makes the images of the chosen measurements again, with the methods that they were made with.

    Args:
        folder: of the sharp pictures.
        methods: from `trainer.methods.standard_methods`, or some of them, `input` among them.

    Raises:
        OSError: a picture changed or vanished.
    """
    return [
        Case(
            protocol=quality.protocol,
            name=quality.picture,
            rank=rank,
            change_db=change_db(quality, method),
            images=_windows(reproduce(folder, quality, methods), method),
            psnr_db=quality.psnr_db,
            ssim=quality.ssim,
        )
        for rank, quality in chosen
    ]


def clip_cases(measured: Sequence[ClipQuality], *, method: str = "student") -> list[Case]:
    """A part of the middle frame of each clip at each codec's lowest rate."""
    return [
        Case(
            protocol=ladder[0].codec,
            name=ladder[0].clip,
            rank=f"{ladder[0].target_kbps} kbit/s",
            change_db=ladder[0].psnr_db[method] - ladder[0].psnr_db["input"],
            images=_windows(ladder[0].example, method),
            psnr_db=ladder[0].psnr_db,
            ssim=ladder[0].ssim,
        )
        for ladder in ladders(measured)
        if ladder[0].example
    ]


def _windows(images: Mapping[str, ImageArray], method: str) -> dict[str, ImageArray]:
    """The same part of all, at most as large as a crop: where the method changed the error most."""
    clean = images["clean"].astype(np.float32)
    before, after = (
        np.square(images[name] - clean).sum(axis=2, dtype=np.float32) for name in ("input", method)
    )
    height, width = (min(CROP_PX, side) for side in clean.shape[:2])
    sums = cv2.boxFilter(np.abs(after - before), -1, (width, height), anchor=(0, 0))
    inside = sums[: clean.shape[0] - height + 1, : clean.shape[1] - width + 1]
    top, left = (int(index) for index in np.unravel_index(int(inside.argmax()), inside.shape))
    return {
        name: np.ascontiguousarray(image[top : top + height, left : left + width])
        for name, image in images.items()
    }
