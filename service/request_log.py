"""Each request has an id, and a line in the access log. What went wrong unforeseen ends here too.

The line has the method, the path without its query (which may hold a token), the status, the time,
the address, the key's name and the id: nothing of what was sent or answered. A stream has two:
when it opens and when it ends.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.logs import REQUEST_ID, TRACE_PARENT
from service.problems import problem_response

__all__ = ["REQUEST_ID_HEADER", "RequestLog"]

REQUEST_ID_HEADER = "X-Request-ID"
_LOGGER = logging.getLogger("service.access_log")
_ERRORS = logging.getLogger(__name__)
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_MAX_PATH_CHARS = 200
_MAX_CLIENT_CHARS = 64


class RequestLog:
    """ASGI middleware, around all others but the flood brake."""

    def __init__(self, app: ASGIApp, *, is_logging: bool = True) -> None:
        self._app = app
        self._is_logging = is_logging

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Gives the request its id, passes it on, and logs what became of it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked_id = headers.get(REQUEST_ID_HEADER, "")
        request_id = asked_id if _SANE_ID.fullmatch(asked_id) else secrets.token_hex(8)
        context = REQUEST_ID.set(request_id)
        TRACE_PARENT.set(headers.get("traceparent", ""))
        facts: dict[str, Any] = {}
        scope.setdefault("extensions", {})["clearcall.request"] = facts
        started_s = time.perf_counter()
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            match message["type"]:
                case "http.response.start" | "websocket.http.response.start":
                    status = message["status"]
                    MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
                case "websocket.accept":
                    status = 101
                    MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
                    self._tell(scope, facts, 101, None)
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as exc:
            if scope["type"] != "http" or status is not None:
                raise  # uvicorn logs it, unless the client has left
            _ERRORS.error("a request failed", exc_info=exc)
            answer = problem_response(
                500,
                code="internal",
                title="Internal error",
                detail="Something went wrong in the service. Its log has the details, under "
                f"{request_id}.",
            )
            await answer(scope, receive, send_with_id)
        finally:
            if scope["type"] == "http" or status is not None:
                self._tell(scope, facts, status, (time.perf_counter() - started_s) * 1000)
            REQUEST_ID.reset(context)

    def _tell(
        self, scope: Scope, facts: dict[str, Any], status: int | None, took_ms: float | None
    ) -> None:
        if not self._is_logging or not _LOGGER.isEnabledFor(logging.INFO):
            return
        is_stream = scope["type"] == "websocket"
        # No spaces and no line ends: nobody writes lines here, not by X-Forwarded-For either.
        path = quote(scope["path"])[:_MAX_PATH_CHARS]
        client = scope["client"][0] if scope.get("client") else "-"
        told = {
            "client": quote(client, safe=":.%[]")[:_MAX_CLIENT_CHARS],
            "key": facts.get("key", "-"),
            "method": "STREAM" if is_stream else scope["method"],
            "path": path,
            "status": status or 499,
        }
        state = ""
        if is_stream and status == 101:
            told["state"] = "opened" if took_ms is None else "ended"
            state = f" {told['state']}"
        took = ""
        if took_ms is not None:
            told["duration_ms"] = round(took_ms, 1)
            took = f" {took_ms:.1f} ms"
        _LOGGER.info(
            "%s %s %s %s %s%s%s",
            told["client"],
            told["key"],
            told["method"],
            told["path"],
            told["status"],
            state,
            took,
            extra={"facts": told},
        )
