"""Programs that tests need and that are no Python packages."""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ["program"]


def program(name: str, package: str) -> str:
    """The path of a program of a Debian package; without it the test is skipped, in CI it fails."""
    found = shutil.which(name)
    if found is None and "CI" not in os.environ:
        pytest.skip(f"needs {name}: apt-get install {package}")
    assert found, f"{name} is missing: apt-get install {package}"
    return found
