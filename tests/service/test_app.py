"""service.app: readiness around the lifespan, and errors that no route expects."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import cv2
import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app, load_sharpener, version
from service.errors import CheckpointNotFound
from service.routes import Parts
from service.settings import Settings
from tests.service.doubles import FakeSharpener
from tests.service.pictures import as_file, landscape

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def parts_of(app: FastAPI) -> Parts:
    parts = app.state.parts
    assert isinstance(parts, Parts)
    return parts


async def test_it_is_ready_only_between_startup_and_shutdown() -> None:
    app = create_app(Settings(), FakeSharpener().as_sharpener())
    async with client_of(app) as client:
        for path in ("/health/ready", "/model"):
            response = await client.get(path)
            assert response.status_code == 503
            assert response.json()["code"] == "engine-stopped"
        assert (await client.post("/sharpen", content=b"x")).status_code == 503
        assert (await client.get("/health/live")).status_code == 200
        async with app.router.lifespan_context(app):
            assert (await client.get("/health/ready")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 503


async def test_the_model_is_warmed_up_before_it_is_ready() -> None:
    class Warming(FakeSharpener):
        was_ready_before = True

        def warm_up(self) -> None:
            self.was_ready_before = parts_of(app).engine.is_ready

    sharpener = Warming()
    app = create_app(Settings(), sharpener.as_sharpener())
    async with app.router.lifespan_context(app):
        assert parts_of(app).engine.is_ready
    assert not sharpener.was_ready_before


async def test_a_model_that_cannot_be_loaded_stops_the_start(tmp_path: Path) -> None:
    settings = Settings(checkpoint=tmp_path / "none.safetensors")
    app = create_app(settings)
    with pytest.raises(CheckpointNotFound, match=r"none\.safetensors"):
        async with app.router.lifespan_context(app):
            pass
    with pytest.raises(CheckpointNotFound):
        load_sharpener(settings)


async def test_opencv_runs_in_one_thread_once_the_app_has_started() -> None:
    app = create_app(Settings(), FakeSharpener().as_sharpener())
    async with app.router.lifespan_context(app):
        assert cv2.getNumThreads() == 1


async def test_an_error_that_nobody_expected_is_a_problem_without_details() -> None:
    app = create_app(Settings(), FakeSharpener().as_sharpener())

    @app.get("/bug")
    async def bug() -> None:
        raise ZeroDivisionError("at /secret/path")

    async with client_of(app) as client:
        response = await client.get("/bug")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "internal"
    assert "secret" not in response.text


async def test_the_cause_of_a_failing_network_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sharpener = FakeSharpener()
    sharpener.failure = RuntimeError("out of memory")
    app = create_app(Settings(), sharpener.as_sharpener())
    async with app.router.lifespan_context(app), client_of(app) as client:
        with caplog.at_level(logging.ERROR):
            response = await client.post("/sharpen", content=as_file(landscape(), "png"))
    assert response.status_code == 500
    assert "out of memory" in caplog.text


async def test_two_apps_share_nothing() -> None:
    one = create_app(Settings(), FakeSharpener().as_sharpener())
    other = create_app(Settings(), FakeSharpener().as_sharpener())
    async with one.router.lifespan_context(one), client_of(one) as client:
        assert (await client.post("/sharpen", content=b"x")).status_code == 415
    assert 'clearcall_images_total{status="415"} 1.0' in parts_of(one).metrics.text().decode()
    assert 'clearcall_images_total{status="415"}' not in parts_of(other).metrics.text().decode()


async def test_the_version_is_told() -> None:
    assert version()
    assert create_app(Settings(), FakeSharpener().as_sharpener()).version == version()
