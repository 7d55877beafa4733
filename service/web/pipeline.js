/**
 * Frames of a source through the server onto the canvases: encoding, the stream, decoding, drawing.
 * Everything that takes time is here, and nothing that needs the DOM, so that it can run in a
 * worker (pipeline-worker.js) or, where a browser cannot do that, in the page (host.js).
 *
 * The newest frame wins: one waits, and it is sent when the stream has room. Frames either come by
 * themselves (`track`), or one by one, each after the pipeline asked for it (`wanted`).
 */

import { ClearcallClient } from "./clearcall-client.js";
import { draw, Encoder, fitInto, newCanvas, sizeOf, toBlob } from "./encoder.js";
import { StreamMeters } from "./meters.js";
import { Painter } from "./painter.js";

const READ_EVERY_MS = 250;
/** The server's own counts, every so many readings. */
const ASK_EVERY = 8;
/** A frame that comes a little early for the wanted rate is still taken: cameras jitter. */
const EARLY_MS = 4;
/** A source that has given nothing for so long rests: a shared screen on which nothing moves. */
const RESTING_MS = 250;
/** A frame that is kept longer is copied. */
const KEPT_MS = 100;

/** @typedef {VideoFrame | ImageBitmap | HTMLVideoElement} Picture */
/** @typedef {{picture: Picture, capturedAtMs: number}} Captured */
/** @typedef {{box: import("./encoder.js").Size, line: string, fps: number | null}} Capturing */

/** Milliseconds on a clock that the page and its workers share. */
export function sharedNowMs() {
  return performance.timeOrigin + performance.now();
}

/** @param {Picture} picture */
function release(picture) {
  if ("close" in picture) picture.close();
}

export class Pipeline {
  #painter = new Painter({ input: null, output: null, lens: null });
  #encoder = new Encoder();
  #meters = new StreamMeters();
  /** @type {ClearcallClient | null} */
  #client = null;
  /** @type {Capturing} */
  #capturing = { box: { height: 360, width: 640 }, line: "clear", fps: null };
  /** @type {Captured | null} */
  #latest = null;
  /** @type {ReadableStreamDefaultReader<VideoFrame> | null} */
  #track = null;
  /**
   * The track's last frame, if it may rest: where nothing moves no other comes. A camera's is not
   * kept, and that of others as a copy where no other comes soon: a browser that is short of time
   * may give none before this one is closed.
   * @type {VideoFrame | null}
   */
  #last = null;
  #mayRest = false;
  #copies = newCanvas();
  #lastAtMs = 0;
  /**
   * The pair that is shown, as it was sent and as it came.
   * @type {{input: Blob, output: Blob, isInputDrawn: boolean} | null}
   */
  #pair = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #readTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #againTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #copyTimer;
  #isPushed = false;
  #isWanted = false;
  #isEncoding = false;
  #isInputShown = true;
  #dueAtMs = 0;
  #arrived = 0;
  #drawn = 0;
  #readings = 0;

  /** @param {(message: any, transfer?: Transferable[]) => void} post messages to the page: see host.js */
  constructor(post) {
    this.post = post;
  }

  /**
   * One message of the page.
   * @param {any} message
   */
  handle(message) {
    switch (message.type) {
      case "surfaces":
        this.#painter.surfaces = message.surfaces;
        break;
      case "open":
        this.#open(message.url, message.settings, message.apiKey, message.token);
        break;
      case "close":
        this.#close();
        break;
      case "retry":
        this.#client?.connect();
        break;
      case "settings":
        this.#client?.set(message.settings);
        this.#refresh();
        break;
      case "capturing":
        this.#capturing = { ...this.#capturing, ...message.capturing };
        this.#meters.reset();
        this.#refresh();
        break;
      case "source":
        this.#useSource(message.readable, message.mayRest);
        break;
      case "frame":
        this.#isWanted = false;
        this.#meters.countInput(performance.now(), message.count);
        this.#offer(message.picture, message.capturedAtMs);
        break;
      case "pause":
        this.#pause(message.isPaused);
        break;
      case "draw":
        this.#drawStill(message.side, message.bitmap);
        break;
      case "clear":
        this.#painter.clear();
        break;
      case "shown":
        this.#isInputShown = message.isInputShown;
        void this.#catchUp();
        break;
      case "lens":
        this.#painter.look(message.spot, message.zoom);
        void this.#catchUp();
        break;
      case "snapshot":
        void this.#snapshot();
    }
  }

  /**
   * @param {string} url
   * @param {import("./clearcall-client.js").StreamSettings} settings
   * @param {string} [apiKey]
   * @param {string} [token]
   */
  #open(url, settings, apiKey = "", token = "") {
    this.#close();
    const client = new ClearcallClient(url, { settings, apiKey, token });
    this.#client = client;
    const tell = (/** @type {string} */ type) => (/** @type {any} */ { detail }) =>
      this.post({ type, detail });
    for (const type of ["settings", "refusal", "model", "paused", "resumed"]) {
      client.addEventListener(type, tell(type));
    }
    client.addEventListener("state", (/** @type {any} */ { detail }) => this.#onState(detail));
    client.addEventListener("room", () => void this.#pump());
    client.addEventListener("result", (/** @type {any} */ { detail }) => void this.#show(detail));
    this.#readTimer = setInterval(() => this.#read(), READ_EVERY_MS);
    client.connect();
  }

  #close() {
    clearInterval(this.#readTimer);
    this.#client?.close();
    this.#client = null;
    void this.#track?.cancel().catch(() => {});
    this.#track = null;
    this.#keep(null);
    clearTimeout(this.#againTimer);
    this.#isPushed = false;
    this.#isWanted = false;
    this.#pair = null;
    this.#meters.reset();
    this.#forget();
  }

  /** @param {import("./clearcall-client.js").StreamState} state */
  #onState(state) {
    if (state.name !== "live") this.#meters.reset();
    // While one result is decoded and drawn here, the server has work for all its places.
    else this.#client?.set({ window: state.hello.in_flight });
    this.post({ type: "state", detail: state });
    if (state.name === "live") this.#refresh();
    this.#want();
  }

  /**
   * @param {ReadableStream<VideoFrame> | undefined} readable frames; without it they are asked for
   * @param {boolean} [mayRest] whether none come while nothing moves
   */
  #useSource(readable, mayRest = false) {
    this.#forget();
    this.#keep(null);
    this.#pair = null; // the first picture of a new source is shown as it is
    void this.#track?.cancel().catch(() => {});
    this.#track = readable?.getReader() ?? null;
    this.#mayRest = mayRest;
    this.#isPushed = !readable;
    this.#isWanted = false;
    if (this.#track) void this.#readTrack(this.#track);
    this.#want();
  }

  /** @param {ReadableStreamDefaultReader<VideoFrame>} track */
  async #readTrack(track) {
    for (;;) {
      const { done, value } = await track.read().catch(() => ({ done: true, value: undefined }));
      if (done || !value) return;
      if (track !== this.#track) value.close();
      else {
        this.#meters.countInput(performance.now(), 1);
        if (this.#mayRest) this.#keep(value);
        this.#offer(value, sharedNowMs());
      }
    }
  }

  /** Ask for a frame where they do not come by themselves. */
  #want() {
    const client = this.#client;
    if (!client || !this.#isPushed || this.#isWanted || this.#latest || client.isPaused) return;
    if (client.isLive && this.#pair && (!client.hasRoom || this.#isEncoding)) return;
    this.#isWanted = true;
    this.post({ type: "wanted" });
  }

  /** @param {Picture} picture @param {number} capturedAtMs */
  #offer(picture, capturedAtMs) {
    const client = this.#client;
    const { fps } = this.#capturing;
    const now = performance.now();
    const earlyMs = this.#dueAtMs - EARLY_MS - now;
    clearTimeout(this.#againTimer);
    if (!client || client.isPaused || earlyMs > 0) {
      release(picture);
      // It may be the last one for long.
      if (earlyMs > 0) this.#againTimer = setTimeout(() => this.#again(), earlyMs);
      this.#want();
      return;
    }
    if (fps) this.#dueAtMs = Math.max(this.#dueAtMs + 1000 / fps, now - 1000 / fps);
    this.#forget();
    this.#latest = { picture, capturedAtMs };
    if (!this.#pair || !client.isLive) this.#preview(picture);
    void this.#pump();
    // Held, it would be old when it is sent, and a camera may give no other.
    if (this.#mayNotWait(client)) this.#forget();
    this.#want();
  }

  /** @param {ClearcallClient} client */
  #mayNotWait(client) {
    return this.#isPushed ? !client.hasRoom : !this.#mayRest && !client.isLive;
  }

  /** @param {VideoFrame | null} frame */
  #keep(frame) {
    clearTimeout(this.#copyTimer);
    this.#last?.close();
    this.#last = frame?.clone() ?? null;
    this.#lastAtMs = performance.now();
    if (frame) this.#copyTimer = setTimeout(() => this.#keepCopy(), KEPT_MS);
  }

  #keepCopy() {
    const frame = this.#last;
    if (!frame) return;
    this.#last = null;
    try {
      this.#last = copyOf(frame, this.#copies);
    } finally {
      frame.close();
    }
  }

  /** The last frame once more, unless a newer one waits already. */
  #again() {
    if (this.#last && !this.#latest) this.#offer(this.#last.clone(), sharedNowMs());
  }

  /** Show what has changed here, even where the source gives no frame for it. */
  #refresh() {
    const restsInMs = this.#lastAtMs + RESTING_MS - performance.now();
    clearTimeout(this.#againTimer); // as every frame does
    if (restsInMs > 0) this.#againTimer = setTimeout(() => this.#refresh(), restsInMs);
    else this.#again();
  }

  #forget() {
    if (this.#latest) release(this.#latest.picture);
    this.#latest = null;
  }

  /** @param {Picture} picture */
  #preview(picture) {
    const size = fitInto(sizeOf(picture), this.#capturing.box);
    this.#painter.paint("input", picture, size);
    if (!this.#pair && this.#painter.paint("output", picture, size)) this.#tellShape(size);
    this.#painter.paintLens();
  }

  /** Send the newest frame, if there is one and the stream has room for it. */
  async #pump() {
    const captured = this.#latest;
    const client = this.#client;
    if (!captured || !client?.hasRoom || this.#isEncoding) {
      this.#want();
      return;
    }
    this.#latest = null;
    this.#isEncoding = true;
    try {
      const { box, line } = this.#capturing;
      const encoding = this.#encoder.encode(captured.picture, box, line);
      release(captured.picture);
      const blob = await encoding;
      const { capturedAtMs } = captured;
      if (client.send(blob, { capturedAtMs, tag: blob }) !== null) {
        this.#meters.countSent(performance.now(), blob.size);
      }
    } finally {
      this.#isEncoding = false;
    }
    void this.#pump();
  }

  /** @param {{result: import("./wire.js").Result, tag: Blob}} answer */
  async #show({ result, tag: sent }) {
    const order = ++this.#arrived;
    const client = this.#client;
    try {
      const isInputNeeded = this.#isInputShown || this.#painter.isLooking || !this.#pair;
      const [output, input] = await Promise.all([
        createImageBitmap(result.encoded),
        isInputNeeded ? createImageBitmap(sent) : null, // the input as the server got it
      ]);
      const isCurrent = client === this.#client && !client?.isPaused && order > this.#drawn;
      if (isCurrent) this.#draw(order, result, sent, output, input);
      for (const bitmap of [output, input]) bitmap?.close();
    } catch {
      const message = "The browser could not decode a result.";
      this.post({ type: "refusal", detail: { code: "result-broken", message, sequence: null } });
    } finally {
      client?.displayed(result, sharedNowMs() - result.timestampMs);
    }
  }

  /**
   * @param {number} order
   * @param {import("./wire.js").Result} result
   * @param {Blob} sent
   * @param {ImageBitmap} output
   * @param {ImageBitmap | null} input
   */
  #draw(order, result, sent, output, input) {
    this.#drawn = order;
    const isFirst = !this.#pair;
    this.#pair = { input: sent, output: result.encoded, isInputDrawn: input !== null };
    if (input) this.#painter.paint("input", input);
    const isOther = this.#painter.paint("output", output);
    this.#painter.paintLens();
    const { height, width, student, scale, stillShare, times, dropped } = result;
    if (isOther || isFirst) this.#tellShape({ height, width });
    const latencyMs = sharedNowMs() - result.timestampMs;
    this.#meters.add(performance.now(), {
      latencyMs,
      times,
      dropped,
      bytes: result.encoded.size,
      rung: { student, scale },
      stillShare,
    });
    const facts = { input: sent.size, output: result.encoded.size, height, width, latencyMs };
    this.post({ type: "pair", detail: { ...facts, isFirst } });
  }

  /** The input of the pair that is shown, where it was not needed when the pair came. */
  async #catchUp() {
    const pair = this.#pair;
    const isNeeded = this.#isInputShown || this.#painter.isLooking;
    if (!pair || pair.isInputDrawn || !isNeeded) return;
    pair.isInputDrawn = true;
    const input = await createImageBitmap(pair.input).catch(() => null);
    if (!input) return;
    if (pair === this.#pair) {
      this.#painter.paint("input", input);
      this.#painter.paintLens();
    }
    input.close();
  }

  /** @param {import("./encoder.js").Size} size */
  #tellShape({ height, width }) {
    this.post({ type: "shape", detail: { height, width } });
  }

  /** @param {boolean} isPaused */
  #pause(isPaused) {
    this.#meters.reset();
    this.#forget();
    if (isPaused) this.#client?.pause();
    else this.#client?.resume();
    this.#refresh();
    this.#want();
  }

  /** @param {"input" | "output"} side @param {ImageBitmap} bitmap */
  #drawStill(side, bitmap) {
    const { height, width } = bitmap;
    if (this.#painter.paint(side, bitmap)) this.#tellShape({ height, width });
    this.#painter.paintLens();
    bitmap.close();
  }

  #read() {
    const reading = this.#client?.isPaused ? null : this.#meters.read(performance.now());
    this.post({ type: "reading", detail: reading });
    if (reading && this.#readings++ % ASK_EVERY === 0) void this.#ask();
  }

  async #ask() {
    // A stream that breaks meanwhile has no counts to tell any more.
    const stats = await this.#client?.stats().catch(() => null);
    if (stats) this.post({ type: "stats", detail: stats });
  }

  async #snapshot() {
    const pair = this.#pair;
    if (!pair) return;
    const [input, output] = await Promise.all([toPng(pair.input), toPng(pair.output)]);
    this.post({ type: "snapshot", detail: { input, output } });
  }
}

/**
 * A frame in memory of its own.
 * @param {VideoFrame} frame
 * @param {import("./encoder.js").Canvas} canvas to draw it on
 * @returns {VideoFrame}
 */
function copyOf(frame, canvas) {
  draw(canvas, sizeOf(frame), frame);
  return new VideoFrame(canvas, { timestamp: frame.timestamp ?? 0 });
}

/** @param {Blob} encoded */
async function toPng(encoded) {
  const painter = new Painter({ input: newCanvas(), output: null, lens: null });
  const bitmap = await createImageBitmap(encoded);
  painter.paint("input", bitmap);
  bitmap.close();
  return toBlob(/** @type {any} */ (painter.surfaces.input), "image/png");
}
