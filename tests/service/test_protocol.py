"""docs/protocol.md: its clients work as printed, and its tables say what service.frames does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from service.codec import decode_image
from service.frames import FRAME_HEADER_BYTES, RESULT_HEADER_BYTES
from service.ledger import DropReason
from service.messages import Hello, ServerMessage, Settings, SettingsNow, Stats, parse_message
from service.stream import MAX_BAD_FRAMES_IN_A_ROW, StreamSettings
from tests.service.live import Live
from tests.service.pictures import jpeg_frame
from tests.service.test_problems import leaves

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
FIRST_NODE_WITH_WEBSOCKET = 22
FIRST_NODE_WITH_THE_FLAG = 20
TIMEOUT_S = 60


def printed(language: str) -> str:
    """The one client of that language."""
    [code] = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    return str(code)


def check_run(command: list[str], folder: Path, live: Live) -> None:
    """Runs a client as the document says, and looks at what it printed and left."""
    (folder / "face.jpg").write_bytes(jpeg_frame(90, 160))
    ran = subprocess.run(
        [*command, live.stream_url, "face.jpg"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    answers = re.findall(r"^frame (\d+): 160x90, [\d.]+ ms$", ran.stdout, re.MULTILINE)
    assert [int(number) for number in answers] == list(range(100))
    picture = decode_image((folder / "sharpened.jpg").read_bytes(), max_pixels=10**6)
    assert picture.image.shape == (90, 160, 3)
    assert live.metric("clearcall_frames_sent_total") == 100
    assert live.dropped() == {}


def test_the_python_client_works_as_printed(live: Live, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(printed("python"), encoding="utf-8")
    check_run([sys.executable, "client.py"], tmp_path, live)


def test_the_javascript_client_works_as_printed(live: Live, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node here; the page's test runs JavaScript in a browser")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    major = int(version.stdout.lstrip("v").split(".")[0])
    if major < FIRST_NODE_WITH_THE_FLAG:
        pytest.skip(f"node {major} has no WebSocket")
    flags = [] if major >= FIRST_NODE_WITH_WEBSOCKET else ["--experimental-websocket"]
    (tmp_path / "client.mjs").write_text(printed("javascript"), encoding="utf-8")
    check_run([node, *flags, "client.mjs"], tmp_path, live)


def test_the_clients_are_short() -> None:
    assert len(printed("python").splitlines()) <= 30


@pytest.mark.parametrize(
    ("heading", "header_bytes"),
    [("### Binary: a frame", FRAME_HEADER_BYTES), ("### Binary: a result", RESULT_HEADER_BYTES)],
)
def test_the_bytes_of_a_header_are_told_without_gap_or_overlap(
    heading: str, header_bytes: int
) -> None:
    section = DOCUMENT.split(f"{heading}\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| (\d+)(-(\d*))? \|", section, re.MULTILINE)
    expected = 0
    for first, is_range, last in rows[:-1]:
        assert int(first) == expected
        expected = int(last if is_range else first) + 1
    assert rows[-1] == (str(header_bytes), "-", "")
    assert expected == header_bytes


def printed_messages() -> list[dict[str, Any]]:
    return [
        json.loads(text)
        for text in re.findall(r"^```json\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    ]


def test_every_printed_message_is_one() -> None:
    server: TypeAdapter[ServerMessage] = TypeAdapter(ServerMessage)
    kinds = set()
    for message in printed_messages():
        kinds.add(message["type"])
        text = json.dumps(message)
        if message["type"] in ("hello", "model", "error") or "received" in message:
            server.validate_json(text)
        else:
            parse_message(text)
    assert kinds == {"settings", "pause", "ping", "stats", "displayed", "hello", "model", "error"}


def test_the_settings_are_printed_with_their_first_values_and_each_has_a_row() -> None:
    [settings] = [message for message in printed_messages() if message["type"] == "settings"]
    assert settings == StreamSettings(strength=1.0).message().model_dump()
    table = DOCUMENT.split("### Text: settings\n")[1].split("\n#")[0]
    rows = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert rows == set(Settings.model_fields) - {"type"} == set(SettingsNow.model_fields) - {"type"}


def test_hello_and_statistics_are_printed_with_all_their_fields() -> None:
    by_kind = {(m["type"], "received" in m): m for m in printed_messages()}
    assert set(by_kind["hello", False]) == set(Hello.model_fields)
    assert set(by_kind["stats", True]) == set(Stats.model_fields)
    assert tuple(by_kind["stats", True]["dropped"]) == get_args(DropReason)
    stats = by_kind["stats", True]
    counted = stats["answered"] + sum(stats["dropped"].values()) + stats["in_work"]
    assert stats["received"] == counted


def test_the_number_of_bad_frames_is_told() -> None:
    assert f"{MAX_BAD_FRAMES_IN_A_ROW} bad frames in a row" in DOCUMENT


def test_every_code_in_the_document_exists() -> None:
    table = DOCUMENT.split("### Text: error")[1].split("###")[0]
    told = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", table))
    assert told
    assert told <= {kind.code for kind in leaves()}
