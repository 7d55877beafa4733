"""service.flood: bad requests in floods, and those behind the same address."""

from __future__ import annotations

import json
import socket

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from service.keys import hash_of, make_key
from tests.service.live import Live, serve

KEY = make_key()


def test_a_flood_is_cut_short_and_a_right_key_passes() -> None:
    with serve(api_keys=hash_of(KEY), max_bad_requests_per_minute=20) as live:
        headers = {"Authorization": f"Bearer {KEY}"}
        token = httpx.post(f"{live.url}/token", headers=headers).json()["token"]
        with (
            httpx.Client(base_url=live.url) as client,
            connect(f"{live.stream_url}?token={token}") as stream,
        ):
            stream.recv(10)
            answers = [client.get(f"/nowhere-{number}") for number in range(30)]
            assert [answer.status_code for answer in answers] == [404] * 20 + [429] * 10
            assert answers[-1].json()["code"] == "too-many-bad-requests"
            assert 1 <= int(answers[-1].headers["retry-after"]) <= 3
            assert client.get("/").status_code == 429
            assert client.get("/health/live").status_code == 200
            with pytest.raises(InvalidStatus), connect(live.stream_url):
                pass

            assert client.get("/model", headers=headers).status_code == 200
            with connect(f"{live.stream_url}?token={token}") as another:
                assert json.loads(another.recv(10))["type"] == "hello"
            stream.send('{"type":"ping","id":1}')
            assert json.loads(stream.recv(10))["type"] == "pong"
            scraped = client.get("/metrics", headers=headers).text
    assert 'code="too-many-bad-requests"} 12.0' in scraped


def not_http(live: Live, address: str) -> None:
    with socket.create_connection(
        live.host_and_port, timeout=10, source_address=(address, 0)
    ) as connection:
        connection.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 400 ")


def test_what_is_not_http_counts_too_and_fills_no_log(capfd: pytest.CaptureFixture[str]) -> None:
    with serve(max_bad_requests_per_minute=5) as live:
        for _ in range(5):
            not_http(live, "127.0.0.2")
        with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as client:
            answer = client.get(live.url)
        assert answer.status_code == 429
        assert answer.headers["connection"] == "close"
    assert "Invalid HTTP" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("path", "version", "status"), [("/nowhere", 13, 403), ("/stream", 5, 400)]
)
def test_streams_that_are_refused_are_bad_requests_too(
    path: str, version: int, status: int
) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "bm9ib2R5IG5vYm9keSAhIQ==",
        "Sec-WebSocket-Version": str(version),
    }
    stranger = httpx.HTTPTransport(local_address="127.0.0.2")
    with (
        serve(max_bad_requests_per_minute=5) as live,
        httpx.Client(base_url=live.url, transport=stranger) as client,
    ):
        assert {client.get(path, headers=upgrade).status_code for _ in range(5)} == {status}
        assert client.get("/").status_code == 429


def test_a_braked_stream_learns_when_to_come_again_behind_a_proxy_too() -> None:
    with serve(max_bad_requests_per_minute=5) as live:
        for _ in range(8):
            httpx.get(f"{live.url}/health/nothing")
        with pytest.raises(InvalidStatus) as refused, connect(live.stream_url):
            pass
        assert refused.value.response.status_code == 429
        assert int(refused.value.response.headers["retry-after"]) > 0
        assert httpx.get(f"{live.url}/health/nothing").status_code == 429
        assert httpx.get(f"{live.url}/health/ready").status_code == 200


def test_what_a_trusted_proxy_passes_on_brakes_nobody_else_behind_it() -> None:
    with serve(max_bad_requests_per_minute=5) as live, httpx.Client(base_url=live.url) as proxy:
        flood, other = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
        for _ in range(10):
            not_http(live, "127.0.0.1")
            proxy.get("/nowhere", headers=flood)
        assert proxy.get("/", headers=flood).status_code == 429
        assert proxy.get("/", headers=other).status_code == 200


def test_good_requests_are_never_counted_and_the_limit_can_be_off() -> None:
    with serve(max_bad_requests_per_minute=5) as live, httpx.Client(base_url=live.url) as client:
        assert {client.get("/health/live").status_code for _ in range(20)} == {200}
    with serve(max_bad_requests_per_minute=0) as live, httpx.Client(base_url=live.url) as client:
        assert {client.get("/nowhere").status_code for _ in range(20)} == {404}
