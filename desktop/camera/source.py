"""What `clearcall camera SOURCE` may be: a camera's number, a device, a URL or a file."""

from __future__ import annotations

import re
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from desktop.camera.errors import SourceUnavailable

__all__ = ["Source", "parse_source", "why_not"]

_DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443}
_WITHOUT_CONNECTION = {"udp", "rtp", "srt", "tcp"}
_PROBE_S = 2.0


@dataclass(frozen=True, slots=True)
class Source:
    """`address` is what OpenCV opens; `name` is fit to be shown, without a password."""

    kind: Literal["camera", "url", "file"]
    address: int | str
    name: str


def parse_source(text: str) -> Source:
    """Tells what a source is by its looks.

    Raises:
        SourceUnavailable: a URL of a kind that is not read.
    """
    if text.isdecimal():
        return Source("camera", int(text), f"camera {int(text)}")
    if text.startswith("/dev/"):
        return Source("camera", text, text)
    scheme, found, _ = text.partition("://")
    if found and not Path(text).exists():
        scheme = scheme.lower()
        if scheme not in _DEFAULT_PORTS and scheme not in _WITHOUT_CONNECTION:
            known = ", ".join(sorted({*_DEFAULT_PORTS, *_WITHOUT_CONNECTION}))
            raise SourceUnavailable(text, f"{scheme}:// is not read; these are: {known}")
        return Source("url", text, _without_password(text))
    return Source("file", text, text)


def why_not(source: Source) -> str:
    """Why a source that OpenCV could not open gives no frames, and what to do. May take 2 s."""
    if source.kind == "camera":
        return _why_no_camera(source.address)
    if source.kind == "url":
        return _why_no_url(str(source.address))
    return _why_no_file(Path(str(source.address)))


def _why_no_camera(address: int | str) -> str:
    listed = "`clearcall camera --list` shows the cameras of this machine"
    if sys.platform == "linux":
        device = Path(f"/dev/video{address}" if isinstance(address, int) else address)
        if not device.exists():
            return f"there is no {device}; {listed}"
        try:
            device.open("r+b", buffering=0).close()
        except PermissionError:
            return (
                f"no permission to use {device}; add yourself to its group "
                "(sudo usermod -aG video $USER) and log in again"
            )
        except OSError as exc:
            return f"{device}: {exc.strerror}; close other programs that use it, or plug it in anew"
    may = "; allow the terminal to use the camera" if sys.platform in ("darwin", "win32") else ""
    return f"it gives no picture; close other programs that use it{may}; {listed}"


def _why_no_file(path: Path) -> str:
    if not path.exists():
        return "no such file, and no camera number or URL either"
    if path.is_dir():
        return "a folder; name one video of it"
    try:
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except OSError as exc:
        return f"cannot be read: {exc.strerror}"
    if is_empty:
        return "the file is empty"
    return "no video that can be read: cut off, or of another kind"


def _why_no_url(url: str) -> str:
    parts = urlsplit(url)
    try:
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme.lower())
    except ValueError:
        return "the port is not a number"
    if not parts.hostname or port is None or parts.scheme.lower() in _WITHOUT_CONNECTION:
        return "no video came; check the address, and that the sender is on"
    host = f"{parts.hostname}:{port}"
    try:
        socket.create_connection((parts.hostname, port), _PROBE_S).close()
    except socket.gaierror:
        return f"the name {parts.hostname} is not known; check the address"
    except TimeoutError:
        return f"{host} does not answer; check the address and the network"
    except OSError as exc:
        return f"{host}: {exc.strerror}; check the address, and that the camera is on"
    return (
        f"{host} answers, but sends no video that can be read; check the path, the user and "
        "the password"
    )


def _without_password(url: str) -> str:
    return re.sub(r"://[^/@]*@", "://", url, count=1)
