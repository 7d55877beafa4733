"""service.messages: what is understood, what is refused, and the schema that is published."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import RequestInvalid
from service.messages import Displayed, Pause, Ping, Settings, parse_message, schema_json

SCHEMA = Path(__file__).parents[2] / "docs" / "protocol.schema.json"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type":"pause"}', Pause(type="pause")),
        ('{"type":"ping","id":"a"}', Ping(type="ping", id="a")),
        ('{"type":"ping","id":7}', Ping(type="ping", id=7)),
        ('{"type":"ping"}', Ping(type="ping")),
        (
            '{"type":"displayed","sequence":4294967295,"latency_ms":12}',
            Displayed(type="displayed", sequence=2**32 - 1, latency_ms=12),
        ),
        ('{"type":"settings","target_fps":30}', Settings(type="settings", target_fps=30)),
    ],
)
def test_each_message_is_read(text: str, message: object) -> None:
    assert parse_message(text) == message


def test_a_field_that_is_null_differs_from_one_that_is_absent() -> None:
    asked = parse_message('{"type":"settings","target_fps":null}')
    assert asked.model_fields_set == {"type", "target_fps"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[" * 4000, "JSON"),
        ("[]", "type"),
        ("7", "message"),
        ("{}", "type: Field required"),
        ('{"type":"hello"}', "'settings', 'pause', 'resume', 'ping', 'stats', 'displayed'"),
        ('{"type":7}', "type"),
        ('{"type":"settings","strength":2.1}', "strength"),
        ('{"type":"settings","strength":-1}', "strength"),
        ('{"type":"settings","strength":NaN}', "strength"),
        ('{"type":"settings","strength":"0.5"}', "strength"),
        ('{"type":"settings","strength":true}', "strength"),
        ('{"type":"settings","quality":0}', "quality"),
        ('{"type":"settings","quality":101}', "quality"),
        ('{"type":"settings","quality":50.5}', "quality"),
        ('{"type":"settings","format":"gif"}', "format"),
        ('{"type":"settings","strenght":1}', "strenght"),
        ('{"type":"settings","window":0}', "window"),
        ('{"type":"settings","target_fps":0}', "target_fps"),
        ('{"type":"settings","target_fps":1e999}', "target_fps"),
        ('{"type":"settings","target_latency_ms":0}', "target_latency_ms"),
        ('{"type":"settings","adapt":1}', "adapt"),
        ('{"type":"settings","max_kbps":-5}', "max_kbps"),
        ('{"type":"pause","now":true}', "now"),
        ('{"type":"ping","id":[]}', "id"),
        ('{"type":"displayed"}', "sequence: Field required"),
        ('{"type":"displayed","sequence":-1}', "sequence"),
        ('{"type":"displayed","sequence":4294967296}', "sequence"),
        ('{"type":"displayed","sequence":1,"latency_ms":-1}', "latency_ms"),
        ('{"type":"ping","id":"' + "x" * 5000 + '"}', "4096"),
    ],
)
def test_what_is_not_understood_is_refused_and_told(text: str, said: str) -> None:
    with pytest.raises(RequestInvalid, match=said):
        parse_message(text)


@given(st.text(max_size=200))
def test_arbitrary_text_is_a_message_or_request_invalid(text: str) -> None:
    with contextlib.suppress(RequestInvalid):
        parse_message(text)


def test_the_published_schema_is_what_the_models_give() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_json(), (
        "run: python -m service.messages > docs/protocol.schema.json"
    )


def test_every_reference_of_the_schema_leads_somewhere() -> None:
    schema = json.loads(schema_json())

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [ref for value in node.values() for ref in references(value)]
        return (
            [ref for value in node for ref in references(value)] if isinstance(node, list) else []
        )

    found = references(schema)
    assert found
    for ref in found:
        assert ref.removeprefix("#/$defs/") in schema["$defs"]
