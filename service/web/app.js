/**
 * The page: which view is shown, and what the controls do. The parts do the work.
 */

import { setUpKeyForm } from "./access.js";
import { byId } from "./elements.js";
import { Live } from "./live.js";
import { setUpIntake } from "./intake.js";
import { Notice } from "./notice.js";
import { NOT_A_FILE, serverProblem, streamProblem } from "./problems.js";
import { Readings } from "./readings.js";
import { formatBackend, formatDevice, formatPicture } from "./readouts.js";
import { Saving } from "./saving.js";
import { ServerWatch, fetchModel } from "./server.js";
import { listCameras } from "./sources.js";
import { Stage } from "./stage.js";
import { Still } from "./still.js";
import { Strength } from "./strength.js";
import { setUpTheme } from "./theme.js";
import { Tuning } from "./tuning.js";

const page = {
  welcome: byId("welcome"),
  studio: byId("studio"),
  title: byId("studio-title"),
  pill: byId("pill"),
  start: byId("start"),
  startLabel: byId("start-label"),
  pause: byId("pause"),
  pauseLabel: byId("pause-label"),
  save: /** @type {HTMLAnchorElement} */ (byId("save")),
  device: /** @type {HTMLSelectElement} */ (byId("device")),
  deviceField: byId("device-field"),
  working: byId("working"),
  veil: byId("input-veil"),
  facts: { input: byId("input-facts"), output: byId("output-facts") },
};
const stage = new Stage(byId("viewer"));
const readings = new Readings(byId("readouts"));
const notice = new Notice(byId("notice"), byId("status"), {
  camera: () => void startLive("camera"),
  file: () => intake.ask(),
  reconnect,
  reload: () => window.location.reload(),
});

// Which view: welcome, live or picture

/** @param {"welcome" | "live" | "picture"} view */
function show(view) {
  const wasInStudio = page.studio.contains(document.activeElement);
  document.body.dataset.view = view;
  page.welcome.hidden = view !== "welcome";
  page.studio.hidden = view === "welcome";
  page.deviceField.hidden = true;
  readings.clear();
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
  if (live.isRunning) live.retryNow();
  else void server.check();
}

// The server

/** @type {string[]} */
let students = [];

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
    live.set({ strength: value });
    if (still.isOpen) void still.sharpen(value);
    return live.isRunning || still.isOpen;
  },
);

// Moving pictures

/** @type {Record<import("./live.js").LiveStatus, string>} */
const STATUS_LABELS = {
  idle: "Off",
  asking: "Asking",
  connecting: "Connecting",
  live: "Live",
  paused: "Paused",
  hidden: "Paused while hidden",
  waiting: "Reconnecting",
};

const live = new Live(/** @type {HTMLVideoElement} */ (byId("video")), stage, {
  onStatus: (status) => {
    // A picture keeps its own word while somebody chooses a screen, or thinks better of it.
    if (!still.isOpen) setPill(status, STATUS_LABELS[status]);
    page.start.setAttribute("aria-disabled", String(status === "asking"));
    page.startLabel.textContent =
      status === "asking" ? "Asking the browser…" : "Start the camera";
    page.pauseLabel.textContent = live.isPaused ? "Resume" : "Pause";
    page.pause.dataset.paused = String(live.isPaused);
    saving.pause(status !== "live");
    if (status !== "idle") notice.say(STATUS_LABELS[status]);
  },
  onHello: (hello) => {
    students = hello.students;
    showServer(hello.model, hello.device, hello.backend);
    strength.offer(hello.default_strength);
    tuning.offer(hello);
    notice.hide();
  },
  onSettings: (settings) => {
    if (settings.strength !== undefined) strength.confirm(settings.strength);
  },
  onShown: (facts) => {
    page.facts.input.textContent = formatPicture(facts, facts.input);
    page.facts.output.textContent = formatPicture(facts, facts.output);
    saving.enable(true);
    notice.hideIf("frame");
  },
  onReading: (reading) => readings.showLive(reading, { students, isPaused: live.isPaused }),
  onDropped: (dropped) => readings.showDropped(dropped),
  onBroken: (cause, detail, retryAtMs) => {
    if (cause === "gone" || cause === "silent") showServerGone();
    // A stream that needs a key looks alike to a browser; this answer asks for the key.
    if (cause === "gone") void fetchModel().catch(() => {});
    notice.show(streamProblem(cause, detail), { retryAtMs });
  },
  onFrameError: (message) => {
    notice.show(
      { title: "A frame could not be used", text: message, ways: [] },
      { about: "frame" },
    );
  },
  onRefused: (problem) => notice.show(problem),
  onEnded: (problem) => {
    saving.stop();
    show("welcome");
    if (problem) notice.show(problem);
    else notice.hide();
  },
});
const tuning = new Tuning(live);
const saving = new Saving(stage, (news) => notice.say(news));

/**
 * @param {import("./sources.js").SourceKind} kind
 * @param {import("./live.js").Choice} [choice]
 */
async function startLive(kind, choice) {
  if (kind === "camera" && page.start.getAttribute("aria-disabled") === "true") return;
  if (kind !== "screen") makeWay(); // a picker may be cancelled, and then what was there stays
  const wasLive = document.body.dataset.view === "live";
  if (!(await live.start(kind, choice))) return;
  if (kind === "screen") makeWay();
  for (const facts of Object.values(page.facts)) facts.textContent = "";
  page.title.textContent = live.title;
  if (!wasLive) show("live");
  readings.clear();
  saving.enable(false);
  await offerCameras();
  if (!wasLive) page.pause.focus();
}

/** What is shown ends: another source comes. */
function makeWay() {
  saving.stop();
  still.close();
  page.working.textContent = "Waiting for the first result";
  page.veil.hidden = true;
}

/** The picker is there where there is something to pick. */
async function offerCameras() {
  if (live.kind !== "camera") {
    page.deviceField.hidden = true;
    return;
  }
  const cameras = await listCameras();
  page.device.replaceChildren(
    ...cameras.map(
      (camera, index) => new Option(camera.label || `Camera ${index + 1}`, camera.deviceId),
    ),
  );
  page.device.value = live.deviceId;
  page.deviceField.hidden = cameras.length < 2;
}

for (const button of document.querySelectorAll("[data-start]")) {
  const { start: kind } = /** @type {HTMLElement} */ (button).dataset;
  button.addEventListener("click", () => {
    if (kind === "file") intake.ask();
    else void startLive(kind === "screen" ? "screen" : "camera");
  });
}
page.pause.addEventListener("click", () => live.pause(!live.isPaused));
byId("stop").addEventListener("click", () => {
  saving.stop();
  leave();
});
page.device.addEventListener(
  "change",
  () => void startLive("camera", { deviceId: page.device.value }),
);
navigator.mediaDevices?.addEventListener("devicechange", () => {
  if (live.isRunning) void offerCameras();
});
window.addEventListener("beforeunload", (event) => {
  if (saving.isRecording) event.preventDefault(); // it would be lost
});
window.addEventListener("pagehide", () => {
  if (live.isRunning) leave(); // the page may come back as it was left, but without a camera
});

// A picture

const still = new Still(stage, {
  onOpened: (name, input) => {
    page.title.textContent = name || "Pasted picture";
    page.facts.input.textContent = input ? formatPicture(input, input.bytes) : "";
    page.facts.output.textContent = "";
    page.veil.hidden = input !== null;
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
      page.facts.output.textContent = formatPicture(result.output, result.output.bytes);
    readings.showStill(result.timesMs, result.roundTripMs);
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

const intake = setUpIntake((file) => {
  if (!file) notice.show(NOT_A_FILE);
  else if (file.type.startsWith("video/")) void startLive("video", { file });
  else {
    saving.stop();
    live.stop();
    void still.open(file, strength.value);
  }
});
byId("another").addEventListener("click", () => intake.ask());
byId("close").addEventListener("click", leave);

setUpKeyForm(/** @type {HTMLFormElement} */ (byId("key-form")), {
  onLocked: () => {
    saving.stop();
    live.stop();
    still.close();
    notice.hide();
    show("welcome");
    byId("server").dataset.state = "gone";
    byId("server-text").textContent = "A key is needed";
  },
  onKey: () => void server.check(),
});
setUpTheme(byId("themes"));
byId("host").textContent = window.location.host;
show("welcome");
void server.check();
