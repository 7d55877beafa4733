"""Which of the optional parts are installed."""

from __future__ import annotations

import importlib.util

__all__ = ["look_at_extras"]

# The extra, and what it brings.
_EXTRAS = {
    "video": ("av",),
    "camera": ("pyvirtualcam",),
    "client": ("websockets",),
    "heic": ("pillow_heif",),
    "otel": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
    "trainer": ("av", "onnx", "scipy", "tensorboard"),
}


def look_at_extras() -> dict[str, bool]:
    """The extras of Clearcall, each with whether all that it brings is there."""
    return {extra: all(map(_is_installed, modules)) for extra, modules in _EXTRAS.items()}


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it is in
        return False
