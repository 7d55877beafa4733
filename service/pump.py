"""The tasks that move one stream: receive, work, send. The rules are in `stream.Session`.

The receiver always drains the socket. At most `in_flight` frames are decoded, sharpened and encoded
at the same time, overlapping, and answered in order; a frame makes room when its answer has been
handed to the socket, so that a client that reads slowly slows the work down instead of
filling a queue. Notices (settings, errors) wait in a short queue that loses its oldest when a
client does not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from starlette.websockets import WebSocket, WebSocketDisconnect

from service.codec import decode_frame, encode_frame
from service.codec_pool import CodecPool
from service.engine import Engine
from service.errors import (
    ClearcallError,
    EngineStopped,
    FrameInvalid,
    RequestInvalid,
    SharpeningFailed,
)
from service.frames import Result, pack_result
from service.metrics import DropReason, Metrics, StageTimes
from service.stream import Offered, Session, StreamSettings

__all__ = ["StreamPump", "error_message", "settings_message"]

_LOGGER = logging.getLogger(__name__)
_MAX_NOTICES = 64


class _StreamOver(Exception):
    """The client left, or the stream was closed."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of one frame: a sharpened picture and its times, or an error."""

    offered: Offered
    settings: StreamSettings
    size_px: tuple[int, int] = (0, 0)
    decode_ms: float = 0.0
    queue_ms: float = 0.0
    inference_ms: float = 0.0
    encode_ms: float = 0.0
    encoded: bytes = b""
    error: ClearcallError | None = None


class StreamPump:
    """Runs one accepted WebSocket until either side ends it."""

    def __init__(
        self,
        websocket: WebSocket,
        session: Session,
        *,
        engine: Engine,
        pool: CodecPool,
        metrics: Metrics,
        max_pixels: int,
        in_flight: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._websocket = websocket
        self._session = session
        self._engine = engine
        self._pool = pool
        self._metrics = metrics
        self._max_pixels = max_pixels
        self._clock = clock
        self._max_in_flight = in_flight
        self._group = asyncio.TaskGroup()
        self._in_flight: deque[asyncio.Task[_Answer]] = deque()
        self._notices: deque[str] = deque(maxlen=_MAX_NOTICES)
        self._has_news = asyncio.Event()

    async def run(self) -> None:
        """Serves the stream. On return no task of it is left, and each of its frames is counted."""
        self._metrics.streams_active.inc()
        try:
            async with self._group:
                self._group.create_task(self._receive())
                self._group.create_task(self._send())
        except* _StreamOver:
            pass
        except* Exception:
            _LOGGER.exception("a stream failed")
            with contextlib.suppress(_StreamOver):
                await self._close(1011, "internal error")
        finally:
            self._metrics.streams_active.dec()
            self._metrics.note_dropped("disconnected", self._session.unanswered)

    async def _receive(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise _StreamOver
            if (encoded := message.get("bytes")) is not None:
                self._take_in(encoded)
            else:
                self._change_settings(message["text"])

    def _take_in(self, message: bytes) -> None:
        self._metrics.frames_received.inc()
        try:
            is_replacing = self._session.offer(message, now_s=self._clock())
        except FrameInvalid as exc:
            self._metrics.note_dropped("invalid")
            self._notify(error_message(exc, exc.sequence))
            return
        if is_replacing:
            self._metrics.note_dropped("replaced")
        self._start_work()

    def _change_settings(self, message: str) -> None:
        try:
            self._notify(settings_message(self._session.change_settings(message)))
        except RequestInvalid as exc:
            self._notify(error_message(exc, None))

    def _notify(self, notice: str) -> None:
        self._notices.append(notice)
        self._has_news.set()

    def _start_work(self) -> None:
        """Takes the waiting frame up if there is room for it.

        Called at once where a frame arrives and where room is made, not by a task of its own: of a
        burst that arrives in one piece nothing is dropped while there is room.
        """
        if len(self._in_flight) >= self._max_in_flight:
            return
        if (offered := self._session.take()) is None:
            return
        task = self._group.create_task(self._process(offered, self._session.settings))
        self._in_flight.append(task)
        task.add_done_callback(lambda _: self._has_news.set())

    async def _process(self, offered: Offered, settings: StreamSettings) -> _Answer:
        try:
            decoded = await self._pool.run(
                decode_frame, offered.frame.encoded, max_pixels=self._max_pixels
            )
            sharpened = await self._engine.sharpen(decoded.value, settings.strength, "frame")
            encoded = await self._pool.run(
                encode_frame, sharpened.image, settings.format, quality=settings.quality
            )
        except ClearcallError as exc:
            return _Answer(offered, settings, error=exc)
        height, width = sharpened.image.shape[:2]
        return _Answer(
            offered,
            settings,
            size_px=(height, width),
            decode_ms=decoded.took_ms,
            queue_ms=(decoded.started_s - offered.arrived_s) * 1000 + sharpened.queue_ms,
            inference_ms=sharpened.inference_ms,
            encode_ms=encoded.took_ms,
            encoded=encoded.value,
        )

    async def _send(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            while self._notices:
                await self._hand_over(self._notices.popleft())
            while self._in_flight and self._in_flight[0].done():
                await self._answer(self._in_flight[0].result())
                self._in_flight.popleft()
                self._start_work()
            if self._session.is_beyond_repair:
                await self._close(1007, "too many bad frames in a row")

    async def _answer(self, answer: _Answer) -> None:
        if answer.error is not None:
            await self._answer_with_error(answer.error, answer.offered.sequence)
            return
        total_ms = (self._clock() - answer.offered.arrived_s) * 1000
        await self._hand_over(_pack(answer, total_ms, self._session.replaced))
        self._session.note_answered()
        self._metrics.frames_sent.inc()
        self._metrics.note_sharpened(
            "/stream",
            StageTimes(
                answer.decode_ms, answer.queue_ms, answer.inference_ms, answer.encode_ms, total_ms
            ),
        )

    async def _answer_with_error(self, error: ClearcallError, sequence: int) -> None:
        self._session.note_bad()
        self._metrics.note_dropped(_drop_reason(error))
        await self._hand_over(error_message(error, sequence))
        if isinstance(error, SharpeningFailed):
            _LOGGER.error("a frame could not be sharpened", exc_info=error.__cause__)
            if self._session.is_beyond_repair:
                await self._close(error.close_code, "the network fails on every frame")
        if isinstance(error, EngineStopped):
            await self._close(error.close_code, "the service is stopping")

    async def _hand_over(self, message: str | bytes) -> None:
        try:
            if isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._websocket.send_bytes(message)
        except (
            WebSocketDisconnect,
            RuntimeError,
        ) as exc:  # RuntimeError: the server closed it under us
            raise _StreamOver from exc

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it is closed already
            await self._websocket.close(code, reason)
        raise _StreamOver


def error_message(error: ClearcallError, sequence: int | None) -> str:
    """An error as a stream's client gets it; `sequence` is the number of the frame it is about."""
    return json.dumps(
        {"type": "error", "code": error.code, "message": str(error), "sequence": sequence}
    )


def settings_message(settings: StreamSettings) -> str:
    """The settings in effect, as a stream's client gets them."""
    return json.dumps(
        {
            "type": "settings",
            "strength": settings.strength,
            "quality": settings.quality,
            "format": settings.format,
        }
    )


def _pack(answer: _Answer, total_ms: float, frames_dropped: int) -> bytes:
    height, width = answer.size_px
    return pack_result(
        Result(
            sequence=answer.offered.sequence,
            client_timestamp_ms=answer.offered.frame.client_timestamp_ms,
            width_px=width,
            height_px=height,
            frames_dropped=frames_dropped,
            queue_ms=answer.queue_ms,
            decode_ms=answer.decode_ms,
            inference_ms=answer.inference_ms,
            encode_ms=answer.encode_ms,
            total_ms=total_ms,
            format=answer.settings.format,
            encoded=answer.encoded,
        )
    )


def _drop_reason(error: ClearcallError) -> DropReason:
    return "failed" if isinstance(error, (SharpeningFailed, EngineStopped)) else "broken"
