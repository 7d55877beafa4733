/**
 * How long to wait before asking a server again. Pure, but for the dice.
 */

const FIRST_MS = 500;
const LAST_MS = 8000;

/**
 * Twice as long each time, and spread, so that many pages do not return at once.
 * @param {number} attempt 0, 1, 2, ...
 * @param {() => number} [random] 0 to 1
 * @returns {number}
 */
export function retryDelayMs(attempt, random = Math.random) {
  return Math.min(LAST_MS, FIRST_MS * 2 ** attempt) * (0.8 + 0.4 * random());
}
