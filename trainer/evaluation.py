"""How good a student is on pictures.

Fixed degradations of sharp pictures, and several methods measured on each of them side by side.

Owns the measuring; `summary` draws the means, `report` writes them down. The student takes the
same path as in service.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from service.model.sharpener import Sharpener
from trainer.categories import picture_categories
from trainer.degradation import PROTOCOLS
from trainer.methods import ImageArray, Method, standard_methods
from trainer.overlaid_protocols import OVERLAID_PROTOCOLS
from trainer.pictures import ImageUnreadable, centre_crop, choose_pictures, load_picture
from trainer.quality import HARM_DB
from trainer.reference import Reference
from trainer.speed import run_timed
from trainer.wide_protocols import EVERY_PROTOCOL

__all__ = [
    "CROP_PX",
    "SEED",
    "UNTOUCHED",
    "Distance",
    "Quality",
    "Region",
    "best_strength",
    "change_db",
    "cuts_of",
    "degraded_pair",
    "evaluate",
    "harm_count",
    "reproduce",
    "worst",
]

Region = Literal["crop", "whole"]
# Of an image from its original, both (H, W, 3) uint8 RGB.
Distance = Callable[[ImageArray, ImageArray], float]

CROP_PX = 256
SEED = 20261123
UNTOUCHED = "untouched"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Quality:
    """One picture under one protocol; the measures are by method.

    Attributes:
        psnr_db, ssim: see `trainer.quality`.
        lpips: see `trainer.perceptual_metric`; empty where there were no weights for it.
        time_ms: of one call; without `input`, which does nothing. Not part of equality.
        category: what the picture shows, see `trainer.categories`.
        size_px: (height, width).
    """

    picture: str
    region: Region
    protocol: str
    psnr_db: dict[str, float]
    ssim: dict[str, float]
    lpips: dict[str, float] = field(default_factory=dict)
    time_ms: dict[str, float] = field(default_factory=dict, compare=False)
    category: str = "all"
    size_px: tuple[int, int] = (0, 0)


def evaluate(
    sharpener: Sharpener,
    folder: Path,
    *,
    regions: Sequence[Region] = ("crop", "whole"),
    protocols: Sequence[str] = tuple(PROTOCOLS),
    strength: float | None = None,
    limit: int = 0,
    on_picture: Callable[[int, int], None] = lambda _done, _total: None,
    extra_methods: Mapping[str, Method] | None = None,
    lpips: Distance | None = None,
) -> list[Quality]:
    """Measures every picture of `folder` under every protocol.

    The random parts of a protocol depend on the names of protocol and picture only. Pictures that
    are smaller than the crop are measured whole and left out of the crops; files that cannot be
    read are named in the log and left out.

    Args:
        regions: 256x256 centre crops, degraded as pictures of their own, whole pictures, or both.
        protocols: names from `degradation.PROTOCOLS`, `WIDE_PROTOCOLS` or `OVERLAID_PROTOCOLS`.
        strength: of the student's correction, 0 to 2; None = the checkpoint's default.
        limit: measure so many pictures, spread evenly over the folder; 0 = all.
        on_picture: called with the number of pictures done and in all.
        extra_methods: measured beside `trainer.methods.standard_methods`, such as a teacher.
        lpips: `PerceptualMetric.distance`, to measure this too; it costs far more time than PSNR
            and SSIM.

    Raises:
        FileNotFoundError: the folder holds no picture.
        ValueError: an extra method has a name that is taken, or does not keep the picture's size.
    """
    methods = standard_methods(sharpener, strength=strength, extra=extra_methods)
    paths = choose_pictures(folder, limit)
    names = {path: path.relative_to(folder).as_posix() for path in paths}
    categories = picture_categories(folder, names.values())
    seen: set[tuple[int, ...]] = set()
    measured: list[Quality] = []
    for done, (path, name) in enumerate(names.items()):
        on_picture(done, len(paths))
        for region, clean in cuts_of(path, regions):
            if clean.shape not in seen:
                # A first call with a size may compile for it; it is not what a stream would see.
                seen.add(clean.shape)
                for method in methods.values():
                    method(clean)
            measured += [
                replace(quality, category=categories[name])
                for quality in _measure(
                    methods, name, region, clean, protocols=protocols, lpips=lpips
                )
            ]
    on_picture(len(paths), len(paths))
    if not measured:
        raise FileNotFoundError(f"No picture in {folder} can be read and is large enough.")
    return measured


def cuts_of(path: Path, regions: Sequence[Region]) -> Iterator[tuple[Region, ImageArray]]:
    """The parts of a picture that are measured.

    A picture that cannot be read or is too small is named in the log, and has none.
    """
    try:
        image = load_picture(path)
    except ImageUnreadable as exc:
        _log.warning("skipped %s: %s", path, exc)
        return
    height, width = image.shape[:2]
    if "crop" in regions:
        if min(height, width) >= CROP_PX:
            yield "crop", centre_crop(image, CROP_PX)
        elif "whole" not in regions:
            _log.warning("skipped %s: smaller than %d px", path, CROP_PX)
    if "whole" in regions:
        yield "whole", image


def _measure(
    methods: Mapping[str, Method],
    name: str,
    region: Region,
    clean: ImageArray,
    *,
    protocols: Sequence[str],
    lpips: Distance | None,
) -> Iterator[Quality]:
    plain = Reference(clean)
    for protocol in protocols:
        degraded, original = degraded_pair(protocol, name, clean)
        reference = plain if original is clean else Reference(original)
        results, times_ms = {}, {}
        for method, run in methods.items():
            results[method], times_ms[method] = run_timed(run, degraded)
        times_ms.pop("input")
        yield Quality(
            picture=name,
            region=region,
            protocol=protocol,
            psnr_db={method: reference.psnr_db(image) for method, image in results.items()},
            ssim={method: reference.ssim(image) for method, image in results.items()},
            lpips={method: lpips(image, original) for method, image in results.items()}
            if lpips
            else {},
            time_ms=times_ms,
            size_px=(clean.shape[0], clean.shape[1]),
        )


def degraded_pair(protocol: str, name: str, clean: ImageArray) -> tuple[ImageArray, ImageArray]:
    """A degraded picture and its original: `clean`, with what the protocol draws on both."""
    rng = np.random.default_rng((SEED, zlib.crc32(f"{protocol}\n{name}".encode())))
    overlaid = OVERLAID_PROTOCOLS.get(protocol)
    if overlaid is not None:
        return overlaid(clean, rng)
    return EVERY_PROTOCOL[protocol](clean, rng), clean


def reproduce(
    folder: Path, quality: Quality, methods: Mapping[str, Method]
) -> dict[str, ImageArray]:
    """The images that a measurement was made on: `clean`, then each method's result.

    Raises:
        OSError: the picture is gone or has another size.
    """
    cuts = dict(cuts_of(folder / quality.picture, (quality.region,)))
    clean = cuts.get(quality.region)
    if clean is None or clean.shape[:2] != quality.size_px:
        raise OSError(
            f"{quality.picture} changed or vanished since it was measured. Evaluate again."
        )
    degraded, original = degraded_pair(quality.protocol, quality.picture, clean)
    return {"clean": original, **{name: run(degraded) for name, run in methods.items()}}


def change_db(quality: Quality, method: str) -> float:
    """What the method added to the input's PSNR, in dB; negative where it did harm."""
    return quality.psnr_db[method] - quality.psnr_db["input"]


def harm_count(qualities: Sequence[Quality], method: str) -> int:
    """How many pictures have a PSNR that `method` lowered by more than 0.05 dB."""
    return sum(change_db(q, method) < -HARM_DB for q in qualities)


def worst(qualities: Sequence[Quality], method: str, *, count: int = 5) -> list[Quality]:
    """The pictures that gained least or lost most by `method`, the worst first."""
    return sorted(qualities, key=lambda q: (change_db(q, method), q.picture))[:count]


def best_strength(
    sharpener: Sharpener, folder: Path, *, strengths: Sequence[float], limit: int = 0
) -> tuple[float, dict[float, float]]:
    """The scale of the student's correction with the highest mean PSNR over degraded centre crops.

    Args:
        strengths: those tried, 0 to 2; 1 is the correction as trained.

    Returns:
        That strength, and the mean PSNR in dB of each one tried.

    Raises:
        FileNotFoundError: no picture is large enough.
    """
    values: dict[float, list[float]] = {strength: [] for strength in strengths}
    for path in choose_pictures(folder, limit):
        name = path.relative_to(folder).as_posix()
        for _, clean in cuts_of(path, ("crop",)):
            reference = Reference(clean)
            for protocol in PROTOCOLS.keys() - {UNTOUCHED}:
                degraded, _ = degraded_pair(protocol, name, clean)
                description = sharpener.describe(degraded)
                for strength, measured in values.items():
                    sharpened = sharpener.sharpen(
                        degraded, strength=strength, description=description
                    )
                    measured.append(reference.psnr_db(sharpened))
    if not all(values.values()):
        raise FileNotFoundError(f"No picture in {folder} can be read and is large enough.")
    means = {strength: float(np.mean(measured)) for strength, measured in values.items()}
    return max(means, key=means.__getitem__), means
