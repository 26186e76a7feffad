/** The dark, with holes where there is light. */

import { canvas } from "./picture.js";

/** The light canvas is this much coarser than the screen, in device pixels. */
const COARSE = 6;
const FIRE_UNITS = 22;
const OWN_UNITS = 13;

export class Night {
  /** @param {boolean} calm no flicker */
  constructor(calm) {
    this.calm = calm;
    this.light = canvas(1, 1);
    this.ctx = /** @type {CanvasRenderingContext2D} */ (this.light.getContext("2d"));
    /** What the lights of this frame reach, coarse pixels. */
    this.reach = { left: 0, top: 0, right: 0, bottom: 0 };
  }

  /**
   * Darkens the picture. Where no light reaches it is one colour laid over: only the rectangle with lights in it is
   * blown up from the coarse canvas, for that is the dear part. Needs the identity as the transform.
   * @param {CanvasRenderingContext2D} ctx
   * @param {{scale: number}} camera
   * @param {import("./scene.js").EntityLook[]} seen
   * @param {import("./scene.js").Frame} frame
   */
  draw(ctx, camera, seen, frame) {
    const wide = ctx.canvas.width;
    const high = ctx.canvas.height;
    const columns = Math.ceil(wide / COARSE);
    const rows = Math.ceil(high / COARSE);
    if (this.light.width !== columns || this.light.height !== rows) {
      this.light.width = columns;
      this.light.height = rows;
    }
    const dark = `rgba(9,14,42,${0.66 * frame.dark})`;
    const light = this.ctx;
    const { reach } = this;
    Object.assign(reach, { left: columns, top: rows, right: 0, bottom: 0 });
    light.globalCompositeOperation = "source-over";
    light.clearRect(0, 0, columns, rows);
    light.fillStyle = dark;
    light.fillRect(0, 0, columns, rows);
    light.globalCompositeOperation = "destination-out";
    for (const { entity, x, y } of seen) {
      const flicker = this.calm ? 1 : 1 + Math.sin(frame.nowMs / 170 + entity.handle) * 0.03;
      if (entity.kind === "campfire") this.#hole(x / COARSE, y / COARSE, (FIRE_UNITS * flicker * camera.scale) / COARSE, 0.95);
      else if (entity === frame.me) this.#hole(x / COARSE, y / COARSE, (OWN_UNITS * camera.scale) / COARSE, 0.6);
    }
    const left = Math.max(0, Math.floor(reach.left) - 1);
    const top = Math.max(0, Math.floor(reach.top) - 1);
    const right = Math.min(columns, Math.ceil(reach.right) + 1);
    const bottom = Math.min(rows, Math.ceil(reach.bottom) + 1);
    ctx.fillStyle = dark;
    if (right <= left || bottom <= top) {
      ctx.fillRect(0, 0, wide, high);
      return;
    }
    const [x1, y1, x2, y2] = [left * COARSE, top * COARSE, right * COARSE, bottom * COARSE];
    ctx.fillRect(0, 0, wide, y1);
    ctx.fillRect(0, y2, wide, high - y2);
    ctx.fillRect(0, y1, x1, y2 - y1);
    ctx.fillRect(x2, y1, wide - x2, y2 - y1);
    ctx.drawImage(this.light, left, top, right - left, bottom - top, x1, y1, x2 - x1, y2 - y1);
  }

  /** @param {number} x coarse pixels @param {number} y @param {number} r @param {number} strength 0 to 1 */
  #hole(x, y, r, strength) {
    const { ctx, reach } = this;
    const glow = ctx.createRadialGradient(x, y, 0, x, y, r);
    glow.addColorStop(0, `rgba(0,0,0,${strength})`);
    glow.addColorStop(0.5, `rgba(0,0,0,${strength * 0.55})`);
    glow.addColorStop(1, "rgba(0,0,0,0)");
    ctx.fillStyle = glow;
    ctx.fillRect(x - r, y - r, r * 2, r * 2);
    reach.left = Math.min(reach.left, x - r);
    reach.top = Math.min(reach.top, y - r);
    reach.right = Math.max(reach.right, x + r);
    reach.bottom = Math.max(reach.bottom, y + r);
  }
}
