"""Fixtures for the service's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from service.model.sharpener import Sharpener
from service.settings import PREFIX
from tests.service.live import Live, serve


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def bundled_sharpener() -> Sharpener:
    """The student that ships with Clearcall; one test at a time owns it."""
    return Sharpener.load()


@pytest.fixture
def live() -> Iterator[Live]:
    """A running service with the stand-in model and default settings."""
    with serve() as running:
        yield running
