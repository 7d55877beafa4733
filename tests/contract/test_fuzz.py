"""The OpenAPI description against the service, by requests that nobody thought of."""

from __future__ import annotations

from tests.contract.fuzz import fuzz, served


def test_no_made_up_request_is_a_server_error_or_answered_other_than_described() -> None:
    with served() as live:
        seen = fuzz(live, cases=12)
    assert seen.total() >= 50
    assert seen["POST /sharpen", 200]
    assert seen["POST /sharpen", 401]
