"""Reading one upload: the bytes of a picture, from a raw body or from the form field `file`.

The limits hold while reading: an upload that announces too much is refused unread, one that turns
out too large is refused at the limit, one that trickles is refused in time, and only so many are
received at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from service.errors import QueueFull, RequestInvalid, UploadTooLarge, UploadTooSlow

__all__ = ["UploadReader"]

_FIELD = "file"
_FORM_OVERHEAD_BYTES = 64 * 1024  # boundaries, part headers and small fields around the file
_MAX_FORM_FIELDS = 16
_RETRY_AFTER_S = 2


class UploadReader:
    """Reads uploads of at most `limit_bytes`, each within `limit_s`, `max_at_once` at a time."""

    def __init__(self, *, limit_bytes: int, limit_s: float, max_at_once: int) -> None:
        self._limit_bytes = limit_bytes
        self._limit_s = limit_s
        self._max_at_once = max_at_once
        self._places = asyncio.Semaphore(max_at_once)

    async def read(self, request: Request) -> bytes:
        """Reads the picture's bytes.

        Raises:
            UploadTooLarge: More than the limit, announced or received.
            UploadTooSlow: Not complete in time.
            RequestInvalid: Nothing was sent, or a form without a file in its field `file`.
            QueueFull: As many uploads as allowed are being received.
            starlette.requests.ClientDisconnect: The client left.
        """
        if self._places.locked():
            raise QueueFull(
                limit=self._max_at_once, retry_after_s=_RETRY_AFTER_S, state="being received"
            )
        is_form = request.headers.get("content-type", "").lower().startswith("multipart/")
        limit_bytes = self._limit_bytes + (_FORM_OVERHEAD_BYTES if is_form else 0)
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limit_bytes:
            raise UploadTooLarge(limit_bytes=self._limit_bytes)
        async with self._places:
            try:
                async with asyncio.timeout(self._limit_s):
                    body = self._bounded(request, limit_bytes)
                    encoded = await (self._read_form(request, body) if is_form else _join(body))
            except TimeoutError as exc:
                raise UploadTooSlow(limit_s=self._limit_s) from exc
        if not encoded:
            raise RequestInvalid(
                f"No picture was sent. Send it as the form field '{_FIELD}', or as the body itself."
            )
        return encoded

    async def _bounded(self, request: Request, limit_bytes: int) -> AsyncGenerator[bytes, None]:
        received_bytes = 0
        async for chunk in request.stream():
            received_bytes += len(chunk)
            if received_bytes > limit_bytes:
                raise UploadTooLarge(limit_bytes=self._limit_bytes)
            yield chunk

    async def _read_form(self, request: Request, body: AsyncGenerator[bytes, None]) -> bytes:
        parser = MultiPartParser(request.headers, body, max_files=1, max_fields=_MAX_FORM_FIELDS)
        parser.spool_max_size = 2 * self._limit_bytes  # never to disk: the limit bounds the memory
        try:
            form = await parser.parse()
        except MultiPartException as exc:
            raise RequestInvalid(f"The form cannot be read: {exc.message}") from exc
        except UnicodeError as exc:  # a charset that its names are not in
            raise RequestInvalid(f"The form's names cannot be read: {exc}") from exc
        try:
            file = form.get(_FIELD)
            if not isinstance(file, UploadFile):
                raise RequestInvalid(
                    f"The form has no file in the field '{_FIELD}'. "
                    f"With curl: -F {_FIELD}=@picture.jpg"
                )
            encoded = await file.read()
        finally:
            await form.close()
        if len(encoded) > self._limit_bytes:
            raise UploadTooLarge(limit_bytes=self._limit_bytes)
        return encoded


async def _join(body: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([chunk async for chunk in body])
