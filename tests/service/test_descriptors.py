"""service.descriptors: connections fit into the limit on open files."""

from __future__ import annotations

import logging
import resource
from collections.abc import Iterator

import pytest

from service.descriptors import connections_that_fit


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_low_soft_limit_is_raised(limits: tuple[int, int]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    assert connections_that_fit(300) == 300
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 400


def test_where_it_cannot_be_there_are_fewer_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    with caplog.at_level(logging.WARNING):
        assert connections_that_fit(512) == 128
    assert "ulimit -n" in caplog.text
