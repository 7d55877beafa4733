/**
 * The binary messages of WS /stream, protocol version 1: bytes <-> values. Pure, no I/O.
 * docs/protocol.md has the format byte by byte; all numbers are big-endian.
 */

export const PROTOCOL = 1;
export const FRAME_HEADER_BYTES = 16;
export const RESULT_HEADER_BYTES = 48;

const MAGIC = 0x4343; // "CC"
const KIND_FRAME = 1;
const KIND_RESULT = 2;
const MEDIA_TYPES = ["image/jpeg", "image/webp", "image/png"];

/**
 * @typedef {object} StageTimes What the server spent on one frame, in ms.
 * @property {number} queueMs
 * @property {number} decodeMs
 * @property {number} inferenceMs
 * @property {number} encodeMs
 * @property {number} totalMs from the frame's arrival to the answer being handed to the socket
 */

/**
 * @typedef {object} Result One answer of the server.
 * @property {number} sequence
 * @property {number} timestampMs the client's own, untouched
 * @property {number} width
 * @property {number} height
 * @property {number} dropped frames the server dropped so far in this stream
 * @property {StageTimes} times
 * @property {number} student index in the hello's `students`
 * @property {number} scale of the picture that the network worked on, 0 to 1; 1 = full resolution
 * @property {number} stillShare share of the picture whose last correction was used again, 0 to 1
 * @property {Blob} encoded the sharpened picture
 */

/** A message that is not a result of protocol version 1. */
export class NotAResult extends Error {}

/**
 * The header that goes before the JPEG of one frame.
 * @param {number} sequence 0 to 2^32 - 1
 * @param {number} timestampMs any clock; the server echoes it
 * @returns {ArrayBuffer}
 */
export function frameHeader(sequence, timestampMs) {
  const header = new DataView(new ArrayBuffer(FRAME_HEADER_BYTES));
  header.setUint16(0, MAGIC);
  header.setUint8(2, PROTOCOL);
  header.setUint8(3, KIND_FRAME);
  header.setUint32(4, sequence);
  header.setFloat64(8, timestampMs);
  return header.buffer;
}

/**
 * @param {ArrayBuffer} message
 * @returns {Result}
 * @throws {NotAResult} saying what was expected and what came
 */
export function parseResult(message) {
  if (message.byteLength < RESULT_HEADER_BYTES) {
    throw new NotAResult(`A result has at least 48 bytes; this one has ${message.byteLength}.`);
  }
  const header = new DataView(message, 0, RESULT_HEADER_BYTES);
  const version = header.getUint8(2);
  const kind = header.getUint8(3);
  if (header.getUint16(0) !== MAGIC || version !== PROTOCOL || kind !== KIND_RESULT) {
    throw new NotAResult(
      `Expected a result of version ${PROTOCOL}; got kind ${kind}, version ${version}.`,
    );
  }
  const type = MEDIA_TYPES[header.getUint8(44)];
  if (type === undefined) {
    throw new NotAResult(`Unknown picture format ${header.getUint8(44)}.`);
  }
  return {
    sequence: header.getUint32(4),
    timestampMs: header.getFloat64(8),
    width: header.getUint16(16),
    height: header.getUint16(18),
    dropped: header.getUint32(20),
    times: {
      queueMs: header.getFloat32(24),
      decodeMs: header.getFloat32(28),
      inferenceMs: header.getFloat32(32),
      encodeMs: header.getFloat32(36),
      totalMs: header.getFloat32(40),
    },
    student: header.getUint8(45),
    scale: header.getUint8(46) / 100 || 1, // 0 where a server leaves it out
    stillShare: header.getUint8(47) / 100,
    encoded: new Blob([new Uint8Array(message, RESULT_HEADER_BYTES)], { type }),
  };
}

/**
 * Whether sequence number `a` comes after `b`, also where they wrapped at 2^32 in between.
 * @param {number} a
 * @param {number} b
 */
export function isAfter(a, b) {
  return ((a - b) | 0) > 0;
}
