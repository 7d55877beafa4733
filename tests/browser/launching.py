"""How the tests' browsers are started."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Browser

__all__ = ["ALLOW_CAMERA", "FLAGS", "OTHER_HOST", "Launch"]

Launch = Callable[..., Browser]

ALLOW_CAMERA = "--use-fake-ui-for-media-stream"
OTHER_HOST = "video.example.org"  # resolves to this machine, but no browser takes it for localhost

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {OTHER_HOST} 127.0.0.1",
]
