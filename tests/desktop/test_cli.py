"""desktop.cli: the whole command as its user meets it."""

from __future__ import annotations

import re

import pytest

from desktop.cli import main


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"clearcall \d\S*\n", capsys.readouterr().out)
