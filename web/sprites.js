/**
 * Every look painted once, at the screen's scale: by kind, variant, step of the stride, heading and tone.
 *
 * A frame of 500 entities is then 500 pictures stamped on whole pixels, the one thing a browser without a
 * graphics card does fast: between pixels it costs three times as much, half transparent as well, turned ten times.
 */

import { colourOf, marker, PAINTERS, REACH, shadow, SWINGS, VARIANTS, WALKERS } from "./painters.js";
import { picture } from "./picture.js";

/** @typedef {import("./picture.js").Picture} Picture */
/** Headings that pictures are kept at. */
export const HEADINGS = 32;
/** How an entity is shown. */
export const Tone = Object.freeze({ PLAIN: 0, STRUCK: 1, DEAD: 2 });
const FILTERS = ["none", "brightness(1.9) saturate(.4)", "grayscale(.8) brightness(.75)"];
/** Pixels of turned pictures that are kept, four bytes each. */
const PIXELS_MAX = 24e6;
/**
 * Past this many pixels per unit nothing but struck and dead looks is kept turned: the pictures would take too much
 * memory, and screens that fine come with a graphics card, to which a turned picture is as cheap as any.
 */
const TURNED_SCALE_MAX = 26;
/** The time a frame has for new ones: where one turned nearly so is there, and where none is. */
const BETTER_MS_PER_FRAME = 2;
const MISSING_MS_PER_FRAME = 8;
/** How many headings beside the right one will do until it is made. */
const NEAR_HEADINGS = 3;
const SECONDS_MAX = 16;
const REACH_PLAIN = 1.5;
/** Names drawn lately; the oldest goes. */
const NAMES_MAX = 1200;
const NAME_FONT = "600 13px system-ui, sans-serif";
const FULL_TURN = 6.283185307;

export class Sprites {
  constructor() {
    /** Device pixels per unit. */
    this.scale = 0;
    /** @type {Map<number, Picture>} */
    this.upright = new Map();
    /** @type {Map<number, Picture>} in order of making */
    this.turnedOnes = new Map();
    this.pixels = 0;
    this.beginMs = 0;
    /** @type {Map<string, number>} */
    this.kinds = new Map();
    /** @type {string[]} */
    this.kindNames = [];
    /** @type {Map<number, Picture>} by radius in 1/64 of a unit */
    this.shadows = new Map();
    /** @type {Map<string, Picture>} in order of making */
    this.names = new Map();
    const probe = document.createElement("canvas").getContext("2d");
    this.probe = /** @type {CanvasRenderingContext2D} */ (probe);
    this.probe.font = NAME_FONT;
  }

  /** Pixels per unit; pictures of another scale are thrown away. @param {number} scale */
  resize(scale) {
    if (scale === this.scale) return;
    this.scale = scale;
    this.upright.clear();
    this.turnedOnes.clear();
    this.shadows.clear();
    this.pixels = 0;
  }

  /** A frame begins to ask for pictures. */
  begin() {
    this.beginMs = performance.now();
  }

  /** A number for a look, to ask for its pictures by. @param {string} kind @param {number} variant 0 to VARIANTS - 1 */
  look(kind, variant) {
    let index = this.kinds.get(kind);
    if (index === undefined) {
      index = this.kindNames.length;
      this.kinds.set(kind, index);
      this.kindNames.push(kind);
    }
    return index * VARIANTS + variant;
  }

  /**
   * It facing +x.
   * @param {number} look
   * @param {number} second the index into SWINGS of what walks, the amount left of what stands, below SECONDS_MAX
   */
  get(look, second) {
    const key = look * SECONDS_MAX + second;
    const found = this.upright.get(key);
    if (found) return found;
    const kind = this.kindNames[Math.floor(look / VARIANTS)];
    const reach = Math.ceil((REACH[kind] ?? REACH_PLAIN) * this.scale);
    const made = picture(reach * 2, reach * 2, (ctx) => {
      ctx.translate(reach, reach);
      ctx.scale(this.scale, this.scale);
      ctx.lineJoin = "round";
      const paint = PAINTERS[kind];
      if (paint) paint(ctx, WALKERS.has(kind) ? SWINGS[second] : second, look % VARIANTS);
      else marker(ctx, colourOf(kind));
    });
    this.upright.set(key, made);
    return made;
  }

  /**
   * It turned to an angle, or nearly. Null where no picture is near enough and this frame has no time to make one:
   * it must be drawn the dear way.
   * @param {number} look @param {number} second @param {number} angle radians @param {number} tone of Tone
   */
  turned(look, second, angle, tone) {
    if (this.scale > TURNED_SCALE_MAX && tone === Tone.PLAIN) return null;
    const step = ((Math.round((angle / FULL_TURN) * HEADINGS) % HEADINGS) + HEADINGS) % HEADINGS;
    const base = ((look * SECONDS_MAX + second) * 3 + tone) * HEADINGS;
    const found = this.turnedOnes.get(base + step);
    if (found) return found;
    const spentMs = performance.now() - this.beginMs;
    if (spentMs < BETTER_MS_PER_FRAME) return this.#turn(look, second, step, tone, base + step);
    for (let off = 1; off <= NEAR_HEADINGS; off++) {
      const near = this.turnedOnes.get(base + ((step + off) % HEADINGS)) ?? this.turnedOnes.get(base + ((step - off + HEADINGS) % HEADINGS));
      if (near) return near;
    }
    return spentMs < MISSING_MS_PER_FRAME ? this.#turn(look, second, step, tone, base + step) : null;
  }

  /** @param {number} look @param {number} second @param {number} step @param {number} tone @param {number} key */
  #turn(look, second, step, tone, key) {
    const plain = this.get(look, second);
    const half = plain.width / 2;
    const made = picture(plain.width, plain.width, (ctx) => {
      ctx.translate(half, half);
      ctx.rotate((step / HEADINGS) * FULL_TURN);
      if (tone) ctx.filter = FILTERS[tone];
      ctx.drawImage(plain, -half, -half);
    });
    this.turnedOnes.set(key, made);
    this.pixels += made.width * made.height;
    for (const [oldest, gone] of this.turnedOnes) {
      if (this.pixels <= PIXELS_MAX) break;
      this.turnedOnes.delete(oldest);
      this.pixels -= gone.width * gone.height;
    }
    return made;
  }

  /** A shadow on the ground. @param {number} radius world units */
  shadow(radius) {
    const key = Math.round(radius * 64);
    let found = this.shadows.get(key);
    if (!found) {
      const r = radius * 1.1 * this.scale;
      const width = Math.ceil(r) * 2;
      const height = Math.ceil(r * 0.9) * 2;
      found = picture(width, height, (ctx) => {
        ctx.translate(width / 2, height / 2);
        ctx.scale(r / 1.1, (r * 0.9) / 1.1);
        shadow(ctx);
      });
      this.shadows.set(key, found);
    }
    return found;
  }

  /** A name as a picture. @param {string} text @param {string} colour @param {number} ratio device pixels per CSS pixel */
  name(text, colour, ratio) {
    const key = `${colour}/${ratio}/${text}`;
    let found = this.names.get(key);
    if (!found) {
      const width = Math.ceil((this.probe.measureText(text).width + 8) * ratio);
      found = picture(width, Math.ceil(20 * ratio), (ctx) => {
        ctx.scale(ratio, ratio);
        ctx.font = NAME_FONT;
        ctx.lineWidth = 3.5;
        ctx.lineJoin = "round";
        ctx.strokeStyle = "rgba(16,14,12,.8)";
        ctx.fillStyle = colour;
        ctx.strokeText(text, 4, 15);
        ctx.fillText(text, 4, 15);
      });
      if (this.names.size >= NAMES_MAX) this.names.delete(/** @type {string} */ (this.names.keys().next().value));
      this.names.set(key, found);
    }
    return found;
  }
}
