"""The bundled student on real photographs that it was not trained on: it helps and does no harm."""

from __future__ import annotations

import io

import httpx
import numpy as np
import pytest
from PIL import Image

from service.frame_codec import ImageArray
from service.model.sharpener import Sharpener
from tests.service.live import serve
from tests.service.pictures import sample
from trainer.degradation import PROTOCOLS
from trainer.methods import standard_methods
from trainer.quality import image_psnr_db, image_ssim
from trainer.reference import Reference

NAMES = ("colosseum", "man-in-profile", "museum", "neon-frames", "woman-with-hat")


@pytest.fixture(scope="module")
def sharpener() -> Sharpener:
    return Sharpener.load(device="cpu")


def degraded(name: str, protocol: str) -> ImageArray:
    return PROTOCOLS[protocol](sample(name), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("protocol", "gain_db"),
    [
        ("bicubic x2", 0.8),
        ("bicubic x4", 0.4),
        ("gaussian 1.0", 1.0),
        ("gaussian 2.0", 1.5),
        ("webcam", 0.4),
    ],
)
def test_photographs_come_closer_to_their_originals(
    sharpener: Sharpener, protocol: str, gain_db: float
) -> None:
    gains_db, gains_ssim = [], []
    for name in NAMES:
        image = degraded(name, protocol)
        sharpened = sharpener.sharpen(image)
        clean = sample(name)
        gains_db.append(image_psnr_db(sharpened, clean) - image_psnr_db(image, clean))
        gains_ssim.append(image_ssim(sharpened, clean) - image_ssim(image, clean))
    assert np.mean(gains_db) > gain_db
    assert np.mean(gains_ssim) > 0


@pytest.mark.parametrize(
    "protocol", ["bicubic x2", "bicubic x4", "gaussian 1.0", "gaussian 2.0", "webcam"]
)
def test_the_student_beats_what_needs_no_training(sharpener: Sharpener, protocol: str) -> None:
    means_db = dict.fromkeys(("unsharp", "cas", "student"), 0.0)
    methods = standard_methods(sharpener)
    for name in NAMES:
        image, reference = degraded(name, protocol), Reference(sample(name))
        for method in means_db:
            means_db[method] += reference.psnr_db(methods[method](image)) / len(NAMES)
    assert means_db["student"] > max(means_db["unsharp"], means_db["cas"]) + 0.2


@pytest.mark.parametrize("name", NAMES)
def test_untouched_photographs_are_left_alone(sharpener: Sharpener, name: str) -> None:
    assert image_psnr_db(sharpener.sharpen(sample(name)), sample(name)) > 40


def test_a_blurred_photograph_comes_back_over_http_closer_to_its_original(
    sharpener: Sharpener,
) -> None:
    image, clean = degraded("colosseum", "gaussian 1.0"), sample("colosseum")
    body = io.BytesIO()
    Image.fromarray(image).save(body, "png")
    with serve(model=sharpener) as live:
        response = httpx.post(
            f"{live.url}/sharpen", files={"file": ("blurred.png", body.getvalue())}, timeout=30
        )
    assert response.status_code == 200
    with Image.open(io.BytesIO(response.content)) as picture:
        answer = np.array(picture.convert("RGB"))
    assert image_psnr_db(answer, clean) > image_psnr_db(image, clean) + 1.0
    assert image_ssim(answer, clean) > image_ssim(image, clean)
