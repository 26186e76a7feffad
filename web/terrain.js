/** The ground: tiles of painted meadow, made from noise when first seen and kept while near. */

import { fractal, hash2, noise } from "./noise.js";

const TILE_UNITS = 32;
/** Colour samples per unit; the browser smooths between them. */
const SAMPLES_PER_UNIT = 2;
const PIXELS_PER_UNIT = 12;
const TILES_MAX = 96;

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

/** @param {number} width @param {number} height */
export function canvas(width, height) {
  const made = document.createElement("canvas");
  made.width = Math.max(1, Math.ceil(width));
  made.height = Math.max(1, Math.ceil(height));
  return made;
}

/** @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y @param {number} lush @param {number} r */
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

/** @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y @param {number} r */
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

/** @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y @param {number} r */
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

/** @param {number} tileX @param {number} tileY */
function paint(tileX, tileY) {
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
  const tile = canvas(TILE_UNITS * PIXELS_PER_UNIT, TILE_UNITS * PIXELS_PER_UNIT);
  const ctx = /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d", { alpha: false }));
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(rough, 1, 1, samples, samples, 0, 0, tile.width, tile.height);
  ctx.scale(PIXELS_PER_UNIT, PIXELS_PER_UNIT);
  ctx.lineCap = "round";
  for (let k = 0; k < 190; k++) {
    const x = 0.6 + hash2(tileX * 977 + k, tileY, 1) * (TILE_UNITS - 1.2);
    const y = 0.9 + hash2(tileX * 977 + k, tileY, 2) * (TILE_UNITS - 1.5);
    const r = hash2(tileX * 977 + k, tileY, 3);
    const lush = lushness(x0 + x, y0 + y);
    if (lush > 0.34) tuft(ctx, x, y, lush, r);
    else if (r > 0.4) pebble(ctx, x, y, r);
    if (lush > 0.62 && r > 0.86) flower(ctx, x, y, hash2(k, tileX + tileY * 31, 4));
  }
  return tile;
}

export class Terrain {
  constructor() {
    /** @type {Map<string, HTMLCanvasElement>} in order of last use */
    this.tiles = new Map();
  }

  /**
   * Draws what lies in the camera's sight.
   * @param {CanvasRenderingContext2D} ctx
   * @param {{left: number, top: number, right: number, bottom: number, zoom: number, toX(x: number): number, toY(y: number): number}} camera
   */
  draw(ctx, camera) {
    let budget = this.tiles.size < 12 ? 40 : 2; // tiles painted per frame
    const size = TILE_UNITS * camera.zoom;
    for (let ty = Math.floor(camera.top / TILE_UNITS); ty * TILE_UNITS < camera.bottom; ty++) {
      for (let tx = Math.floor(camera.left / TILE_UNITS); tx * TILE_UNITS < camera.right; tx++) {
        const key = `${tx},${ty}`;
        let tile = this.tiles.get(key);
        if (!tile && budget-- > 0) tile = paint(tx, ty);
        const x = camera.toX(tx * TILE_UNITS);
        const y = camera.toY(ty * TILE_UNITS);
        if (!tile) {
          ctx.fillStyle = "#76944a";
          ctx.fillRect(x, y, size + 1, size + 1);
          continue;
        }
        this.tiles.delete(key);
        this.tiles.set(key, tile);
        // Half a pixel over: no seams between tiles at odd zooms.
        ctx.drawImage(tile, x, y, size + 0.75, size + 0.75);
      }
    }
    for (const key of this.tiles.keys()) {
      if (this.tiles.size <= TILES_MAX) break;
      this.tiles.delete(key);
    }
  }
}
