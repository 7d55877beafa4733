"""What browsers are told (security headers) and allowed (which sites' pages may open a stream)."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SecurityHeaders", "is_origin_allowed"]

_DOCS_PREFIX = "/docs"
_EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(self), display-capture=(self), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Pictures and video frames are blobs; 'self' covers the WebSocket, the named schemes are for
# browsers older than that.
_PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob: data:; "
    "connect-src 'self' blob: data:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# FastAPI's page at /docs is one inline script around files of a content delivery network.
_DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
    "img-src 'self' data: https://fastapi.tiangolo.com; frame-ancestors 'none'"
)


def is_origin_allowed(origin: str | None, *, host: str | None, allowed: Collection[str]) -> bool:
    """Tells whether a WebSocket may be opened.

    Browsers let any page connect to any server, localhost included, but say in `Origin` whose page
    it is. Programs send no Origin and are allowed.

    Args:
        origin: The Origin header.
        host: The Host header; a page of the same host and port is allowed.
        allowed: Further origins in lower case; "*" allows all.
    """
    if origin is None or "*" in allowed:
        return True
    origin = origin.lower()
    return origin in allowed or (bool(host) and urlsplit(origin).netloc == str(host).lower())


class SecurityHeaders:
    """ASGI middleware that adds the headers; an answer's own values win."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on, and adds the headers to the start of an HTTP answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _headers_for(scope["path"]).items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _headers_for(path: str) -> dict[str, str]:
    if path.startswith(_DOCS_PREFIX):
        return _EVERYWHERE | {"Content-Security-Policy": _DOCS_POLICY}
    # The page's files have no version in their names: a browser must ask whether they are still the
    # same.
    return _EVERYWHERE | {"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache"}
