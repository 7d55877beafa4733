/**
 * Where moving pictures come from: a webcam, a shared screen, a video file. Asks for them, lists
 * cameras, and says why there is none.
 */

/** @typedef {"camera" | "screen" | "video"} SourceKind */

/**
 * @typedef {"insecure" | "unsupported" | "noCamera" | "denied" | "cameraBusy" | "cameraFailed" |
 *   "screenUnsupported" | "screenDenied" | "screenFailed" | "videoUnreadable"} SourceFault
 */

/**
 * @typedef {object} Source
 * @property {SourceKind} kind
 * @property {string} title
 * @property {MediaStream | null} media null for a file
 * @property {string} deviceId of a camera, else ""
 * @property {(box: {height: number, width: number}, fps: number | null) => void} wish
 * @property {(isPaused: boolean) => void} hold
 * @property {(onEnded: () => void) => void} whenEnded
 * @property {() => void} stop
 */

/** The browser gives no pictures; `fault` says why. */
export class SourceError extends Error {
  /**
   * @param {SourceFault} fault
   * @param {unknown} [cause]
   */
  constructor(fault, cause) {
    super(fault, { cause });
    this.fault = fault;
  }
}

/** @type {Record<string, SourceFault>} names of the browser's DOMExceptions */
const CAMERA_FAULTS = {
  NotFoundError: "noCamera",
  DevicesNotFoundError: "noCamera",
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotReadableError: "cameraBusy",
  TrackStartError: "cameraBusy",
  AbortError: "cameraBusy",
};

/** @param {unknown} error */
const nameOf = (error) => (error instanceof Error ? error.name : "");

/**
 * @param {object} wish preferences, but for the device
 * @param {string} [wish.deviceId]
 * @param {{height: number, width: number}} wish.box
 * @param {number | null} wish.fps
 * @returns {Promise<Source>}
 * @throws {SourceError}
 */
export async function openCamera({ deviceId, box, fps }) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new SourceError(window.isSecureContext ? "unsupported" : "insecure");
  }
  const video = {
    ...cameraWish(box, fps),
    ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
  };
  try {
    const media = await navigator.mediaDevices.getUserMedia({ audio: false, video });
    return mediaSource("camera", "Camera", media);
  } catch (error) {
    const name = nameOf(error);
    if (name === "OverconstrainedError" && deviceId) return openCamera({ box, fps });
    throw new SourceError(CAMERA_FAULTS[name] ?? "cameraFailed", error);
  }
}

/**
 * @param {{height: number, width: number}} box
 * @param {number | null} fps
 * @returns {MediaTrackConstraints}
 */
function cameraWish({ height, width }, fps) {
  return {
    width: { ideal: width },
    height: { ideal: height },
    ...(fps ? { frameRate: { ideal: fps } } : {}),
  };
}

/**
 * @param {number | null} fps
 * @returns {Promise<Source>}
 * @throws {SourceError}
 */
export async function openScreen(fps) {
  if (!navigator.mediaDevices?.getDisplayMedia) {
    throw new SourceError(window.isSecureContext ? "screenUnsupported" : "insecure");
  }
  try {
    const video = { frameRate: { ideal: fps ?? 30 } };
    const media = await navigator.mediaDevices.getDisplayMedia({ audio: false, video });
    return mediaSource("screen", "Screen", media);
  } catch (error) {
    throw new SourceError(nameOf(error) === "NotAllowedError" ? "screenDenied" : "screenFailed", error);
  }
}

/** @param {"camera" | "screen"} kind @param {string} title @param {MediaStream} media @returns {Source} */
function mediaSource(kind, title, media) {
  const [track] = media.getVideoTracks();
  return {
    kind,
    title,
    media,
    deviceId: kind === "camera" ? (track.getSettings().deviceId ?? "") : "",
    // A camera that cannot change stays as it is: its frames are scaled. A screen is never changed.
    wish: (box, fps) => {
      if (kind === "camera") track.applyConstraints(cameraWish(box, fps)).catch(() => {});
    },
    hold: () => {},
    whenEnded: (onEnded) => {
      track.onended = onEnded;
    },
    stop: () => {
      track.onended = null;
      for (const each of media.getTracks()) each.stop();
    },
  };
}

/**
 * @param {File} file
 * @param {HTMLVideoElement} video that plays it, over and over
 * @returns {Promise<Source>}
 * @throws {SourceError}
 */
export async function openVideo(file, video) {
  const url = URL.createObjectURL(file);
  video.srcObject = null;
  video.src = url;
  video.loop = true;
  try {
    await video.play();
    if (video.videoWidth === 0) throw new Error("There are no pictures in the file.");
  } catch (error) {
    video.removeAttribute("src");
    URL.revokeObjectURL(url);
    throw new SourceError("videoUnreadable", error);
  }
  return {
    kind: "video",
    title: file.name || "Video",
    media: null,
    deviceId: "",
    wish: () => {},
    hold: (isPaused) => void (isPaused ? video.pause() : video.play().catch(() => {})),
    whenEnded: () => {},
    stop: () => {
      video.pause();
      video.removeAttribute("src");
      video.load();
      URL.revokeObjectURL(url);
    },
  };
}

/** The cameras with their names; names are there only once one of them was allowed. */
export async function listCameras() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter((device) => device.kind === "videoinput");
}
