"""docs/protocol.md: its clients work as printed, and its tables say what service.frames does."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.codec import decode_image
from service.errors import ClearcallError
from service.frames import FRAME_HEADER_BYTES, RESULT_HEADER_BYTES
from service.pump import error_message, settings_message
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


def test_the_settings_and_error_messages_are_as_printed() -> None:
    told = settings_message(StreamSettings(strength=1.0, quality=85, format="jpeg"))
    assert told in DOCUMENT
    for name in ("type", "code", "message", "sequence"):
        assert f'"{name}"' in error_message(ClearcallError("x"), 7)
    assert f"{MAX_BAD_FRAMES_IN_A_ROW} bad frames in a row" in DOCUMENT


def test_every_code_in_the_document_exists() -> None:
    table = DOCUMENT.split("### Text: error")[1].split("###")[0]
    told = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", table))
    assert told
    assert told <= {kind.code for kind in leaves()}
