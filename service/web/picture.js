/**
 * Picture files: getting one from a drop, a paste or the file dialogue, and making it drawable.
 */

/**
 * Above this a browser may refuse a canvas (iOS: 16.7 megapixels); it is shown smaller, sent whole.
 */
const MAX_SHOWN_PX = 16_000_000;

/**
 * The first file in what was dropped or pasted; null where there is none (text, a link).
 * @param {DataTransfer | null} transfer
 * @returns {File | null}
 */
export function fileFrom(transfer) {
  return transfer?.files[0] ?? null;
}

/**
 * @param {DataTransfer | null} transfer
 * @returns {boolean} whether files (rather than text) are being dragged
 */
export function carriesFiles(transfer) {
  return transfer?.types.includes("Files") ?? false;
}

/**
 * @param {Blob} encoded
 * @returns {Promise<{bitmap: ImageBitmap, height: number, width: number} | null>} upright and small enough to
 *   draw, with the picture's full size; null where this browser cannot show the format (TIFF, HEIC)
 */
export async function decode(encoded) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(encoded);
  } catch {
    return null;
  }
  const { height, width } = bitmap;
  const scale = Math.sqrt(MAX_SHOWN_PX / (height * width));
  if (scale >= 1) return { bitmap, height, width };
  const shown = await createImageBitmap(bitmap, {
    resizeWidth: Math.floor(width * scale),
    resizeHeight: Math.floor(height * scale),
    resizeQuality: "high",
  });
  bitmap.close();
  return { bitmap: shown, height, width };
}

/**
 * @param {string} name of the original file
 * @param {string} type media type of the result
 * @returns {string} the name to save the result under
 */
export function resultName(name, type) {
  const stem = name.replace(/\.[^.]*$/, "") || "picture";
  const extension = (type.split("/")[1] ?? "png").replace("jpeg", "jpg").replace("x-ms-bmp", "bmp");
  return `${stem}-clear.${extension}`;
}
