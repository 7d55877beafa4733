"""Network cameras: an RTSP server (RTP/JPEG, RFC 2435) and an HTTP server (multipart MJPEG).

Both send flat pictures whose level rises with each, 25 a second, and can be killed and started
again on their port.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import cv2

from tests.desktop.camera.doubles import flat

__all__ = ["MjpegServer", "RtspServer"]

_PERIOD_S = 0.04
_RTP_BYTES = 1200
_HEIGHT, _WIDTH = 48, 64


class _Server:
    """Accepts on a port; every connection is served in a thread of its own."""

    def __init__(self, port: int = 0) -> None:
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def kill(self) -> None:
        """As a camera that loses its power: connections end in the middle of a frame."""
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve_quietly, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve_quietly(self, connection: socket.socket) -> None:
        with connection:
            try:
                self.serve(connection)
            except OSError:
                return

    def serve(self, connection: socket.socket) -> None:
        raise NotImplementedError

    def jpegs(self) -> Iterator[tuple[int, bytes]]:
        number = 0
        while not self._stopped.wait(_PERIOD_S):
            options = [cv2.IMWRITE_JPEG_QUALITY, 90]
            yield number, cv2.imencode(".jpg", flat(number % 200 + 20), options)[1].tobytes()
            number += 1


class MjpegServer(_Server):
    """GET /video.mjpg."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video.mjpg"

    def serve(self, connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=f\r\n\r\n--f\r\n"
        )
        for _, jpeg in self.jpegs():
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            connection.sendall(head + jpeg + b"\r\n--f\r\n")


class RtspServer(_Server):
    """One track, interleaved in the RTSP connection."""

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/live"

    def serve(self, connection: socket.socket) -> None:
        requests = connection.makefile("rb")
        while True:
            lines: list[str] = []
            while line := requests.readline().decode().strip():
                lines.append(line)
            if not lines:
                return
            method = lines[0].split()[0]
            headers = dict(line.lower().split(": ", 1) for line in lines[1:])
            connection.sendall(self._answer(method, headers["cseq"]))
            if method == "PLAY":
                break
        sequence = 0
        for number, jpeg in self.jpegs():
            for payload, is_last in _rtp_jpeg(jpeg):
                header = struct.pack(
                    ">BBHII", 0x80, 26 | is_last << 7, sequence % 65_536, number * 3600, 1
                )
                packet = header + payload
                connection.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)
                sequence += 1

    def _answer(self, method: str, number: str) -> bytes:
        head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n"
        body = ""
        match method:
            case "OPTIONS":
                head += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            case "DESCRIBE":
                body = (
                    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\n"
                    "m=video 0 RTP/AVP 26\r\na=control:track\r\na=framerate:25\r\n"
                )
                head += f"Content-Type: application/sdp\r\nContent-Base: {self.url}/\r\n"
                head += f"Content-Length: {len(body)}\r\n"
            case "SETUP":
                head += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
            case _:
                head += "Session: 1\r\n"
        return f"{head}\r\n{body}".encode()


def _rtp_jpeg(jpeg: bytes) -> Iterator[tuple[bytes, bool]]:
    """Payloads of a 4:2:0 JPEG with the standard Huffman tables, and whether each is the last."""
    tables, scan = b"", b""
    at = 2
    while True:
        marker, length = struct.unpack(">HH", jpeg[at : at + 4])
        segment = jpeg[at + 4 : at + 2 + length]
        if marker == 0xFFDB:
            while segment:
                tables, segment = tables + segment[1:65], segment[65:]
        at += 2 + length
        if marker == 0xFFDA:
            scan = jpeg[at:-2]
            break
    for offset in range(0, len(scan), _RTP_BYTES):
        head = struct.pack(">I", offset) + bytes((1, 255, _WIDTH // 8, _HEIGHT // 8))
        if offset == 0:
            head += struct.pack(">BBH", 0, 0, len(tables)) + tables
        part = scan[offset : offset + _RTP_BYTES]
        yield head + part, offset + len(part) == len(scan)
