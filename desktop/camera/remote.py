"""Has the frames sharpened by a Clearcall elsewhere. While it is away, they pass unsharpened."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from desktop.camera.controls import Controls
from desktop.camera.errors import ServerUnavailable
from desktop.camera.frames import Captured, Shown
from desktop.camera.slot import Slot
from service.errors import ImageError
from service.frame_codec import decode_frame, encode_frame

if TYPE_CHECKING:  # an extra
    from clearcall.blocking import BlockingClient
    from clearcall.client import Result
    from clearcall.messages import Hello

__all__ = ["RemoteSharpening", "stream_url"]

_FIRST_ATTEMPTS = 2
_LOOK_S = 0.25
_LAST_S = 3.0  # for answers that are on their way when the frames are over
_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_SILENT_S = 3.0
_NO_KEY = {401, 403}
_MAX_PIXELS = 64_000_000


def stream_url(text: str) -> str:
    """The stream of the Clearcall at an address: HOST:PORT, http(s)://... or ws(s)://...

    Raises:
        ServerUnavailable: it is no such address.
    """
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        _ = parts.port  # raises where it is none
        scheme = _SCHEMES.get(parts.scheme.lower()) if parts.hostname else None
    except ValueError:
        scheme = None
    if scheme is None:
        raise ServerUnavailable(text, "not a server; write it as http://HOST:PORT")
    path = parts.path if parts.path.strip("/") else "/stream"
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


class RemoteSharpening:
    """Sends frames and receives them sharpened, each in a thread, over one kept-up connection.

    Attributes:
        name: the server's address, fit to be shown.
    """

    def __init__(
        self,
        url: str,
        controls: Controls,
        *,
        quality: int,
        strength: float | None = None,
        target_fps: float | None = None,
        api_key: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connects.

        Args:
            url: See `stream_url`.
            controls: Where the strength is; set to the server's default if none is given here.
            quality: Of the JPEGs, both ways.
            strength: At first; None = the server's default.
            target_fps: What the server's ladder holds.
            api_key: Where the server asks for one.
            clock: Seconds, the same as the frames'.

        Raises:
            ServerUnavailable: There is no such server, or it refuses.
        """
        self._url = stream_url(url)
        parts = urlsplit(self._url)
        self.name = f"{parts.scheme}://{_host(parts.netloc)}{parts.path}"
        self._controls = controls
        self._quality = quality
        self._clock = clock
        self._rung: tuple[str, float] = ("", 1.0)
        self._answered_s = clock()
        self._is_ending = False
        self._refusal: str | None = None
        options: dict[str, Any] = {"quality": quality}
        if strength is not None:
            options["strength"] = strength
        if target_fps is not None:
            options["target_fps"] = target_fps
        if api_key is not None:
            options["api_key"] = api_key
        self._client = self._connected(options)
        hello = self._hello
        controls.strength = hello.default_strength if strength is None else strength
        self._strength_sent = controls.strength

    @property
    def _hello(self) -> Hello:
        """What the server said last."""
        hello = self._client.hello
        assert hello is not None, "it was connected"
        return hello

    def _connected(self, options: dict[str, Any]) -> BlockingClient:
        try:
            from clearcall.blocking import BlockingClient
            from clearcall.errors import ClientError
        except ImportError as exc:
            install = "pip install 'clearcall[client]'"
            raise ServerUnavailable(self.name, f"--server needs websockets: {install}") from exc
        try:
            # Tried first: later the client goes on for ever, and a wrong address is told now.
            with BlockingClient(self._url, max_attempts=_FIRST_ATTEMPTS, **options):
                pass
            return BlockingClient(self._url, clock=self._clock, **options).__enter__()
        except ClientError as exc:
            raise ServerUnavailable(self.name, _told(exc)) from exc

    def run(
        self, frames: Slot[Captured], publish: Callable[[Shown], None], stop: threading.Event
    ) -> None:
        """Works until the frames are over or `stop` is set.

        Raises:
            ServerUnavailable: The server refused the stream for good.
        """
        receiving = threading.Thread(
            target=self._receive, args=(publish, stop), name="clearcall-receive", daemon=True
        )
        receiving.start()
        self._answered_s = self._clock()
        while not stop.is_set() and not frames.is_over and self._refusal is None:
            captured = frames.take(_LOOK_S)
            if self._controls.strength != self._strength_sent:
                self._strength_sent = self._controls.strength
                self._client.set(strength=self._strength_sent)
            if captured is not None:
                self._send(captured, publish)
        self._is_ending = True
        receiving.join(_LAST_S)
        if self._refusal is not None:
            raise ServerUnavailable(self.name, self._refusal)

    def close(self) -> None:
        """Ends the connection."""
        self._client.__exit__(None, None, None)

    @property
    def how(self) -> str:
        """What works on the picture now, for people."""
        student, scale = self._rung
        at = "" if scale == 1 else f" at {scale:.0%}"
        return f"{student}{at} on {_host(urlsplit(self._url).netloc)}".strip()

    @property
    def away(self) -> str:
        """What is wrong with the connection, for people; empty while it is there."""
        if not self._client.is_connected:
            return "server away: not sharpened"
        if self._clock() - self._answered_s > _SILENT_S:  # a network that is gone tells nothing
            return "server silent: not sharpened"
        return ""

    def facts(self) -> dict[str, object]:
        """For the summary."""
        student, scale = self._rung
        return {
            "student": student,
            "scale": scale,
            "device": self._hello.device,
            "server": self.name,
            "server_reconnects": self._client.reconnects,
            "frames_skipped_by_network": self._client.frames_skipped,
        }

    def _send(self, captured: Captured, publish: Callable[[Shown], None]) -> None:
        image = captured.image()
        if self.away:
            publish(Shown(image, captured.captured_s))
        if self._client.is_connected:
            jpeg = encode_frame(image, "jpeg", quality=self._quality)
            self._client.offer(jpeg, captured_s=captured.captured_s)

    def _receive(self, publish: Callable[[Shown], None], stop: threading.Event) -> None:
        from clearcall.errors import ClientError, Closed

        while not stop.is_set():
            try:
                result = self._client.result(timeout_s=_LOOK_S)
            except TimeoutError:
                if self._is_ending:
                    return
            except Closed:
                return
            except ClientError as exc:
                self._refusal = _told(exc)
                return
            else:
                self._show(result, publish)

    def _show(self, result: Result, publish: Callable[[Shown], None]) -> None:
        try:
            image = decode_frame(result.encoded, max_pixels=_MAX_PIXELS)
        except ImageError:
            return
        students = self._hello.students
        if result.student_code < len(students):
            self._rung = students[result.student_code], result.scale_percent / 100
        self._answered_s = self._clock()
        publish(Shown(image, result.captured_s, result.inference_ms))
        self._client.displayed(result)


def _host(netloc: str) -> str:
    return netloc.rpartition("@")[2]


def _told(exc: Exception) -> str:
    """Why there is no stream, and what to do."""
    if getattr(exc, "code", None) in _NO_KEY:
        return f"{exc} Give a key that it knows with --api-key."
    cause = exc.__cause__
    reason = str(exc)
    if isinstance(cause, OSError):
        is_plain = cause.errno is not None and cause.errno > 0
        said = os.strerror(cause.errno or 0) if is_plain else cause.strerror or "no connection"
        reason = f"{said}."
    return f"{reason} Check the address, and that `clearcall serve` runs there."
