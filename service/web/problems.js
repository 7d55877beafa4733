/**
 * What can go wrong, in words: a title, what to do about it, and which ways out to offer. No logic,
 * no drawing.
 */

/** @typedef {"camera" | "file" | "reconnect" | "reload"} WayOut */

/**
 * @typedef {object} Problem
 * @property {string} title
 * @property {string} text
 * @property {WayOut[]} ways
 */

/** This server, as it is called on its own machine. */
function localAddress() {
  const { port } = window.location;
  return `http://localhost${port ? `:${port}` : ""}`;
}

/** @type {Record<import("./sources.js").SourceFault | "cameraLost", () => Problem>} */
export const SOURCE_PROBLEMS = {
  noCamera: () => ({
    title: "No camera found",
    text: "The browser sees no camera on this device. Connect one and try again, or open a file instead.",
    ways: ["camera", "file"],
  }),
  denied: () => ({
    title: "The camera is blocked",
    text:
      "The browser did not let this page use the camera. Allow it in the site settings beside the address, " +
      "then try again. A video or picture file works without it.",
    ways: ["camera", "file"],
  }),
  cameraBusy: () => ({
    title: "The camera is in use",
    text: "Another program or tab seems to hold the camera. Close the other call, then try again.",
    ways: ["camera", "file"],
  }),
  cameraFailed: () => ({
    title: "The camera did not start",
    text: "The browser gave no picture from the camera. Unplug it, plug it in again, and try once more.",
    ways: ["camera", "file"],
  }),
  cameraLost: () => ({
    title: "The camera went away",
    text: "It was unplugged or switched off. Connect it and start again.",
    ways: ["camera", "file"],
  }),
  insecure: () => ({
    title: "Camera and screen need a secure address",
    text:
      `Browsers give a webcam or screen to HTTPS pages and to localhost only, and this page came over plain HTTP from ` +
      `${window.location.host}. Put the server behind HTTPS, or open ${localAddress()} on the ` +
      `machine that runs it. A video or picture file works here as well.`,
    ways: ["file"],
  }),
  unsupported: () => ({
    title: "This browser has no camera support",
    text: "Open the page in a current Chrome, Edge, Firefox or Safari. A video or picture file works here as well.",
    ways: ["file"],
  }),
  screenUnsupported: () => ({
    title: "This browser cannot share a screen",
    text: "Phones and tablets mostly cannot. The camera, a video or a picture file work here.",
    ways: ["camera", "file"],
  }),
  screenDenied: () => ({
    title: "The screen is not shared",
    text: "Nothing was chosen, or the browser or the system forbids it.",
    ways: ["camera", "file"],
  }),
  screenFailed: () => ({
    title: "The screen could not be shared",
    text: "The browser gave no pictures of it. On macOS, allow screen recording in the system settings.",
    ways: ["camera", "file"],
  }),
  videoUnreadable: () => ({
    title: "The video cannot be played",
    text: "This browser does not know its format, or the file is damaged. MP4 (H.264) and WebM work nearly everywhere.",
    ways: ["file"],
  }),
};

/**
 * @param {import("./clearcall-client.js").Cause} cause
 * @param {string} detail the server's own words, or ""
 * @returns {Problem}
 */
export function streamProblem(cause, detail) {
  const said = detail ? ` It said: ${detail}` : "";
  switch (cause) {
    case "busy":
      return {
        title: "The server is full",
        text: `It takes no more streams right now. This page waits and keeps asking.${said}`,
        ways: ["reconnect"],
      };
    case "silent":
      return {
        title: "The server does not answer",
        text: "It is reachable but left a frame unanswered for ten seconds. A smaller size may help.",
        ways: ["reconnect"],
      };
    case "refused":
      return {
        title: "The server refused the stream",
        text: detail || "It could not use what this page sent. A smaller size may help.",
        ways: ["reconnect"],
      };
    case "restarting":
      return {
        title: "The server restarts",
        text: `The stream goes on by itself when it is back.${said}`,
        ways: ["reconnect"],
      };
    case "gone":
      return {
        title: "The server is gone",
        text: `The connection to ${window.location.host} broke. The stream goes on by itself when it is back.`,
        ways: ["reconnect"],
      };
  }
}

/** @type {Problem} */
export const PROTOCOL_PROBLEM = {
  title: "This page is out of date",
  text: "The server speaks another version of the stream. Reload the page.",
  ways: ["reload"],
};

/** @type {Problem} */
export const NOT_A_FILE = {
  title: "That is not a file",
  text: "Drop or paste a video, or a JPEG, PNG, WebP, BMP or TIFF picture.",
  ways: ["file"],
};

/** @type {Problem} */
export const UPLOAD_CUT_OFF = {
  title: "The upload was cut off",
  text: "The server is there but stopped reading. The picture is most likely larger than it accepts.",
  ways: ["file"],
};

/** @type {Problem} */
export const ANSWER_BROKEN = {
  title: "The answer broke off",
  text: "The connection was cut before the whole picture had come. Try again.",
  ways: ["reconnect"],
};

/** @type {Problem} */
export const FILE_UNREADABLE = {
  title: "The file cannot be read",
  text: "It was moved or changed after it was opened, or it is a folder. Open it again.",
  ways: ["file"],
};

/**
 * @param {{status: number, title: string, detail: string}} failure of a request; status 0 is no answer at all
 * @returns {Problem}
 */
export function serverProblem({ status, title, detail }) {
  if (status !== 0) return { title, text: detail, ways: ["reconnect"] };
  return {
    title: "The server is gone",
    text: `Nothing answers at ${window.location.host}. Start it with "clearcall serve"; this page notices by itself.`,
    ways: ["reconnect"],
  };
}

/**
 * @param {{title: string, detail: string}} failure the server's problem+json
 * @returns {Problem}
 */
export function requestProblem({ title, detail }) {
  return { title, text: detail, ways: ["file"] };
}
