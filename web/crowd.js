/**
 * Figures without a server behind them, to measure how fast the page draws: `?bodies=500`, `&crowd=` one of KINDS, `&night`.
 *
 * They stand and wander round the middle of the picture, and who leaves it on one side comes in on the other: all of
 * them are always in sight, and the ground still runs beneath.
 */

import { hash2 } from "./noise.js";

/** Who they are, over and over. */
const KINDS = {
  bodies: ["deer", "sheep", "avatar", "wolf", "sheep", "deer", "bear"],
  trees: ["tree"],
  mixed: ["tree", "deer", "rock", "sheep", "avatar", "bush", "tree", "wolf", "sheep", "deer"],
  /** Players, all with a name, most of them hurt. */
  named: ["avatar"],
};
const WIDTH_UNITS = 86;
const HEIGHT_UNITS = 50;
const SPEED_UNITS_PER_MS = 0.006;

/** @param {number} v @param {number} size */
const wrap = (v, size) => v - Math.floor(v / size + 0.5) * size;

export class Crowd {
  /** @param {number} count @param {string | null} kinds @param {boolean} night */
  constructor(count, kinds, night) {
    /** Instead of the world's hour, so that a measurement does not hang on it. */
    this.dark = night ? 1 : 0;
    const among = KINDS[/** @type {keyof typeof KINDS} */ (kinds ?? "mixed")] ?? KINDS.mixed;
    this.focus = { x: 0, y: 0 };
    this.nowMs = 0;
    /** @type {any[]} */
    this.entities = [];
    for (let n = 0; n < count; n++) {
      const kind = among[n % among.length];
      const angle = hash2(n, 1) * 6.28;
      /** @type {Record<string, any>} */
      const is = {};
      if (kind === "tree" || kind === "rock" || kind === "bush") is.Stock = { amount: 1 + Math.floor(hash2(n, 2) * 6) };
      else Object.assign(is, { Heading: { angle }, State: { pose: 1 }, Health: { hp: 20 + Math.floor(hash2(n, 3) * 110) } });
      if (kind === "avatar") is.Name = { text: `Visitor ${n}` };
      // A key that no region's entity has.
      const key = -1 - n;
      this.entities.push({ key, region: -1, handle: n, kind, is, x: hash2(n, 4) * WIDTH_UNITS, y: hash2(n, 5) * HEIGHT_UNITS });
    }
  }

  /** @param {number} nowMs @param {{x: number, y: number}} focus the middle of the picture */
  step(nowMs, focus) {
    this.nowMs = nowMs;
    Object.assign(this.focus, focus);
  }

  /** Where one of them is. @param {any} one @param {{x: number, y: number}} out */
  place(one, out) {
    const far = one.is.Heading ? this.nowMs * SPEED_UNITS_PER_MS : 0;
    const { focus } = this;
    const angle = one.is.Heading?.angle ?? 0;
    out.x = focus.x + wrap(one.x + Math.cos(angle) * far - focus.x, WIDTH_UNITS);
    out.y = focus.y + wrap(one.y + Math.sin(angle) * far - focus.y, HEIGHT_UNITS);
  }

  /** With those of the world. @param {Iterable<any>} others */
  *among(others) {
    yield* others;
    yield* this.entities;
  }
}
