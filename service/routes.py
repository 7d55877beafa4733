"""The HTTP and WebSocket routes: parse, call, reply."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from fastapi import APIRouter, Depends, Query, Request, Response, WebSocket, WebSocketDisconnect
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import FileResponse

from service.access import (
    ACCESS_ERRORS,
    SCHEMES,
    access_of,
    require_key,
    require_key_for_metrics,
)
from service.browser import is_origin_allowed
from service.codec import ImageFormat
from service.codec_pool import CodecPool
from service.engine import Engine, EngineStream
from service.errors import (
    AccessRefused,
    ClearcallError,
    EngineBusy,
    EngineStopped,
    ImageBroken,
    ImageTooManyPixels,
    ImageUnsupported,
    KeyMissing,
    KeyWrong,
    OriginRefused,
    QueueFull,
    RequestInvalid,
    SharpeningFailed,
    StreamsFull,
    UploadTooLarge,
    UploadTooSlow,
    WrongKeysBraked,
)
from service.ladder import Ladder, rungs_of
from service.messages import Hello, Limits, ModelNow, Size, error_message
from service.metrics import Metrics, StageTimes
from service.picture_options import PictureOptions, decode_for, encode_for
from service.problems import describe_problems, problem_for
from service.pump import StreamPump
from service.rollout.rollout import Rollout
from service.scaling import MAX_UPSCALE, Resize
from service.settings import Settings
from service.stream import Session, StreamLimits
from service.upload import UploadReader

__all__ = ["CLIENT_CLOSED_REQUEST", "WEB_FOLDER", "Parts", "router"]

WEB_FOLDER = Path(__file__).parent / "web"
CLIENT_CLOSED_REQUEST = 499  # nobody gets this status; the metrics count it

_LOGGER = logging.getLogger(__name__)
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary"}},
            }
        },
        "image/*": {"schema": {"type": "string", "format": "binary"}},
    },
}

T = TypeVar("T")
router = APIRouter()


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes work with, made once per app."""

    settings: Settings
    engine: Engine
    metrics: Metrics
    uploads: UploadReader
    frame_pool: CodecPool
    image_pool: CodecPool
    stream_places: asyncio.Semaphore


async def _parts(connection: HTTPConnection) -> Parts:  # async: no thread is asked for it
    parts = connection.app.state.parts
    assert isinstance(parts, Parts)
    return parts


_PartsOf = Annotated[Parts, Depends(_parts)]


@router.post(
    "/sharpen",
    summary="Sharpen one picture",
    response_class=Response,
    responses={
        200: {
            "description": "The sharpened picture, upright; X-Clearcall-Warning says what was "
            "converted on the way",
            "content": {f"image/{name}": {} for name in get_args(ImageFormat)},
        },
        **describe_problems(
            *ACCESS_ERRORS,
            OriginRefused,
            UploadTooSlow,
            UploadTooLarge,
            ImageUnsupported,
            RequestInvalid,
            ImageBroken,
            ImageTooManyPixels,
            SharpeningFailed,
            QueueFull,
            EngineBusy,
            EngineStopped,
        ),
    },
    openapi_extra={"requestBody": _BODY},
    dependencies=[*SCHEMES, Depends(require_key)],
)
async def sharpen(
    request: Request,
    parts: _PartsOf,
    *,
    strength: Annotated[
        float | None,
        Query(
            ge=0,
            le=2,
            allow_inf_nan=False,
            description="of the correction: 0 = off, 1 = as trained, up to 2 = stronger; "
            "default: the model's, see GET /model",
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the query parameter's name
        ImageFormat | None, Query(description="output format; default: the input's")
    ] = None,
    quality: Annotated[int, Query(ge=1, le=100, description="of JPEG, WebP, AVIF and HEIC")] = 90,
    resize: Annotated[
        str | None,
        Query(
            pattern=r"^[0-9]{1,5}(x[0-9]{1,5}!?)?$",
            description="scaled before the network to fit into 512 (512x512), 1920x1080 ..., its "
            "proportions kept; 1920x1080! is exactly that size",
        ),
    ] = None,
    upscale: Annotated[
        float,
        Query(
            ge=1,
            le=MAX_UPSCALE,
            allow_inf_nan=False,
            description=f"enlarged so many times after the network, 1 to {MAX_UPSCALE:g}",
        ),
    ] = 1.0,
    keep_location: Annotated[
        bool, Query(description="false leaves out where the picture was taken")
    ] = True,
) -> Response:
    """Send a JPEG, PNG, WebP, BMP, TIFF, AVIF or HEIC as form field `file` or as the body."""
    parts.engine.check_admission()
    try:
        options = PictureOptions(
            format=format,
            quality=quality,
            resize=None if resize is None else Resize.parse(resize),
            upscale=upscale,
            keep_location=keep_location,
        )
        encoded = await parts.uploads.read(request)
        work = _sharpen_upload(parts, encoded, strength, options)
        return await _unless_disconnected(request, work)
    except ClientDisconnect:
        return Response(status_code=CLIENT_CLOSED_REQUEST)


async def _sharpen_upload(
    parts: Parts, encoded: bytes, strength: float | None, options: PictureOptions
) -> Response:
    started_s = time.perf_counter()
    async with parts.engine.image_place() as waited_ms:
        decoded = await parts.image_pool.run(
            decode_for, encoded, options, max_pixels=parts.settings.max_pixels
        )
        picture = decoded.value
        model = parts.engine.sharpener
        sharpened = await parts.engine.sharpen(
            picture.image, model.default_strength if strength is None else strength
        )
        answer = await parts.image_pool.run(encode_for, picture, sharpened.image, options)
    times = StageTimes(
        decode_ms=decoded.took_ms,
        queue_ms=waited_ms + sharpened.queue_ms,
        inference_ms=sharpened.inference_ms,
        encode_ms=answer.took_ms,
        total_ms=(time.perf_counter() - started_s) * 1000,
    )
    parts.metrics.note_sharpened("/sharpen", times)
    headers = {
        "X-Clearcall-Model": model.checkpoint.model_id,
        "X-Clearcall-Device": model.device,
        "Server-Timing": ", ".join(f"{stage};dur={ms:.2f}" for stage, ms in times.items_ms()),
    }
    if picture.warnings:
        headers["X-Clearcall-Warning"] = " ".join(picture.warnings)
    return Response(
        answer.value, headers=headers, media_type=f"image/{options.format or picture.format}"
    )


async def _unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Awaits `work`, but gives it up when the client leaves. The body must have been read.

    Raises:
        ClientDisconnect: The client left first.
    """
    # No TaskGroup: the work's own error has to come out as itself, not in a group.
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnect_of(request))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _disconnect_of(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@router.websocket("/stream")
async def stream(websocket: WebSocket, parts: _PartsOf) -> None:
    """JPEG frames in, sharpened frames out: docs/protocol.md."""
    origin = websocket.headers.get("origin")
    if not is_origin_allowed(
        origin,
        host=websocket.headers.get("host"),
        allowed=parts.settings.allowed_origins,
    ):
        _LOGGER.warning(
            "refused a stream to a page of %r: it is not in CLEARCALL_ALLOWED_ORIGINS", origin
        )
        await websocket.send_denial_response(problem_for(OriginRefused(str(origin))))
        return
    access = access_of(websocket)
    try:
        caller = access.admit(websocket, takes_token=True)
    except AccessRefused as exc:
        await websocket.send_denial_response(problem_for(exc))
        return
    await websocket.accept()
    with contextlib.ExitStack() as stack:
        try:
            if parts.stream_places.locked():
                raise StreamsFull(limit=parts.settings.max_streams)
            stack.enter_context(access.stream_place(caller))
            place = parts.engine.open_stream()
        except (
            ClearcallError
        ) as exc:  # a browser shows a page no HTTP status: so a message, and a close code
            with contextlib.suppress(WebSocketDisconnect):
                await websocket.send_text(error_message(exc, None).model_dump_json())
                await websocket.close(exc.close_code, exc.title)
            return
        stack.callback(place.close)
        async with parts.stream_places:
            with contextlib.suppress(WebSocketDisconnect):  # it left before its hello
                await _run_stream(websocket, parts, place, lambda: access.is_current(caller))


async def _run_stream(
    websocket: WebSocket, parts: Parts, place: EngineStream, is_allowed: Callable[[], bool]
) -> None:
    settings, model, students = parts.settings, parts.engine.sharpener, parts.engine.students
    revision = parts.engine.revision
    limits = StreamLimits(
        max_fps=settings.max_stream_fps,
        max_bytes_per_s=settings.max_stream_bytes_per_s,
        idle_timeout_s=settings.idle_timeout_s,
    )
    session = Session(
        default_strength=model.default_strength,
        ladder=Ladder(rungs_of(students)),  # the served student is the best
        in_flight=settings.frames_in_flight,
        window=settings.window,
        limits=limits,
        on_drop=parts.metrics.note_dropped,
        on_displayed=parts.metrics.note_displayed,
        now_s=time.perf_counter(),
    )
    hello = Hello(
        model=model.checkpoint.model_id,
        device=model.device,
        backend=model.backend,
        default_strength=model.default_strength,
        max_frame_bytes=settings.max_frame_bytes,
        max_frame_px=settings.max_frame_pixels,
        in_flight=settings.frames_in_flight,
        students=students,
        window=session.settings.window,
        sizes=_sizes(parts.engine),
        limits=Limits(
            max_frame_bytes=settings.max_frame_bytes,
            max_frame_px=settings.max_frame_pixels,
            max_fps=limits.max_fps,
            max_bytes_per_s=limits.max_bytes_per_s,
            idle_timeout_s=limits.idle_timeout_s,
        ),
    )
    await websocket.send_text(hello.model_dump_json())
    await StreamPump(
        websocket,
        session,
        place=place,
        draining=parts.engine.draining,
        pool=parts.frame_pool,
        metrics=parts.metrics,
        model_now=lambda: _model_now(parts.engine),
        students=students,
        revision=revision,
        max_pixels=settings.max_frame_pixels,
        is_allowed=is_allowed,
        stalled_reader_s=settings.stalled_reader_s,
    ).run()


def _model_now(engine: Engine) -> ModelNow:
    model = engine.sharpener
    return ModelNow(
        model=model.checkpoint.model_id,
        device=model.device,
        backend=model.backend,
        default_strength=model.default_strength,
        students=engine.students,
        sizes=_sizes(engine),
    )


def _sizes(engine: Engine) -> tuple[Size, ...]:
    return tuple(
        Size(width=size.width, height=size.height, ms=round(size.ms, 2)) for size in engine.sizes
    )


@router.get(
    "/model",
    summary="What is served",
    responses=describe_problems(*ACCESS_ERRORS, EngineStopped),
    dependencies=[*SCHEMES, Depends(require_key)],
)
async def model(request: Request, parts: _PartsOf) -> dict[str, Any]:
    """The model's id, what it runs on, its default strength, and the facts of its checkpoint.

    `last_reload` is what became of the last checkpoint of the watched folder that was tried.
    """
    rollout: Rollout | None = request.app.state.rollout
    sharpener = parts.engine.sharpener
    return {
        **sharpener.facts_json(),
        "id": sharpener.checkpoint.model_id,
        "device": sharpener.device,
        "backend": sharpener.backend,
        "precision": sharpener.precision,
        "default_strength": sharpener.default_strength,
        "last_reload": asdict(rollout.last) if rollout and rollout.last else None,
    }


@router.get("/health/live", summary="Is the process alive?")
async def live() -> dict[str, str]:
    """Answers as long as the event loop turns."""
    return {"status": "live"}


@router.get("/health/ready", summary="Can it sharpen?", responses=describe_problems(EngineStopped))
async def ready(parts: _PartsOf) -> dict[str, str]:
    """Ready means that the model is loaded and warmed up, and that the service is not stopping."""
    parts.engine.check_ready()
    return {"status": "ready", "model": parts.engine.sharpener.checkpoint.model_id}


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **describe_problems(KeyMissing, KeyWrong, WrongKeysBraked),
    },
    dependencies=[*SCHEMES, Depends(require_key_for_metrics)],
)
def metrics(request: Request) -> Response:  # not async: building the text is work for a thread
    """Everything that is counted, in Prometheus' text format."""
    return Response(request.app.state.exposition(), media_type=CONTENT_TYPE_LATEST)


@router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
async def page() -> FileResponse:
    """The browser client."""
    return FileResponse(WEB_FOLDER / "index.html")
