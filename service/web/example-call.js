/**
 * An example: Clearcall between getUserMedia and a WebRTC peer connection. Both ends of the call
 * are in this page, so that it needs no signalling server.
 */

import { storedKey } from "./access.js";
import { ClearcallMedia } from "./clearcall-media.js";
import { byId } from "./elements.js";
import { streamUrl } from "./live.js";
import { SOURCE_PROBLEMS } from "./problems.js";
import { SourceError, openCamera } from "./sources.js";

const BOX = { height: 360, width: 640 };

const page = {
  call: /** @type {HTMLButtonElement} */ (byId("call")),
  hangUp: /** @type {HTMLButtonElement} */ (byId("hang-up")),
  sharpen: /** @type {HTMLInputElement} */ (byId("sharpen")),
  status: byId("status"),
  facts: byId("facts"),
  local: /** @type {HTMLVideoElement} */ (byId("local")),
  remote: /** @type {HTMLVideoElement} */ (byId("remote")),
};

/**
 * A call from one end to the other, both here.
 * @param {MediaStream} media
 * @param {(remote: MediaStream) => void} onRemote
 * @returns {Promise<() => void>} hangs up
 */
async function connect(media, onRemote) {
  const near = new RTCPeerConnection();
  const far = new RTCPeerConnection();
  near.onicecandidate = ({ candidate }) => void far.addIceCandidate(candidate ?? undefined);
  far.onicecandidate = ({ candidate }) => void near.addIceCandidate(candidate ?? undefined);
  far.ontrack = ({ streams }) => onRemote(streams[0]);
  for (const track of media.getTracks()) near.addTrack(track, media);
  await near.setLocalDescription();
  await far.setRemoteDescription(/** @type {RTCSessionDescription} */ (near.localDescription));
  await far.setLocalDescription();
  await near.setRemoteDescription(/** @type {RTCSessionDescription} */ (far.localDescription));
  return () => {
    near.close();
    far.close();
  };
}

let hangUp = () => {};

async function call() {
  page.call.disabled = true;
  let camera;
  try {
    camera = await openCamera({ box: BOX, fps: null });
  } catch (error) {
    if (!(error instanceof SourceError)) throw error;
    const { title, text } = SOURCE_PROBLEMS[error.fault]();
    page.status.textContent = `${title}. ${text}`;
    page.call.disabled = false;
    return;
  }
  const media = /** @type {MediaStream} */ (camera.media);
  const clear = new ClearcallMedia(media, {
    url: streamUrl(),
    box: BOX,
    settings: strength(),
    apiKey: storedKey(),
  });
  page.sharpen.onchange = () => clear.set(strength());
  clear.addEventListener("state", (/** @type {any} */ { detail }) => {
    page.status.textContent =
      detail.name === "live" ? "The call runs." : "Connecting to the server…";
  });
  clear.addEventListener("reading", (/** @type {any} */ { detail }) => {
    if (detail) page.facts.textContent = describe(detail);
  });
  page.local.srcObject = media;
  void page.local.play();
  const disconnect = await connect(clear.stream, (remote) => {
    page.remote.srcObject = remote;
    void page.remote.play().catch(() => {}); // fails where the call ended before it began
  });
  hangUp = () => {
    disconnect();
    clear.close();
    camera.stop();
    for (const video of [page.local, page.remote]) video.srcObject = null;
    page.status.textContent = "No call.";
    page.hangUp.disabled = true;
    page.call.disabled = false;
    page.call.focus();
  };
  page.hangUp.disabled = false;
  page.hangUp.focus();
}

/** Strength 0 sends the picture through as it is. */
function strength() {
  return { strength: page.sharpen.checked ? 1 : 0 };
}

/** @param {import("./meters.js").Reading} reading */
function describe({ shownFps, latencyMedianMs }) {
  return `${shownFps.toFixed(0)} FPS, ${latencyMedianMs.toFixed(0)} ms later for being sharpened`;
}

page.call.addEventListener("click", () => void call());
page.hangUp.addEventListener("click", () => hangUp());
