"""What browsers are told (security headers) and allowed (whose pages may use the service)."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import OriginRefused
from service.problems import problem_for

__all__ = [
    "CORS_EXPOSED",
    "CORS_SENT",
    "OriginGuard",
    "SecurityHeaders",
    "docs_policy",
    "is_origin_allowed",
]

# What pages of allowed sites may send and read beyond what every page may.
CORS_SENT = ("Authorization", "X-API-Key", "X-Request-ID", "Content-Type")
CORS_EXPOSED = (
    "X-Request-ID",
    "X-Clearcall-Model",
    "X-Clearcall-Device",
    "X-Clearcall-Warning",
    "Server-Timing",
    "Retry-After",
)

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_DOCS_PREFIX = "/docs"
_PORTS = {"http": ":80", "https": ":443"}
_EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(self), display-capture=(self), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Pictures and video frames are blobs; 'self' covers the WebSocket, the named schemes are for
# browsers older than that.
_PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob: data:; "
    "connect-src 'self' blob: data:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def docs_policy(html: str) -> str:
    """The policy of FastAPI's page at /docs: its one inline script, by its hash, around files of a
    content delivery network.
    """
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in _INLINE_SCRIPT.findall(html)
    ]
    scripts = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        "default-src 'none'; connect-src 'self'; "
        f"script-src https://cdn.jsdelivr.net/npm/ {scripts}; "
        "style-src 'unsafe-inline' https://cdn.jsdelivr.net/npm/; "
        "img-src 'self' data: https://fastapi.tiangolo.com; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def is_origin_allowed(origin: str | None, *, host: str | None, allowed: Collection[str]) -> bool:
    """Tells whether a page may open a WebSocket, or send what costs work.

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
    if origin in allowed:
        return True
    scheme, _, site = origin.partition("://")
    own, port = (host or "").lower(), _PORTS.get(scheme, "")
    return bool(own and site) and site.removesuffix(port) == own.removesuffix(port)


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
    if path == _DOCS_PREFIX:  # its route says what it needs
        return _EVERYWHERE
    # The page's files have no version in their names: a browser must ask whether they are still the
    # same.
    return _EVERYWHERE | {"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache"}


class OriginGuard:
    """ASGI middleware: other sites' pages may not POST unless they are allowed.

    A browser would keep the answer from them, but send the picture first.
    """

    def __init__(self, app: ASGIApp, *, allowed: Collection[str]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 403 to a foreign page's POST."""
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if not is_origin_allowed(origin, host=headers.get("host"), allowed=self._allowed):
                await problem_for(OriginRefused(str(origin)))(scope, receive, send)
                return
        await self._app(scope, receive, send)
