"""Small evaluations for the tests of reports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from service.model.backends import FloatArray, ImageBatch
from service.model.estimator import DESCRIPTION_LENGTH
from service.model.sharpener import Sharpener
from tests.trainer.students import identity_checkpoint
from trainer.cases import Case
from trainer.clip_evaluation import ClipQuality
from trainer.evaluation import Quality
from trainer.speed import Speed

__all__ = ["Brightening", "brightening_sharpener", "case", "quality", "rung"]

METHODS = ("input", "unsharp", "cas", "student")


class Brightening:
    """A backend that returns what it gets, brighter by ten levels per unit of strength."""

    name, device, precision, lanes, max_batch = "brightening", "cpu", "fp32", 1, 1

    def describe(self, images: ImageBatch, *, lane: int | None = None) -> FloatArray:
        assert lane is None
        return np.zeros((len(images), DESCRIPTION_LENGTH), np.float32)

    def run(
        self,
        images: ImageBatch,
        strength: float,
        description: FloatArray,
        *,
        lane: int | None = None,
    ) -> ImageBatch:
        assert lane is None
        assert description.shape == (len(images), DESCRIPTION_LENGTH)
        brighter = images.astype(np.int16) + round(10 * strength)
        return np.clip(brighter, 0, 255).astype(np.uint8)


def brightening_sharpener() -> Sharpener:
    """Off, unless a strength is asked for."""
    checkpoint = identity_checkpoint()
    facts = checkpoint.facts.model_copy(update={"default_strength": 0.0})
    return Sharpener(replace(checkpoint, facts=facts), Brightening())


def quality(
    picture: str,
    *psnr_db: float,
    protocol: str = "webcam",
    category: str = "all",
    ssim: tuple[float, ...] = (0.8, 0.85, 0.88, 0.95),
) -> Quality:
    """PSNRs and SSIMs in the order of `METHODS`; the times are 1, 2 and 3 ms."""
    return Quality(
        picture,
        "crop",
        protocol,
        dict(zip(METHODS, psnr_db, strict=True)),
        dict(zip(METHODS, ssim, strict=True)),
        time_ms={"unsharp": 1.0, "cas": 2.0, "student": 3.0},
        category=category,
        size_px=(256, 256),
    )


def rung(kbps: int, psnr_db: float, *, clip: str = "talk.mp4", codec: str = "h264") -> ClipQuality:
    """The student reaches plain decoding's quality at 0.8 of the rate, if PSNR is 10 log2(rate)."""
    gain = 10 * float(np.log2(1 / 0.8))
    psnrs = dict(zip(METHODS, (psnr_db, psnr_db - 1, psnr_db - 2, psnr_db + gain), strict=True))
    frame = np.full((40, 48, 3), 90, np.uint8)
    return ClipQuality(
        clip=clip,
        codec=codec,
        target_kbps=kbps,
        rate_kbps=float(kbps),
        frame_count=3,
        size_px=(40, 48),
        psnr_db=psnrs,
        ssim=dict.fromkeys(METHODS, 0.9 + kbps / 10000),
        flicker=dict(zip(METHODS, (1.0, 1.2, 1.3, 0.9), strict=True)),
        worse_count={"unsharp": 3, "cas": 1, "student": 0},
        speed={method: Speed(4.0, 5.0, 250.0) for method in METHODS[1:]},
        example=dict.fromkeys(("clean", *METHODS), frame),
    )


def case(name: str, change_db: float, *, protocol: str = "webcam", rank: str = "worst 1") -> Case:
    """Flat examples, of another grey for each method."""
    images = {
        method: np.full((32, 48, 3), 40 * number + 20, np.uint8)
        for number, method in enumerate(("clean", *METHODS))
    }
    psnr = dict.fromkeys(METHODS, 30.0) | {"student": 30.0 + change_db}
    return Case(protocol, name, rank, change_db, images, psnr, dict.fromkeys(METHODS, 0.9))
