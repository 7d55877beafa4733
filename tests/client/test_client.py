"""clearcall.client against the real service with a stand-in model."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket

from clearcall.backoff import Backoff
from clearcall.blocking import BlockingClient
from clearcall.client import Client, Result
from clearcall.errors import BadMessage, Closed, KeyInvalid, Refused, Unreachable
from clearcall.messages import FrameError
from service.app import create_app
from service.keys import hash_of, make_key
from service.server import Server, server_config
from service.settings import Settings
from tests.service.doubles import FakeSharpener
from tests.service.live import Live, eventually, serve
from tests.service.pictures import jpeg_frame

pytestmark = pytest.mark.anyio

WAIT_S = 20
ROOT = Path(__file__).parents[2]
FAST = 0.02


def impatient() -> Backoff:
    return Backoff(first_s=FAST, max_s=5 * FAST)


@pytest.fixture
def live() -> Iterator[Live]:
    with serve() as running:
        yield running


async def film(client: Client, fps: float = 60) -> None:
    with contextlib.suppress(Closed):
        while True:
            client.offer(jpeg_frame())
            await asyncio.sleep(1 / fps)


async def collect(client: Client, count: int) -> list[Result]:
    """The first results of a film."""
    results: list[Result] = []
    filming = asyncio.create_task(film(client))
    async with asyncio.timeout(WAIT_S):
        async for result in client:
            results.append(result)
            await client.displayed(result)
            if len(results) == count:
                break
    filming.cancel()
    return results


async def test_frames_come_back_sharpened_with_their_round_trip(live: Live) -> None:
    async with Client(live.stream_url, quality=70) as client:
        assert client.hello is not None
        assert client.hello.model == "fake-00000000"
        assert client.hello.limits["max_frame_bytes"] == 4_000_000
        results = await collect(client, 20)
        stats = await client.stats()
    assert [r.sequence for r in results] == sorted({r.sequence for r in results})
    assert {(r.width_px, r.height_px, r.format) for r in results} == {(64, 48, "jpeg")}
    assert all(0 < r.total_ms <= r.round_trip_ms < WAIT_S * 1000 for r in results)
    assert stats.answered >= 20
    assert stats.glass_to_glass_ms is not None
    assert stats.rung == {"student": "fake", "scale": 1.0}


async def test_a_client_that_offers_too_much_replaces_frames_itself(live: Live) -> None:
    async with Client(live.stream_url) as client:
        for _ in range(200):
            client.offer(jpeg_frame())
        [result] = await collect(client, 1)
        assert result.sequence < 10
        assert client.frames_replaced >= 150
    await asyncio.to_thread(eventually, lambda: live.metric("clearcall_streams_active") == 0)
    assert live.dropped().get("replaced", 0) == 0


async def test_a_slow_consumer_gets_new_results_and_skips_old_ones(live: Live) -> None:
    async with Client(live.stream_url) as client:
        filming = asyncio.create_task(film(client))
        first = await anext(aiter(client))
        while client.results_skipped < 20:
            await asyncio.sleep(0.01)
        late = await anext(aiter(client))
        filming.cancel()
        assert late.sequence - first.sequence >= 20
        assert len(client._results) <= 2


async def test_a_bad_frame_is_told_and_the_stream_goes_on(live: Live) -> None:
    errors: list[FrameError] = []
    async with Client(live.stream_url, on_error=errors.append) as client:
        client.offer(jpeg_frame()[:200])
        while not errors:
            await asyncio.sleep(0.01)
        assert (errors[0].code, errors[0].sequence) == ("image-broken", 0)
        await collect(client, 3)
        await client.set(strength=7)
        while len(errors) < 2:
            await asyncio.sleep(0.01)
        assert errors[1].code == "request-invalid"


async def test_so_many_bad_frames_end_the_client_for_good(live: Live) -> None:
    async with Client(live.stream_url, backoff=impatient()) as client:
        with pytest.raises(Refused, match="too many bad frames") as caught:
            async with asyncio.timeout(WAIT_S):
                await asyncio.gather(_offer_garbage(client), _drain(client))
        assert caught.value.code == 1007
        with pytest.raises(Closed):
            client.offer(jpeg_frame())


async def _offer_garbage(client: Client) -> None:
    with contextlib.suppress(Closed):
        while True:
            client.offer(b"\xff\xd8\xff garbage")
            await asyncio.sleep(0.005)


async def _drain(client: Client) -> None:
    async for _ in client:
        pass


async def test_settings_hold_and_a_pause_sends_nothing(live: Live) -> None:
    async with Client(live.stream_url, format="webp") as client:
        assert {r.format for r in await collect(client, 3)} == {"webp"}
        await client.set(format="png")
        assert (await collect(client, 12))[-1].format == "png"
        await client.pause()
        await client.stats()  # the server has heard all that was sent before
        received = live.metric("clearcall_frames_received_total")
        client.offer(jpeg_frame())
        await client.stats()
        assert live.metric("clearcall_frames_received_total") == received
        await client.resume()
        await collect(client, 3)


async def test_a_setting_that_is_refused_takes_no_other_with_it_when_it_comes_back() -> None:
    refused: list[FrameError] = []
    with restartable() as (url, server):
        async with Client(url, format="webp", on_error=refused.append) as client:
            await client.set(strength=9)
            assert {r.format for r in await collect(client, 3)} == {"webp"}
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            assert (await collect(client, 3))[-1].format == "webp"
    assert {error.code for error in refused} == {"request-invalid"}


async def test_who_is_cancelled_while_it_closes_is_cancelled(live: Live) -> None:
    async with connect(live.stream_url) as stream:
        hello = await stream.recv()

    async def half_open(connection: ServerConnection) -> None:
        await connection.send(hello)
        connection.transport.pause_reading()
        await asyncio.sleep(WAIT_S)

    async with serve_websocket(half_open, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = Client(f"ws://127.0.0.1:{port}/stream")
        await client.__aenter__()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.close()
        await client.close()
        server.close(close_connections=True)


def test_a_blocking_client_that_is_not_opened_is_closed(live: Live) -> None:
    client = BlockingClient(live.stream_url)
    for call in (client.stats, client.result, lambda: client.offer(jpeg_frame()), client.set):
        with pytest.raises(Closed):
            call()
    with client:
        assert client.stats().received == 0


def test_a_blocking_client_counts_what_nobody_took(live: Live) -> None:
    with BlockingClient(live.stream_url) as client:
        for sent in range(1, 7):
            client.offer(jpeg_frame())
            eventually(lambda sent=sent: client.stats().answered == sent)  # type: ignore[misc]
        eventually(lambda: client.frames_skipped == 4)


async def test_a_full_server_is_tried_again_until_there_is_room() -> None:
    with serve(max_streams=1) as live:
        errors: list[FrameError] = []
        async with Client(live.stream_url):
            with pytest.raises(Unreachable, match="5 attempts"):
                async with Client(
                    live.stream_url, max_attempts=5, backoff=impatient(), on_error=errors.append
                ):
                    pass
            assert [error.code for error in errors] == ["streams-full"] * 5
            waiting = asyncio.create_task(Client(live.stream_url, backoff=impatient()).__aenter__())
            await asyncio.sleep(5 * FAST)
            assert not waiting.done()
        late = await asyncio.wait_for(waiting, WAIT_S)
        await collect(late, 2)
        await late.close()


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="3 attempts"):
        async with Client("ws://127.0.0.1:9/stream", max_attempts=3, backoff=impatient()):
            pass


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/stream", "nonsense", "ws://127.0.0.1:99999/stream", "ws://[::1"]
)
async def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(Refused):
        async with Client(url):
            pass


async def test_a_path_that_is_no_stream_is_refused_at_once(live: Live) -> None:
    with pytest.raises(Refused) as caught:
        async with Client(live.stream_url + "/no"):
            pass
    assert caught.value.code in (403, 404)


@pytest.mark.parametrize("said", ["hello?", "[]", '{"type":"hello","protocol":2}'])
async def test_a_server_of_another_kind_is_told(said: str) -> None:
    async def say(connection: ServerConnection) -> None:
        await connection.send(said)
        await connection.wait_closed()

    async with serve_websocket(say, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BadMessage):
            async with Client(f"ws://127.0.0.1:{port}/stream"):
                pass


@contextmanager
def restartable() -> Iterator[tuple[str, Restart]]:
    restart = Restart()
    restart.start()
    try:
        yield f"ws://127.0.0.1:{restart.port}/stream", restart
    finally:
        restart.stop()


class Restart:
    """A server that can stop and come back on the same port."""

    port = 0

    def start(self) -> None:
        from service.server import bind

        settings = Settings(port=self.port, log_level="warning")
        app = create_app(settings, FakeSharpener().as_sharpener())
        sockets = bind("127.0.0.1", self.port)
        self.port = sockets[0].getsockname()[1]
        ready = threading.Event()
        self._server = Server(server_config(app, settings), on_ready=ready.set)
        self._thread = threading.Thread(target=self._server.run, args=(sockets,))
        self._thread.start()
        assert ready.wait(WAIT_S)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


async def test_after_a_restart_of_the_server_the_stream_goes_on_within_three_seconds() -> None:
    with restartable() as (url, server):
        async with Client(url, format="webp") as client:
            await collect(client, 5)
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            back_s = time.monotonic()
            results = await collect(client, 5)
            assert time.monotonic() - back_s < 3
            assert client.reconnects == 1
            assert {result.format for result in results} == {"webp"}


async def test_the_end_of_a_stream_that_worked_is_no_failed_attempt() -> None:
    with restartable() as (url, server):
        patient = Backoff(first_s=3, max_s=3)  # until the server is there again
        async with Client(url, max_attempts=1, backoff=patient) as client:
            await client.stats()
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            await collect(client, 2)
            assert client.reconnects == 1
            await asyncio.to_thread(server.stop)
            with pytest.raises(Unreachable, match="in 1 attempt"):
                await collect(client, 100_000)
            await asyncio.to_thread(server.start)


async def test_closing_leaves_no_task_behind(live: Live) -> None:
    tasks = asyncio.all_tasks()
    async with Client(live.stream_url) as client:
        await collect(client, 3)
    await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() - tasks if not task.done()}
    assert not left
    assert [result async for result in client] in ([], [*client._results])


async def test_a_silent_client_keeps_its_stream_open() -> None:
    with serve(idle_timeout_s=1.5) as live:
        async with Client(live.stream_url) as client:
            await asyncio.sleep(3)
            assert client.reconnects == 0
            await collect(client, 2)


def test_the_blocking_client_does_the_same(live: Live) -> None:
    with BlockingClient(live.stream_url, strength=0.5) as client:
        assert client.hello is not None
        client.offer(jpeg_frame())
        result = client.result(timeout_s=WAIT_S)
        assert (result.width_px, result.height_px) == (64, 48)
        client.displayed(result)
        assert client.stats().answered == 1
        with pytest.raises(TimeoutError):
            client.result(timeout_s=0.05)
    assert list(client) == []
    with pytest.raises(Unreachable), BlockingClient("ws://127.0.0.1:9/stream", max_attempts=1):
        pass


def test_closing_ends_what_other_threads_wait_for(live: Live) -> None:
    client = BlockingClient(live.stream_url).__enter__()
    client.offer(jpeg_frame())
    result = client.result(timeout_s=WAIT_S)
    ends: list[BaseException] = []
    are_calling = threading.Barrier(5)

    def call() -> None:
        are_calling.wait()
        try:
            while True:
                client.displayed(result)
        except Exception as exc:
            ends.append(exc)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    are_calling.wait()
    client.__exit__(None, None, None)
    for caller in callers:
        caller.join(WAIT_S)
    assert [type(end) for end in ends] == [Closed] * 4
    client.__exit__(None, None, None)
    with pytest.raises(Closed):
        client.offer(jpeg_frame())
    with pytest.raises(Closed):
        client.stats()


async def test_what_the_server_takes_in_a_second_is_kept_to() -> None:
    with serve(max_stream_fps=20) as live:
        async with Client(live.stream_url) as client:
            begun_s = time.monotonic()
            await collect(client, 21)
            assert 0.95 <= time.monotonic() - begun_s < 3
        assert live.dropped().get("limit", 0) == 0


@pytest.mark.parametrize("key", ["clearcall_schlüssel", "clearcall_a\nb", "“clearcall_abc”"])
def test_a_key_that_cannot_be_sent_is_told_and_not_shown(key: str) -> None:
    with pytest.raises(KeyInvalid) as invalid:
        Client("ws://127.0.0.1:9/stream", api_key=key)
    assert "clearcall_" not in str(invalid.value)


def test_the_client_loads_neither_torch_nor_the_web_stack() -> None:
    heavy = {"torch", "numpy", "cv2", "PIL", "fastapi", "starlette", "pydantic", "uvicorn"}
    script = f"import sys, clearcall.blocking; print(*sorted({heavy!r} & sys.modules.keys()))"
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert ran.stdout.strip() == ""


async def test_a_key_opens_the_stream_and_a_wrong_one_is_final() -> None:
    key = make_key()
    with serve(api_keys=hash_of(key)) as live:
        async with Client(live.stream_url, api_key=f"{key}\n") as client:  # as files end
            assert await collect(client, 2)
        for wrong in (None, key + "x"):
            with pytest.raises(Refused) as refused:
                async with Client(live.stream_url, api_key=wrong, backoff=impatient()):
                    pass
            assert refused.value.code == 401
        with BlockingClient(live.stream_url, api_key=key) as blocking:
            assert blocking.hello is not None
