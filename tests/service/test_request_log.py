"""service.request_log and service.logs: ids, the access log, and what must not be in it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import httpx
import pytest
from websockets.sync.client import connect

from service.keys import hash_of, make_key
from service.logs import REQUEST_ID, JsonFormatter, TextFormatter, log_config, without_secrets
from service.settings import Settings
from tests.service.live import eventually, serve
from tests.service.pictures import as_file, landscape

KEY = make_key()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    async def bug() -> None:
        raise ZeroDivisionError

    with (
        serve(api_keys=hash_of(KEY, "one"), log_level="info") as live,
        httpx.Client(base_url=live.url) as running,
    ):
        live.app.get("/bug")(bug)
        logging.getLogger("service").propagate = True  # for caplog
        yield running


def test_a_sane_id_is_kept_and_any_other_is_replaced(client: httpx.Client) -> None:
    kept = client.get("/health/live", headers={"X-Request-ID": "a-1.b_2:c"})
    assert kept.headers["x-request-id"] == "a-1.b_2:c"
    made = set()
    for wrong in ("", "x" * 65, "a b", "a/b", '"'):
        answer = client.get("/nowhere", headers={"X-Request-ID": wrong})
        made.add(answer.headers["x-request-id"])
    assert len(made) == 5
    assert all(re.fullmatch(r"[0-9a-f]{16}", one) for one in made)


def test_even_an_unforeseen_error_carries_the_id_and_the_headers(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "service"):
        answer = client.get("/bug", headers={"X-Request-ID": "find-me"})
        eventually(lambda: "GET /bug 500" in caplog.text)  # told after the answer
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == "find-me"
    assert "find-me" in answer.json()["detail"]
    assert "ZeroDivisionError" in caplog.text


def test_the_access_log_tells_who_and_what_and_no_secret(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    with caplog.at_level(logging.INFO, "service.access_log"):
        client.post("/sharpen?strength=1", content=as_file(landscape(), "png"), headers=key)
        token = client.post("/token", headers=key).json()["token"]
        address = str(client.base_url).replace("http", "ws").rstrip("/")
        with connect(f"{address}/stream?token={token}") as stream:
            stream.recv()
        eventually(lambda: "ended" in caplog.text)
        forged = {"X-Forwarded-For": "192.0.2.1 - GET /model 200"}
        client.get("/no%0Awhere%20", headers=forged)
        eventually(lambda: "no%0Awhere" in caplog.text)
    ours = [record for record in caplog.records if record.name == "service.access_log"]
    facts = [record.__dict__["facts"] for record in ours]
    told = [(fact["key"], fact["method"], fact["path"], fact["status"]) for fact in facts]
    assert told == [
        ("one", "POST", "/sharpen", 200),
        ("one", "POST", "/token", 200),
        ("one", "STREAM", "/stream", 101),
        ("one", "STREAM", "/stream", 101),
        ("-", "GET", "/no%0Awhere%20", 404),
    ]
    assert facts[-1]["client"] == "192.0.2.1%20-%20GET%20%2Fmodel%20200"
    assert [fact.get("state") for fact in facts[2:4]] == ["opened", "ended"]
    for secret in (KEY, token, "strength"):
        assert not [record for record in ours if secret in record.getMessage()]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_nothing_on_stderr_holds_a_key_or_a_token_at_any_level(
    log_format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    with serve(api_keys=hash_of(KEY), log_level="debug", log_format=log_format) as live:
        token = httpx.post(f"{live.url}/token", headers=key).json()["token"]
        with connect(f"{live.stream_url}?token={token}", additional_headers=key) as stream:
            stream.recv()
        httpx.get(f"{live.url}/model/{KEY}")
        httpx.get(f"{live.url}/stream%3Ftoken={token}")
    said = capfd.readouterr().err
    assert "/stream" in said
    assert KEY not in said
    assert token not in said
    if log_format == "json":
        entries = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        opened = [entry for entry in entries if entry.get("state") == "opened"]
        assert opened
        assert {"time", "level", "logger", "message", "request_id", "client"} <= opened[0].keys()


def record_of(message: str) -> logging.LogRecord:
    return logging.LogRecord("service.x", logging.INFO, "f", 1, message, (), None)


def test_both_formats_carry_the_requests_id() -> None:
    context = REQUEST_ID.set("r-1")
    try:
        assert TextFormatter().format(record_of("hello")).endswith("hello [r-1]")
        assert json.loads(JsonFormatter().format(record_of("hello")))["request_id"] == "r-1"
    finally:
        REQUEST_ID.reset(context)
    assert "request_id" not in json.loads(JsonFormatter().format(record_of("two\nlines")))


@pytest.mark.parametrize(
    "text",
    [
        "GET /stream?a=1&token=SECRET&b=2",
        "< Authorization: Bearer SECRET",
        "(b'authorization', b'Bearer SECRET')",
        "< X-API-Key: SECRET",
        "x-api-key=SECRET",
    ],
)
def test_secrets_are_blotted_out(text: str) -> None:
    assert "SECRET" not in without_secrets(text)
    assert KEY not in without_secrets(f"got {KEY}.")


def test_the_level_and_the_format_are_as_set() -> None:
    config = log_config(Settings(log_level="error", log_format="json"))
    assert config["loggers"]["service"]["level"] == "ERROR"
    assert config["formatters"]["ours"]["()"] is JsonFormatter
