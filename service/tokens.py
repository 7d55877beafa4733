"""Short-lived tokens that open a stream in place of a key, because a browser's WebSocket can send
no header and a key has no place in a URL. Pure, but for the secret.

`KEY_ID.EXPIRES.NONCE.MAC`: the id of the key that it was made with, the Unix time in seconds at
which it expires, 64 random bits, and the HMAC-SHA-256 of all that, in URL-safe base64.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable

__all__ = ["TOKEN_LIFE_S", "Mint"]

TOKEN_LIFE_S = 60
_SECRET_BYTES = 32
_PURPOSE = b"clearcall stream token 1\n"  # a MAC of the same secret for something else is no token
_TOKEN = re.compile(r"([0-9a-f]{1,16})\.(\d{1,12})\.([\w-]{11})\.([\w-]{43})", re.ASCII)


class Mint:
    """Makes and checks tokens.

    Replicas that share the secret take each other's; without one, tokens are good for this process.
    """

    def __init__(self, secret: str | None, *, clock: Callable[[], float]) -> None:
        """Args: secret: At least 32 characters; random if None. clock: Unix time, seconds."""
        self._secret = secret.encode() if secret else secrets.token_bytes(_SECRET_BYTES)
        self._clock = clock

    def make(self, key_id: str) -> str:
        """A token for the key with this id, good for 60 s."""
        body = f"{key_id}.{int(self._clock()) + TOKEN_LIFE_S}.{secrets.token_urlsafe(8)}"
        return f"{body}.{self._mac(body)}"

    def check(self, token: str) -> str | None:
        """The id of the key that a token was made with; None if it is forged or expired."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        body, _, mac = token.rpartition(".")
        if not hmac.compare_digest(self._mac(body), mac):
            return None
        return match[1] if self._clock() < int(match[2]) else None

    def _mac(self, body: str) -> str:
        mac = hmac.new(self._secret, _PURPOSE + body.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
