/** Pictures that are painted once and stamped many times. */

/** @typedef {ImageBitmap | HTMLCanvasElement} Picture */
/** @typedef {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} Ctx */

/** @param {number} width @param {number} height pixels, rounded up */
export function canvas(width, height) {
  const made = document.createElement("canvas");
  made.width = Math.max(1, Math.ceil(width));
  made.height = Math.max(1, Math.ceil(height));
  return made;
}

/** Canvases to paint on, by size: a new one for each picture takes three times as long. @type {Map<number, Ctx & {canvas: OffscreenCanvas}>} */
const easels = new Map();
const EASELS_MAX = 24;

/** @param {number} width @param {number} height @param {boolean} opaque */
function easel(width, height, opaque) {
  const key = (width * 0x8000 + height) * 2 + Number(opaque);
  let found = easels.get(key);
  if (!found) {
    if (easels.size >= EASELS_MAX) easels.clear();
    found = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(width, height).getContext("2d", { alpha: !opaque }));
    easels.set(key, found);
  }
  return found;
}

/**
 * A picture of `width` x `height` pixels (whole numbers), as an ImageBitmap where the browser can: it is what is
 * drawn the fastest, and it weighs its pixels alone. Each has a bitmap of its own: a part of a large one (an atlas)
 * takes twice the time where the browser paints without a graphics card, for only a whole picture on whole pixels is
 * copied row by row.
 * @param {number} width @param {number} height @param {(ctx: Ctx) => void} paint @param {boolean} [opaque]
 * @returns {Picture}
 */
export function picture(width, height, paint, opaque = false) {
  if (typeof OffscreenCanvas === "undefined") {
    const made = canvas(width, height);
    paint(/** @type {CanvasRenderingContext2D} */ (made.getContext("2d", { alpha: !opaque })));
    return made;
  }
  const ctx = easel(width, height, opaque);
  ctx.save();
  paint(ctx);
  ctx.restore();
  // Leaves a blank canvas behind.
  return ctx.canvas.transferToImageBitmap();
}
