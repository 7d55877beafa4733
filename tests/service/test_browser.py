"""service.browser: whose pages may open a stream, and the headers that every answer carries."""

from __future__ import annotations

import httpx
import pytest

from service.browser import is_origin_allowed
from tests.service.live import Live

HOST = "127.0.0.1:8000"


@pytest.mark.parametrize(
    ("origin", "allowed", "is_allowed"),
    [
        (None, (), True),
        ("http://127.0.0.1:8000", (), True),
        ("HTTP://127.0.0.1:8000", (), True),
        ("http://127.0.0.1:9000", (), False),
        ("http://localhost:8000", (), False),
        ("https://evil.example", (), False),
        ("https://127.0.0.1:8000.evil.example", (), False),
        ("http://[", (), False),
        ("http://127.0.0.1:x", (), False),
        ("null", (), False),
        ("", (), False),
        ("https://meet.example.org", ("https://meet.example.org",), True),
        ("https://Meet.Example.org", ("https://meet.example.org",), True),
        ("http://meet.example.org", ("https://meet.example.org",), False),
        ("null", ("null",), True),
        ("https://evil.example", ("*",), True),
    ],
)
def test_programs_the_own_page_and_listed_sites_are_allowed(
    origin: str | None, allowed: tuple[str, ...], is_allowed: bool
) -> None:
    assert is_origin_allowed(origin, host=HOST, allowed=allowed) is is_allowed


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        ("https://meet.example.org", "meet.example.org:443", True),
        ("https://meet.example.org:443", "Meet.example.org", True),
        ("https://meet.example.org", "meet.example.org:80", False),
        ("http://[::1]:8000", "[::1]:8000", True),
    ],
)
def test_a_schemes_own_port_may_be_written_or_not(origin: str, host: str, is_own: bool) -> None:
    assert is_origin_allowed(origin, host=host, allowed=()) is is_own


def test_without_a_host_no_page_is_the_own_one() -> None:
    assert not is_origin_allowed("http://127.0.0.1", host=None, allowed=())
    assert not is_origin_allowed("null", host="", allowed=())


def test_the_page_may_show_blobs_and_talk_to_its_own_server_only(live: Live) -> None:
    policy = httpx.get(f"{live.url}/static/nothing.js").headers["content-security-policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'self'"
    assert directives["connect-src"].startswith("'self'")
    assert "http" not in directives["connect-src"]
    assert {"blob:", "data:"} <= set(directives["img-src"].split())
    assert {"blob:", "data:"} <= set(directives["media-src"].split())
    assert "unsafe-inline" not in policy


@pytest.mark.parametrize("path", ["/", "/static/nothing.js", "/model", "/docs", "/nowhere"])
def test_every_answer_forbids_guessing_types_and_framing(live: Live, path: str) -> None:
    headers = httpx.get(f"{live.url}{path}").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_the_page_is_asked_for_anew_and_the_docs_may_run_their_script(live: Live) -> None:
    assert httpx.get(f"{live.url}/").headers["cache-control"] == "no-cache"
    assert "cdn.jsdelivr.net" in httpx.get(f"{live.url}/docs").headers["content-security-policy"]
