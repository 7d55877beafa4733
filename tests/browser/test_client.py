"""The reference JavaScript client and the page's pure modules, in Node: no browser, no DOM."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.frames import Result, pack_frame, pack_result, parse_frame
from tests.service.live import Live

_WEB = Path(__file__).parents[2] / "service" / "web"
_FIRST_NODE_WITH_WEBSOCKET = 22

# A socket that the script drives, and the events of a client as a list.
_DOUBLE = """
const { mock } = await import("node:test");
mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
const sockets = [];
class Socket {
  sent = [];
  constructor(url) { this.url = url; sockets.push(this); }
  send(data) { this.sent.push(data); }
  close() { this.isClosed = true; }
  say(message) { this.onmessage({ data: JSON.stringify(message) }); }
  end(code, reason = "") { this.onclose({ code, reason }); }
  texts() { return this.sent.filter((data) => typeof data === "string").map(JSON.parse); }
}
const hello = { type: "hello", protocol: 1, model: "m", device: "cpu", backend: "b",
  default_strength: 1, max_frame_bytes: 1000, max_frame_px: 1e6, in_flight: 3, window: 2,
  students: ["small"], sizes: [],
  limits: { max_fps: 0, max_bytes_per_s: 0, idle_timeout_s: 30 } };
const { ClearcallClient, frameHeader } = await load("clearcall-client.js");
const open = (options = {}) => {
  const client = new ClearcallClient("ws://x/stream",
    { WebSocket: Socket, random: () => 0.5, ...options });
  const events = [];
  for (const type of ["state", "result", "room", "settings", "refusal", "paused", "resumed"])
    client.addEventListener(type, ({ detail }) => events.push([type, detail]));
  client.connect();
  const states = () => events.filter(([type]) => type === "state").map(([, state]) => state);
  return { client, events, states };
};
const answer = (sequence) => {
  const bytes = new Uint8Array(50);
  bytes.set(new Uint8Array(frameHeader(sequence, 5)));
  bytes[3] = 2;
  return { data: bytes.buffer };
};
const jpeg = new Uint8Array([255, 216]);
"""


def run_node(script: str, *arguments: str) -> Any:
    """Runs a module in Node; `load(name)` imports one of the page's; `say(value)` is the outcome.

    Returns:
        What the script said.
    """
    node = shutil.which("node")
    if node is None:
        pytest.fail("Node is not installed. Install it with `apt-get install nodejs`.")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    major = int(version.stdout.removeprefix("v").partition(".")[0])
    flags = [] if major >= _FIRST_NODE_WITH_WEBSOCKET else ["--experimental-websocket"]
    prelude = (
        f"const load = (name) => import({_WEB.as_uri()!r} + '/' + name);"
        "const say = (value) => { console.log(JSON.stringify(value)); };"
    )
    done = subprocess.run(
        [
            node,
            "--no-warnings",
            *flags,
            "--experimental-default-type=module" if major < _FIRST_NODE_WITH_WEBSOCKET else "--",
            "--input-type=module",
            "--eval",
            prelude + script,
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_client_sends_frames_within_the_window_and_gets_each_back(live: Live) -> None:
    sample = min((Path(__file__).parents[1] / "samples").glob("*.jpg"))
    said = run_node(
        """
        const { readFileSync } = await import("node:fs");
        const { ClearcallClient } = await load("clearcall-client.js");
        const [url, path] = process.argv.slice(-2);
        const jpeg = readFileSync(path);
        const client = new ClearcallClient(url, { settings: { strength: 0.5, quality: 70 } });
        const results = [], settings = [];
        let sent = 0, most = 0;
        client.addEventListener("settings", ({ detail }) => settings.push(detail.strength));
        client.addEventListener("room", () => {
          while (sent < 12 && client.send(jpeg, { capturedAtMs: 100 + sent, tag: sent }) !== null) {
            sent++;
            most = Math.max(most, client.inFlight);
          }
        });
        client.addEventListener("result", async ({ detail: { result, tag } }) => {
          const start = new Uint8Array(await result.encoded.arrayBuffer()).slice(0, 2);
          results.push([result.sequence, tag, result.timestampMs, result.scale, [...start]]);
          client.displayed(result, 10);
          if (results.length === 12) {
            client.close();
            say({ results, settings, most });
          }
        });
        client.connect();
        """,
        live.stream_url,
        str(sample),
    )
    assert said["results"] == [[n, n, 100 + n, 1, [0xFF, 0xD8]] for n in range(12)]
    assert said["settings"] == [0.5, 0.5]  # they are sent one by one
    assert 1 <= said["most"] <= 2  # the window of the hello


def test_acknowledged_results_make_room_and_unacknowledged_ones_do_not() -> None:
    said = run_node(
        _DOUBLE
        + """
        const { client, events } = open();
        sockets[0].say(hello);
        const trace = [client.send(jpeg), client.send(jpeg), client.send(jpeg)];
        const results = [];
        client.addEventListener("result", ({ detail }) => results.push(detail.result));
        sockets[0].onmessage(answer(0));
        client.displayed(results[0], 12.5);
        trace.push(client.send(jpeg));           // acknowledged: room again
        sockets[0].onmessage(answer(1));
        trace.push(client.inFlight, client.send(jpeg)); // answered only: no room
        client.displayed(results[1], 20);
        trace.push(client.send(jpeg));
        client.displayed(results[1], 20);        // twice counts once
        client.close();
        say({ trace, acknowledged: sockets[0].texts() });
        """
    )
    assert said["trace"] == [0, 1, None, 2, 2, None, 3]
    assert said["acknowledged"] == [
        {"type": "displayed", "sequence": 0, "latency_ms": 12.5},
        {"type": "displayed", "sequence": 1, "latency_ms": 20},
    ]


def test_client_comes_back_later_each_time_and_brings_its_settings() -> None:
    said = run_node(
        _DOUBLE
        + """
        const { client, states, events } = open({ settings: { strength: 2 } });
        sockets[0].say(hello);
        client.set({ quality: 60 });
        client.pause();
        sockets[0].end(1006);
        const waits = [];
        for (const code of [1013, 1012, 1008, 1006, 1006, 1006]) {
          const { delayMs } = events.at(-1)[1];
          waits.push(delayMs);
          const count = sockets.length;
          mock.timers.tick(delayMs - 1);
          const isEarly = sockets.length !== count;
          mock.timers.tick(1);
          if (isEarly || sockets.length !== count + 1) throw new Error("not in time");
          if (code === 1013) sockets.at(-1).say(
            { type: "error", code: "streams-full", message: "Full.", sequence: null });
          sockets.at(-1).end(code, "why");
        }
        const causes = states().filter(({ name }) => name === "waiting")
          .map(({ cause, detail }) => [cause, detail]);
        client.connect();
        sockets.at(-1).say(hello);
        client.close();
        say({ waits, causes, texts: sockets.at(-1).texts(), last: states().at(-1).name });
        """
    )
    assert said["waits"] == [500, 1000, 2000, 4000, 8000, 8000]
    assert said["causes"][:4] == [
        ["gone", ""],
        ["busy", "Full."],
        ["restarting", "why"],
        ["refused", "why"],
    ]
    assert said["texts"] == [
        {"type": "settings", "strength": 2},
        {"type": "settings", "quality": 60},
        {"type": "pause"},
    ]
    assert said["last"] == "closed"


def test_silent_server_is_left_and_resting_streams_are_kept_alive() -> None:
    said = run_node(
        _DOUBLE
        + """
        let now = 0;
        performance.now = () => now;
        const pass = (ms) => {
          for (let at = 0; at < ms; at += 1000) {
            now += 1000;
            mock.timers.tick(1000);
          }
        };
        const { client, states } = open();
        sockets[0].say(hello);
        pass(12_000);
        const kept = sockets[0].texts().map(({ type }) => type);
        client.send(jpeg);
        pass(9_000);
        const isPatient = client.isLive;
        pass(2_000);
        say({ kept, isPatient, state: states().at(-1) });
        client.close();
        """
    )
    assert said["kept"] == ["ping"]
    assert said["isPatient"] is True
    assert said["state"]["cause"] == "silent"


def test_questions_are_answered_or_fail_with_the_connection() -> None:
    said = run_node(
        _DOUBLE
        + """
        const { client } = open();
        const early = await client.stats().catch((error) => error.constructor.name);
        sockets[0].say(hello);
        const ping = client.ping(), stats = client.stats(), lost = client.ping();
        const [{ id }] = sockets[0].texts();
        sockets[0].say({ type: "stats", received: 7 });
        sockets[0].say({ type: "pong", id });
        const answers = [typeof await ping, (await stats).received];
        sockets[0].end(1006);
        say({ early, answers, lost: await lost.catch((error) => error.message) });
        client.close();
        """
    )
    assert said == {
        "early": "Disconnected",
        "answers": ["number", 7],
        "lost": "The stream broke.",
    }


def test_pause_gives_frames_up_and_resume_makes_room() -> None:
    said = run_node(
        _DOUBLE
        + """
        const { client, events } = open();
        sockets[0].say(hello);
        client.send(jpeg); client.send(jpeg);
        client.pause();
        const trace = [client.send(jpeg)];
        client.resume();
        sockets[0].onmessage(answer(0)); // was under way: nobody waits for it any more
        trace.push(client.inFlight, client.send(jpeg), client.send(new Uint8Array(2000)));
        say({
          trace,
          texts: sockets[0].texts(),
          results: events.filter(([type]) => type === "result").length,
          refusals: events.filter(([type]) => type === "refusal").map(([, { code }]) => code),
        });
        client.close();
        """
    )
    assert said["trace"] == [None, 0, 2, None]
    assert said["texts"] == [{"type": "pause"}, {"type": "resume"}]
    assert said["results"] == 0
    assert said["refusals"] == ["frame-too-large"]


def test_client_keeps_to_the_servers_frame_rate() -> None:
    said = run_node(
        _DOUBLE
        + """
        let now = 0;
        performance.now = () => now;
        const { client, events } = open();
        sockets[0].say({ ...hello, limits: { ...hello.limits, max_fps: 10 } });
        const trace = [client.send(jpeg), client.send(jpeg)];
        const rooms = () => events.filter(([t]) => t === "room").length;
        const before = rooms();
        now = 100; mock.timers.tick(100);
        say({ trace: [...trace, rooms() - before, client.send(jpeg)] });
        client.close();
        """
    )
    assert said["trace"] == [0, None, 1, 1]


def test_no_more_bytes_are_sent_than_the_server_takes() -> None:
    said = run_node(
        _DOUBLE
        + """
        let now = 0;
        performance.now = () => now;
        const { client } = open();
        sockets[0].say({ ...hello, limits: { ...hello.limits, max_bytes_per_s: 20 } });
        const trace = [client.send(jpeg)];
        for (now = 99; now <= 100; now++) trace.push(client.send(jpeg));
        say(trace);
        client.close();
        """
    )
    assert said == [0, None, 1]


def test_another_protocol_is_not_spoken() -> None:
    said = run_node(
        _DOUBLE
        + """
        const { client, states } = open();
        sockets[0].say({ ...hello, protocol: 2 });
        say([states().map(({ name }) => name), client.isLive, sockets[0].isClosed]);
        client.close();
        """
    )
    assert said == [["connecting", "mismatch"], False, True]


def test_wire_module_speaks_the_servers_format() -> None:
    result = Result(
        sequence=2**32 - 1,
        client_timestamp_ms=1234.5678,
        width_px=640,
        height_px=360,
        frames_dropped=7,
        queue_ms=0.5,
        decode_ms=1.5,
        inference_ms=20.25,
        encode_ms=2.5,
        total_ms=25.0,
        format="webp",
        encoded=b"picture",
    )
    message = bytearray(pack_result(result))
    message[45:48] = (1, 75, 40)
    said = run_node(
        """
        const { NotAResult, frameHeader, isAfter, parseResult } = await load("wire.js");
        const message = Buffer.from(process.argv.at(-1), "hex");
        const { encoded, ...rest } = parseResult(new Uint8Array(message).buffer);
        say({
          header: Buffer.from(frameHeader(4294967295, 1234.5678)).toString("hex"),
          result: { ...rest, type: encoded.type, text: await encoded.text() },
          refused: [0, 47, 48].map((size) => {
            try { parseResult(new ArrayBuffer(size)); }
            catch (error) { return error instanceof NotAResult; }
          }),
          order: [isAfter(1, 0), isAfter(0, 1), isAfter(3, 4294967290), isAfter(5, 5)],
        });
        """,
        message.hex(),
    )
    frame = parse_frame(bytes.fromhex(said["header"]) + b"\xff\xd8 and so on")
    assert (frame.sequence, frame.client_timestamp_ms) == (2**32 - 1, 1234.5678)
    assert pack_frame(frame).startswith(bytes.fromhex(said["header"]))
    assert said["result"] == {
        "sequence": 2**32 - 1,
        "timestampMs": 1234.5678,
        "width": 640,
        "height": 360,
        "dropped": 7,
        "times": {
            "queueMs": 0.5,
            "decodeMs": 1.5,
            "inferenceMs": 20.25,
            "encodeMs": 2.5,
            "totalMs": 25,
        },
        "student": 1,
        "scale": 0.75,
        "stillShare": 0.4,
        "type": "image/webp",
        "text": "picture",
    }
    assert said["refused"] == [True, True, True]
    assert said["order"] == [True, False, True, False]


def test_meters_count_the_last_seconds_only() -> None:
    reading = run_node(
        """
        const { StreamMeters, percentile } = await load("meters.js");
        const meters = new StreamMeters(2000);
        const times = { queueMs: 1, decodeMs: 2, inferenceMs: 3, encodeMs: 4, totalMs: 10 };
        const frame = { times, bytes: 1000, rung: { student: 1, scale: 0.5 }, stillShare: 0.25 };
        const young = meters.read(0);
        for (let at = 0; at < 1000; at += 50) {
          meters.countInput(at, 2);
          meters.countSent(at, 500);
          meters.add(at, { ...frame, latencyMs: at < 950 ? 40 : 90, dropped: 3 });
        }
        const early = meters.read(950);
        for (let at = 3000; at < 5000; at += 100)
          meters.add(at, { ...frame, latencyMs: 60, dropped: 5 });
        say({ young, early, late: meters.read(4999), gone: meters.read(9000),
              percentiles: [percentile([3, 1, 2], 0.5), String(percentile([], 0.5))] });
        """
    )
    assert reading["young"] is None
    assert reading["gone"] is None
    early, late = reading["early"], reading["late"]
    assert early["shownFps"] == pytest.approx(20)
    assert early["inputFps"] == pytest.approx(40)
    assert early["sentKbps"] == pytest.approx(80)
    assert early["receivedKbps"] == pytest.approx(160)
    assert early["latencyMedianMs"] == early["latencyP95Ms"] == 40
    assert len(early["latestMs"]) == 20
    assert early["rung"] == {"student": 1, "scale": 0.5}
    assert early["stillShare"] == 0.25
    assert late["shownFps"] == pytest.approx(10)
    assert late["latencyMedianMs"] == 60
    assert late["dropped"] == 5
    assert late["times"]["totalMs"] == 10
    assert reading["percentiles"] == [2, "NaN"]


def test_frames_fit_into_the_box_whichever_way_they_are_turned() -> None:
    sizes = run_node(
        """
        const { fitInto } = await load("encoder.js");
        const box = { height: 720, width: 1280 };
        const sources = [[360, 640], [640, 360], [480, 640], [1080, 1920], [333, 777], [5, 3000]];
        say(sources.map(([height, width]) => {
          const fit = fitInto({ height, width }, box);
          return [fit.height, fit.width];
        }));
        """
    )
    assert sizes == [[720, 1280], [1280, 720], [720, 960], [720, 1280], [548, 1280], [2, 1280]]


def test_client_fetches_a_token_for_each_connection_with_its_key() -> None:
    said = run_node(
        _DOUBLE
        + """
        const asked = [];
        const fetch = async (url, { method, headers }) => {
          asked.push([String(url), method, headers.Authorization]);
          return { ok: true, status: 200, json: async () => ({ token: `t${asked.length}` }) };
        };
        const settle = async () => { for (let turn = 0; turn < 10; turn++) await null; };
        const { states } = open({ apiKey: "k", fetch });
        await settle();
        sockets[0].end(1006);
        mock.timers.tick(1000);
        await settle();
        say({ asked, urls: sockets.map((socket) => socket.url),
              states: states().map((state) => state.name) });
        process.exit(0);
        """
    )
    assert said["asked"] == [["http://x/token", "POST", "Bearer k"]] * 2
    assert said["urls"] == ["ws://x/stream?token=t1", "ws://x/stream?token=t2"]
    assert said["states"] == ["connecting", "waiting", "connecting"]


@pytest.mark.parametrize(
    ("status", "state"), [(401, "forbidden"), (403, "forbidden"), (429, "waiting")]
)
def test_client_stops_where_its_key_is_not_accepted(status: int, state: str) -> None:
    said = run_node(
        _DOUBLE
        + """
        const status = Number(process.argv.at(-1));
        const fetch = async () => ({ ok: false, status, json: async () => ({ detail: "no" }) });
        const { states } = open({ apiKey: "k", fetch });
        for (let turn = 0; turn < 10; turn++) await null;
        say({ sockets: sockets.length, state: states().at(-1) });
        process.exit(0);
        """,
        str(status),
    )
    assert said["sockets"] == 0
    assert said["state"]["name"] == state
    assert said["state"]["detail"] == "no"


def test_client_stops_at_a_key_that_no_header_can_hold() -> None:
    said = run_node(
        _DOUBLE
        + """
        const fetch = () => { throw new Error("nothing is to be asked"); };
        const { states } = open({ apiKey: "\u201ck\u201d", fetch });
        for (let turn = 0; turn < 10; turn++) await null;
        say(states().at(-1));
        process.exit(0);
        """
    )
    assert said["name"] == "forbidden"
    assert "copy it anew" in said["detail"]


def test_client_tells_what_the_pages_own_function_says_when_it_gives_no_token() -> None:
    said = run_node(
        _DOUBLE
        + """
        const { states } = open({ token: () => { throw new Error("sign in first"); } });
        for (let turn = 0; turn < 10; turn++) await null;
        say(states().at(-1));
        process.exit(0);
        """
    )
    assert (said["name"], said["cause"], said["detail"]) == ("waiting", "gone", "sign in first")


def test_client_takes_a_token_of_the_pages_own_server_and_drops_it_when_closed_meanwhile() -> None:
    said = run_node(
        _DOUBLE
        + """
        const settle = async () => { for (let turn = 0; turn < 10; turn++) await null; };
        open({ token: async () => "mine" });
        await settle();
        let give;
        const late = open({ token: () => new Promise((resolve) => { give = resolve; }) });
        late.client.close();
        give("late");
        await settle();
        say(sockets.map((socket) => socket.url));
        process.exit(0);
        """
    )
    assert said == ["ws://x/stream?token=mine"]
