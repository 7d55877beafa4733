"""The application: its parts, its lifespan, and the one place where errors become answers."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
from asyncio import Semaphore
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access import Access
from service.access import router as access_router
from service.browser import (
    CORS_EXPOSED,
    CORS_SENT,
    OriginGuard,
    SecurityHeaders,
    docs_policy,
)
from service.codec_pool import CodecPool
from service.engine import Engine
from service.errors import ClearcallError, RequestInvalid
from service.flood import FloodBrake, FloodLedger
from service.frame_codec import use_one_thread_per_call
from service.metrics import Metrics
from service.model.cpus import available_cpus
from service.models_routes import router as models_router
from service.problems import problem_for, problem_response
from service.request_log import RequestLog
from service.rollout.watch import load_first, watched
from service.routes import CLIENT_CLOSED_REQUEST, WEB_FOLDER, Parts, router
from service.settings import Settings
from service.upload import UploadReader

if TYPE_CHECKING:
    from service.model.sharpener import Sharpener

__all__ = ["create_app", "drain", "load_served", "load_sharpener", "version"]

_DOCS_PLACE = '<div id="swagger-ui">'
_DOCS_AWAY = (  # until it is there, or where it cannot be reached
    "Loading Swagger UI from cdn.jsdelivr.net. The description itself is at "
    '<a href="/openapi.json">/openapi.json</a>.'
)
_LOGGER = logging.getLogger(__name__)
_FEWEST_CODEC_THREADS = 2  # a frame is decoded while another one is encoded
_IMAGE_CODEC_THREADS = 2  # one per decoded image, see engine


def create_app(settings: Settings, sharpener: Sharpener | None = None) -> FastAPI:
    """Builds the application.

    Args:
        settings: Checked settings.
        sharpener: A loaded model; otherwise the one that the settings name is loaded at startup.
            Either way it is warmed up before the first request is taken.
    """
    metrics = Metrics()
    closing = contextlib.ExitStack()  # what takes a while to end
    engine = Engine(
        max_waiting_images=settings.max_waiting_images,
        max_pixels_per_s=settings.max_pixels_per_s,
        batch_wait_ms=settings.batch_wait_ms,
        note=metrics.note_engine,
    )
    metrics.watch_queue("image", lambda: engine.waiting("image"))
    metrics.watch_queue("frame", lambda: engine.waiting("frame"))
    parts = Parts(
        settings=settings,
        engine=engine,
        metrics=metrics,
        uploads=UploadReader(
            limit_bytes=settings.max_upload_bytes,
            limit_s=settings.upload_timeout_s,
            max_at_once=settings.max_uploads,
        ),
        frame_pool=CodecPool(threads=_codec_threads(settings), name="frames"),
        image_pool=CodecPool(threads=_IMAGE_CODEC_THREADS, name="images"),
        stream_places=Semaphore(settings.max_streams),
    )

    given = [] if sharpener is None else [sharpener]
    del sharpener  # held here, it could not be freed when another one is served

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        use_one_thread_per_call()
        try:
            await engine.start(
                lambda: given.pop() if given else load_served(settings),
                ladder=settings.ladder,
                load_smaller=lambda size: load_sharpener(settings, size),
            )
            model = engine.sharpener
            metrics.describe_model(
                model=model.checkpoint.model_id, device=model.device, backend=model.backend
            )
            async with watched(
                settings, engine, metrics, lambda named: load_sharpener(settings, named)
            ) as app.state.rollout:
                yield
        finally:
            await engine.stop()
            await asyncio.to_thread(closing.close)
            parts.frame_pool.close()
            parts.image_pool.close()

    app = FastAPI(
        title="Clearcall",
        summary="Makes blurred, low-bandwidth video-call pictures sharp in real time.",
        description="Streams go through the WebSocket `/stream`; see docs/protocol.md.",
        version=version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    if settings.trace_share:
        from service.traces import Traces, otlp_provider  # an extra

        traces = Traces(settings.trace_share, otlp_provider())
        metrics.on_sharpened = traces.note
        closing.callback(traces.close)
    app.state.parts = parts
    app.state.rollout = None
    app.state.exposition = metrics.text
    app.state.access = Access(settings, on_refused=metrics.note_refused)
    app.state.floods = FloodLedger(
        settings.max_bad_requests_per_minute,
        access=app.state.access,
        on_refused=metrics.note_refused,
        proxies=settings.trusted_proxies,
    )
    for each in (router, models_router, access_router):
        app.include_router(each)
    app.mount("/static", StaticFiles(directory=WEB_FOLDER, check_dir=False), name="static")
    _add_docs(app)
    # The last one added is the outermost.
    app.add_middleware(OriginGuard, allowed=settings.allowed_origins)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=("GET", "POST"),
            allow_headers=CORS_SENT,
            expose_headers=CORS_EXPOSED,
        )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(_ImageCounter, metrics=metrics)
    app.add_middleware(RequestLog, is_logging=settings.access_log)
    app.add_middleware(FloodBrake, ledger=app.state.floods)
    for kind in (ClearcallError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer_error)
    return app


async def drain(app: FastAPI) -> None:
    """Lets an app's streams and uploads end, for at most as long as its settings say.

    To be called before connections are closed: the server's own way would cut streams off without
    a reason, and their frames with them.
    """
    parts = app.state.parts
    assert isinstance(parts, Parts)
    parts.engine.begin_drain()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(parts.settings.drain_s):
            await parts.engine.drained()


def load_served(settings: Settings) -> Sharpener:
    """Loads what is served first: of the watched folder, or what the settings name.

    Raises:
        CheckpointError: Nothing can be served.
        BackendUnavailable: See `load_sharpener`.
    """
    return load_first(settings, lambda named: load_sharpener(settings, named))


def load_sharpener(settings: Settings, named: str | Path | None = None) -> Sharpener:
    """Loads the model that the settings name, or another one to run beside it.

    Raises:
        CheckpointError: It cannot be served.
        BackendUnavailable: The device or backend is not on this machine, or cannot run in the
            precision.
    """
    from service.model.sharpener import (
        Sharpener,
    )  # torch takes seconds; `clearcall --help` need not

    return Sharpener.load(
        named or settings.checkpoint,
        device=settings.device,
        backend=settings.backend,
        threads=settings.threads,
        precision=settings.precision,
    )


def _add_docs(app: FastAPI) -> None:
    page = bytes(get_swagger_ui_html(openapi_url="/openapi.json", title=app.title).body).decode()
    html = page.replace(_DOCS_PLACE, _DOCS_PLACE + _DOCS_AWAY)
    headers = {"Content-Security-Policy": docs_policy(html)}

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(html, headers=headers, media_type="text/html")


def _codec_threads(settings: Settings) -> int:
    return settings.codec_threads or max(_FEWEST_CODEC_THREADS, available_cpus())


def version() -> str:
    """The installed version of Clearcall."""
    try:
        return importlib.metadata.version("clearcall")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout without installing
        return "0+unknown"


async def _answer_error(_: Request, exc: Exception) -> Response:
    """Every error of every route comes through here and leaves as a problem document."""
    match exc:
        case ClearcallError():
            if exc.http_status == HTTPStatus.INTERNAL_SERVER_ERROR:
                _LOGGER.error("%s", exc, exc_info=exc.__cause__ or exc)
            return problem_for(exc)
        case RequestValidationError():
            return problem_for(RequestInvalid(_explain(exc)))
        case HTTPException():
            status = HTTPStatus(exc.status_code)
            return problem_response(
                status,
                code=status.phrase.lower().replace(" ", "-"),
                title=status.phrase,
                detail=exc.detail if exc.detail != status.phrase else status.description,
                headers=exc.headers,
            )
    # Anything else is our own bug; the server logs it with its traceback.
    return problem_response(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        code=ClearcallError.code,
        title=ClearcallError.title,
        detail="Something went wrong in the service. Its log has the details.",
    )


def _explain(exc: RequestValidationError) -> str:
    return " ".join(
        f"{'.'.join(str(part) for part in error['loc'])} is {error['input']!r}: {error['msg']}."
        for error in exc.errors()
    )


class _ImageCounter:
    """ASGI middleware that counts each POST /sharpen by its status, whoever answers it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/sharpen" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        status = CLIENT_CLOSED_REQUEST

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            self._metrics.note_image(status)
