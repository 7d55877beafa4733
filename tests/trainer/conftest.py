"""Fixtures for the trainer's tests: the sample photographs as a training folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.data import PictureSet

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="session")
def samples() -> Path:
    return SAMPLES


@pytest.fixture(scope="session")
def pictures() -> PictureSet:
    return PictureSet.open(SAMPLES, smallest_px=64, cache_bytes=100_000_000)
