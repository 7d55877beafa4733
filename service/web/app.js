/**
 * The page: which view is shown, and what the controls do. The parts do the work.
 */

import { listCameras } from "./camera.js";
import { Live } from "./live.js";
import { Notice } from "./notice.js";
import { carriesFiles, fileFrom } from "./picture.js";
import { NOT_A_FILE, serverProblem, streamProblem } from "./problems.js";
import {
  Figures,
  StageBar,
  formatBackend,
  formatDevice,
  formatMs,
  formatPicture,
} from "./readouts.js";
import { ServerWatch } from "./server.js";
import { Stage } from "./stage.js";
import { Still } from "./still.js";
import { Strength } from "./strength.js";

const READ_EVERY_MS = 250;

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

const page = {
  welcome: byId("welcome"),
  studio: byId("studio"),
  title: byId("studio-title"),
  pill: byId("pill"),
  startLabel: byId("start-label"),
  start: /** @type {HTMLButtonElement} */ (byId("start")),
  pause: byId("pause"),
  save: /** @type {HTMLAnchorElement} */ (byId("save")),
  size: /** @type {HTMLSelectElement} */ (byId("size")),
  line: /** @type {HTMLSelectElement} */ (byId("line")),
  device: /** @type {HTMLSelectElement} */ (byId("device")),
  deviceField: byId("device-field"),
  file: /** @type {HTMLInputElement} */ (byId("file")),
  working: byId("working"),
  drop: byId("drop"),
};
const stage = new Stage(byId("panes"));
const figures = new Figures(byId("readouts"));
const stages = new StageBar(byId("stages"));
const notice = new Notice(byId("notice"), byId("status"), {
  camera: () => void startCamera(),
  picture: () => page.file.click(),
  reconnect,
  reload: () => window.location.reload(),
});

// Which view: welcome, camera or picture

/** @param {"welcome" | "camera" | "picture"} view */
function show(view) {
  const wasInStudio = page.studio.contains(document.activeElement);
  document.body.dataset.view = view;
  page.welcome.hidden = view !== "welcome";
  page.studio.hidden = view === "welcome";
  page.deviceField.hidden = view !== "camera" || page.device.options.length < 2;
  if (view !== "welcome")
    figures.show({ fps: "–", latency: "–", p95: "–", dropped: "–", roundTrip: "–", total: "–" });
  stages.show(null);
  if (view === "welcome" && wasInStudio) page.start.focus(); // the keyboard goes on where it started
}

/** @param {string} status @param {string} label */
function setPill(status, label) {
  page.pill.dataset.status = status;
  page.pill.textContent = label;
}

function leave() {
  live.stop();
  still.close();
  notice.hide();
  show("welcome");
}

function reconnect() {
  if (live.isRunning) live.stream.retryNow();
  else void server.check();
}

// The server

const server = new ServerWatch({
  onModel: (model) => {
    showServer(model.id, model.device, model.backend);
    strength.offer(model.default_strength);
    if (live.isRunning) return;
    notice.hideIf("server");
    if (still.isOpen && page.pill.dataset.status === "failed") void still.sharpen(strength.value);
  },
  onGone: (failure, retryAtMs) => {
    showServerGone();
    if (!live.isRunning) notice.show(serverProblem(failure), { retryAtMs, about: "server" });
  },
});

/** @param {string} id @param {string} device @param {string} backend */
function showServer(id, device, backend) {
  byId("server").dataset.state = "ready";
  byId("server-text").textContent = `${id} on ${formatDevice(device)}, ${formatBackend(backend)}`;
}

function showServerGone() {
  byId("server").dataset.state = "gone";
  byId("server-text").textContent = "No server";
}

const strength = new Strength(
  /** @type {HTMLInputElement} */ (byId("strength")),
  byId("strength-value"),
  byId("strength-reset"),
  (value) => {
    if (live.isRunning) live.setStrength(value);
    else if (still.isOpen) void still.sharpen(value);
    return live.isRunning || still.isOpen;
  },
);

// The camera

/** @type {Record<import("./live.js").LiveStatus, string>} */
const STATUS_LABELS = {
  idle: "Off",
  asking: "Asking for the camera",
  connecting: "Connecting",
  live: "Live",
  paused: "Paused",
  waiting: "Reconnecting",
};

const live = new Live(/** @type {HTMLVideoElement} */ (byId("video")), stage, {
  onStatus: (status) => {
    setPill(status, STATUS_LABELS[status]);
    page.start.setAttribute("aria-disabled", String(status === "asking"));
    page.startLabel.textContent =
      status === "asking" ? "Asking for the camera…" : "Start the camera";
    page.pause.textContent = status === "paused" ? "Resume" : "Pause";
    if (status !== "idle") notice.say(STATUS_LABELS[status]);
  },
  onHello: (hello) => {
    showServer(hello.model, hello.device, hello.backend);
    strength.offer(hello.default_strength);
    notice.hide();
  },
  onSettings: (settings) => {
    if (settings.strength !== undefined) strength.confirm(settings.strength);
  },
  onShown: (input, output) => {
    byId("input-facts").textContent = formatPicture(input, input.bytes);
    byId("output-facts").textContent = formatPicture(output, output.bytes);
    notice.hideIf("frame");
  },
  onBroken: (cause, detail, retryAtMs) => {
    if (cause === "gone" || cause === "silent") showServerGone();
    notice.show(streamProblem(cause, detail), { retryAtMs });
  },
  onFrameError: (message) => {
    notice.show(
      { title: "A frame could not be used", text: message, ways: [] },
      { about: "frame" },
    );
  },
  onEnded: (problem) => {
    show("welcome");
    notice.show(problem);
  },
});

/** @param {string} [deviceId] */
async function startCamera(deviceId) {
  still.close();
  page.working.textContent = "Waiting for the first result";
  for (const side of ["input", "output"]) byId(`${side}-facts`).textContent = "";
  byId("input-veil").hidden = true;
  if (!(await live.start(deviceId))) return;
  const isNew = document.body.dataset.view !== "camera";
  await offerCameras();
  page.title.textContent = "Camera";
  show("camera");
  if (isNew) page.pause.focus();
}

/** The picker is there where there is something to pick. */
async function offerCameras() {
  const cameras = await listCameras();
  page.device.replaceChildren(
    ...cameras.map(
      (camera, index) => new Option(camera.label || `Camera ${index + 1}`, camera.deviceId),
    ),
  );
  page.device.value = live.deviceId;
  page.deviceField.hidden = cameras.length < 2;
}

page.start.addEventListener("click", () => {
  if (page.start.getAttribute("aria-disabled") !== "true") void startCamera();
});
page.pause.addEventListener("click", () => live.pause(!live.isPaused));
byId("stop").addEventListener("click", leave);
page.device.addEventListener("change", () => void startCamera(page.device.value));
page.line.addEventListener("change", () => live.setLine(page.line.value));
page.size.addEventListener("change", () => {
  const [width, height] = page.size.value.split("x").map(Number);
  live.setSize({ height, width });
});
navigator.mediaDevices?.addEventListener("devicechange", () => {
  if (live.isRunning) void offerCameras();
});
window.addEventListener("pagehide", () => {
  if (live.isRunning) leave(); // the page may come back as it was left, but without a camera
});

window.setInterval(() => {
  if (!live.isRunning) return;
  const reading = live.read(performance.now());
  if (!reading) {
    figures.show({ fps: live.isPaused ? "–" : "0", latency: "–", p95: "–" });
    stages.show(null);
    return;
  }
  const { shownFps, latencyMedianMs, latencyP95Ms, times, dropped } = reading;
  figures.show({
    fps: shownFps.toFixed(1),
    latency: formatMs(latencyMedianMs),
    p95: formatMs(latencyP95Ms),
    dropped: String(dropped),
  });
  showStages(
    {
      queue: times.queueMs,
      decode: times.decodeMs,
      inference: times.inferenceMs,
      encode: times.encodeMs,
    },
    latencyMedianMs,
  );
}, READ_EVERY_MS);

/** @param {Record<string, number>} times the server's stages @param {number} wholeMs */
function showStages(times, wholeMs) {
  const known = Object.values(times).reduce((sum, ms) => sum + ms, 0);
  stages.show({ ...times, rest: Math.max(0, wholeMs - known) });
}

// A picture

const still = new Still(stage, {
  onOpened: (name, input) => {
    page.title.textContent = name || "Pasted picture";
    byId("input-facts").textContent = input ? formatPicture(input, input.bytes) : "";
    byId("output-facts").textContent = "";
    byId("input-veil").hidden = input !== null;
    page.working.textContent = "Sharpening";
    show("picture");
    page.title.focus();
  },
  onWaiting: () => {
    notice.hide();
    setPill("connecting", "Sharpening");
    page.save.removeAttribute("href");
    page.save.setAttribute("aria-disabled", "true");
  },
  onSharpened: (result) => {
    setPill("done", "Sharpened");
    notice.say("The picture is sharpened.");
    strength.confirm(result.strength);
    page.save.href = result.url;
    page.save.download = result.name;
    page.save.removeAttribute("aria-disabled");
    if (result.output)
      byId("output-facts").textContent = formatPicture(result.output, result.output.bytes);
    const { total, queue, decode, inference, encode } = result.timesMs;
    figures.show({ roundTrip: formatMs(result.roundTripMs), total: formatMs(total ?? NaN) });
    showStages({ queue, decode, inference, encode }, result.roundTripMs);
  },
  onProblem: (problem, isServerGone) => {
    setPill("failed", "Not sharpened");
    page.working.textContent = "Not sharpened";
    // What neither the browser nor the server can read leaves nothing to show.
    if (!still.isShowable && !isServerGone) {
      still.close();
      show("welcome");
    }
    notice.show(problem);
    if (isServerGone) void server.check();
  },
});

/** @param {File | null} file */
function openPicture(file) {
  if (file) {
    live.stop();
    void still.open(file, strength.value);
  } else notice.show(NOT_A_FILE);
}

for (const id of ["open", "another"]) byId(id).addEventListener("click", () => page.file.click());
byId("close").addEventListener("click", leave);
page.file.addEventListener("change", () => {
  const file = page.file.files?.[0];
  page.file.value = ""; // the same file may be chosen again
  if (file) openPicture(file);
});
window.addEventListener("paste", (event) => {
  const file = fileFrom(event.clipboardData);
  if (file) openPicture(file);
});
window.addEventListener("dragover", (event) => {
  event.preventDefault();
  page.drop.hidden = !carriesFiles(event.dataTransfer);
});
window.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) page.drop.hidden = true;
});
window.addEventListener("drop", (event) => {
  event.preventDefault();
  page.drop.hidden = true;
  openPicture(fileFrom(event.dataTransfer));
});

// The view of the two pictures

for (const choice of document.querySelectorAll("input[name=view]")) {
  choice.addEventListener("change", () => {
    stage.setView(/** @type {HTMLInputElement} */ (choice).value === "split" ? "split" : "side");
  });
}
const zoom = byId("zoom");
zoom.addEventListener("click", () => {
  const isActual = zoom.getAttribute("aria-pressed") !== "true";
  zoom.setAttribute("aria-pressed", String(isActual));
  stage.setActualPixels(isActual);
});

byId("host").textContent = window.location.host;
show("welcome");
void server.check();
