"""uvicorn's WebSocket, with two things that it lacks: a small write buffer, and an end that ends.

- What is written and not yet taken by the kernel is at most one message: the next one waits until
  the buffer is empty, where asyncio's default lets 64 KiB of small messages pile up. So does the
  answer to a ping, of which only the last is kept (RFC 6455, 5.5.3).
- asyncio closes a transport after its buffer is flushed, which for a client that does not read is
  never. Here every close is followed by an abort, soon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

__all__ = ["CONNECTION", "Connection"]

CONNECTION = "clearcall.connection"  # in the scope's extensions; {"connection": Connection}
_LAST_WORDS_S = 2.0
_PONG_HEAD = b"\x8a"


class Connection(WebSocketsSansIOProtocol):
    """One client's WebSocket."""

    on_writable: Callable[[], None] | None = None  # called whenever the buffer has become empty
    _abort: asyncio.TimerHandle | None = None
    _pong = b""  # to the last ping, until there is room

    @property
    def is_writable(self) -> bool:
        """Whether all that was written is in the kernel."""
        return self.writable.is_set()

    @property
    def backlog_bytes(self) -> int:
        """How much is not in the kernel yet."""
        return self.transport.get_write_buffer_size()

    @property
    def is_handshake_bad(self) -> bool:
        """Whether it was refused before the application heard of it, or could not even be read."""
        return not self.handshake_initiated or self.response.status_code != 101

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bounds the write buffer."""
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to abort."""
        if self._abort is not None:
            self._abort.cancel()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """The buffer is empty."""
        super().resume_writing()
        if self._pong and not self.close_sent:
            self.transport.write(self._pong)
        self._pong = b""
        if self.on_writable is not None:
            self.on_writable()

    def handle_ping(self) -> None:
        """Answers, now or when all before it is in the kernel; after a close no more."""
        output = self.conn.data_to_send()  # to all that came in one piece, a close perhaps
        if self.close_sent or not self.is_writable:
            pongs = [frame for frame in output if frame.startswith(_PONG_HEAD)]
            self._pong = pongs[-1] if pongs else self._pong
            output = [frame for frame in output if not frame.startswith(_PONG_HEAD)]
        self.transport.write(b"".join(output))

    async def run_asgi(self) -> None:
        """Runs the application, and shows it the connection."""
        self.scope["extensions"][CONNECTION] = {"connection": self}
        try:
            await super().run_asgi()
        finally:
            self._abort_within(self.close_timeout + _LAST_WORDS_S)

    async def send(self, message: ASGISendEvent) -> None:
        """Sends, and knows that a refusal is an answer: uvicorn would log an error for each."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True

    def end(self, code: int, reason: str) -> None:
        """Closes at once, with whatever is still in the buffer before it, and aborts in 2 s."""
        if not self.close_sent and not self.transport.is_closing():
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
            self.conn.send_close(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.writable.set()  # what waits to send learns that it is over
        self._abort_within(_LAST_WORDS_S)

    def keepalive_timeout(self) -> None:
        """No answer to a ping: nothing that is in the buffer will be read either."""
        super().keepalive_timeout()
        self._abort_within(_LAST_WORDS_S)

    def shutdown(self) -> None:
        """The server stops."""
        super().shutdown()
        self._abort_within(_LAST_WORDS_S)

    def _abort_within(self, delay_s: float) -> None:
        if self.disconnected:
            return
        if self._abort is not None:
            if self._abort.when() <= self.loop.time() + delay_s:
                return
            self._abort.cancel()
        self._abort = self.loop.call_later(delay_s, self.transport.abort)
