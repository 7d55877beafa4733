"""An API key on its way into a header."""

from __future__ import annotations

from clearcall.errors import KeyInvalid

__all__ = ["key_headers"]


def key_headers(api_key: str | None) -> dict[str, str]:
    """What to send with a key, without the spaces and line ends around it; nothing without one.

    Raises:
        KeyInvalid: No header can hold it.
    """
    key = (api_key or "").strip()
    if not key.isascii() or not key.isprintable():
        raise KeyInvalid
    return {"Authorization": f"Bearer {key}"} if key else {}
