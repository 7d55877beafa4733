"""A folder of results and its rating page, for the tests of pages and of scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from tests.service.pictures import sample
from trainer.mos import OpinionSummary
from trainer.mos_page import RatingKey, RatingPage

__all__ = ["METHODS", "PICTURES", "by_method", "image_of", "key_of", "write_results"]

METHODS = ("clean", "input", "student")
PICTURES = ("colosseum", "museum", "neon-frames")
_BLUR_PX = {"clean": 0.0, "input": 2.5, "student": 1.0}


def write_results(root: Path) -> Path:
    """Three methods, three pictures of different sizes; the references as JPEG, the rest as PNG."""
    for method in METHODS:
        (root / method).mkdir(parents=True)
        for index, picture in enumerate(PICTURES):
            image = Image.fromarray(sample(picture)[:90, : 120 + 2 * index])
            suffix = ".jpg" if method == "clean" else ".png"
            blurred = image.filter(ImageFilter.GaussianBlur(_BLUR_PX[method]))
            blurred.save(root / method / f"{picture}{suffix}")
    return root


def key_of(page: RatingPage) -> RatingKey:
    return RatingKey.model_validate_json(page.key.read_text())


def image_of(path: Path) -> Any:
    with Image.open(path) as file:
        return np.array(file.convert("RGB"))


def by_method(summary: OpinionSummary) -> dict[str, Any]:
    return {opinion.method: opinion for opinion in summary.methods}
