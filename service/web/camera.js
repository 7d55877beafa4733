/**
 * The webcam: asking for it, listing the others, telling when a new frame is there, and saying why
 * there is none.
 */

/** @typedef {"insecure" | "unsupported" | "noCamera" | "denied" | "cameraBusy" | "cameraFailed"} CameraFault */

/** The browser gives no camera; `fault` says why. */
export class CameraError extends Error {
  /**
   * @param {CameraFault} fault
   * @param {unknown} [cause]
   */
  constructor(fault, cause) {
    super(fault, { cause });
    this.fault = fault;
  }
}

/** @type {Record<string, CameraFault>} names of the browser's DOMExceptions */
const FAULTS = {
  NotFoundError: "noCamera",
  DevicesNotFoundError: "noCamera",
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotReadableError: "cameraBusy",
  TrackStartError: "cameraBusy",
  AbortError: "cameraBusy",
};

/**
 * @param {{deviceId?: string, height: number, width: number}} wish all but the device are preferences
 * @returns {Promise<MediaStream>}
 * @throws {CameraError}
 */
export async function openCamera({ deviceId, height, width }) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new CameraError(window.isSecureContext ? "unsupported" : "insecure");
  }
  const video = {
    ...sizeWish(height, width),
    ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
  };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: false, video });
  } catch (error) {
    const name = error instanceof Error ? error.name : "";
    if (name === "OverconstrainedError" && deviceId) return openCamera({ height, width });
    throw new CameraError(FAULTS[name] ?? "cameraFailed", error);
  }
}

/**
 * @param {number} height
 * @param {number} width
 * @returns {MediaTrackConstraints}
 */
export function sizeWish(height, width) {
  return { width: { ideal: Math.max(640, width) }, height: { ideal: Math.max(360, height) } };
}

/** The cameras with their names; names are there only once one of them was allowed. */
export async function listCameras() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter((device) => device.kind === "videoinput");
}

/**
 * Call `onFrame` each time the video element holds a new frame, until the returned function is
 * called.
 * @param {HTMLVideoElement} video
 * @param {(nowMs: number) => void} onFrame
 * @returns {() => void}
 */
export function watchFrames(video, onFrame) {
  let handle = 0;
  if ("requestVideoFrameCallback" in HTMLVideoElement.prototype) {
    const next = () => {
      handle = video.requestVideoFrameCallback(next);
      onFrame(performance.now());
    };
    handle = video.requestVideoFrameCallback(next);
    return () => video.cancelVideoFrameCallback(handle);
  }
  let shownAt = -1;
  const next = () => {
    handle = requestAnimationFrame(next);
    if (video.currentTime === shownAt) return;
    shownAt = video.currentTime;
    onFrame(performance.now());
  };
  handle = requestAnimationFrame(next);
  return () => cancelAnimationFrame(handle);
}
