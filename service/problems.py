"""Errors as RFC 9457 problem documents: how they look, and how OpenAPI describes them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from service.errors import ClearcallError, WrongKeysBraked

__all__ = ["Problem", "describe_problems", "problem_for", "problem_response"]

_MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """An error as an HTTP client gets it."""

    type: str = Field(description="URN of the kind of problem; ends with the code")
    title: str = Field(description="the kind of problem, for people")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what was wrong this time, and what to do")
    code: str = Field(description="the kind of problem, for programs")


def problem_response(
    status: int, *, code: str, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Builds the answer for one problem."""
    problem = Problem(
        type=f"urn:problem-type:clearcall:{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
    )
    return JSONResponse(problem.model_dump(), status, headers, media_type=_MEDIA_TYPE)


def problem_for(error: ClearcallError) -> JSONResponse:
    """Builds the answer for one of our own errors."""
    headers = {}
    if (retry_after_s := getattr(error, "retry_after_s", None)) is not None:
        headers["Retry-After"] = str(retry_after_s)
    if error.http_status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="clearcall"'
    if isinstance(error, WrongKeysBraked):
        headers["Connection"] = "close"  # the next guess costs a connection
    return problem_response(
        error.http_status, code=error.code, title=error.title, detail=str(error), headers=headers
    )


def describe_problems(*errors: type[ClearcallError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for the errors that an operation can answer with."""
    by_status: dict[int | str, list[str]] = {}
    for error in errors:
        by_status.setdefault(error.http_status, []).append(f"{error.title} (`{error.code}`)")
    return {
        status: {
            "description": ", or ".join(titles),
            "content": {_MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
        }
        for status, titles in by_status.items()
    }
