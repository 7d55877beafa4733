/** The pipeline in a worker: see pipeline.js. It says `ready` first; host.js waits for that. */

import { Pipeline } from "./pipeline.js";

const scope = /** @type {any} */ (globalThis);
const pipeline = new Pipeline((message, transfer = []) => scope.postMessage(message, transfer));
scope.onmessage = (/** @type {MessageEvent} */ { data }) => pipeline.handle(data);
scope.postMessage({ type: "ready" });
