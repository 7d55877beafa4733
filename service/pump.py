"""The tasks that move one stream: receive, send, watch. The rules are in `stream.Session`.

The receiver always drains the socket. At most `in_flight` frames are decoded, sharpened and encoded
at the same time, overlapping, and answered in order; a frame makes room when its answer has been
handed to the socket. While the socket takes answers late, one frame at a time is worked on, and
only when the answer before it is out of our hands, so that what a slow reader gets was fresh when
its turn came. Notices (settings, errors) wait in a short queue that loses its oldest when a client
does not read.

A stream ends by itself: when nothing comes for `idle_timeout_s`, when the client reads nothing for
`stalled_reader_s`, and when the engine drains, after the frames in work are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NoReturn

from starlette.websockets import WebSocket, WebSocketDisconnect

from service.answers import Answer, answer_frame, drop_reason, pack_answer
from service.codec_pool import CodecPool
from service.connection import CONNECTION, Connection
from service.engine import EngineStream
from service.errors import (
    ClearcallError,
    EngineStopped,
    FrameInvalid,
    RequestInvalid,
    SharpeningFailed,
)
from service.ladder import rungs_of
from service.messages import ModelNow, ServerMessage, error_message
from service.metrics import EndCause, Metrics
from service.stream import Answered, Session

__all__ = ["StreamPump"]

_LOGGER = logging.getLogger(__name__)
_MAX_NOTICES = 64
_TICK_S = 0.25
_KEY_GONE_S = 2.0  # a file of keys that is written anew in place is empty for a moment
_SLOW_S = 0.02  # a socket that takes an answer later than this has a reader that lags
_CLOSE_S = 2.0  # for a close to be taken by the socket
_NO_CODE = 255


class _StreamOver(Exception):
    """The client left, or the stream was closed."""


class StreamPump:
    """Runs one accepted WebSocket until either side ends it."""

    def __init__(
        self,
        websocket: WebSocket,
        session: Session,
        *,
        place: EngineStream,
        draining: asyncio.Event,
        pool: CodecPool,
        metrics: Metrics,
        model_now: Callable[[], ModelNow],
        students: Sequence[str],
        revision: int,
        max_pixels: int,
        stalled_reader_s: float,
        is_allowed: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Prepares to run a stream.

        Args:
            websocket: Accepted, its hello sent.
            session: The stream's rules.
            place: The stream's place in the engine; the caller closes it.
            draining: Set when the service is about to stop.
            pool: What decodes and encodes.
            metrics: Where everything is counted.
            model_now: What is served now, in the client's words.
            students: As in the hello: a result's code is an index into it.
            revision: Of what is served, when the hello was made.
            max_pixels: Of a frame.
            stalled_reader_s: How long an answer may wait for a client that reads nothing; 0 = for
                ever.
            is_allowed: Whether the client may still use the service.
            clock: Seconds.
        """
        self._websocket = websocket
        self._session = session
        self._place = place
        self._draining = draining
        self._pool = pool
        self._metrics = metrics
        self._codes = _codes_of(students)
        self._model_now = model_now
        self._revision_told = self._revision_used = revision
        self._max_pixels = max_pixels
        self._stalled_reader_s = stalled_reader_s
        self._is_allowed = is_allowed
        self._allowed_s = clock()
        self._clock = clock
        self._group = asyncio.TaskGroup()
        self._in_flight: deque[asyncio.Task[Answer]] = deque()
        self._notices: deque[str] = deque(maxlen=_MAX_NOTICES)
        self._has_news = asyncio.Event()
        extension = websocket.scope.get("extensions", {}).get(CONNECTION, {})
        self._connection: Connection | None = extension.get("connection")  # of our own server
        self._handing_over_since_s: float | None = None
        self._written_s = -math.inf
        self._backlog_bytes, self._read_s = 0, 0.0
        self._is_reader_slow = False
        self._stalls_told = 0
        self._is_over = False
        self._end_cause: EndCause = "client"

    async def run(self) -> None:
        """Serves the stream. On return no task of it is left, and each of its frames is counted."""
        self._metrics.streams_active.inc()
        if self._connection is not None:
            self._connection.on_writable = self._note_writable
        try:
            async with self._group:
                self._group.create_task(self._receive())
                self._group.create_task(self._send())
                self._group.create_task(self._watch())
        except* _StreamOver:
            pass
        except* Exception:
            _LOGGER.exception("a stream failed")
            with contextlib.suppress(_StreamOver):
                await self._close("error", 1011, "internal error")
        finally:
            if self._connection is not None:
                self._connection.on_writable = None
            self._metrics.streams_active.dec()
            self._metrics.note_stream_ended(self._end_cause)
            self._session.end("stopping" if self._draining.is_set() else "disconnected")

    # Receive

    async def _receive(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise self._over()
            if (encoded := message.get("bytes")) is not None:
                self._take_in(encoded)
            else:
                self._hear(message["text"])

    def _take_in(self, message: bytes) -> None:
        self._metrics.note_received()
        try:
            self._session.offer(message, self._clock())
        except FrameInvalid as exc:
            self._notify(error_message(exc, exc.sequence))
        self._start_work()

    def _hear(self, message: str) -> None:
        try:
            answer = self._session.hear(message, self._clock())
        except RequestInvalid as exc:
            answer = error_message(exc, None)
        if answer is not None:
            self._notify(answer)
        # It may have opened the window.
        self._has_news.set()
        self._start_work()

    def _notify(self, notice: ServerMessage) -> None:
        self._notices.append(notice.model_dump_json())
        self._has_news.set()

    # Work

    def _start_work(self) -> None:
        """Takes waiting frames up as far as there is room for them.

        Called at once where a frame arrives and where room is made, not by a task of its own: of a
        burst that arrives in one piece nothing is dropped while there is room.
        """
        while self._take_up():
            pass

    def _take_up(self) -> bool:
        now_s = self._clock()
        if self._is_over or not self._session.has_waiting:
            return False
        if self._is_held_up(now_s):
            self._session.note_held_up()
            return False
        if not self._place.enter(self._start_work):
            self._session.note_no_turn(now_s)
            return False
        self._follow_model()
        taken = self._session.take(now_s, room=1 if self._is_reader_slow else None)
        self._tell_stalls()
        if taken is None:
            self._place.leave()
            return False
        work = answer_frame(
            taken,
            place=self._place,
            pool=self._pool,
            max_pixels=self._max_pixels,
            clock=self._clock,
        )
        try:
            task = self._group.create_task(work)
        except RuntimeError:  # woken by another stream while this one is ending
            work.close()
            self._place.leave()
            return False
        self._in_flight.append(task)
        task.add_done_callback(lambda _: self._has_news.set())
        return True

    def _follow_model(self) -> None:
        """Another student may be served since the last frame: the ladder is made of its rungs."""
        if self._revision_used != self._place.revision:
            self._revision_used = self._place.revision
            with contextlib.suppress(EngineStopped):
                self._session.use_rungs(rungs_of(self._model_now().students))

    def _is_held_up(self, now_s: float) -> bool:
        """Whether the last answer is not even in the kernel yet, for some time."""
        if self._connection is None or self._connection.is_writable:
            return False
        return self._is_reader_slow or now_s - self._written_s > _SLOW_S

    def _note_writable(self) -> None:
        self._read_s = self._clock()
        self._is_reader_slow = self._read_s - self._written_s > _SLOW_S
        self._start_work()

    def _tell_stalls(self) -> None:
        if new := self._session.window_stalls - self._stalls_told:
            self._stalls_told += new
            self._metrics.window_stalls.inc(new)

    # Send

    async def _send(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            await self._tell_model()
            while self._notices:
                await self._hand_over(self._notices.popleft())
            while self._in_flight and self._in_flight[0].done():
                answer = self._in_flight[0].result()
                if answer.error is None and not self._session.may_send(self._clock()):
                    break
                await self._tell_model()
                await self._answer(answer)
                self._in_flight.popleft()
                self._start_work()
            if self._session.is_beyond_repair:
                await self._close("bad-frames", 1007, "too many bad frames in a row")
            if self._draining.is_set() and not self._in_flight:
                await self._close("stopping", 1012, "the service is stopping")

    async def _tell_model(self) -> None:
        """Says that another model is served; results after that have its students' codes."""
        if self._revision_told == self._place.revision:
            return
        self._revision_told = self._place.revision
        with contextlib.suppress(EngineStopped):
            told = self._model_now()
            await self._hand_over(told.model_dump_json())
            self._codes = _codes_of(told.students)

    async def _answer(self, answer: Answer) -> None:
        if answer.error is not None:
            await self._answer_with_error(answer.error, answer.taken.sequence)
            return
        assert answer.rung is not None, "a frame without an error was sharpened"
        times = answer.times(self._clock())
        await self._hand_over(
            pack_answer(
                answer,
                times,
                student_code=self._codes.get(answer.rung.student, _NO_CODE),
                frames_dropped=self._session.ledger.passed_over,
            )
        )
        self._session.note_answered(
            answer.taken,
            Answered(
                done_s=answer.done_s,
                stages_ms=dict(times.items_ms()),
                rung=answer.rung,
                still_share=answer.still_share,
                size_bytes=len(answer.encoded),
            ),
            self._clock(),
        )
        self._metrics.frames_sent.inc()
        self._metrics.note_sharpened("/stream", times)

    async def _answer_with_error(self, error: ClearcallError, sequence: int) -> None:
        self._session.note_failed(drop_reason(error))
        await self._hand_over(error_message(error, sequence).model_dump_json())
        if isinstance(error, SharpeningFailed):
            _LOGGER.error("a frame could not be sharpened", exc_info=error.__cause__)
            if self._session.is_beyond_repair:
                await self._close("failing", error.close_code, "the network fails on every frame")

    async def _hand_over(self, message: str | bytes) -> None:
        self._handing_over_since_s = self._clock()
        try:
            if isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._websocket.send_bytes(message)
        except (
            WebSocketDisconnect,
            RuntimeError,
        ) as exc:  # RuntimeError: the server closed it under us
            raise self._over() from exc
        self._handing_over_since_s = None
        self._written_s = self._clock()
        if self._connection is not None and self._connection.is_writable:
            self._is_reader_slow = False  # it was taken at once

    # Watch

    async def _watch(self) -> None:
        while not self._draining.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):  # wait_for may lose a cancellation (3.11)
                    await self._draining.wait()
            await self._check(self._clock())
        self._session.stop()
        while True:  # the sender closes when the frames in work are answered
            self._has_news.set()
            await asyncio.sleep(_TICK_S)
            await self._check(self._clock())

    async def _check(self, now_s: float) -> None:
        if self._stalled_reader_s and self._unread_for_s(now_s) >= self._stalled_reader_s:
            reason = f"nothing was read for {self._stalled_reader_s:g} s"
            await self._close("stalled", 1008, reason)
        if self._is_allowed():
            self._allowed_s = now_s
        elif now_s - self._allowed_s > _KEY_GONE_S:
            await self._close("key", 1008, "its key is no longer in use")
        if self._session.is_idle(now_s):
            await self._close("idle", 1008, "no frame and no message came for too long")
        # A window that no acknowledgement opens is opened by time.
        self._has_news.set()
        self._start_work()

    def _unread_for_s(self, now_s: float) -> float:
        """How long answers wait for a client that takes not a byte of them."""
        if self._connection is None:
            since_s = self._handing_over_since_s
            return 0.0 if since_s is None else now_s - since_s
        backlog_bytes = self._connection.backlog_bytes
        if not backlog_bytes or backlog_bytes < self._backlog_bytes:
            self._read_s = now_s
        self._backlog_bytes = backlog_bytes
        return now_s - self._read_s

    async def _close(self, cause: EndCause, code: int, reason: str) -> NoReturn:
        self._end_cause = cause
        connection = self._connection
        if cause == "stalled" and connection is not None:
            # A close would wait until what is in the buffer is read.
            connection.end(code, reason)
            raise self._over()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it is closed already
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await self._websocket.close(code, reason)
            except TimeoutError:
                if connection is not None:
                    connection.end(code, reason)
        raise self._over()

    def _over(self) -> _StreamOver:
        self._is_over = True
        return _StreamOver()


def _codes_of(students: Sequence[str]) -> dict[str, int]:
    return {student: code for code, student in enumerate(students)}
