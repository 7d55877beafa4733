"""What a server says, as typed values. Fields that this version does not know are left out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from clearcall.errors import BadMessage
from service.frames import PROTOCOL_VERSION

__all__ = ["FrameError", "Hello", "ModelNow", "Stats", "read_hello", "read_notice"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hello:
    """What is served, and what is allowed; `students` are best first, a result tells the index."""

    protocol: int
    model: str
    device: str
    backend: str
    default_strength: float
    max_frame_bytes: int
    max_frame_px: int
    in_flight: int
    students: tuple[str, ...] = ()
    window: int = 2
    sizes: tuple[Mapping[str, Any], ...] = ()
    limits: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelNow:
    """Another model is served; `students` take the place of those in the hello."""

    model: str
    device: str
    backend: str
    default_strength: float
    students: tuple[str, ...]
    sizes: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class FrameError:
    """An answer that is an error; `sequence` is the frame's number, or None."""

    code: str
    message: str
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """The server's statistics of this stream; see docs/protocol.md."""

    received: int
    answered: int
    dropped: Mapping[str, int]
    in_work: int
    fps_in: float
    fps_out: float
    kbps_in: float
    kbps_out: float
    stages_ms: Mapping[str, Mapping[str, float]]
    rung: Mapping[str, Any] | None
    quality: int
    still_share: float | None
    unacknowledged: int
    window_stalls: int
    glass_to_glass_ms: Mapping[str, float] | None


def read_hello(text: str | bytes) -> Hello | FrameError:
    """Reads the first message: a hello, or the error of a refusal.

    Raises:
        BadMessage: Neither, or of another protocol version.
    """
    message = _parsed(text)
    if message.get("type") == "error":
        return _made(FrameError, message)
    if message.get("type") != "hello" or message.get("protocol") != PROTOCOL_VERSION:
        raise BadMessage(
            f"Expected a hello of protocol version {PROTOCOL_VERSION}, got {str(text)[:200]}."
        )
    hello = _made(Hello, message)
    return dataclasses.replace(hello, students=tuple(hello.students), sizes=tuple(hello.sizes))


def read_notice(text: str) -> Stats | FrameError | ModelNow | Mapping[str, Any]:
    """Reads a later text message; of a kind that has no class here, its fields.

    Raises:
        BadMessage: Not a JSON object with a type.
    """
    message = _parsed(text)
    match message["type"]:
        case "stats":
            return _made(Stats, message)
        case "error":
            return _made(FrameError, message)
        case "model":
            now = _made(ModelNow, message)
            return dataclasses.replace(now, students=tuple(now.students), sizes=tuple(now.sizes))
    return message


def _parsed(text: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError as exc:
        raise BadMessage(f"Not JSON: {str(text)[:200]}.") from exc
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise BadMessage(f"Not an object with a type: {str(text)[:200]}.")
    return message


def _made(kind: type[T], message: Mapping[str, Any]) -> T:
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    try:
        return kind(**{name: value for name, value in message.items() if name in names})
    except TypeError as exc:
        raise BadMessage(f"A {message['type']} message lacks fields: {exc}.") from exc
