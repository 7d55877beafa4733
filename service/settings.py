"""The service's settings: CLEARCALL_* variables and flags, checked at start, then never changed.

Not here: what a client sets for its own stream (`stream.StreamSettings`).
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import SettingsInvalid
from service.keys import KeyHash, parse_hashes

__all__ = ["PREFIX", "Settings", "load_settings", "unknown_variables"]

PREFIX = "CLEARCALL_"

_SECRETS = {"api_keys", "admin_keys", "token_secret"}  # what is wrong with one may be one

LadderSize = Literal["nano", "small", "base"]


class Settings(BaseSettings):
    """What an operator can set. Each description ends with the unit and the legal range."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid"
    )

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="address to listen on; 0.0.0.0 for all interfaces",
    )
    port: int = Field(
        default=8000, ge=0, le=65535, description="TCP port; 0 to 65535, 0 = any free one"
    )
    checkpoint: Path = Field(
        default=Path("small"),
        description="student: nano, small, base, or a checkpoint's path (.safetensors)",
    )
    checkpoints: Path | None = Field(
        default=None,
        description="folder that is watched for checkpoints: a new one that passes the checks is "
        "served without a break; none = none is watched",
    )
    checkpoint_poll_s: float = Field(
        default=2.0,
        ge=0.05,
        le=3_600,
        allow_inf_nan=False,
        description="how often that folder is looked at, seconds; 0.05 to 3600",
    )
    checkpoint_tolerance_db: float = Field(
        default=0.2,
        ge=0,
        le=60,
        allow_inf_nan=False,
        description="by how much a new checkpoint may be worse than what is served on each kind of "
        "degraded picture, dB; 0 to 60",
    )
    checkpoint_max_slowdown: float = Field(
        default=1.3,
        ge=0,
        le=100,
        allow_inf_nan=False,
        description="a new checkpoint's time for a picture over that of what is served, at most; "
        "0 to 100, 0 = any",
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="where the network runs: auto, cpu, mps, cuda or cuda:N",
    )
    backend: Literal["auto", "torch", "openvino"] = Field(
        default="auto", description="what runs the network: auto, torch or openvino"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="what the network calculates in: auto (fp16 on an NVIDIA GPU; with OpenVINO "
        "bf16 where that is faster; else fp32), fp32 or bf16",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="CPU threads of the network; 0 to 1024, 0 = all cores that the process may use",
    )
    codec_threads: int = Field(
        default=0,
        ge=0,
        le=64,
        description="threads that decode and encode frames; 0 to 64, 0 = one for each core that "
        "the process may use, but at least 2",
    )
    ladder: Annotated[tuple[LadderSize, ...], NoDecode] = Field(
        default=("small", "nano"),
        description="bundled students that streams may step down to, to hold a target that they "
        "ask for: of nano, small, base, separated by commas, those that are smaller than the "
        "served one; or none",
    )
    batch_wait_ms: float = Field(
        default=0.0,
        ge=0,
        le=1_000,
        allow_inf_nan=False,
        description="how long a frame may wait for others of its size to go through a GPU "
        "together, milliseconds; 0 to 1000, 0 = never",
    )
    max_upload_bytes: int = Field(
        default=20_000_000,
        ge=1_000,
        le=2_000_000_000,
        description="largest upload, bytes; 1e3 to 2e9",
    )
    max_pixels: int = Field(  # some of Pillow's readers refuse more than 178.9e6 themselves
        default=50_000_000,
        ge=1,
        le=178_000_000,
        description="largest uploaded picture, pixels; 1 to 178e6",
    )
    max_uploads: int = Field(
        default=32, ge=1, le=10_000, description="uploads being received at a time; 1 to 10000"
    )
    upload_timeout_s: float = Field(
        default=60.0,
        gt=0,
        le=3_600,
        description="time for one upload to arrive, seconds; up to 3600",
    )
    max_waiting_images: int = Field(
        default=8,
        ge=0,
        le=1_000,
        description="uploaded pictures that may wait for their turn; 0 to 1000",
    )
    max_frame_bytes: int = Field(
        default=4_000_000,
        ge=1_000,
        le=100_000_000,
        description="largest stream frame, bytes; 1e3 to 1e8",
    )
    max_frame_pixels: int = Field(
        default=8_300_000,
        ge=1,
        le=100_000_000,
        description="largest stream frame, pixels; 1 to 1e8",
    )
    max_streams: int = Field(
        default=16, ge=1, le=1_000, description="streams open at a time; 1 to 1000"
    )
    max_pixels_per_s: int = Field(
        default=0,
        ge=0,
        le=10**12,
        description="pixels per second that open streams may take before new streams and uploads "
        "are refused; 0 to 1e12, 0 = no limit",
    )
    drain_s: float = Field(
        default=5.0,
        ge=0,
        le=3_600,
        allow_inf_nan=False,
        description="time for streams and uploads to end when the service stops, seconds; "
        "0 to 3600",
    )
    window: int = Field(
        default=2,
        ge=1,
        le=17,
        description="results that may be on their way to a client that acknowledges what it "
        "displays, until it sets another number; 1 to 17",
    )
    max_stream_fps: float = Field(
        default=0.0,
        ge=0,
        le=1_000,
        allow_inf_nan=False,
        description="frames per second that one stream may send, what is more is dropped; 0 to "
        "1000, 0 = no limit",
    )
    max_stream_bytes_per_s: float = Field(
        default=0.0,
        ge=0,
        le=1e10,
        allow_inf_nan=False,
        description="bytes per second that one stream may send, what is more is dropped; 0 to "
        "1e10, 0 = no limit",
    )
    idle_timeout_s: float = Field(
        default=300.0,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="how long a stream may be silent before it is closed, seconds; 0 to 86400, "
        "0 = for ever",
    )
    stalled_reader_s: float = Field(
        default=10.0,
        ge=0,
        le=3_600,
        allow_inf_nan=False,
        description="how long answers may wait for a client that reads not a byte of them, "
        "before it is closed, seconds; 0 to 3600, 0 = for ever",
    )
    frames_in_flight: int = Field(
        default=3,
        ge=1,
        le=16,
        description="frames of one stream being worked on at a time; 1 to 16",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="other sites whose pages may use the service, like https://meet.example.org, "
        "comma-separated; * = any",
    )
    api_keys: Annotated[tuple[KeyHash, ...], NoDecode] = Field(
        default=(),
        description="hashes of the API keys, comma-separated, as 'clearcall key' prints them; "
        "none here and in the file = no key is needed",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="a file of such hashes, one a line; read again when it changes",
    )
    admin_keys: Annotated[tuple[KeyHash, ...], NoDecode] = Field(
        default=(),
        description="hashes of the admin keys; none here and in the file = admin calls are off",
    )
    admin_keys_file: Path | None = Field(
        default=None, description="a file of such hashes; read again when it changes"
    )
    token_secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="what replicas sign the tokens of browsers with, 32 characters or more, the "
        "same for all; random for each process if not set",
    )
    metrics_key: bool = Field(
        default=False, description="whether GET /metrics needs a key too; true or false"
    )
    max_requests_per_minute: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="requests and opened streams of one key (of one address where no key is "
        "needed) in a minute; 0 to 1e6, 0 = no limit",
    )
    max_bad_requests_per_minute: int = Field(
        default=600,
        ge=0,
        le=1_000_000,
        description="requests of one address that may be answered with 400 to 499 in a minute, "
        "before it gets 429 for all that come without a right key; 0 to 1e6, 0 = no limit",
    )
    max_streams_per_key: int = Field(
        default=0,
        ge=0,
        le=1_000,
        description="open streams of one key (of one address where no key is needed); 0 to 1000, "
        "0 = no limit",
    )
    max_connections: int = Field(
        default=512,
        ge=8,
        le=100_000,
        description="TCP connections at a time; at the limit those without a request to be "
        "answered make room, those that rest longest first; 8 to 100000",
    )
    header_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=3_600,
        description="time for a request's headers to arrive, seconds; up to 3600",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("127.0.0.1", "::1"),
        description="addresses or networks of proxies whose X-Forwarded-For and -Proto are "
        "believed, comma-separated",
    )
    access_log: bool = Field(
        default=True, description="whether each request is logged; true or false"
    )
    log_format: Literal["text", "json"] = Field(default="text", description="text or json")
    trace_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="share of uploads and frames that are traced with OpenTelemetry (extra otel); "
        "0 to 1, 0 = off",
    )
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        default="info", description="critical, error, warning, info or debug"
    )

    @field_validator("checkpoint", "checkpoints", "api_keys_file", "admin_keys_file", mode="before")
    @classmethod
    def _require_name(cls, value: object) -> object:
        if isinstance(value, str) and not value.strip():  # a path to the current folder otherwise
            raise ValueError("an empty path")
        return value

    @field_validator("allowed_origins", "ladder", "trusted_proxies", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("api_keys", "admin_keys", mode="before")
    @classmethod
    def _parse_keys(cls, value: object) -> object:
        return parse_hashes(value) if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        # uvicorn takes one with host bits (172.18.0.1/16) for a name, and trusts nobody by it.
        return tuple(str(ipaddress.ip_network(network, strict=False)) for network in networks)

    @field_validator("ladder", mode="after")
    @classmethod
    def _once(cls, sizes: tuple[LadderSize, ...]) -> tuple[LadderSize, ...]:
        return tuple(dict.fromkeys(sizes))

    @field_validator("ladder", mode="before")
    @classmethod
    def _split_ladder(cls, value: object) -> object:
        # An empty variable is as good as none, so that "no ladder" needs a word.
        return () if isinstance(value, str) and value.strip().lower() == "none" else value

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            scheme, host, *rest = urlsplit(origin)
            if origin not in ("*", "null") and (not scheme or not host or any(rest)):
                raise ValueError(f"{origin!r} is not an origin like https://meet.example.org")
        return tuple(origin.lower() for origin in origins)

    @field_validator("device", "backend", "precision", "log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


def load_settings(flags: Mapping[str, Any] | None = None) -> Settings:
    """Reads the CLEARCALL_* variables; a flag wins over its variable.

    Args:
        flags: Field name to value, only those that were given.

    Raises:
        SettingsInvalid: Names every wrong setting, what it holds and what it should hold.
    """
    try:
        return Settings(**(flags or {}))
    except ValidationError as exc:
        raise SettingsInvalid("; ".join(_explain(error) for error in exc.errors())) from exc


def unknown_variables(environment: Mapping[str, str]) -> dict[str, str | None]:
    """Finds CLEARCALL_* variables that no setting reads.

    They are no error: orchestrators add variables of their own under a service's name.

    Returns:
        Each variable's name with the name that may have been meant, if any is close.
    """
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    unknown = [name for name in environment if name.startswith(PREFIX) and name not in known]
    return {
        name: next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.8)), None)
        for name in unknown
    }


def _explain(error: ErrorDetails) -> str:
    name = str(error["loc"][0]) if error["loc"] else "settings"
    field = Settings.model_fields.get(name)
    if field is None:
        return f"{name} is not a setting"
    where = f"{PREFIX}{name.upper()} (--{name.replace('_', '-')})"
    held = "what was set (not shown)" if name in _SECRETS else repr(error["input"])
    return f"{where} is {held}, but should be: {field.description}. {error['msg']}."
