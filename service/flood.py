"""A brake for addresses that send bad requests in floods, so that they cost next to nothing.

Each answer from 400 to 499 is counted for the address. Beyond the limit its requests are answered
with 429 at once: nothing is routed, read, decoded or logged, and behind our own server
(`http_guard`) it is decided before the application hears of them. A request with a right key passes
all the same, and so do streams that are open, so that behind one address the innocent are let alone
where there are keys.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Sequence

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access import Access
from service.problems import problem_response
from service.quota import Buckets, address_group

__all__ = ["FloodBrake", "FloodLedger"]

_CODE = "too-many-bad-requests"
_WATCHED = {"/health/live", "/health/ready", "/metrics"}
_LEFT = 499  # the client did, which is no fault
_REFUSED = 403  # what becomes of a WebSocket that is closed before it was opened


class FloodLedger:
    """Which addresses are braked."""

    def __init__(
        self,
        per_minute: int,
        *,
        access: Access,
        on_refused: Callable[[str], None],
        proxies: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares.

        Args:
            per_minute: Bad requests of one address; 0 = no limit.
            access: Knows right keys.
            on_refused: Called with the code of each refusal.
            proxies: Addresses or networks that speak for others, and say for whom.
            clock: Seconds.
        """
        self._proxies = [ipaddress.ip_network(each, strict=False) for each in proxies]
        self._per_minute = per_minute
        self._bad = Buckets(per_minute)
        self._access = access
        self._on_refused = on_refused
        self._clock = clock

    def is_proxy(self, client: tuple[str, int] | None) -> bool:
        """Whether it speaks for others: what comes from there is not its own fault."""
        if client is None or not self._proxies:
            return False
        try:
            address = ipaddress.ip_address(client[0])
        except ValueError:
            return False
        return any(address in network for network in self._proxies)

    def note(self, client: tuple[str, int] | None) -> None:
        """Counts a bad request."""
        self._bad.take(_address_of(client), self._clock())

    def refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that is braked, which is counted; None lets it through.

        Args:
            scope: Of a request or a WebSocket: its client, path, headers and query.
        """
        if not self._per_minute or scope["path"] in _WATCHED:
            return None  # who watches must go on seeing
        address, now_s = _address_of(scope.get("client")), self._clock()
        if not self._bad.wait_s(address, now_s):
            return None
        if self._access.has_right_key(HTTPConnection(scope)):
            return None
        self._on_refused(_CODE)
        retry_after_s = self._bad.retry_after_s(address, now_s)
        return problem_response(
            429,
            code=_CODE,
            title="Too many bad requests",
            detail=f"More than {self._per_minute} bad requests came from your address in a minute. "
            f"Try again in {retry_after_s} s, or use a key.",
            headers={"Retry-After": str(retry_after_s)},
        )


class FloodBrake:
    """ASGI middleware, around all others."""

    def __init__(self, app: ASGIApp, *, ledger: FloodLedger) -> None:
        self._app = app
        self._ledger = ledger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what is not to be braked, and counts what comes of it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._ledger.refusal(scope)
        if refusal is not None:
            if scope["type"] == "websocket":
                await receive()  # the handshake
            await refusal(scope, receive, send)
            return

        is_open = False

        async def send_and_count(message: Message) -> None:
            nonlocal is_open
            status = 0
            match message["type"]:
                case "http.response.start" | "websocket.http.response.start":
                    status = message["status"]
                case "websocket.accept":
                    is_open = True
                case "websocket.close" if not is_open:
                    status = _REFUSED
            if 400 <= status < 500 and status != _LEFT:
                self._ledger.note(scope.get("client"))
            await send(message)

        await self._app(scope, receive, send_and_count)


def _address_of(client: tuple[str, int] | None) -> str:
    return address_group(client[0] if client else None)
