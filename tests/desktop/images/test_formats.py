"""desktop.images.formats: suffixes."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from desktop.images.formats import PICTURE_SUFFIXES, format_of


@pytest.mark.parametrize("name", ["a.heic", "a.HEIF", "A.HIF"])
def test_names_of_heic_are_known(name: str) -> None:
    assert format_of(PurePath(name)) == "heic"
    assert PurePath(name).suffix.lower() in PICTURE_SUFFIXES
