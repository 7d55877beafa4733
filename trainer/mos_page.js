// One rater's session: absolute category rating with hidden reference (ITU-T P.910, ACR-HR). The
// page knows anonymous names only; which method made a picture is in the key, which is elsewhere.

/**
 * @typedef {{id: string, group: number}} Stimulus pictures of one group show the same scene
 * @typedef {{id: string, study: string, practice: number, pauseMs: number, width: number,
 *            height: number, stimuli: Stimulus[]}} Study largest sides in px
 * @typedef {{grade: number, seconds: number, whole: boolean}} Rating
 * @typedef {{session: string, started: string, index: number, isStarted: boolean,
 *            ratings: (Rating | null)[]}} State
 */

const LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"; // none that are mistaken for one another
const WORDS = ["Bad", "Poor", "Fair", "Good", "Excellent"];

/** @type {Study} */
const study = JSON.parse(document.getElementById("study").textContent);
const $ = (/** @type {string} */ id) => document.getElementById(id);
const picture = /** @type {HTMLImageElement} */ ($("picture"));

let storageKey = keyOf(askedCode());
let state = restored() ?? fresh();
let trials = trialsOf(state.session);
let shownAtMs = NaN; // NaN while the stage is grey
let turn = 0; // counts the pictures that were called for; an overtaken one is not shown
let isDownloaded = false;

// Session ------------------------------------------------------------------------------------

/** @returns {State} */
function fresh() {
  return {
    session: sessionCode(),
    started: new Date().toISOString(),
    index: 0,
    isStarted: false,
    ratings: Array(study.practice + study.stimuli.length).fill(null),
  };
}

/** @returns {string | null} the code that the address gives, `#session=...` */
function askedCode() {
  const asked = new URLSearchParams(location.hash.slice(1)).get("session");
  return asked && /^[A-Z0-9-]{4,20}$/.test(asked) ? asked : null;
}

/**
 * Where a rater's grades are kept: those of a given code apart from all others.
 * @param {string | null} asked
 */
function keyOf(asked) {
  return `clearcall-rating-${study.study}${asked ? `-${asked}` : ""}`;
}

/** @returns {string} as in `K7QX-2M9P`; that of the address goes before */
function sessionCode() {
  const asked = askedCode();
  if (asked) return asked;
  const bytes = crypto.getRandomValues(new Uint32Array(8));
  const code = Array.from(bytes, (value) => LETTERS[value % LETTERS.length]).join("");
  return `${code.slice(0, 4)}-${code.slice(4)}`;
}

/** @returns {State | null} */
function restored() {
  try {
    const kept = JSON.parse(localStorage.getItem(storageKey) ?? "null");
    return kept?.ratings?.length === study.practice + study.stimuli.length ? kept : null;
  } catch {
    return null;
  }
}

function keep() {
  try {
    localStorage.setItem(storageKey, JSON.stringify(state));
  } catch {
    $("no-storage").hidden = false;
  }
}

// Order --------------------------------------------------------------------------------------

/**
 * Numbers in [0, 1) that depend on the text alone: FNV-1a seeds Marsaglia's xorshift32.
 * @param {string} text
 */
function randomOf(text) {
  let hash = 0x811c9dc5;
  for (const letter of text) hash = Math.imul(hash ^ letter.codePointAt(0), 0x01000193);
  let bits = hash || 1;
  return () => {
    bits ^= bits << 13;
    bits ^= bits >>> 17;
    bits ^= bits << 5;
    return (bits >>> 0) / 2 ** 32;
  };
}

/**
 * The session's order: practice first, then every stimulus once, a scene never twice in a row
 * where that can be had.
 * @param {string} session
 * @returns {Stimulus[]}
 */
function trialsOf(session) {
  const random = randomOf(`${study.study} ${session}`);
  for (let warmUp = 0; warmUp < 8; warmUp += 1) random();
  const left = [...study.stimuli];
  for (let last = left.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [left[last], left[other]] = [left[other], left[last]];
  }
  /** @type {Stimulus[]} */
  const order = [];
  while (left.length > 0) {
    const before = order.at(-1)?.group;
    const crowded = left.find(
      ({ group }) => 2 * left.filter((other) => other.group === group).length > left.length,
    )?.group;
    const wanted = left.findIndex(({ group }) => group !== before && group === crowded);
    const apart = left.findIndex(({ group }) => group !== before);
    order.push(...left.splice(wanted >= 0 ? wanted : Math.max(apart, 0), 1));
  }
  return [...order.slice(order.length - study.practice), ...order];
}

// Screens ------------------------------------------------------------------------------------

/** @param {"welcome" | "rating" | "done"} name */
function screen(name) {
  for (const other of ["welcome", "rating", "done"]) $(other).hidden = other !== name;
}

function draw() {
  for (const element of document.querySelectorAll("[data-session]"))
    element.textContent = state.session;
  if (!state.isStarted) drawWelcome();
  else if (state.index >= trials.length) drawDone();
  else drawTrial();
}

function drawWelcome() {
  screen("welcome");
  $("count").textContent = String(study.stimuli.length);
  $("practice-note").hidden = study.practice === 0;
  $("practice-note").textContent = `The first ${study.practice} are for practice and do not count.`;
  const scale = devicePixelRatio;
  const [width, height] = [study.width / scale, study.height / scale + 150];
  const isSmall = innerWidth < width || innerHeight < height;
  $("small-window").hidden = !isSmall;
  $("small-window").textContent =
    `The pictures are up to ${study.width} × ${study.height} pixels, more than this window shows ` +
    "at once. Make it larger, or press F for full screen.";
  $("start").focus();
}

function drawTrial() {
  screen("rating");
  const isPractice = state.index < study.practice;
  const number = isPractice ? state.index + 1 : state.index + 1 - study.practice;
  const count = isPractice ? study.practice : study.stimuli.length;
  $("position").textContent = `${isPractice ? "Practice" : "Picture"} ${number} of ${count}`;
  const rated = state.ratings.slice(study.practice).filter(Boolean).length;
  $("progress").value = rated / study.stimuli.length;
  drawGrade();
  void show(trials[state.index]);
}

function drawGrade() {
  const grade = state.ratings[state.index]?.grade;
  for (const button of document.querySelectorAll("[data-grade]"))
    button.setAttribute("aria-pressed", String(Number(button.dataset.grade) === grade));
  $("back").disabled = state.index === 0;
  $("next").disabled = grade === undefined;
  const isWaiting = Number.isNaN(shownAtMs);
  if (isWaiting) $("hint").textContent = "";
  else if (grade !== undefined)
    $("hint").textContent = `${grade}, ${WORDS[grade - 1]}. Space goes on; U takes it back.`;
  else if (!fits()) $("hint").textContent = "Larger than the window: scroll, or F for full screen.";
  else $("hint").textContent = "How good is this picture? Press 1 to 5.";
}

function drawDone() {
  screen("done");
  turn += 1;
  shownAtMs = NaN;
  picture.removeAttribute("src");
  $("rated").textContent = String(study.stimuli.length);
  $("saved").textContent = isDownloaded ? `Saved as ${fileName()}.` : "";
  $("new-rater").hidden = !isDownloaded;
  $("download").focus();
}

// Pictures -----------------------------------------------------------------------------------

const urlOf = (/** @type {Stimulus} */ stimulus) => `pictures/${stimulus.id}.png`;
const wait = (/** @type {number} */ ms) => new Promise((done) => setTimeout(done, ms));

/**
 * Grey, then the whole picture at once, pixel for pixel.
 * @param {Stimulus} stimulus
 */
async function show(stimulus) {
  turn += 1;
  const mine = turn;
  shownAtMs = NaN;
  picture.style.visibility = "hidden";
  $("broken").hidden = true;
  drawGrade();
  const loaded = new Image();
  loaded.src = urlOf(stimulus);
  try {
    await Promise.all([loaded.decode(), wait(study.pauseMs)]);
  } catch {
    if (mine === turn) $("broken").hidden = false;
    return;
  }
  if (mine !== turn) return;
  picture.src = loaded.src;
  await picture.decode();
  if (mine !== turn) return;
  size();
  picture.style.visibility = "visible";
  shownAtMs = performance.now();
  drawGrade();
  $("stage").focus({ preventScroll: true });
  const following = trials[state.index + 1];
  if (following) new Image().src = urlOf(following);
}

function size() {
  picture.style.width = `${picture.naturalWidth / devicePixelRatio}px`;
  picture.style.height = `${picture.naturalHeight / devicePixelRatio}px`;
}

function fits() {
  const stage = $("stage");
  return (
    picture.naturalWidth / devicePixelRatio <= stage.clientWidth + 0.5 &&
    picture.naturalHeight / devicePixelRatio <= stage.clientHeight + 0.5
  );
}

// What the rater does ------------------------------------------------------------------------

function start() {
  state.isStarted = true;
  keep();
  draw();
}

/** @param {number} value */
function grade(value) {
  if (Number.isNaN(shownAtMs)) return; // nobody can judge what is not there yet
  const seconds = Math.round((performance.now() - shownAtMs) / 10) / 100;
  state.ratings[state.index] = { grade: value, seconds, whole: fits() };
  isDownloaded = false;
  keep();
  drawGrade();
}

/** @param {number} by */
function move(by) {
  const target = state.index + by;
  if (target < 0 || (by > 0 && !state.ratings[state.index])) return;
  state.index = Math.min(target, trials.length);
  keep();
  draw();
}

function undo() {
  if (!state.ratings[state.index] && state.index > 0) {
    state.index -= 1;
    state.ratings[state.index] = null;
    keep();
    draw();
  } else if (state.index < trials.length) {
    state.ratings[state.index] = null;
    keep();
    drawGrade();
  }
}

const fileName = () => `ratings-${study.study.slice(0, 6)}-${state.session}.json`;

function download() {
  const ratings = trials.map(({ id }, index) => ({ stimulus: id, ...state.ratings[index] }));
  const content = {
    format: "clearcall-ratings",
    version: 1,
    study: study.study,
    session: state.session,
    started: state.started,
    finished: new Date().toISOString(),
    window: { width: innerWidth, height: innerHeight, pixel_ratio: devicePixelRatio },
    ratings: ratings.slice(study.practice),
  };
  const blob = new Blob([JSON.stringify(content, null, 1)], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = fileName();
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  isDownloaded = true;
  draw();
}

function newRater() {
  if (!isDownloaded) return;
  history.replaceState(null, "", location.pathname + location.search); // a given code is used up
  storageKey = keyOf(null);
  state = fresh();
  trials = trialsOf(state.session);
  isDownloaded = false;
  keep();
  draw();
}

function toggleFullScreen() {
  if (document.fullscreenElement) void document.exitFullscreen();
  else void document.documentElement.requestFullscreen?.().catch(() => {});
}

// Keys and buttons ---------------------------------------------------------------------------

/** @param {KeyboardEvent} event */
function onKey(event) {
  const isUndo = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey);
  if (!isUndo && (event.ctrlKey || event.metaKey || event.altKey)) return;
  const isOnButton = event.target instanceof HTMLButtonElement;
  if (isOnButton && (event.key === " " || event.key === "Enter")) return; // it presses the button
  const action = isUndo ? undo : actionOf(event.key);
  if (!action) return;
  event.preventDefault();
  if (!event.repeat) action();
}

/**
 * @param {string} key
 * @returns {(() => void) | undefined}
 */
function actionOf(key) {
  if (key === "f" || key === "F") return toggleFullScreen;
  if (!state.isStarted) return key === "Enter" || key === " " ? start : undefined;
  if (key === "ArrowLeft") return () => move(-1);
  if (state.index >= trials.length)
    return { Enter: download, d: download, D: download, n: newRater, N: newRater }[key];
  if (/^[1-5]$/.test(key)) return () => grade(Number(key));
  if (key === "u" || key === "U" || key === "Backspace") return undo;
  return [" ", "Enter", "ArrowRight"].includes(key) ? () => move(1) : undefined;
}

/**
 * @param {Element} button
 * @param {() => void} action
 */
function onPress(button, action) {
  button.addEventListener("click", (event) => {
    action();
    // After a click by pointer the keys go on as if the mouse had not been used.
    if (event.detail > 0 && !$("rating").hidden) $("stage").focus({ preventScroll: true });
  });
}

document.addEventListener("keydown", onKey);
for (const button of document.querySelectorAll("[data-grade]"))
  onPress(button, () => grade(Number(button.dataset.grade)));
for (const [id, action] of Object.entries({
  start,
  download,
  back: () => move(-1),
  next: () => move(1),
  again: () => draw(),
  "look-back": () => move(-1),
  "new-rater": newRater,
}))
  onPress($(id), action);
addEventListener("resize", () => {
  if (!state.isStarted) drawWelcome();
  else if (!Number.isNaN(shownAtMs)) {
    size();
    drawGrade();
  }
});
keep();
draw();
