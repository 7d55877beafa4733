"""service.server: sockets, and what uvicorn is told."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from service.app import create_app
from service.errors import SettingsInvalid
from service.server import bind, server_config, url_of
from service.settings import Settings
from tests.service.doubles import FakeSharpener
from tests.service.live import Live, eventually, serve
from tests.service.pictures import as_file, landscape


def test_port_0_is_one_free_port_and_its_url_is_told() -> None:
    [listener] = bind("127.0.0.1", 0)
    with listener:
        port = listener.getsockname()[1]
        assert port > 0
        assert url_of(listener) == f"http://127.0.0.1:{port}"


def test_every_interface_is_opened_by_its_local_address() -> None:
    [listener] = bind("0.0.0.0", 0)
    with listener:
        assert url_of(listener).startswith("http://127.0.0.1:")


def test_a_bound_socket_refuses_connections_until_it_listens() -> None:
    [listener] = bind("127.0.0.1", 0)
    with listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname(), timeout=5)


def test_a_port_in_use_is_a_wrong_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsInvalid, match=rf"127\.0\.0\.1 port {port}.*--port"):
            bind("127.0.0.1", port)


def test_an_address_of_nobody_here_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsInvalid, match="CLEARCALL_HOST"):
        bind("not an address", 8000)
    with pytest.raises(SettingsInvalid, match=r"Cannot listen on 192\.0\.2\.1"):
        bind("192.0.2.1", 0)


def test_frames_are_limited_not_compressed_and_kept_alive() -> None:
    settings = Settings(max_frame_bytes=5_000)
    config = server_config(create_app(settings, FakeSharpener().as_sharpener()), settings)
    assert config.ws_max_size == 5_016
    assert config.ws_per_message_deflate is False
    assert config.ws_ping_interval
    assert config.ws_ping_timeout


def test_a_stop_drains_before_it_stops_listening() -> None:
    sharpener = FakeSharpener()
    encoded = as_file(landscape(), "png")
    with serve(sharpener, drain_s=20) as live, ThreadPoolExecutor() as pool:
        sharpener.hold()
        upload = pool.submit(httpx.post, f"{live.url}/sharpen", content=encoded, timeout=20)
        assert sharpener.entered.acquire(timeout=20)
        live.stop()
        ready = f"{live.url}/health/ready"
        eventually(lambda: httpx.get(ready).status_code == 503)
        assert httpx.get(f"{live.url}/health/live").status_code == 200
        assert httpx.post(f"{live.url}/sharpen", content=encoded).status_code == 503
        sharpener.release()
        assert upload.result().status_code == 200


def test_a_drain_takes_as_long_as_is_set_and_no_longer() -> None:
    sharpener = FakeSharpener()
    with serve(sharpener, drain_s=0.2) as live:
        opened = asyncio.run_coroutine_threadsafe(open_stream(live), live.loop)
        opened.result(20)  # and nobody closes it
        live.stop()
        eventually(lambda: not is_listening(live))


def test_a_second_interrupt_cuts_the_drain_short() -> None:
    with serve(drain_s=600) as live:
        asyncio.run_coroutine_threadsafe(open_stream(live), live.loop).result(20)
        live.stop()
        eventually(lambda: httpx.get(f"{live.url}/health/ready").status_code == 503)
        live.server.force_exit = True
        eventually(lambda: not is_listening(live))


async def open_stream(live: Live) -> None:
    live.parts.engine.open_stream()


def is_listening(live: Live) -> bool:
    try:
        socket.create_connection(live.host_and_port, timeout=5).close()
    except OSError:
        return False
    return True
