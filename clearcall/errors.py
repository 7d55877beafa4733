"""What can go wrong between a client and a server.

ClientError
├── KeyInvalid      the API key cannot be sent
├── Refused         the server does not take the stream, and trying again will not help
├── Unreachable     no connection, or a lost one, after all the attempts that were allowed
├── BadMessage      the server sent something that is not of this protocol
└── Closed          the client was closed
"""

from __future__ import annotations

__all__ = ["BadMessage", "ClientError", "Closed", "KeyInvalid", "Refused", "Unreachable"]


class ClientError(Exception):
    """Root of the tree; never raised itself."""


class KeyInvalid(ClientError):
    """The API key cannot be sent; it is not shown."""

    def __init__(self) -> None:
        super().__init__("The API key has characters that no key has. Copy it anew.")


class Refused(ClientError):
    """Not taken for good: `code` is the HTTP status or the WebSocket close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"The server refused the stream ({code}): {reason or 'no reason given'}.")
        self.code, self.reason = code, reason


class Unreachable(ClientError):
    """No connection after `attempts` attempts in a row; the last one's error is chained."""

    def __init__(self, url: str, attempts: int, last: str) -> None:
        super().__init__(f"{url} could not be reached in {attempts} attempts. The last: {last}")
        self.attempts = attempts


class BadMessage(ClientError):
    """Not of this protocol."""


class Closed(ClientError):
    """The client was closed, or never opened."""

    def __init__(self) -> None:
        super().__init__("The client is closed.")
