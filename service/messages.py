"""The text messages of a stream, both ways. docs/protocol.schema.json is made from these models.

Strict: a field or type that is unknown is an error, and no value is converted to another type.
`python -m service.messages` prints the schema.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.json_schema import models_json_schema

from service.errors import ClearcallError, RequestInvalid
from service.frames import PROTOCOL_VERSION, FrameFormat

__all__ = [
    "MAX_TEXT_CHARS",
    "ClientMessage",
    "Displayed",
    "ErrorMessage",
    "Hello",
    "Limits",
    "ModelNow",
    "Pause",
    "Paused",
    "Ping",
    "Pong",
    "Resume",
    "Resumed",
    "RungFacts",
    "ServerMessage",
    "Settings",
    "SettingsNow",
    "Size",
    "Spread",
    "Stats",
    "StatsRequest",
    "error_message",
    "parse_message",
    "schema_json",
]

MAX_TEXT_CHARS = 4096
_MAX_SEQUENCE = 2**32 - 1
_MAX_ID_CHARS = 128


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


# From the client


class Settings(_Message):
    """Changes what it names; a field that is absent keeps its value."""

    type: Literal["settings"]
    strength: float | None = Field(
        default=None, ge=0, le=2, description="of the correction: 0 = off, 1 = as trained; 0 to 2"
    )
    quality: int | None = Field(
        default=None, ge=1, le=100, description="of JPEG and WebP, the highest if max_kbps is set"
    )
    format: FrameFormat | None = Field(default=None, description="of the answers")
    window: int | None = Field(
        default=None, ge=1, le=17, description="results unacknowledged at most; to in_flight + 1"
    )
    target_fps: float | None = Field(
        default=None, ge=1, le=240, description="frames per second to hold; null = none"
    )
    target_latency_ms: float | None = Field(
        default=None, ge=1, le=60_000, description="latency in the server to hold; null = none"
    )
    adapt: bool | None = Field(
        default=None, description="step between students and scales to hold a target"
    )
    still_regions: bool | None = Field(
        default=None, description="use the last correction again where nothing has changed"
    )
    max_kbps: float | None = Field(
        default=None, ge=1, le=10_000_000, description="1000 bits/s of answers; null = no limit"
    )


class Pause(_Message):
    """Frames that come are dropped until resume."""

    type: Literal["pause"]


class Resume(_Message):
    """Ends a pause."""

    type: Literal["resume"]


class Ping(_Message):
    """Is answered with a pong of the same id; keeps an idle stream open."""

    type: Literal["ping"]
    id: int | float | Annotated[str, Field(max_length=_MAX_ID_CHARS)] | None = None


class StatsRequest(_Message):
    """Is answered with stats."""

    type: Literal["stats"]


class Displayed(_Message):
    """The result of this number, and all before it, need not be waited for any longer."""

    type: Literal["displayed"]
    sequence: int = Field(ge=0, le=_MAX_SEQUENCE)
    latency_ms: float | None = Field(
        default=None, ge=0, le=3_600_000, description="since its frame was captured; null = unknown"
    )


# From the server


class Size(_Message):
    """A size that the server measured when it started."""

    width: int
    height: int
    ms: float = Field(description="of the network, for one frame")


class Limits(_Message):
    """What the server takes from one stream. 0 = no limit."""

    max_frame_bytes: int
    max_frame_px: int
    max_fps: float
    max_bytes_per_s: float
    idle_timeout_s: float


class Hello(_Message):
    """The first message of a stream."""

    type: Literal["hello"] = "hello"
    protocol: int = PROTOCOL_VERSION
    model: str
    device: str
    backend: str
    default_strength: float
    max_frame_bytes: int
    max_frame_px: int
    in_flight: int
    students: tuple[str, ...] = Field(description="best first; results tell the index")
    window: int = Field(description="the window of new streams")
    sizes: tuple[Size, ...]
    limits: Limits


class ModelNow(_Message):
    """Another model is served; results after this message tell the index into its students."""

    type: Literal["model"] = "model"
    model: str
    device: str
    backend: str
    default_strength: float
    students: tuple[str, ...] = Field(description="best first; results tell the index")
    sizes: tuple[Size, ...]


class SettingsNow(_Message):
    """All the settings that hold; the answer to settings."""

    type: Literal["settings"] = "settings"
    strength: float
    quality: int
    format: FrameFormat
    window: int
    target_fps: float | None
    target_latency_ms: float | None
    adapt: bool
    still_regions: bool
    max_kbps: float | None


class Paused(_Message):
    """The answer to pause."""

    type: Literal["paused"] = "paused"


class Resumed(_Message):
    """The answer to resume."""

    type: Literal["resumed"] = "resumed"


class Pong(_Message):
    """The answer to ping."""

    type: Literal["pong"] = "pong"
    id: int | float | str | None


class Spread(_Message):
    """Of the last seconds."""

    p50: float
    p95: float


class RungFacts(_Message):
    """What the last frame was sharpened with."""

    student: str
    scale: float


class Stats(_Message):
    """Counts since the stream began; rates and times of its last 5 seconds."""

    type: Literal["stats"] = "stats"
    received: int = Field(description="= answered + all of dropped + in_work")
    answered: int
    dropped: dict[str, int] = Field(description="by reason")
    in_work: int
    fps_in: float
    fps_out: float
    kbps_in: float
    kbps_out: float
    stages_ms: dict[str, Spread] = Field(
        description="decode, queue, inference, encode, total; empty without answers"
    )
    rung: RungFacts | None
    quality: int = Field(description="of the next answer")
    still_share: float | None = Field(description="mean of the last frames, 0 to 1")
    unacknowledged: int
    window_stalls: int = Field(description="how often the window held a frame back")
    glass_to_glass_ms: Spread | None = Field(description="as the client told; null = it did not")


class ErrorMessage(_Message):
    """What was wrong with a message or a frame."""

    type: Literal["error"] = "error"
    code: str
    message: str
    sequence: int | None


ClientMessage = Settings | Pause | Resume | Ping | StatsRequest | Displayed
ServerMessage = Hello | ModelNow | SettingsNow | Paused | Resumed | Pong | Stats | ErrorMessage

_CLIENT_KINDS: tuple[type[_Message], ...] = (
    Settings,
    Pause,
    Resume,
    Ping,
    StatsRequest,
    Displayed,
)
_SERVER_KINDS: tuple[type[_Message], ...] = (
    Hello,
    ModelNow,
    SettingsNow,
    Paused,
    Resumed,
    Pong,
    Stats,
    ErrorMessage,
)
_CLIENT: TypeAdapter[ClientMessage] = TypeAdapter(
    Annotated[ClientMessage, Field(discriminator="type")]
)


def parse_message(text: str) -> ClientMessage:
    """Reads a text message of a client.

    Raises:
        RequestInvalid: It cannot be understood; says what is wrong and what is right.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise RequestInvalid(f"A text message has at most {MAX_TEXT_CHARS} characters.")
    try:
        return _CLIENT.validate_json(text)
    except ValidationError as exc:
        raise RequestInvalid(_explain(exc)) from exc


def error_message(error: ClearcallError, sequence: int | None) -> ErrorMessage:
    """An error as a stream's client gets it; `sequence` is the number of the frame it is about."""
    return ErrorMessage(code=error.code, message=str(error), sequence=sequence)


def schema_json() -> str:
    """The JSON schema (draft 2020-12) of all text messages, those of the client and the server."""
    kinds: list[Any] = [(kind, "validation") for kind in _CLIENT_KINDS]
    kinds += [(kind, "serialization") for kind in _SERVER_KINDS]
    refs, schema = models_json_schema(kinds, ref_template="#/$defs/{model}")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Text messages of the Clearcall stream protocol, version {PROTOCOL_VERSION}",
        "oneOf": [{"$ref": "#/$defs/FromClient"}, {"$ref": "#/$defs/FromServer"}],
        "$defs": {
            "FromClient": {"oneOf": [refs[kind, "validation"] for kind in _CLIENT_KINDS]},
            "FromServer": {"oneOf": [refs[kind, "serialization"] for kind in _SERVER_KINDS]},
            **schema["$defs"],
        },
    }
    return json.dumps(schema, indent=2) + "\n"


def _explain(exc: ValidationError) -> str:
    problems = "; ".join(_explain_one(error) for error in exc.errors()[:5])
    return (
        "Expected a JSON object with a known type and its fields, see docs/protocol.md. "
        f"{problems}."
    )


def _explain_one(error: Any) -> str:
    if error["type"] == "union_tag_not_found":
        return "type: Field required"
    # The first part of a place is the message's type, which the client knows.
    where = ".".join(str(part) for part in error["loc"][1:]) or "message"
    return f"{where}: {error['msg']}"


if __name__ == "__main__":
    print(schema_json(), end="")
