"""A brake for addresses that send bad requests in floods, so that they cost next to nothing.

Each answer from 400 to 499 is counted for the address. Beyond the limit its requests are answered
with 429 at once: nothing is routed, read, decoded or logged. A request with a right key passes all
the same, and so do streams that are open, so that behind one address the innocent are let alone
where there are keys.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access import Access
from service.problems import problem_response
from service.quota import Buckets, address_group

__all__ = ["FloodBrake"]

_CODE = "too-many-bad-requests"
_WATCHED = ("/health/", "/metrics")
_LEFT = 499  # the client did, which is no fault


class FloodBrake:
    """ASGI middleware, around all others."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        per_minute: int,
        access: Access,
        on_refused: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args: per_minute: Bad requests of one address; 0 = no limit."""
        self._app = app
        self._per_minute = per_minute
        self._bad = Buckets(per_minute)
        self._access = access
        self._on_refused = on_refused
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what is not to be braked, and counts what comes of it."""
        if (
            not self._per_minute
            or scope["type"] not in ("http", "websocket")
            or scope["path"].startswith(_WATCHED)  # who watches must go on seeing
        ):
            await self._app(scope, receive, send)
            return
        address = address_group(scope["client"][0] if scope.get("client") else None)
        now_s = self._clock()
        if self._bad.wait_s(address, now_s) and not self._access.has_right_key(
            HTTPConnection(scope)
        ):
            self._on_refused(_CODE)
            await self._refuse(scope, receive, send, self._bad.retry_after_s(address, now_s))
            return

        async def send_and_count(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                if 400 <= status < 500 and status != _LEFT:
                    self._bad.take(address, self._clock())
            await send(message)

        await self._app(scope, receive, send_and_count)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, retry_after_s: int) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
            return
        answer = problem_response(
            429,
            code=_CODE,
            title="Too many bad requests",
            detail=f"More than {self._per_minute} bad requests came from your address in a minute. "
            f"Try again in {retry_after_s} s, or use a key.",
            headers={"Retry-After": str(retry_after_s)},
        )
        await answer(scope, receive, send)
