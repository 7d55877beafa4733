"""The client for programs without an event loop: `Client` in a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
import threading
from collections.abc import Coroutine, Iterator
from types import TracebackType
from typing import Any, TypeVar

from clearcall.client import Client, Result
from clearcall.errors import Closed
from clearcall.messages import Hello, Stats

__all__ = ["BlockingClient"]

T = TypeVar("T")

_MAX_RESULTS = 2


class BlockingClient:
    """One stream. Its methods may be called from any thread; iterate over it in one.

    with BlockingClient("ws://127.0.0.1:8000/stream") as client:
        client.offer(jpeg)
        result = client.result(timeout_s=5)
    """

    def __init__(self, url: str, **options: Any) -> None:
        """As `Client`."""
        self._client = Client(url, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="clearcall-client", daemon=True
        )
        self._results: queue.Queue[Result | BaseException] = queue.Queue()
        self._consuming: asyncio.Task[None] | None = None
        self._submitting = threading.Lock()
        self._is_closed = False  # nothing is submitted any more

    def __enter__(self) -> BlockingClient:
        """Connects; raises as `Client` does."""
        self._thread.start()
        try:
            self._call(self._client.__aenter__())
            self._call(self._begin_consuming())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the stream and ends the thread; calls of other threads raise `Closed`."""
        with contextlib.suppress(Closed):
            self._call(self._client.close())
        self._stop()

    @property
    def hello(self) -> Hello | None:
        """What the server said."""
        return self._client.hello

    @property
    def is_connected(self) -> bool:
        """Whether the server has said hello and is there."""
        return self._client.is_connected

    @property
    def reconnects(self) -> int:
        """How often the connection was made anew."""
        return self._client.reconnects

    @property
    def frames_skipped(self) -> int:
        """Frames without a result here: replaced before they were sent, lost, or answered late."""
        client = self._client
        return client.frames_replaced + client.frames_lost + client.results_skipped

    @property
    def _is_open(self) -> bool:
        return self._thread.is_alive() and not self._is_closed

    def offer(self, jpeg: bytes, *, captured_s: float | None = None) -> None:
        """Hands over the newest frame; never waits. See `Client.offer`.

        Raises:
            Closed: The client is closed.
        """
        when_s = self._client._clock() if captured_s is None else captured_s
        with self._submitting:
            if not self._is_open:
                raise Closed
            self._loop.call_soon_threadsafe(self._offer, jpeg, when_s)

    def result(self, timeout_s: float | None = None) -> Result:
        """The next result.

        Raises:
            TimeoutError: None came in time.
            ClientError: The stream is over, or was never opened.
        """
        if self._thread.ident is None:
            raise Closed
        try:
            result = self._results.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError(f"No result came within {timeout_s} s.") from None
        if isinstance(result, BaseException):
            self._results.put(result)
            raise result
        return result

    def __iter__(self) -> Iterator[Result]:
        """Results until the client is closed."""
        with contextlib.suppress(Closed):
            while True:
                yield self.result()

    def displayed(self, result: Result) -> None:
        """Tells the server that a result is shown now."""
        self._call(self._client.displayed(result))

    def set(self, **settings: Any) -> None:
        """Changes settings."""
        self._call(self._client.set(**settings))

    def stats(self) -> Stats:
        """The server's statistics of this stream."""
        return self._call(self._client.stats())

    def _offer(self, jpeg: bytes, captured_s: float) -> None:
        with contextlib.suppress(Closed):  # `result` tells
            self._client.offer(jpeg, captured_s=captured_s)

    async def _begin_consuming(self) -> None:
        self._consuming = asyncio.create_task(self._consume())

    async def _consume(self) -> None:
        end: BaseException = Closed()
        try:
            async for result in self._client:
                while self._results.qsize() >= _MAX_RESULTS:  # the newest wins here too
                    with contextlib.suppress(queue.Empty):
                        self._results.get_nowait()
                        self._client.results_skipped += 1
                self._results.put(result)
        except Exception as exc:
            end = exc
        finally:
            self._results.put(end)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        with self._submitting:
            if not self._is_open:
                work.close()
                raise Closed
            answer = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return answer.result()
        except concurrent.futures.CancelledError:
            raise Closed from None

    async def _finish(self) -> None:
        """Lets what was received be taken, and ends the calls of other threads."""
        if self._consuming is not None:
            await self._consuming
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _stop(self) -> None:
        with self._submitting:
            if self._is_closed:
                return
            self._is_closed = True
            finishing = asyncio.run_coroutine_threadsafe(self._finish(), self._loop)
        with contextlib.suppress(Exception):
            finishing.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
