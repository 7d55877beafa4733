"""Between the application and the network: listening sockets, and how uvicorn is set up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI

from service.app import drain
from service.connection import Connection
from service.descriptors import connections_that_fit
from service.errors import SettingsInvalid
from service.frames import FRAME_HEADER_BYTES
from service.http_guard import guarded_http
from service.logs import log_config
from service.settings import PREFIX, Settings

__all__ = ["Server", "bind", "server_config", "url_of"]

_GRACE_S = 2  # for what is left of requests and close handshakes after the drain
_LOOK_S = 0.1  # how often a second Ctrl+C is looked for while the service drains
_PING_S = 20.0
_EVERY_ADDRESS = ("0.0.0.0", "::")  # nosec B104 - compared with, not bound to
# How much of the results may wait unsent in the kernel: more would be old frames, piling up for a
# client that reads slowly.
_MAX_UNSENT_BYTES = 32 * 1024


class Server(uvicorn.Server):
    """Uvicorn, telling when it takes connections, and draining the application before it stops.

    Its own shutdown begins by closing every WebSocket, with 1012 and without a reason. So the
    application is drained first: it still answers, tells that it is not ready, refuses what is new
    and ends its streams itself. A second Ctrl+C cuts that short.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts the application, then listens; ready only after both."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drains, then stops listening, closes what is left and shuts the application down."""
        app = self.config.app
        assert isinstance(app, FastAPI), "see server_config"
        draining = asyncio.create_task(drain(app))
        while not draining.done() and not self.force_exit:
            await asyncio.wait({draining}, timeout=_LOOK_S)
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
        await super().shutdown(sockets)


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Sets uvicorn up for the application."""
    config = uvicorn.Config(
        app,
        log_level=settings.log_level,
        log_config=log_config(settings),
        access_log=False,
        server_header=False,
        forwarded_allow_ips=list(settings.trusted_proxies),
        ws=Connection,
        ws_max_size=settings.max_frame_bytes + FRAME_HEADER_BYTES,  # beyond it: close code 1009
        ws_per_message_deflate=False,  # JPEG does not deflate
        ws_ping_interval=_PING_S,
        ws_ping_timeout=_PING_S,
        timeout_graceful_shutdown=_GRACE_S,
    )
    config.http = guarded_http(  # after the logging is set up, for it may warn
        max_connections=connections_that_fit(settings.max_connections),
        header_timeout_s=settings.header_timeout_s,
        floods=app.state.floods,
    )
    return config


def bind(host: str, port: int) -> list[socket.socket]:
    """Binds a socket to each address of `host`; with port 0, one socket to a free port.

    Raises:
        SettingsInvalid: No such address on this machine, or the port is taken or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as exc:
        raise SettingsInvalid(
            f"{PREFIX}HOST (--host) {host!r} is not an address on this machine: {exc}."
        ) from exc
    addresses = list(dict.fromkeys((family, address) for family, *_, address in found))
    bound: list[socket.socket] = []
    try:
        for family, address in addresses if port else addresses[:1]:
            bound.append(_bound_socket(family, address))
    except SettingsInvalid:
        for listener in bound:
            listener.close()
        raise
    return bound


def url_of(listener: socket.socket) -> str:
    """What to open in a browser on this machine."""
    host, port = listener.getsockname()[:2]
    if host in _EVERY_ADDRESS:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bound_socket(family: int, address: Any) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # connections inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MAX_UNSENT_BYTES)
        listener.bind(address)
    except OSError as exc:
        listener.close()
        raise SettingsInvalid(
            f"Cannot listen on {address[0]} port {address[1]}: {exc.strerror}. "
            "Choose another port with --port."
        ) from exc
    return listener
