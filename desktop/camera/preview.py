"""The picture in a browser of this machine: MJPEG on 127.0.0.1, the newest frame to every viewer.

Other machines cannot reach it; other sites neither: a Host that is not this machine's is refused
(DNS rebinding), the picture may not be embedded elsewhere, and a key takes a header that pages of
other sites may not send.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from desktop.camera.controls import Controls
from desktop.camera.errors import OutputUnavailable
from desktop.camera.frames import Shown
from desktop.camera.output import each_frame
from desktop.camera.overlay import with_caption
from desktop.camera.slot import Slot
from service.frame_codec import encode_frame

__all__ = ["DEFAULT_PORT", "Preview"]

DEFAULT_PORT = 8001
_HOST = "127.0.0.1"
_OWN_NAMES = {"127.0.0.1", "localhost", "[::1]"}
_MAX_VIEWERS = 8
_STALLED_S = 10.0  # a viewer that reads nothing is left
_SEND_BUFFER_BYTES = 64 * 1024  # what waits here is old when it is seen
_BOUNDARY = "clearcall-frame"
_DELIMITER = f"\r\n--{_BOUNDARY}\r\n".encode()
_KEYS = frozenset("+=-_")  # not q: a tab is no place to end the program from
_LOOK_S = 0.25
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Preview:
    """Serves the page. Frames are encoded only while somebody looks."""

    def __init__(
        self,
        controls: Controls,
        *,
        port: int = 0,
        quality: int = 85,
        has_overlay: bool = True,
        fps: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Binds the port and begins to answer.

        Args:
            controls: What + and - on the page change.
            port: 0 = any that is free.
            quality: Of the JPEGs.
            has_overlay: Whether the figures are drawn into the picture.
            fps: The present rate, for the page's title.

        Raises:
            OutputUnavailable: The port is taken, or may not be used.
        """
        self.name = f"preview port {port}"
        try:
            self._server = _Server((_HOST, port), self)
        except OSError as exc:
            reason = f"{exc.strerror}; choose another --preview-port, or 0 for any free one"
            raise OutputUnavailable(self.name, reason) from exc
        self.port = int(self._server.server_address[1])
        self.name = self.url = f"http://{_HOST}:{self.port}/"
        self.controls = controls
        self._fps = fps
        self._quality = quality
        self._has_overlay = has_overlay
        self._caption: tuple[str, ...] = ()
        self._latest: Shown | None = None
        self._encoded = 0
        self._viewers: list[Slot[bytes]] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_S,), name="clearcall-preview-http"
        )
        self._thread.start()

    def run(self, frames: Slot[Shown], stop: threading.Event) -> None:
        """See `Output.run`."""
        each_frame(frames, stop, self._show)

    def close(self) -> None:
        """See `Output.close`. Viewers' connections end."""
        self._stopped.set()
        with self._lock:
            for viewer in self._viewers:
                viewer.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def facts(self) -> dict[str, object]:
        """See `Output.facts`."""
        return {"preview": {"url": self.url, "frames": self._encoded}}

    def join(self) -> Slot[bytes] | None:
        """A new viewer's JPEGs, beginning with the present picture; None if there are too many."""
        viewer: Slot[bytes] = Slot()
        with self._lock:
            if len(self._viewers) >= _MAX_VIEWERS or self._stopped.is_set():
                return None
            self._viewers.append(viewer)
            latest = self._latest
        if latest is not None:
            viewer.put(self._jpeg(latest))
        return viewer

    def leave(self, viewer: Slot[bytes]) -> None:
        """The viewer has gone."""
        with self._lock:
            self._viewers.remove(viewer)

    def state(self) -> dict[str, object]:
        """For the page."""
        return {
            "caption": self._caption,
            "fps": round(self._fps(), 1),
            "strength": self.controls.strength,
        }

    def _show(self, shown: Shown) -> None:
        self._caption = shown.caption
        with self._lock:
            self._latest = shown
            viewers = [*self._viewers]
        if viewers:
            jpeg = self._jpeg(shown)
            self._encoded += 1
            for viewer in viewers:
                viewer.put(jpeg)

    def _jpeg(self, shown: Shown) -> bytes:
        image = with_caption(shown.image, shown.caption) if self._has_overlay else shown.image
        return encode_frame(image, "jpeg", quality=self._quality)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], preview: Preview) -> None:
        self.preview = preview
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A viewer that is gone is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "Clearcall"
    sys_version = ""
    timeout = _STALLED_S

    def do_GET(self) -> None:
        if not self._is_ours():
            return
        match self.path.partition("?")[0]:
            case "/":
                page = resources.files("desktop.camera").joinpath("preview.html").read_bytes()
                self._answer(page, "text/html; charset=utf-8")
            case "/state.json":
                state = json.dumps(self.server.preview.state()).encode()
                self._answer(state, "application/json")
            case "/stream.mjpg":
                self._stream()
            case _:
                self._refuse(HTTPStatus.NOT_FOUND, "There is only the page at /.")

    def do_POST(self) -> None:
        if not self._is_ours():
            return
        key = self.headers.get("X-Clearcall-Key", "")
        if self.path != "/key" or key not in _KEYS or len(key) != 1:
            self._refuse(HTTPStatus.NOT_FOUND, "Only /key with X-Clearcall-Key: + or -.")
            return
        self.server.preview.controls.press(key)
        self._answer(b"{}", "application/json")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its parent's name
        """Requests are no news."""

    def _is_ours(self) -> bool:
        host = self.headers.get("Host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name.lower() in _OWN_NAMES:
            return True
        self._refuse(
            HTTPStatus.MISDIRECTED_REQUEST, "This preview answers to 127.0.0.1 and localhost only."
        )
        return False

    def _stream(self) -> None:
        preview = self.server.preview
        viewer = preview.join()
        if viewer is None:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"{_MAX_VIEWERS} are looking already.")
            return
        try:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
            self._begin(HTTPStatus.OK, kind)
            self.wfile.write(_DELIMITER)
            while not viewer.is_over:
                jpeg = viewer.take(_LOOK_S)
                if jpeg is not None:
                    self.wfile.write(_part(jpeg))
        except OSError:  # it has gone, or reads nothing
            pass
        finally:
            preview.leave(viewer)

    def _begin(self, status: HTTPStatus, kind: str, size_bytes: int | None = None) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        if size_bytes is not None:
            self.send_header("Content-Length", str(size_bytes))
        self.end_headers()

    def _answer(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._begin(status, kind, len(body))
        self.wfile.write(body)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._answer(f"{reason}\n".encode(), "text/plain; charset=utf-8", status)


def _part(jpeg: bytes) -> bytes:
    # The boundary goes after the picture: browsers show it when they see that it is complete.
    head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    return head % len(jpeg) + jpeg + _DELIMITER
