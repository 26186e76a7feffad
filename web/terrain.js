/** The ground: tiles of painted meadow, made from noise when first seen and kept while near. */

import { fractal, hash2, noise } from "./noise.js";
import { canvas, picture } from "./picture.js";

/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {import("./picture.js").Ctx} Ctx */
/** Small, so that painting one fits into a frame. */
export const TILE_UNITS = 16;
/** Colour samples per unit; the browser smooths between them. */
const SAMPLES_PER_UNIT = 2;
/** Tufts, flowers and pebbles of a tile. */
const DETAILS = 48;
/** Past this many pixels per unit tiles are painted at half the size and drawn at twice: memory counts for more then. */
const FINE_PIXELS_PER_UNIT = 26;
/** Tiles painted per frame once the first picture stands, and how far ahead of the sight. */
const PAINT_PER_FRAME = 1;
const AHEAD_TILES = 1;
const TILES_MAX = 100;

/** Dry to lush. */
const PALETTE = [
  [146, 116, 78], [160, 138, 86], [148, 151, 83], [118, 148, 72], [93, 132, 62], [72, 112, 56],
];

/** @param {number} t 0 to 1 */
function ground(t) {
  const at = Math.min(0.9999, Math.max(0, t)) * (PALETTE.length - 1);
  const i = Math.floor(at);
  const f = at - i;
  return PALETTE[i].map((v, k) => v + (PALETTE[i + 1][k] - v) * f);
}

/** How lush the ground is at a place, 0 to 1. @param {number} x @param {number} y */
export function lushness(x, y) {
  const broad = fractal(x / 70, y / 70, 11, 4);
  return (broad - 0.5) * 2.1 + 0.62 + (noise(x / 3.1, y / 3.1, 40) - 0.5) * 0.16;
}

/** @param {Ctx} ctx @param {number} x @param {number} y @param {number} lush @param {number} r */
function tuft(ctx, x, y, lush, r) {
  const tall = 0.35 + r * 0.45;
  ctx.strokeStyle = lush > 0.6 ? "rgba(46,84,38,.55)" : "rgba(110,112,52,.6)";
  ctx.lineWidth = 0.09;
  ctx.beginPath();
  for (let k = -1; k <= 1; k++) {
    ctx.moveTo(x + k * 0.14, y);
    ctx.quadraticCurveTo(x + k * 0.16, y - tall * 0.6, x + k * (0.28 + r * 0.2), y - tall);
  }
  ctx.stroke();
}

/** @param {Ctx} ctx @param {number} x @param {number} y @param {number} r */
function flower(ctx, x, y, r) {
  const colour = ["#f4e7a1", "#f2f0ea", "#d9a3c7", "#e9b44c"][Math.floor(r * 4)];
  ctx.fillStyle = colour;
  for (let k = 0; k < 4; k++) {
    ctx.beginPath();
    ctx.arc(x + Math.cos(k * 1.57) * 0.14, y + Math.sin(k * 1.57) * 0.14, 0.11, 0, 7);
    ctx.fill();
  }
  ctx.fillStyle = "#8a6a1f";
  ctx.beginPath();
  ctx.arc(x, y, 0.08, 0, 7);
  ctx.fill();
}

/** @param {Ctx} ctx @param {number} x @param {number} y @param {number} r */
function pebble(ctx, x, y, r) {
  ctx.fillStyle = "rgba(40,36,30,.25)";
  ctx.beginPath();
  ctx.ellipse(x + 0.05, y + 0.08, 0.22 + r * 0.2, 0.14 + r * 0.1, r * 3, 0, 7);
  ctx.fill();
  ctx.fillStyle = r > 0.5 ? "#a09a8c" : "#8d8778";
  ctx.beginPath();
  ctx.ellipse(x, y, 0.2 + r * 0.2, 0.13 + r * 0.1, r * 3, 0, 7);
  ctx.fill();
}

/** @param {number} tileX @param {number} tileY @param {number} scale pixels per unit */
function paint(tileX, tileY, scale) {
  const samples = TILE_UNITS * SAMPLES_PER_UNIT;
  // One sample more on every side, so that smoothing meets the neighbour's.
  const rough = canvas(samples + 2, samples + 2);
  const roughCtx = /** @type {CanvasRenderingContext2D} */ (rough.getContext("2d"));
  const image = roughCtx.createImageData(samples + 2, samples + 2);
  const x0 = tileX * TILE_UNITS;
  const y0 = tileY * TILE_UNITS;
  for (let j = 0; j < samples + 2; j++) {
    for (let i = 0; i < samples + 2; i++) {
      const x = x0 + (i - 0.5) / SAMPLES_PER_UNIT;
      const y = y0 + (j - 0.5) / SAMPLES_PER_UNIT;
      const [r, g, b] = ground(lushness(x, y));
      const light = 0.94 + noise(x / 9, y / 9, 71) * 0.12 + (hash2(x * 2, y * 2, 5) - 0.5) * 0.05;
      const at = (j * (samples + 2) + i) * 4;
      image.data[at] = r * light;
      image.data[at + 1] = g * light;
      image.data[at + 2] = b * light;
      image.data[at + 3] = 255;
    }
  }
  roughCtx.putImageData(image, 0, 0);
  const side = TILE_UNITS * scale;
  return picture(side, side, (ctx) => {
    ctx.imageSmoothingQuality = "high";
    ctx.drawImage(rough, 1, 1, samples, samples, 0, 0, side, side);
    ctx.scale(scale, scale);
    ctx.lineCap = "round";
    for (let k = 0; k < DETAILS; k++) {
      const x = 0.6 + hash2(tileX * 977 + k, tileY, 1) * (TILE_UNITS - 1.2);
      const y = 0.9 + hash2(tileX * 977 + k, tileY, 2) * (TILE_UNITS - 1.5);
      const r = hash2(tileX * 977 + k, tileY, 3);
      const lush = lushness(x0 + x, y0 + y);
      if (lush > 0.34) tuft(ctx, x, y, lush, r);
      else if (r > 0.4) pebble(ctx, x, y, r);
      if (lush > 0.62 && r > 0.86) flower(ctx, x, y, hash2(k, tileX + tileY * 31, 4));
    }
  }, true);
}

/** @param {number} tx @param {number} ty */
function tileKey(tx, ty) {
  return (tx + 0x8000) * 0x10000 + ty + 0x8000;
}

export class Terrain {
  constructor() {
    /** @type {Map<number, {picture: Picture, frame: number}>} */
    this.tiles = new Map();
    this.scale = 0;
    this.frame = 0;
    this.budget = 0;
  }

  /**
   * Draws what lies in the camera's sight, tile beside tile on whole pixels. Needs the identity as the transform.
   * @param {CanvasRenderingContext2D} ctx
   * @param {{left: number, top: number, right: number, bottom: number, scale: number, originX: number, originY: number}} camera
   */
  draw(ctx, camera) {
    if (camera.scale !== this.scale) {
      this.scale = camera.scale;
      this.tiles.clear();
    }
    this.frame++;
    const side = TILE_UNITS * camera.scale;
    const tx1 = Math.floor(camera.left / TILE_UNITS);
    const ty1 = Math.floor(camera.top / TILE_UNITS);
    const tx2 = Math.floor(camera.right / TILE_UNITS);
    const ty2 = Math.floor(camera.bottom / TILE_UNITS);
    // Nothing where we stand: we have just come, here or from far away, and all of it is wanted at once.
    this.budget = this.tiles.has(tileKey((tx1 + tx2) >> 1, (ty1 + ty2) >> 1)) ? PAINT_PER_FRAME : TILES_MAX;
    for (let ty = ty1; ty <= ty2; ty++) {
      for (let tx = tx1; tx <= tx2; tx++) {
        const tile = this.#tile(tx, ty);
        const x = tx * side - camera.originX;
        const y = ty * side - camera.originY;
        if (!tile) {
          ctx.fillStyle = "#76944a";
          ctx.fillRect(x, y, side, side);
        } else if (tile.width === side) ctx.drawImage(tile, x, y);
        else ctx.drawImage(tile, x, y, side, side);
      }
    }
    this.budget = Math.min(this.budget, PAINT_PER_FRAME);
    for (let ty = ty1 - AHEAD_TILES; this.budget > 0 && ty <= ty2 + AHEAD_TILES; ty++) {
      for (let tx = tx1 - AHEAD_TILES; this.budget > 0 && tx <= tx2 + AHEAD_TILES; tx++) this.#tile(tx, ty);
    }
    if (this.tiles.size > TILES_MAX) this.#forget();
  }

  /** A tile's picture, if it is there or this frame has time to paint it. @param {number} tx @param {number} ty */
  #tile(tx, ty) {
    const key = tileKey(tx, ty);
    let tile = this.tiles.get(key);
    if (!tile) {
      if (this.budget <= 0) return null;
      this.budget--;
      const scale = this.scale > FINE_PIXELS_PER_UNIT ? this.scale / 2 : this.scale;
      tile = { picture: paint(tx, ty, scale), frame: 0 };
      this.tiles.set(key, tile);
    }
    tile.frame = this.frame;
    return tile.picture;
  }

  /** Lets go of the half that was not drawn for the longest. */
  #forget() {
    const frames = [...this.tiles.values()].map((tile) => tile.frame).sort((a, b) => a - b);
    const since = frames[frames.length >> 1];
    for (const [key, tile] of this.tiles) if (tile.frame < since) this.tiles.delete(key);
  }
}
