"""service.access: who is let in, over HTTP and on streams."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from service.access import Access, Caller, require_admin
from service.errors import SettingsInvalid
from service.keys import hash_of, make_key
from service.settings import Settings
from tests.service.live import Live, eventually, serve
from tests.service.pictures import as_file, landscape

KEY, OTHER, ADMIN = make_key(), make_key(), make_key()
PICTURE = as_file(landscape(), "png")


class Served(httpx.Client):
    """HTTP to a running service, and its streams."""

    def __init__(self, live: Live) -> None:
        super().__init__(base_url=live.url)
        self.live = live

    def open_stream(
        self, query: str = "", headers: dict[str, str] | None = None
    ) -> ClientConnection:
        """A stream, open."""
        return connect(f"{self.live.stream_url}{query}", additional_headers=headers)


async def admin(caller: Annotated[Caller, Depends(require_admin)]) -> str:
    return caller.name


@contextmanager
def served(**settings: Any) -> Iterator[Served]:
    with serve(**settings) as live, Served(live) as client:
        live.app.post("/admin")(admin)
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[Served]:
    """A service with two API keys and an admin key."""
    with served(
        api_keys=f"{hash_of(KEY, 'one')},{hash_of(OTHER, 'two')}",
        admin_keys=hash_of(ADMIN, "boss"),
        metrics_key=True,
    ) as running:
        yield running


def refusal(client: Served, query: str = "") -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refused, client.open_stream(query):
        pass
    response = refused.value.response
    assert response.body is not None
    return response.status_code, json.loads(response.body)["code"]


def first(stream: ClientConnection) -> Any:
    return json.loads(stream.recv(10))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def code_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


@pytest.mark.parametrize("method_and_path", ["POST /sharpen", "GET /model", "POST /token"])
def test_without_a_key_nothing_is_done_and_the_way_in_is_told(
    client: Served, method_and_path: str
) -> None:
    response = client.request(*method_and_path.split())
    assert code_of(response) == (401, "key-missing")
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_the_page_health_and_description_are_for_all(client: Served) -> None:
    for path in ("/", "/health/live", "/health/ready", "/openapi.json", "/static/app.js"):
        assert client.get(path).status_code == 200


def test_every_key_is_taken_in_both_headers_and_a_wrong_one_in_none(client: Served) -> None:
    for key in (KEY, OTHER, ADMIN):
        for headers in (bearer(key), {"X-API-Key": key}, {"Authorization": f"bearer  {key}"}):
            assert client.get("/model", headers=headers).status_code == 200
    assert client.post("/sharpen", content=PICTURE, headers=bearer(KEY)).status_code == 200
    for wrong in (KEY[:-1], "", f"Basic {KEY}"):
        assert client.get("/model", headers={"X-API-Key": wrong}).status_code in (401, 429)
    assert client.get("/model", params={"token": KEY, "api_key": KEY}).status_code == 401


def test_metrics_may_want_a_key(client: Served) -> None:
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers=bearer(KEY)).status_code == 200
    with served(api_keys=hash_of(KEY)) as open_metrics:
        assert open_metrics.get("/metrics").status_code == 200
    with served(admin_keys=hash_of(ADMIN), metrics_key=True) as others_open:
        assert others_open.get("/model").status_code == 200
        assert others_open.get("/metrics").status_code == 401
        assert others_open.get("/metrics", headers=bearer(ADMIN)).status_code == 200
    with pytest.raises(SettingsInvalid, match="CLEARCALL_METRICS_KEY"):
        Access(Settings(metrics_key=True))


def test_admin_calls_take_an_admin_key_only(client: Served) -> None:
    assert code_of(client.post("/admin")) == (401, "key-missing")
    assert code_of(client.post("/admin", headers=bearer(KEY))) == (403, "admin-only")
    assert client.post("/admin", headers=bearer(ADMIN)).json() == "boss"


@pytest.mark.parametrize("settings", [{}, {"api_keys": hash_of(KEY)}])
def test_without_an_admin_key_admin_calls_are_off(settings: dict[str, str]) -> None:
    with served(**settings) as client:
        assert code_of(client.post("/admin", headers=bearer(KEY))) == (403, "admin-off")


def test_without_keys_everybody_is_let_in_whatever_they_send() -> None:
    with served() as client:
        assert client.get("/model", headers=bearer("anything")).status_code == 200
        token = client.post("/token").json()["token"]
        for query in ("", f"?token={token}", "?token=x"):
            with client.open_stream(query) as stream:
                assert first(stream)["type"] == "hello"


def test_a_stream_opens_with_a_key_or_a_token_of_one(client: Served) -> None:
    answer = client.post("/token", headers=bearer(KEY))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["expires_in_s"] == 60
    token = answer.json()["token"]
    for query, headers in ((f"?token={token}", {}), ("", bearer(KEY)), ("", {"X-API-Key": KEY})):
        with client.open_stream(query, headers) as stream:
            assert first(stream)["type"] == "hello"
    assert refusal(client) == (401, "key-missing")
    assert refusal(client, "?token=x") == (401, "token-wrong")
    assert refusal(client, f"?token={KEY}") == (401, "token-wrong")


def test_a_refused_stream_is_no_error_in_the_log(
    client: Served, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("uvicorn.error").propagate = True  # for caplog
    with caplog.at_level(logging.ERROR):
        assert refusal(client) == (401, "key-missing")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_key_that_is_gone_takes_its_tokens_with_it(tmp_path: Path) -> None:
    ticks = itertools.count(step=10)
    file = tmp_path / "keys"
    file.write_text(hash_of(KEY))
    with served(api_keys_file=file) as client:
        settings = client.live.parts.settings
        client.live.app.state.access = Access(settings, clock=lambda: float(next(ticks)))
        token = client.post("/token", headers=bearer(KEY)).json()["token"]
        file.write_text(hash_of(OTHER))
        assert refusal(client, f"?token={token}") == (401, "token-wrong")
        assert client.get("/model", headers=bearer(OTHER)).status_code == 200


def test_a_key_that_is_gone_takes_its_open_streams_with_it(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{hash_of(KEY)}\n{hash_of(OTHER)}\n")
    with served(api_keys_file=file) as client:
        with (
            client.open_stream(headers=bearer(KEY)) as gone,
            client.open_stream(headers=bearer(OTHER)) as stays,
        ):
            assert json.loads(stays.recv(10))["type"] == "hello"
            file.write_text(hash_of(OTHER))
            gone.recv(10)  # its hello
            with pytest.raises(ConnectionClosed, match=r"1008.*its key is no longer in use"):
                gone.recv(10)
            stays.send('{"type":"ping","id":1}')
            assert json.loads(stays.recv(10))["type"] == "pong"
        eventually(lambda: client.live.metric("clearcall_streams_ended_total", cause="key") == 1)


def test_a_key_has_so_many_requests_a_minute_and_others_have_theirs() -> None:
    keys = f"{hash_of(KEY)},{hash_of(OTHER)}"
    with served(api_keys=keys, max_requests_per_minute=3) as client:
        for _ in range(3):
            assert client.get("/model", headers=bearer(KEY)).status_code == 200
        refused = client.get("/model", headers=bearer(KEY))
        assert code_of(refused) == (429, "rate-exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert client.get("/model", headers=bearer(OTHER)).status_code == 200


def test_a_key_has_so_many_streams_and_gets_them_back() -> None:
    with served(api_keys=hash_of(KEY), max_streams_per_key=1) as client:
        key = bearer(KEY)
        with client.open_stream(headers=key) as one:
            assert first(one)["type"] == "hello"
            with client.open_stream(headers=key) as two:
                assert first(two)["code"] == "key-streams-full"
                with pytest.raises(ConnectionClosed) as closed:
                    two.recv(10)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1013
        eventually(lambda: first_type(client, key) == "hello")


def first_type(client: Served, key: dict[str, str]) -> Any:
    with client.open_stream(headers=key) as stream:
        return first(stream)["type"]


def test_wrong_keys_are_braked_and_lock_nobody_out(caplog: pytest.LogCaptureFixture) -> None:
    with served(api_keys=hash_of(KEY)) as client, caplog.at_level(logging.WARNING):
        logging.getLogger("service").propagate = True  # for caplog
        answers = [client.get("/model", headers=bearer(f"guess-{n}")) for n in range(30)]
        assert {code_of(answer) for answer in answers[:10]} == {(401, "key-wrong")}
        assert {code_of(answer) for answer in answers[10:]} == {(429, "too-many-wrong-keys")}
        assert answers[-1].headers["connection"] == "close"
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert client.get("/model", headers=bearer(KEY)).status_code == 200
        assert caplog.text.count("a wrong key") == 10
        assert "guess" not in caplog.text
        scraped = client.get("/metrics").text
    assert 'clearcall_access_refused_total{code="too-many-wrong-keys"} 20.0' in scraped


def test_pages_of_other_sites_may_not_post_unless_they_are_listed() -> None:
    evil = {"Origin": "https://evil.example"}
    with served() as client:
        refused = client.post("/sharpen", content=PICTURE, headers=evil)
        assert code_of(refused) == (403, "origin-refused")
        assert "access-control-allow-origin" not in refused.headers
        own = client.post("/sharpen", content=PICTURE, headers={"Origin": client.live.url})
        assert own.status_code == 200
    with served(allowed_origins="https://meet.example.org") as client:
        meet = {"Origin": "https://meet.example.org"}
        answer = client.post("/sharpen", content=PICTURE, headers=meet)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == meet["Origin"]
        assert "X-Clearcall-Warning" in answer.headers["access-control-expose-headers"]
        asked = {"Access-Control-Request-Method": "POST"}
        asked |= {"Access-Control-Request-Headers": "authorization"}
        assert client.options("/token", headers=meet | asked).status_code == 200
        assert client.options("/token", headers=evil | asked).status_code == 400
        assert code_of(client.post("/token", headers=evil)) == (403, "origin-refused")
