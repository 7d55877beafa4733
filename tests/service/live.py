"""A real uvicorn server in a thread, set up as `clearcall serve` sets it up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.routes import Parts
from service.server import Server, bind, server_config, url_of
from service.settings import Settings
from tests.service.doubles import FakeSharpener

if TYPE_CHECKING:
    from service.model.sharpener import Sharpener

__all__ = ["Live", "eventually", "serve"]

_START_LIMIT_S = 20


@dataclass(frozen=True)
class Live:
    """A running service; `loop` is its event loop, in another thread."""

    url: str
    sharpener: FakeSharpener
    app: FastAPI
    loop: asyncio.AbstractEventLoop
    server: Server

    @property
    def stream_url(self) -> str:
        return f"ws{self.url.removeprefix('http')}/stream"

    @property
    def host_and_port(self) -> tuple[str, int]:
        url = httpx.URL(self.url)
        assert url.port is not None
        return url.host, url.port

    @property
    def parts(self) -> Parts:
        parts = self.app.state.parts
        assert isinstance(parts, Parts)
        return parts

    def metric(self, name: str, **labels: str) -> float:
        """One sample, scraped over HTTP and parsed; 0 where there is no such series."""
        text = httpx.get(f"{self.url}/metrics").raise_for_status().text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return 0.0

    def dropped(self) -> dict[str, float]:
        """Dropped frames by reason, those that are not 0."""
        text = httpx.get(f"{self.url}/metrics").raise_for_status().text
        samples = [
            sample
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "clearcall_frames_dropped_total"
        ]
        return {sample.labels["reason"]: sample.value for sample in samples if sample.value}

    def stop(self) -> None:
        """Asks the server to stop, as a signal would."""
        self.server.should_exit = True

    def task_count(self) -> int:
        """Tasks in the server's event loop."""

        async def count() -> int:
            return len(asyncio.all_tasks()) - 1

        return asyncio.run_coroutine_threadsafe(count(), self.loop).result(10)


@contextmanager
def serve(
    sharpener: FakeSharpener | None = None, *, model: Sharpener | None = None, **settings: Any
) -> Iterator[Live]:
    """Runs the service on a free port until the block ends.

    Args:
        sharpener: The stand-in model; a new one if not given.
        model: A real model, instead of the stand-in.
        settings: Fields of `Settings` that differ from their defaults.
    """
    chosen = sharpener or FakeSharpener()
    loops: list[asyncio.AbstractEventLoop] = []
    is_ready = threading.Event()

    def note_ready() -> None:
        loops.append(asyncio.get_running_loop())
        is_ready.set()

    checked = Settings(port=0, log_level="warning", **settings)
    app = create_app(checked, model or chosen.as_sharpener())
    sockets = bind(checked.host, checked.port)
    server = Server(server_config(app, checked), on_ready=note_ready)
    thread = threading.Thread(target=server.run, args=(sockets,), name="live-server")
    thread.start()
    try:
        assert is_ready.wait(_START_LIMIT_S), "the server did not start"
        yield Live(url_of(sockets[0]), chosen, app, loops[0], server)
    finally:
        chosen.release()
        server.should_exit = True
        thread.join()


def eventually(is_true: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Waits until a condition in another thread or process holds.

    Raises:
        AssertionError: It does not in time.
    """
    end_s = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.01)
