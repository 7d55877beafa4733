"""service.upload: the limits hold while reading, whatever the client announces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from service.errors import (
    QueueFull,
    RequestInvalid,
    UploadTooLarge,
    UploadTooSlow,
)
from service.upload import UploadReader

pytestmark = pytest.mark.anyio

LIMIT_BYTES = 100_000
FORM = "multipart/form-data; boundary=edge"


def reader(**changed: float) -> UploadReader:
    settings = {"limit_bytes": LIMIT_BYTES, "limit_s": 30, "max_at_once": 2} | changed
    return UploadReader(
        limit_bytes=int(settings["limit_bytes"]),
        limit_s=settings["limit_s"],
        max_at_once=int(settings["max_at_once"]),
    )


class Upload:
    """A request whose body comes in pieces; None is a client that leaves, ... one that stalls."""

    def __init__(self, pieces: Iterable[object], **headers: str) -> None:
        self.pieces_read = 0
        self._pieces = self._messages(pieces)
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": "/sharpen", "headers": raw}
        self.request = Request(scope, self._receive)

    async def _messages(self, pieces: Iterable[object]) -> AsyncIterator[Message]:
        for piece in pieces:
            self.pieces_read += 1
            if piece is None:
                yield {"type": "http.disconnect"}
            elif piece is ...:
                await asyncio.Event().wait()
            else:
                yield {"type": "http.request", "body": piece, "more_body": True}
        yield {"type": "http.request", "body": b"", "more_body": False}

    async def _receive(self) -> Message:
        return await anext(self._pieces)


def form(*parts: bytes) -> bytes:
    return b"".join(b"--edge\r\n" + part + b"\r\n" for part in parts) + b"--edge--\r\n"


def file_part(encoded: bytes, name: bytes = b"file") -> bytes:
    return b'Content-Disposition: form-data; name="%s"; filename="a"\r\n\r\n' % name + encoded


async def test_a_raw_body_is_the_picture() -> None:
    upload = Upload([b"one ", b"two"], content_type="image/jpeg")
    assert await reader().read(upload.request) == b"one two"


async def test_what_curl_calls_a_form_by_default_is_still_a_raw_body() -> None:
    upload = Upload([b"a=b&c"], content_type="application/x-www-form-urlencoded")
    assert await reader().read(upload.request) == b"a=b&c"


async def test_the_form_field_file_is_the_picture_and_other_fields_are_let_be() -> None:
    other = b'Content-Disposition: form-data; name="note"\r\n\r\nhello'
    upload = Upload([form(other, file_part(b"picture"))], content_type=FORM)
    assert await reader().read(upload.request) == b"picture"


async def test_a_form_may_come_byte_by_byte() -> None:
    body = form(file_part(b"picture"))
    upload = Upload([body[at : at + 1] for at in range(len(body))], content_type=FORM)
    assert await reader().read(upload.request) == b"picture"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (form(file_part(b"picture", b"image")), "no file in the field 'file'"),
        (form(b'Content-Disposition: form-data; name="file"\r\n\r\ntext'), "no file in the field"),
        (form(file_part(b"")), "No picture was sent"),
        (form(), "no file"),
        (b"", "no file"),
        (b"garbage", "cannot be read"),
        (form(file_part(b"1"), file_part(b"2")), "Too many files"),
        (form(b"Content-Disposition: form-data\r\n\r\n"), "cannot be read"),
    ],
)
async def test_a_form_without_its_file_is_refused_with_what_is_missing(
    body: bytes, said: str
) -> None:
    with pytest.raises(RequestInvalid, match=said):
        await reader().read(Upload([body], content_type=FORM).request)


async def test_a_form_without_a_boundary_is_refused() -> None:
    with pytest.raises(RequestInvalid, match="boundary"):
        await reader().read(Upload([b"x"], content_type="multipart/form-data").request)


@pytest.mark.parametrize(("charset", "name"), [("undefined", b"file"), ("punycode", b"a..b")])
async def test_a_form_of_a_strange_charset_is_refused(charset: str, name: bytes) -> None:
    upload = Upload([form(file_part(b"1", name))], content_type=f"{FORM}; charset={charset}")
    with pytest.raises(RequestInvalid, match="names cannot be read"):
        await reader().read(upload.request)


async def test_nothing_is_no_picture() -> None:
    with pytest.raises(RequestInvalid, match="No picture was sent"):
        await reader().read(Upload([]).request)


async def test_too_much_is_refused_unread_where_it_is_announced() -> None:
    upload = Upload([b"x"], content_length=str(LIMIT_BYTES + 1))
    with pytest.raises(UploadTooLarge) as caught:
        await reader().read(upload.request)
    assert caught.value.limit_bytes == LIMIT_BYTES
    assert upload.pieces_read == 0


@pytest.mark.parametrize("announced", [{}, {"content_length": "5"}, {"content_length": "many"}])
async def test_too_much_is_refused_at_the_limit_whatever_is_announced(
    announced: dict[str, str],
) -> None:
    upload = Upload([bytes(10_000)] * 1000, **announced)
    with pytest.raises(UploadTooLarge):
        await reader().read(upload.request)
    assert upload.pieces_read == 11


async def test_a_form_is_refused_at_the_limit_too_and_not_spooled_first() -> None:
    upload = Upload([form(file_part(b""))[:80], *([bytes(10_000)] * 1000)], content_type=FORM)
    with pytest.raises(UploadTooLarge):
        await reader().read(upload.request)
    assert upload.pieces_read < 20


async def test_the_limit_itself_is_allowed_raw_and_in_a_form() -> None:
    picture = bytes(LIMIT_BYTES)
    assert await reader().read(Upload([picture]).request) == picture
    in_form = form(file_part(picture))
    assert await reader().read(Upload([in_form], content_type=FORM).request) == picture
    over = form(file_part(picture + b"x"))
    with pytest.raises(UploadTooLarge):
        await reader().read(Upload([over], content_type=FORM).request)


async def test_an_upload_that_stalls_is_given_up_in_time() -> None:
    with pytest.raises(UploadTooSlow, match=r"0\.05 s"):
        await reader(limit_s=0.05).read(Upload([b"x", ...]).request)


async def test_only_so_many_uploads_are_received_at_once_and_their_places_become_free() -> None:
    uploads = reader()
    stalled = [asyncio.create_task(uploads.read(Upload([...]).request)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull) as caught:
        await uploads.read(Upload([b"x"]).request)
    assert caught.value.retry_after_s >= 1
    for task in stalled:
        task.cancel()
    await asyncio.gather(*stalled, return_exceptions=True)
    assert await uploads.read(Upload([b"x"]).request) == b"x"


@pytest.mark.parametrize("content_type", ["image/png", FORM])
async def test_a_client_that_leaves_takes_its_place_along(content_type: str) -> None:
    uploads = reader(max_at_once=1)
    for _ in range(3):
        with pytest.raises(ClientDisconnect):
            await uploads.read(Upload([b"--edge\r\n", None], content_type=content_type).request)
