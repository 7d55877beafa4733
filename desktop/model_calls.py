"""The model calls of a running service, by the standard library alone."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from clearcall.api_key import key_headers
from clearcall.errors import KeyInvalid
from service.errors import ClearcallError

__all__ = ["CallFailed", "activate_model", "list_models"]

_LIST_TIMEOUT_S = 15.0
_ACTIVATE_TIMEOUT_S = 180.0  # it answers when the model is served
_KEY_VARIABLE = "CLEARCALL_API_KEY"


class CallFailed(ClearcallError):
    """A service that cannot be reached, or that refuses."""

    code = "call-failed"
    title = "The service did not do it"

    def __init__(self, reason: str) -> None:
        super().__init__(f"models: {reason}")


def list_models(server: str, *, api_key: str | None = None) -> dict[str, Any]:
    """What `GET /models` says.

    Args:
        server: The service's URL.
        api_key: Its key; if None, that of CLEARCALL_API_KEY, if any.

    Raises:
        CallFailed: See above.
    """
    return _call(server, "/models", api_key, method="GET", timeout_s=_LIST_TIMEOUT_S)


def activate_model(
    server: str, model_id: str, *, api_key: str | None = None, is_forced: bool = False
) -> dict[str, Any]:
    """Serves a model and pins it; returns what `GET /models` says then.

    Args:
        server: The service's URL.
        model_id: Of the list, or `latest` to end the pin.
        api_key: An admin key; if None, that of CLEARCALL_API_KEY, if any.
        is_forced: Without the gate.

    Raises:
        CallFailed: See above.
    """
    path = f"/models/{urllib.parse.quote(model_id, safe='')}/activate"
    if is_forced:
        path += "?force=true"
    return _call(server, path, api_key, method="POST", timeout_s=_ACTIVATE_TIMEOUT_S)


def _call(
    server: str, path: str, api_key: str | None, *, method: str, timeout_s: float
) -> dict[str, Any]:
    if not _is_url(server):
        raise CallFailed(f"{server!r} is not the URL of a service, like http://127.0.0.1:8000.")
    try:
        headers = {"Accept": "application/json"} | key_headers(
            api_key or os.environ.get(_KEY_VARIABLE)
        )
    except KeyInvalid as exc:
        raise CallFailed(str(exc)) from exc
    request = urllib.request.Request(server.rstrip("/") + path, method=method, headers=headers)
    try:
        with urllib.request.urlopen(  # nosec B310 - the scheme was checked above
            request, timeout=timeout_s
        ) as response:
            answer = json.loads(response.read())
    except urllib.error.HTTPError as exc:
        with exc:
            raise CallFailed(_told(exc.code, exc.read())) from exc
    except (OSError, ValueError, http.client.HTTPException) as exc:
        reason = getattr(exc, "reason", exc)
        raise CallFailed(f"{server} cannot be asked ({reason}). Is the service running?") from exc
    if not isinstance(answer, dict):
        raise CallFailed(f"{server} does not answer like a Clearcall service.")
    return answer


def _is_url(server: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(server)
        _ = parts.port  # raises where it is none
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _told(status: int, body: bytes) -> str:
    """What a problem document says, or the bare status."""
    try:
        problem: Mapping[str, Any] = json.loads(body)
        return str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return f"The service answered with status {status}."
