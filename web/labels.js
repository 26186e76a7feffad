/** Names, health, speech and the key to press: over everything, the night too. */

import { FIRE_FOR_EVER, FIRE_FUEL, FULL_HEALTH } from "./frontier.js";

const OWN_NAME = "#ffe896";
const NAME = "#ffffff";
const BUBBLE_PIXELS = 220;
const BUBBLE_LINES = 4;
const BAR_BACK = "rgba(16,14,12,.8)";

export class Labels {
  /** @param {import("./sprites.js").Sprites} sprites @param {boolean} touch no keys to show */
  constructor(sprites, touch) {
    this.sprites = sprites;
    this.touch = touch;
    /** Lines of speech as wrapped, by text. @type {Map<string, {lines: string[], wide: number}>} */
    this.wrapped = new Map();
  }

  /**
   * @param {CanvasRenderingContext2D} ctx with the identity as its transform, as left
   * @param {{scale: number}} camera @param {number} ratio device pixels per CSS pixel
   * @param {import("./scene.js").EntityLook[]} seen @param {import("./scene.js").Frame} frame
   */
  draw(ctx, camera, ratio, seen, frame) {
    const px = camera.scale;
    ctx.textAlign = "center";
    ctx.textBaseline = "alphabetic";
    for (const look of seen) {
      const { entity, x, y } = look;
      const { is } = entity;
      const top = Math.round(y - look.kind.radius * px - 12 * ratio);
      const hp = is.Health?.hp;
      if (hp > 0 && hp < FULL_HEALTH) {
        const wide = Math.max(28 * ratio, look.kind.radius * px * 1.7);
        bar(ctx, x, top, wide, 5 * ratio, hp, hp > 55 ? "#7ad15a" : hp > 25 ? "#f0b93a" : "#ee5a48", ratio);
      }
      const name = is.Name?.text;
      if (name) {
        const colour = entity === frame.me ? OWN_NAME : NAME;
        if (look.nameKey !== name || look.nameColour !== colour || look.nameRatio !== ratio) {
          look.nameKey = name;
          look.nameColour = colour;
          look.nameRatio = ratio;
          look.name = this.sprites.name(name, colour, ratio);
        }
        const shown = look.name;
        if (shown) ctx.drawImage(shown, Math.round(x - shown.width / 2), Math.round(top - 21 * ratio));
      }
      if (entity.kind === "campfire" && is.Stock?.amount < FIRE_FOR_EVER) {
        bar(ctx, x, Math.round(y + px * 1.6), 34 * ratio, 4 * ratio, Math.min(100, (is.Stock.amount / FIRE_FUEL) * 100), "#ff9a2b", ratio);
      }
      const said = frame.effects.speech.size ? frame.effects.speech.get(entity.key) : undefined;
      if (said) {
        ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
        this.#bubble(ctx, said.text, x / ratio, top / ratio - (name ? 24 : 8));
        ctx.setTransform(1, 0, 0, 1, 0, 0);
      }
    }
    const target = frame.target?.look;
    if (!target || this.touch) return;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    key(ctx, "E", target.x / ratio, target.y / ratio);
    ctx.setTransform(1, 0, 0, 1, 0, 0);
  }

  /** @param {CanvasRenderingContext2D} ctx @param {string} text @param {number} x CSS pixels @param {number} y */
  #bubble(ctx, text, x, y) {
    ctx.font = "500 14px system-ui, sans-serif";
    let spoken = this.wrapped.get(text);
    if (!spoken) {
      if (this.wrapped.size > 50) this.wrapped.clear();
      const lines = wrap(ctx, text, BUBBLE_PIXELS);
      spoken = { lines, wide: Math.max(...lines.map((l) => ctx.measureText(l).width)) + 18 };
      this.wrapped.set(text, spoken);
    }
    const { lines, wide } = spoken;
    const tall = lines.length * 18 + 10;
    ctx.fillStyle = "rgba(255,252,244,.95)";
    ctx.beginPath();
    ctx.roundRect(x - wide / 2, y - tall, wide, tall, 8);
    ctx.moveTo(x - 6, y);
    ctx.lineTo(x, y + 7);
    ctx.lineTo(x + 6, y);
    ctx.fill();
    ctx.fillStyle = "#1d1a16";
    lines.forEach((line, k) => ctx.fillText(line, x, y - tall + 19 + k * 18));
  }
}

/** A bar of `share` per cent. @param {CanvasRenderingContext2D} ctx @param {number} x its middle @param {number} top @param {number} wide @param {number} tall @param {number} share @param {string} colour @param {number} ratio */
function bar(ctx, x, top, wide, tall, share, colour, ratio) {
  const edge = Math.round(ratio);
  const left = Math.round(x - wide / 2);
  const full = Math.round(wide);
  const high = Math.round(tall);
  ctx.fillStyle = BAR_BACK;
  ctx.fillRect(left - edge, top - edge, full + edge * 2, high + edge * 2);
  ctx.fillStyle = colour;
  ctx.fillRect(left, top, Math.max(1, Math.round((full * share) / 100)), high);
}

/** @param {CanvasRenderingContext2D} ctx @param {string} text @param {number} x CSS pixels @param {number} y */
function key(ctx, text, x, y) {
  ctx.fillStyle = "rgba(18,20,24,.86)";
  ctx.beginPath();
  ctx.roundRect(x - 13, y - 13, 26, 26, 6);
  ctx.fill();
  ctx.strokeStyle = "rgba(255,255,255,.85)";
  ctx.lineWidth = 1.5;
  ctx.stroke();
  ctx.font = "700 15px system-ui, sans-serif";
  ctx.fillStyle = "#fff";
  ctx.fillText(text, x, y + 5.5);
}

/** @param {CanvasRenderingContext2D} ctx @param {string} text @param {number} width */
function wrap(ctx, text, width) {
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    const last = lines[lines.length - 1];
    const longer = last ? `${last} ${word}` : word;
    if (!last || ctx.measureText(longer).width <= width) lines[lines.length - 1] = longer;
    else if (lines.length < BUBBLE_LINES) lines.push(word);
    else {
      lines[lines.length - 1] = `${last} …`;
      break;
    }
  }
  return lines;
}
