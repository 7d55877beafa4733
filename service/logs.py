"""Logging: text or JSON, with the request's id, without secrets.

Neither pictures nor keys are logged by anything here. What other libraries might log (uvicorn and
websockets tell URLs and headers at some levels) has keys and tokens blotted out.
"""

from __future__ import annotations

import json
import logging
import re
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from service.settings import Settings

__all__ = [
    "REQUEST_ID",
    "TRACE_PARENT",
    "WIRE_LOGGER",
    "JsonFormatter",
    "TextFormatter",
    "log_config",
    "without_secrets",
]

WIRE_LOGGER = "uvicorn.error.wire"
REQUEST_ID: ContextVar[str] = ContextVar("clearcall_request_id", default="")
TRACE_PARENT: ContextVar[str] = ContextVar("clearcall_trace_parent", default="")

_SECRET = re.compile(
    r"(?i)(token(?:=|%3d)|\bauthorization\W{1,6}(?:bearer\s+|basic\s+)?|\bbearer\s+|\bx-api-key\W{1,6})"
    r"[^\s&\"',;)]+|\bclearcall_[\w-]{43}"
)


def without_secrets(text: str) -> str:
    """The text with keys and tokens replaced by three dots."""
    return _SECRET.sub(lambda match: f"{match[1] or ''}...", text)


class TextFormatter(logging.Formatter):
    """One line: time, level, message, and the request's id where there is one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-8s %(message)s%(in_request)s")

    def format(self, record: logging.LogRecord) -> str:
        """As logging does, without secrets."""
        request_id = REQUEST_ID.get()
        record.in_request = f" [{request_id}]" if request_id else ""
        return without_secrets(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request_id, and what is in `facts`."""

    def format(self, record: logging.LogRecord) -> str:
        """As an object, without secrets."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
        }
        if request_id := REQUEST_ID.get():
            entry["request_id"] = request_id
        for name, fact in getattr(record, "facts", {}).items():
            entry[name] = without_secrets(fact) if isinstance(fact, str) else fact
        if record.exc_info:
            entry["exception"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False, default=str)


class _NoHandshakes(logging.Filter):
    """uvicorn's line for each WebSocket has the token in it; our own access log has none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is to be logged."""
        return '"WebSocket %s"' not in str(record.msg)


def log_config(settings: Settings) -> dict[str, Any]:
    """For logging.config.dictConfig: all to stderr, in the format and from the level set."""
    formatter = JsonFormatter if settings.log_format == "json" else TextFormatter
    ours = {"handlers": ["stderr"], "level": settings.log_level.upper(), "propagate": False}
    theirs = {"handlers": ["stderr"], "level": "WARNING"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"ours": {"()": formatter}},
        "filters": {"no_handshakes": {"()": _NoHandshakes}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "ours",
                "filters": ["no_handshakes"],
                "stream": "ext://sys.stderr",
            }
        },
        "loggers": {
            "uvicorn": ours,
            "uvicorn.error": ours,
            "uvicorn.access": ours,
            # What is not HTTP is no news: whoever looks for open ports sends it all day.
            WIRE_LOGGER: {"level": "ERROR"},
            "service": ours,
            "asyncio": theirs,
            "opentelemetry": theirs,
        },
    }
