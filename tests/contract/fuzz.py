"""Requests made up by Schemathesis from the OpenAPI description, against a running service.

`python -m tests.contract.fuzz [CASES]` makes that many for each operation, 400 if not given (fewer
where there are not so many different ones), and counts them. What must hold: no server error, and
every answer has a status, a media type and a form that are described.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.keys import hash_of, make_key
from tests.service.live import Live, serve
from tests.service.pictures import as_file, landscape

__all__ = ["fuzz", "main"]

_KEY = make_key()
_CASES = 400
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
_PICTURES = tuple(as_file(landscape(16, 24), kind) for kind in ("png", "jpeg", "webp"))


def fuzz(live: Live, *, cases: int) -> Counter[tuple[str, int]]:
    """Sends `cases` requests for each operation of the description, half of them with a key.

    Returns:
        How many answers there were of each operation and status.

    Raises:
        AssertionError: An answer is not as described, or a server error.
    """
    schema = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    seen: Counter[tuple[str, int]] = Counter()
    for result in schema.get_all_operations():
        _fuzz_operation(cast("Any", result).ok(), seen, cases)
    return seen


def _fuzz_operation(operation: Any, seen: Counter[tuple[str, int]], cases: int) -> None:
    name = f"{operation.method.upper()} {operation.path}"

    @hypothesis.settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(
        case=operation.as_strategy(),
        has_key=st.booleans(),
        picture=st.sampled_from((None, *_PICTURES)),
    )
    def run(case: Any, has_key: bool, picture: bytes | None) -> None:
        headers = {"Authorization": f"Bearer {_KEY}"} if has_key else {}  # over a made-up one
        if name == "POST /sharpen" and picture is not None:
            case.body, case.media_type = picture, "image/*"
        response = case.call(headers=headers, timeout=30)
        seen[name, response.status_code] += 1
        case.validate_response(response, checks=_CHECKS)

    run()


@contextmanager
def served() -> Iterator[Live]:
    """A service that wants a key, with the stand-in model."""
    with serve(
        api_keys=hash_of(_KEY),
        admin_keys=hash_of(make_key()),
        max_bad_requests_per_minute=0,
        log_level="error",
    ) as live:
        yield live


def main(argv: list[str]) -> int:
    """Fuzzes a service of its own, and prints what came back."""
    with served() as live:
        seen = fuzz(live, cases=int(argv[0]) if argv else _CASES)
    for (name, status), count in sorted(seen.items()):
        print(f"{count:6} {status} {name}")
    print(f"{seen.total():6} requests, no server error, all as described")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
