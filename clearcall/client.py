"""A client of the stream: give it JPEG frames, iterate over sharpened ones.

    async with Client("ws://127.0.0.1:8000/stream", strength=1.0) as client:
        asyncio.create_task(film(client))       # calls client.offer(jpeg) at its own pace
        async for result in client:
            show(result.encoded)
            await client.displayed(result)

`offer` never waits: the newest frame wins, and no more frames are on the way than the window says.
A connection that is lost is made anew, after a wait that grows; settings are sent again. What a
slow consumer does not take in time is replaced by newer results too.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
)

from clearcall.api_key import key_headers
from clearcall.backoff import Backoff
from clearcall.errors import BadMessage, Closed, Refused, Unreachable
from clearcall.messages import FrameError, Hello, ModelNow, Stats, read_hello, read_notice
from clearcall.outbox import Outbox
from service.errors import FrameInvalid
from service.frames import Frame, pack_frame, parse_result
from service.frames import Result as WireResult

__all__ = ["Client", "Result"]

_FINAL_CODES = {1003, 1007, 1009}  # what this client does is wrong: it would be again
_FINAL_STATUSES = {400, 401, 403, 404}
_MAX_RESULTS = 2  # for a consumer that lags
_LOOK_S = 0.5  # how often frames that will never be answered are looked for
_OPEN_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Result(WireResult):
    """A sharpened frame; `round_trip_ms` is from its capture here to its arrival here."""

    round_trip_ms: float = 0.0
    captured_s: float = field(default=0.0, repr=False)


class Client:
    """One stream, kept up. To be used in one event loop, as a context manager."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        max_attempts: int | None = None,
        window: int | None = None,
        backoff: Backoff | None = None,
        on_error: Callable[[FrameError], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        **settings: Any,
    ) -> None:
        """Prepares a client; `async with` connects it.

        Args:
            url: ws://HOST:PORT/stream or wss://...
            api_key: Where the server wants one; sent as a header, never in the URL.
            max_attempts: Attempts to connect in a row, before it gives up; None = without end.
            window: Frames on the way at most; None = what the server works on at a time, and one.
            backoff: The waits between attempts.
            on_error: Called with each error that the server answers with.
            clock: Seconds.
            settings: As in the protocol: strength, quality, format, target_fps, ...

        Raises:
            KeyInvalid: The key cannot be one.
        """
        self._url = url
        self._headers = key_headers(api_key)
        self._max_attempts = max_attempts
        self._failed_attempts = 0  # in a row
        self._was_heard = False
        self._own_window = window
        self._backoff = backoff or Backoff()
        self._on_error = on_error or (lambda _: None)
        self._clock = clock
        self._settings = dict(settings)
        self._outbox = Outbox(window or 1)
        self._results: deque[Result] = deque()
        self._stats: deque[asyncio.Future[Stats]] = deque()
        self._has_result = asyncio.Event()
        self._has_room = asyncio.Event()
        self._is_connected = asyncio.Event()
        self._connection: ClientConnection | None = None
        self._running: asyncio.Task[None] | None = None
        self._is_paused = False
        self.hello: Hello | None = None
        self.reconnects = 0
        self.results_skipped = 0  # that came and were replaced before they were taken

    @property
    def is_connected(self) -> bool:
        """Whether the server has said hello and is there."""
        return self._is_connected.is_set()

    @property
    def frames_replaced(self) -> int:
        """Frames that a newer one replaced here, before they were sent."""
        return self._outbox.replaced

    @property
    def frames_lost(self) -> int:
        """Frames that were sent and got no answer."""
        return self._outbox.lost

    async def __aenter__(self) -> Client:
        """Connects, and returns when the server has said hello.

        Raises:
            Refused: The server does not take the stream.
            Unreachable: After `max_attempts` attempts.
        """
        self._running = asyncio.create_task(self._run())
        ready = asyncio.create_task(self._is_connected.wait())
        try:
            await asyncio.wait({self._running, ready}, return_when=asyncio.FIRST_COMPLETED)
            if self._running.done():
                await self._running
        except BaseException:
            await self.close()
            raise
        finally:
            ready.cancel()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the stream."""
        await self.close()

    async def close(self) -> None:
        """Ends the stream; iteration ends. May be called again."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})  # which raises nothing but our own cancellation
            if not self._running.cancelled():
                self._running.exception()  # whoever wants it has seen it
        self._has_result.set()

    # Frames and results

    def offer(self, jpeg: bytes, *, captured_s: float | None = None) -> None:
        """Hands over the newest frame; it is sent as soon as the window has room.

        Args:
            jpeg: The whole file.
            captured_s: When it was captured, by the client's clock; now if not given.

        Raises:
            Closed: The client is closed.
        """
        if self._running is None or self._running.done():
            raise Closed
        if self._is_paused:
            return
        self._outbox.offer(jpeg, self._clock() if captured_s is None else captured_s)
        self._has_room.set()

    async def results(self) -> AsyncIterator[Result]:
        """The results, newest first where the consumer lags; ends when the client is closed.

        Raises:
            Refused: The server refused a reconnect for good.
            Unreachable: The connection was lost, and `max_attempts` attempts failed.
        """
        while True:
            while self._results:
                yield self._results.popleft()
            if self._running is None or self._running.done():
                break
            self._has_result.clear()
            await self._has_result.wait()
        if self._running is not None and not self._running.cancelled():
            self._running.result()

    def __aiter__(self) -> AsyncIterator[Result]:
        """See `results`."""
        return self.results()

    async def displayed(self, result: Result) -> None:
        """Tells the server that a result is shown now. While there is no connection, nothing."""
        latency_ms = max(0.0, (self._clock() - result.captured_s) * 1000)
        await self._say(
            {"type": "displayed", "sequence": result.sequence, "latency_ms": round(latency_ms, 3)}
        )

    # Messages

    async def set(self, **settings: Any) -> None:
        """Changes settings; they are sent again after a reconnect.

        What the server does not understand comes to `on_error`.
        """
        self._settings.update(settings)
        await self._say({"type": "settings", **settings})

    async def pause(self) -> None:
        """Sends no more frames until `resume`; one that waits is dropped."""
        self._is_paused = True
        self._outbox.drop_waiting()
        await self._say({"type": "pause"})

    async def resume(self) -> None:
        """Ends a pause."""
        self._is_paused = False
        self._outbox.let_go()  # what came in a pause was dropped there
        await self._say({"type": "resume"})

    async def stats(self) -> Stats:
        """The server's statistics of this stream.

        Raises:
            Closed: There is no connection, or it was lost before the answer.
        """
        if self._connection is None:
            raise Closed
        answer: asyncio.Future[Stats] = asyncio.get_running_loop().create_future()
        self._stats.append(answer)
        await self._say({"type": "stats"})
        return await answer

    async def _say(self, message: dict[str, Any]) -> None:
        if self._connection is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._connection.send(json.dumps(message))

    # The connection

    async def _run(self) -> None:
        try:
            while True:
                try:
                    await self._connect_and_serve()
                except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError) as exc:
                    _raise_if_final(exc)
                    # The end of a stream that worked is no attempt that failed.
                    self._failed_attempts = 0 if self._was_heard else self._failed_attempts + 1
                    if self._failed_attempts >= (self._max_attempts or math.inf):
                        raise Unreachable(self._url, self._failed_attempts, _told(exc)) from exc
                    await asyncio.sleep(self._backoff.next_s())
                except (InvalidURI, InvalidProxy) as exc:
                    raise Refused(0, str(exc)) from exc
        finally:
            self._has_result.set()
            self._end_connection()

    async def _connect_and_serve(self) -> None:
        self._was_heard = False
        try:
            _ = urlsplit(self._url).port  # raises where it is none
        except ValueError as exc:
            raise InvalidURI(self._url, str(exc)) from exc
        connecting = connect(
            self._url,
            additional_headers=self._headers,
            max_size=None,
            compression=None,
            open_timeout=_OPEN_TIMEOUT_S,
            close_timeout=_CLOSE_TIMEOUT_S,
        )
        async with connecting as connection:
            await self._greet(connection)
            tasks = [
                asyncio.create_task(self._send(connection)),
                asyncio.create_task(self._receive(connection)),
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._end_connection()

    async def _greet(self, connection: ClientConnection) -> None:
        async with asyncio.timeout(_OPEN_TIMEOUT_S):
            hello = read_hello(await connection.recv())
        if isinstance(hello, FrameError):  # and a close comes right after it
            self._on_error(hello)
            await connection.wait_closed()
            await connection.recv()  # raises what the close was
        assert isinstance(hello, Hello)
        if self.hello is not None:
            self.reconnects += 1
        self.hello = hello
        self._outbox.window = self._own_window or hello.in_flight + 1
        self._outbox.max_fps = hello.limits.get("max_fps", 0)
        self._outbox.max_bytes_per_s = hello.limits.get("max_bytes_per_s", 0)
        # One by one: one that is refused takes no other with it.
        for name, value in list(self._settings.items()):
            await connection.send(json.dumps({"type": "settings", name: value}))
        if self._is_paused:
            await connection.send('{"type":"pause"}')
        self._connection = connection
        self._is_connected.set()

    async def _send(self, connection: ClientConnection) -> None:
        assert self.hello is not None, "the server has greeted"
        silence_s = self.hello.limits.get("idle_timeout_s", 0) / 3 or math.inf
        sent_s = self._clock()
        while True:
            while (outgoing := self._outbox.take(self._clock())) is not None:
                frame = Frame(outgoing.sequence, outgoing.captured_s * 1000, outgoing.encoded)
                await connection.send(pack_frame(frame))
                sent_s = self._clock()
            if self._clock() - sent_s > silence_s:  # a pause, or no camera: keep the stream open
                await connection.send('{"type":"ping"}')
                sent_s = self._clock()
            self._has_room.clear()
            with contextlib.suppress(TimeoutError):
                wait_s = min(_LOOK_S, self._outbox.wait_s(self._clock()))
                async with asyncio.timeout(wait_s):  # wait_for may lose a cancellation (3.11)
                    await self._has_room.wait()

    async def _receive(self, connection: ClientConnection) -> None:
        while True:
            message = await connection.recv()
            # Only what is heard after the hello shows that the stream works.
            self._was_heard = True
            self._backoff.reset()
            if isinstance(message, bytes):
                self._take_result(message)
            else:
                self._take_notice(read_notice(message))
            self._has_room.set()

    def _take_result(self, message: bytes) -> None:
        try:
            wire = parse_result(message)
        except FrameInvalid as exc:
            raise BadMessage(str(exc)) from exc
        captured_s = self._outbox.note_answered(wire.sequence)
        if captured_s is None:
            captured_s = wire.client_timestamp_ms / 1000
        round_trip_ms = (self._clock() - captured_s) * 1000
        fields = {name: getattr(wire, name) for name in WireResult.__slots__}
        self._results.append(Result(**fields, round_trip_ms=round_trip_ms, captured_s=captured_s))
        while len(self._results) > _MAX_RESULTS:
            self._results.popleft()
            self.results_skipped += 1
        self._has_result.set()

    def _take_notice(self, notice: object) -> None:
        if isinstance(notice, Stats):
            if self._stats and not (answer := self._stats.popleft()).done():
                answer.set_result(notice)
        elif isinstance(notice, FrameError):
            self._outbox.note_bad(notice.sequence)
            self._on_error(notice)
        elif isinstance(notice, ModelNow) and self.hello is not None:
            facts = {name: getattr(notice, name) for name in ModelNow.__slots__}
            self.hello = dataclasses.replace(self.hello, **facts)

    def _end_connection(self) -> None:
        self._connection = None
        self._is_connected.clear()
        self._outbox.note_disconnected()
        while self._stats:
            if not (answer := self._stats.popleft()).done():
                answer.set_exception(Closed())
                answer.exception()  # whoever asked may be gone


def _raise_if_final(exc: BaseException) -> None:
    match exc:
        case InvalidStatus():
            status = exc.response.status_code
            if status in _FINAL_STATUSES:
                raise Refused(status, exc.response.reason_phrase) from exc
        case ConnectionClosed() if exc.rcvd is not None and exc.rcvd.code in _FINAL_CODES:
            raise Refused(exc.rcvd.code, exc.rcvd.reason) from exc


def _told(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}"
