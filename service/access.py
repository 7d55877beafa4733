"""Who may use the service: keys, tokens, how often, and the dependencies that routes declare.

Without keys everybody may, except for admin calls, which need an admin key. An admin key is good
for whatever an API key is good for. A wrong key is refused even where a right one would be taken
only for its rate. Too many wrong keys from one address are answered with 429 on a connection that
is closed; a right key is taken all the same, so that nobody can lock out whom they share an address
with.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection

from service.errors import (
    AccessRefused,
    AdminOff,
    AdminOnly,
    KeyMissing,
    KeyStreamsFull,
    KeyWrong,
    RateExceeded,
    SettingsInvalid,
    TokenWrong,
    WrongKeysBraked,
)
from service.keys import KeyHash, KeyRing
from service.problems import describe_problems
from service.quota import Buckets, Places, address_group
from service.settings import Settings
from service.tokens import TOKEN_LIFE_S, Mint

__all__ = [
    "ACCESS_ERRORS",
    "ADMIN_ERRORS",
    "SCHEMES",
    "Access",
    "Caller",
    "access_of",
    "require_admin",
    "require_key",
    "require_key_for_metrics",
    "router",
]

_LOGGER = logging.getLogger(__name__)
_WRONG_KEYS_PER_MINUTE = 10
_NO_KEY = "0"  # the id in tokens that are made where no key is needed
_BEARER = "bearer "

ACCESS_ERRORS = (KeyMissing, KeyWrong, WrongKeysBraked, RateExceeded)
ADMIN_ERRORS = (KeyMissing, KeyWrong, WrongKeysBraked, AdminOff, AdminOnly)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        name: For logs: the key's name, or "-" where no key is needed.
        quota: What the limits go by: the key's id, or the address.
        key_id: The key's id; "0" without one.
        is_admin: Whether the key is an admin key.
    """

    name: str
    quota: str
    key_id: str = _NO_KEY
    is_admin: bool = False


class Access:
    """The rules, for one app. Used from one event loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        on_refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Reads the keys.

        Args:
            settings: The keys, the limits and the tokens' secret.
            clock: Seconds.
            wall_clock: Unix time, seconds; tokens expire by it.
            on_refused: Called with the code of each refusal.

        Raises:
            SettingsInvalid: A file of keys cannot be read, or holds something else; or metrics
                are to need a key, and there is none.
        """
        self._keys = KeyRing(settings.api_keys, settings.api_keys_file, clock=clock)
        self._admin_keys = KeyRing(settings.admin_keys, settings.admin_keys_file, clock=clock)
        secret = settings.token_secret
        self._mint = Mint(secret.get_secret_value() if secret else None, clock=wall_clock)
        self._requests = Buckets(settings.max_requests_per_minute)
        self._limit_per_minute = settings.max_requests_per_minute
        self._wrong_keys = Buckets(_WRONG_KEYS_PER_MINUTE)
        self._streams = Places(settings.max_streams_per_key)
        self._clock = clock
        self._on_refused = on_refused
        self._metrics_need_key = settings.metrics_key
        if settings.metrics_key and not (self._keys.is_on or self._admin_keys.is_on):
            raise SettingsInvalid(
                "CLEARCALL_METRICS_KEY asks for a key for the metrics, and there is none: set "
                "CLEARCALL_API_KEYS or CLEARCALL_ADMIN_KEYS (clearcall key makes one)."
            )

    def admit(self, connection: HTTPConnection, *, takes_token: bool = False) -> Caller:
        """Lets a request in, or a WebSocket.

        Args:
            connection: What came.
            takes_token: Whether a token in the query will do.

        Raises:
            AccessRefused: Who asks may not, or not so often.
        """
        with self._counted():
            caller = self._identify(connection, takes_token=takes_token)
            _note(connection, caller)
            now_s = self._clock()
            if self._requests.wait_s(caller.quota, now_s):
                raise RateExceeded(
                    limit_per_minute=self._limit_per_minute,
                    retry_after_s=self._requests.retry_after_s(caller.quota, now_s),
                )
            self._requests.take(caller.quota, now_s)
            return caller

    def admit_scrape(self, connection: HTTPConnection) -> None:
        """Lets a scrape of the metrics in, without counting it as a request.

        Raises:
            AccessRefused: The settings ask for a key, and none came that is in use.
        """
        if not self._metrics_need_key:
            return
        with self._counted():
            caller = self._identify(connection, takes_token=False, is_key_needed=True)
            _note(connection, caller)

    def admit_admin(self, connection: HTTPConnection) -> Caller:
        """Lets an admin call in.

        Raises:
            AccessRefused: There is no admin key, or this is not one.
        """
        with self._counted():
            if not self._admin_keys.is_on:
                raise AdminOff
            key = _key_of(connection)
            if key is None:
                raise KeyMissing
            if (found := self._admin_keys.find(key)) is not None:
                caller = _caller(found, is_admin=True)
                _note(connection, caller)
                return caller
            if self._keys.find(key) is not None:
                raise AdminOnly
            raise self._note_wrong_key(connection)

    def is_current(self, caller: Caller) -> bool:
        """Whether the key that a caller was let in with is still in use."""
        return caller.key_id == _NO_KEY or any(
            ring.with_id(caller.key_id) is not None for ring in (self._keys, self._admin_keys)
        )

    def has_right_key(self, connection: HTTPConnection) -> bool:
        """Whether a key in use came, or a token of one; nothing is counted."""
        if (key := _key_of(connection)) is not None:
            return (self._admin_keys.find(key) or self._keys.find(key)) is not None
        token = connection.query_params.get("token")
        return token is not None and self._key_of_token(token) is not None

    @contextlib.contextmanager
    def stream_place(self, caller: Caller) -> Iterator[None]:
        """A place for one stream of a caller.

        Raises:
            KeyStreamsFull: The caller has none left.
        """
        if not self._streams.enter(caller.quota):
            self._on_refused(KeyStreamsFull.code)
            raise KeyStreamsFull(limit=self._streams.limit)
        try:
            yield
        finally:
            self._streams.leave(caller.quota)

    def make_token(self, caller: Caller) -> str:
        """A token that opens a stream as this caller, for a minute."""
        return self._mint.make(caller.key_id)

    def _identify(
        self, connection: HTTPConnection, *, takes_token: bool, is_key_needed: bool = False
    ) -> Caller:
        key = _key_of(connection)
        if key is not None:
            if (found := self._admin_keys.find(key)) is not None:
                return _caller(found, is_admin=True)
            if (found := self._keys.find(key)) is not None:
                return _caller(found)
        if not (self._keys.is_on or is_key_needed):
            return Caller("-", address_group(_host_of(connection)))
        if key is not None:
            raise self._note_wrong_key(connection)
        token = connection.query_params.get("token") if takes_token else None
        if token is None:
            raise KeyMissing
        caller = self._key_of_token(token)
        if caller is None:
            raise TokenWrong
        return caller

    def _key_of_token(self, token: str) -> Caller | None:
        key_id = self._mint.check(token)
        if key_id is None:
            return None
        if (found := self._keys.with_id(key_id)) is not None:
            return _caller(found)
        found = self._admin_keys.with_id(key_id)
        return None if found is None else _caller(found, is_admin=True)

    def _note_wrong_key(self, connection: HTTPConnection) -> AccessRefused:
        address = address_group(_host_of(connection))
        now_s = self._clock()
        if self._wrong_keys.wait_s(address, now_s):
            return WrongKeysBraked(retry_after_s=self._wrong_keys.retry_after_s(address, now_s))
        self._wrong_keys.take(address, now_s)
        _LOGGER.warning("a wrong key from %s", address)
        return KeyWrong()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except AccessRefused as exc:
            self._on_refused(exc.code)
            raise


def _caller(found: KeyHash, *, is_admin: bool = False) -> Caller:
    return Caller(found.name, found.id, found.id, is_admin)


def _key_of(connection: HTTPConnection) -> str | None:
    """The key that came, if any: of `Authorization: Bearer`, or else of `X-API-Key`."""
    authorization = connection.headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    return connection.headers.get("x-api-key")


def _host_of(connection: HTTPConnection) -> str | None:
    return connection.client.host if connection.client else None


def _note(connection: HTTPConnection, caller: Caller) -> None:
    """For the access log; see request_log."""
    facts = connection.scope.get("extensions", {}).get("clearcall.request")
    if facts is not None:
        facts["key"] = caller.name


# What routes declare. The security schemes are for OpenAPI only: they refuse nothing themselves.
SCHEMES = (
    Depends(HTTPBearer(auto_error=False, description="an API key")),
    Depends(APIKeyHeader(name="X-API-Key", auto_error=False, description="an API key")),
)


def access_of(connection: HTTPConnection) -> Access:
    """The rules of the connection's app."""
    access = connection.app.state.access
    assert isinstance(access, Access)
    return access


async def require_key(connection: HTTPConnection) -> Caller:
    """A dependency: lets in whoever may use the service."""
    return access_of(connection).admit(connection)


async def require_key_for_metrics(connection: HTTPConnection) -> None:
    """A dependency: lets scrapers in, with a key where the settings say so."""
    access_of(connection).admit_scrape(connection)


async def require_admin(connection: HTTPConnection) -> Caller:
    """A dependency: lets in only those with an admin key."""
    return access_of(connection).admit_admin(connection)


class _Token(BaseModel):
    token: str = Field(description="for /stream?token=TOKEN")
    expires_in_s: int = Field(description="seconds in which a stream can be opened with it")


router = APIRouter()


@router.post(
    "/token",
    summary="A token that opens a stream",
    responses=describe_problems(*ACCESS_ERRORS),
    dependencies=SCHEMES,
)
async def token(
    response: Response,
    connection: HTTPConnection,
    caller: Annotated[Caller, Depends(require_key)],
) -> _Token:
    """For browsers, whose WebSockets send no header: `/stream?token=TOKEN`.

    It is good for opening streams for a minute, not for how long they last.
    """
    response.headers["Cache-Control"] = "no-store"
    return _Token(token=access_of(connection).make_token(caller), expires_in_s=TOKEN_LIFE_S)
