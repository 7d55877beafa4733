"""Fixtures for the trainer's tests: the sample photographs as a training folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trainer.picture_set import PictureSet

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="session")
def samples() -> Path:
    return SAMPLES


@pytest.fixture(scope="session")
def pictures() -> PictureSet:
    return PictureSet.open(SAMPLES, smallest_px=64, cache_bytes=100_000_000)


@pytest.fixture(scope="session")
def few_pictures(tmp_path_factory: pytest.TempPathFactory) -> PictureSet:
    folder = tmp_path_factory.mktemp("few")
    shutil.copy(SAMPLES / "museum.jpg", folder)
    return PictureSet.open(folder, smallest_px=64, cache_bytes=0)
