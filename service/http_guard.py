"""uvicorn's HTTP, with bounds that it lacks: on headers, on connections that do nothing, on their
number.

- A request's headers have to arrive within `header_timeout_s` of the connection, or of their first
  byte on one that is kept open; otherwise it is closed, with 408 where something had come.
- Headers are bounded in bytes and in number: 431. So is what has their form behind a body, or
  behind a request whose answer is still to come: the end. Trailers never count as headers.
- An address that floods the service with bad requests (`flood`) gets its 429 and is closed before
  anything is made of its request.
- A body that is still coming long after its answer, and an answer that is not read, end the
  connection.
- At `max_connections`, connections without a request to be answered make room for new ones, those
  that rest longest first. So neither half-open ones nor answered ones that are kept keep others
  out; where all are in use, the new one goes.

Bodies are bounded by `upload.UploadReader`, WebSockets by `connection` and `pump`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.connection import Connection
from service.flood import FloodLedger
from service.logs import WIRE_LOGGER

__all__ = ["MAX_HEADERS", "MAX_HEADER_BYTES", "GuardedHttp", "guarded_http"]

_LOGGER = logging.getLogger(__name__)
_WIRE_LOGGER = logging.getLogger(WIRE_LOGGER)
MAX_HEADER_BYTES = 32 * 1024
MAX_HEADERS = 100
_STALLED_S = 30.0  # an answer of which not a byte is taken; a body after its answer
_LOOK_S = 0.5
_TELL_EVERY_S = 10.0
_REASONS = {408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class _Quiet:
    """A transport that may be written to after its end.

    uvloop's raises until uvicorn has heard of it, so that clients who leave would fill the log with
    tracebacks.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Writes, as long as somebody is there."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        """All else is the transport's."""
        return getattr(self._transport, name)


class GuardedHttp(HttpToolsProtocol):
    """One connection, until it becomes a WebSocket."""

    max_connections = 512
    header_timeout_s = 10.0
    floods: FloodLedger | None = None
    _made_room_s = 0.0  # of the class: when it was last told

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _WIRE_LOGGER
        self.access_log = False  # it would tell queries, and with them tokens: see request_log
        self.waiting_since_s: float | None = None  # for the headers; None while there is a request
        self._header_bytes = 0  # since headers ended, or part of a body came
        self._header_count = 0
        self._has_body = False  # still to come
        self._answered_s: float | None = None
        self._is_refused = False
        self._backlog_bytes = 0
        self._taken_s = 0.0
        self._look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Makes room if there is none, and begins to wait for headers."""
        super().connection_made(transport)
        if self.floods is not None and self.floods.is_proxy(self.client):
            self.floods = None  # only the application learns whom the proxy speaks for
        self.waiting_since_s = self.loop.time()
        self._look = self.loop.call_later(_LOOK_S, self._check)
        if len(self.connections) > self.max_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to look after."""
        self._stop_looking()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts what belongs to headers, or to what may follow a body in their form."""
        if self._is_refused or self.transport.is_closing():
            return
        if self.waiting_since_s is None and self._is_idle():
            self.waiting_since_s = self.loop.time()
        self._header_bytes += len(data)
        super().data_received(data)
        if self._header_bytes <= MAX_HEADER_BYTES:
            return
        if self.waiting_since_s is not None:
            self._refuse(431)
        else:  # trailers, or headers behind a request whose answer is still to come
            self._end()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Counts one, and leaves out trailers: they are no headers (RFC 9110, 6.5.1)."""
        if self._has_body:
            return
        self._header_count += 1
        if self._header_count <= MAX_HEADERS:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A request begins, unless its headers are too many."""
        size_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if self._header_count > MAX_HEADERS or size_bytes > MAX_HEADER_BYTES:
            self._refuse(431)
        if self._is_refused or self._is_braked():
            return
        self.waiting_since_s = None
        self._header_bytes = self._header_count = 0
        self._has_body = True
        self._answered_s = None
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:  # it is none for a WebSocket
            self.cycle.transport = cast("asyncio.Transport", _Quiet(self.transport))

    def on_body(self, body: bytes) -> None:
        """Part of one."""
        self._header_bytes = 0
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is there."""
        if self._is_refused:
            return
        self._has_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is written."""
        self._answered_s = None if self.pipeline else self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP."""
        if self.floods is not None:
            self.floods.note(self.client)
        super().send_400_response(msg)

    def handle_websocket_upgrade(self) -> None:
        """From here on `connection.Connection` looks after it."""
        if self._is_refused:
            return
        self._stop_looking()
        super().handle_websocket_upgrade()
        opened = self.transport.get_protocol()
        if not isinstance(opened, Connection) or not opened.is_handshake_bad:
            return
        if self.floods is not None:
            self.floods.note(self.client)
        if not opened.handshake_initiated:  # it reads shorter lines than HTTP does
            self._refuse(431)

    def _is_braked(self) -> bool:
        """Whether the request is one of a flood, which is then answered."""
        if self.floods is None:
            return False
        path, _, query = self.url.partition(b"?")
        refusal = self.floods.refusal(
            {
                "type": "http",
                "client": self.client,
                "path": path.decode("latin-1"),
                "headers": self.headers,
                "query_string": query,
            }
        )
        if refusal is None:
            return False
        fields = [*refusal.raw_headers, (b"connection", b"close")]
        head = b"".join(b"%s: %s\r\n" % field for field in fields)
        self.transport.write(b"HTTP/1.1 429 Too Many Requests\r\n%s\r\n" % head + refusal.body)
        self._end()
        return True

    @property
    def _resting_since_s(self) -> float | None:
        """Since when it has had no request that is to be answered; None while there is one."""
        if self.waiting_since_s is not None:
            return self.waiting_since_s
        return None if self.transport.get_write_buffer_size() else self._answered_s

    def _is_idle(self) -> bool:
        """Whether the next byte begins a request."""
        return not self._has_body and (self.cycle is None or self.cycle.response_complete)

    def _check(self) -> None:
        now_s = self.loop.time()
        self._look = self.loop.call_later(_LOOK_S, self._check)
        backlog_bytes = self.transport.get_write_buffer_size()
        if not backlog_bytes or backlog_bytes != self._backlog_bytes:
            self._backlog_bytes, self._taken_s = backlog_bytes, now_s
        if backlog_bytes and now_s - self._taken_s > _STALLED_S:
            self.transport.abort()
        elif self.waiting_since_s is not None:
            if now_s - self.waiting_since_s > self.header_timeout_s:
                self._refuse(408)
        elif (
            self._has_body
            and self._answered_s is not None
            and now_s - self._answered_s > _STALLED_S
        ):
            self.transport.abort()

    def _refuse(self, status: int) -> None:
        """Says what is wrong, where a request had begun, and closes."""
        if self._is_refused:
            return
        if self._header_bytes or status != 408:
            self.transport.write(
                b"HTTP/1.1 %d %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                % (status, _REASONS[status])
            )
        self._end()

    def _end(self) -> None:
        """Closes when what was written has gone out; nothing more is read."""
        self._is_refused = True
        self.transport.close()

    def _make_room(self) -> None:
        resting = {
            other: since_s
            for other in self.connections
            if isinstance(other, GuardedHttp)
            and (since_s := other._resting_since_s) is not None
            and not other.transport.is_closing()
        }
        # This one is among them: where no other rests, it is the one that goes.
        oldest = min(resting, key=resting.__getitem__)
        oldest._is_refused = True
        oldest.transport.abort()
        now_s = time.monotonic()
        if now_s - GuardedHttp._made_room_s > _TELL_EVERY_S:
            GuardedHttp._made_room_s = now_s
            _LOGGER.warning(
                "%d connections are open (CLEARCALL_MAX_CONNECTIONS): closing those that have no "
                "request to be answered",
                self.max_connections,
            )

    def _stop_looking(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None


def guarded_http(
    *, max_connections: int, header_timeout_s: float, floods: FloodLedger | None = None
) -> type[GuardedHttp]:
    """The protocol with these bounds, for uvicorn.Config's `http`."""

    class Guarded(GuardedHttp):
        pass

    Guarded.max_connections = max_connections
    Guarded.header_timeout_s = header_timeout_s
    Guarded.floods = floods
    return Guarded
