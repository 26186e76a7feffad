/** How things look from above. Every function paints around (0, 0), facing +x, in world units. */

import { hash2 } from "./noise.js";

/** @typedef {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} Ctx */
/** Looks of one kind. */
export const VARIANTS = 6;
/** How far the legs swing, for each picture of one that walks. */
export const SWINGS = [0, 0.866, -0.866];
const OUTLINE = "rgba(28,24,20,.85)";
const TUNICS = ["#c8553d", "#3d7ea6", "#8a5a9e", "#d1963a", "#3f8f6b", "#b04a6f"];
const HAIR = ["#3b2a20", "#6b4423", "#c9a15a", "#22262b", "#8a3f22", "#d8d4cc"];

/** @param {Ctx} ctx @param {string} fill @param {() => void} path @param {number} [line] */
function shape(ctx, fill, path, line = 0.16) {
  ctx.beginPath();
  path();
  if (line) {
    ctx.lineWidth = line * 2;
    ctx.strokeStyle = OUTLINE;
    ctx.stroke();
  }
  ctx.fillStyle = fill;
  ctx.fill();
}

/** @param {Ctx} ctx @param {string} fill @param {number} x @param {number} y @param {number} rx @param {number} ry @param {number} [turn] @param {number} [line] */
function oval(ctx, fill, x, y, rx, ry, turn = 0, line = 0.16) {
  shape(ctx, fill, () => ctx.ellipse(x, y, rx, ry, turn, 0, 7), line);
}

/** Four legs in a trot. @param {Ctx} ctx @param {string} fill @param {number} long @param {number} wide @param {number} swing @param {number} size */
function legs(ctx, fill, long, wide, swing, size) {
  for (const [sx, sy] of [[1, 1], [1, -1], [-1, 1], [-1, -1]]) {
    oval(ctx, fill, sx * long + sx * sy * swing, sy * wide, size * 1.5, size, 0, 0.1);
  }
}

/** @param {Ctx} ctx @param {number} swing @param {number} variant */
function sheep(ctx, swing, variant) {
  const wool = ["#f5f1e6", "#efe8d8", "#f8f5ee", "#e6dcc6", "#f3eee2", "#5a4a40"][variant];
  const shade = variant === 5 ? "#46392f" : "#dcd4c0";
  legs(ctx, "#3b332e", 0.75, 0.62, swing * 0.35, 0.2);
  const fluff = [[-1, 0, 0.62], [-0.6, 0.5, 0.6], [-0.6, -0.5, 0.6], [0.1, 0.58, 0.62], [0.1, -0.58, 0.62], [0.65, 0.3, 0.58], [0.65, -0.3, 0.58], [0, 0, 0.8]];
  shape(ctx, wool, () => {
    for (const [x, y, r] of fluff) {
      ctx.moveTo(x + r, y);
      ctx.arc(x, y, r, 0, 7);
    }
  });
  ctx.fillStyle = shade;
  for (const [x, y] of [[-0.7, 0.15], [-0.1, -0.3], [0.25, 0.3], [-0.3, 0.5]]) {
    ctx.beginPath();
    ctx.arc(x, y, 0.2, 0.4, 3.6);
    ctx.fill();
  }
  oval(ctx, "#3b332e", 1.12, 0.42, 0.26, 0.12, 0.7, 0.08);
  oval(ctx, "#3b332e", 1.12, -0.42, 0.26, 0.12, -0.7, 0.08);
  oval(ctx, "#3b332e", 1.32, 0, 0.46, 0.34);
  oval(ctx, wool, 1.02, 0, 0.26, 0.3, 0, 0);
}

/** @param {Ctx} ctx @param {number} swing @param {number} variant */
function deer(ctx, swing, variant) {
  const coat = ["#b07a45", "#a66f3c", "#bb8850", "#9c6838", "#b37c48", "#a87442"][variant];
  legs(ctx, "#6d4a2c", 0.95, 0.44, swing * 0.5, 0.16);
  oval(ctx, "#f3ead8", -1.5, 0, 0.3, 0.2, 0, 0.12);
  oval(ctx, coat, -0.1, 0, 1.4, 0.66);
  oval(ctx, coat, 1.2, 0, 0.6, 0.34);
  ctx.fillStyle = "rgba(255,240,214,.75)";
  for (const [x, y] of [[-0.8, 0.28], [-0.8, -0.28], [-0.3, 0.36], [-0.3, -0.36], [0.2, 0.26], [0.2, -0.26], [-0.55, 0]]) {
    ctx.beginPath();
    ctx.arc(x, y, 0.09, 0, 7);
    ctx.fill();
  }
  ctx.strokeStyle = "rgba(70,44,22,.5)";
  ctx.lineWidth = 0.14;
  ctx.beginPath();
  ctx.moveTo(-1.2, 0);
  ctx.lineTo(0.9, 0);
  ctx.stroke();
  for (const side of [1, -1]) oval(ctx, coat, 1.45, side * 0.42, 0.28, 0.12, side * 0.8, 0.1);
  oval(ctx, coat, 1.78, 0, 0.44, 0.28);
  oval(ctx, "#3c2a1c", 2.14, 0, 0.12, 0.12, 0, 0);
  if (variant % 2 === 0) {
    ctx.lineCap = "round";
    for (const [width, colour] of [[0.26, OUTLINE], [0.13, "#e5d2ad"]]) {
      ctx.strokeStyle = /** @type {string} */ (colour);
      ctx.lineWidth = /** @type {number} */ (width);
      ctx.beginPath();
      for (const side of [1, -1]) {
        ctx.moveTo(1.55, side * 0.16);
        ctx.quadraticCurveTo(1.35, side * 0.75, 1.75, side * 1.05);
        ctx.moveTo(1.46, side * 0.6);
        ctx.lineTo(1.85, side * 0.62);
        ctx.moveTo(1.5, side * 0.86);
        ctx.lineTo(1.2, side * 1.1);
      }
      ctx.stroke();
    }
  }
}

/** @param {Ctx} ctx @param {number} swing @param {number} variant */
function wolf(ctx, swing, variant) {
  const coat = ["#6f7682", "#626973", "#7b7f86", "#565a63", "#6a717b", "#474b52"][variant];
  const dark = "#34383f";
  legs(ctx, dark, 1.0, 0.68, swing * 0.55, 0.22);
  // A bushy tail that sways with the stride.
  shape(ctx, coat, () => {
    ctx.moveTo(-1.15, 0.2);
    ctx.quadraticCurveTo(-1.6, 0.5 + swing * 0.3, -2.2, 0.32 + swing * 0.5);
    ctx.lineTo(-2.7, swing * 0.6);
    ctx.quadraticCurveTo(-1.9, -0.35 + swing * 0.3, -1.15, -0.2);
  });
  oval(ctx, dark, -2.4, swing * 0.52, 0.28, 0.16, swing * 0.3, 0);
  oval(ctx, coat, -0.75, 0, 0.85, 0.6);
  oval(ctx, coat, 0.25, 0, 0.95, 0.78);
  oval(ctx, coat, -0.6, 0, 0.8, 0.5, 0, 0);
  // The ruff: tufts round the neck.
  shape(ctx, dark, () => {
    for (let k = 0; k <= 14; k++) {
      const turn = 1.1 + (k / 14) * 4.1;
      const r = k % 2 ? 0.5 : 0.8;
      ctx.lineTo(0.75 + Math.cos(turn) * r, Math.sin(turn) * r * 0.95);
    }
    ctx.closePath();
  }, 0);
  ctx.fillStyle = dark;
  ctx.fillRect(-1.4, -0.13, 1.8, 0.26);
  for (const side of [1, -1]) {
    shape(ctx, dark, () => {
      ctx.moveTo(1.3, side * 0.2);
      ctx.lineTo(0.78, side * 0.86);
      ctx.lineTo(1.5, side * 0.52);
      ctx.closePath();
    }, 0.1);
  }
  oval(ctx, coat, 1.35, 0, 0.56, 0.54);
  shape(ctx, "#c3c8cf", () => {
    ctx.moveTo(1.5, 0.32);
    ctx.quadraticCurveTo(2.0, 0.3, 2.3, 0.15);
    ctx.lineTo(2.3, -0.15);
    ctx.quadraticCurveTo(2.0, -0.3, 1.5, -0.32);
  }, 0.1);
  oval(ctx, coat, 1.32, 0, 0.46, 0.42, 0, 0);
  oval(ctx, "#17181b", 2.28, 0, 0.15, 0.15, 0, 0);
  for (const side of [1, -1]) oval(ctx, "#ffd23f", 1.58, side * 0.27, 0.14, 0.09, side * 0.4, 0);
}

/** @param {Ctx} ctx @param {number} swing @param {number} variant */
function bear(ctx, swing, variant) {
  const coat = ["#5a3d28", "#4c3322", "#664630", "#402b1e", "#5a3d28", "#3a281d"][variant];
  legs(ctx, "#32221a", 1.3, 1.0, swing * 0.45, 0.36);
  oval(ctx, coat, -0.3, 0, 1.95, 1.3, 0, 0.2);
  oval(ctx, "rgba(255,220,180,.10)", -0.4, -0.3, 1.4, 0.7, 0, 0);
  for (const side of [1, -1]) oval(ctx, "#32221a", 1.5, side * 0.7, 0.3, 0.3);
  oval(ctx, coat, 1.85, 0, 0.82, 0.74, 0, 0.2);
  oval(ctx, "#a17a54", 2.45, 0, 0.36, 0.34, 0, 0.08);
  oval(ctx, "#15100c", 2.68, 0, 0.15, 0.17, 0, 0);
  for (const side of [1, -1]) oval(ctx, "#15100c", 2.1, side * 0.32, 0.09, 0.09, 0, 0);
}

/** @param {Ctx} ctx @param {number} swing @param {number} variant */
function avatar(ctx, swing, variant) {
  oval(ctx, "#3a2c22", swing * 0.55, 0.42, 0.42, 0.24, 0, 0.1);
  oval(ctx, "#3a2c22", -swing * 0.55, -0.42, 0.42, 0.24, 0, 0.1);
  // Quiver on the back.
  shape(ctx, "#7a5230", () => ctx.roundRect(-1.02, -0.52, 0.52, 0.56, 0.12), 0.1);
  ctx.fillStyle = "#efe6d2";
  for (const y of [-0.42, -0.26, -0.1]) ctx.fillRect(-1.2, y, 0.26, 0.09);
  oval(ctx, TUNICS[variant], -0.05, 0, 0.72, 1.08);
  oval(ctx, "rgba(255,255,255,.16)", -0.12, -0.3, 0.42, 0.6, 0, 0);
  oval(ctx, "#e3b58d", 0.62 + swing * 0.14, 0.86, 0.27, 0.25, 0, 0.12);
  oval(ctx, "#e3b58d", 0.62 - swing * 0.14, -0.86, 0.27, 0.25, 0, 0.12);
  oval(ctx, "#e3b58d", 0.22, 0, 0.56, 0.54);
  shape(ctx, HAIR[variant], () => {
    ctx.arc(0.08, 0, 0.58, 0.85, 5.43);
    ctx.quadraticCurveTo(0.2, 0, 0.46, 0.43);
  }, 0);
}

/** An avatar with its blade at rest. @param {Ctx} ctx @param {number} swing @param {number} variant */
function armed(ctx, swing, variant) {
  avatar(ctx, swing, variant);
  ctx.save();
  ctx.translate(0.61, 0.86);
  ctx.rotate(0.15);
  ctx.scale(0.72, 0.72);
  blade(ctx);
  ctx.restore();
}

/** A blade that points +x from the right hand. @param {Ctx} ctx */
function blade(ctx) {
  shape(ctx, "#6b4a2b", () => ctx.roundRect(0, -0.12, 0.5, 0.24, 0.1), 0.08);
  shape(ctx, "#b8bec8", () => {
    ctx.moveTo(0.5, -0.16);
    ctx.lineTo(1.9, -0.1);
    ctx.lineTo(2.2, 0);
    ctx.lineTo(1.9, 0.1);
    ctx.lineTo(0.5, 0.16);
    ctx.closePath();
  }, 0.08);
  shape(ctx, "#4a3621", () => ctx.roundRect(0.42, -0.36, 0.16, 0.72, 0.08), 0.06);
}

/** @param {Ctx} ctx @param {number} amount 0: a stump @param {number} variant */
function tree(ctx, amount, variant) {
  if (!amount) {
    oval(ctx, "#6e5033", 0, 0, 0.95, 0.85);
    oval(ctx, "#c9a46c", 0, -0.06, 0.68, 0.58, 0, 0);
    ctx.strokeStyle = "#8a683e";
    ctx.lineWidth = 0.09;
    for (const r of [0.2, 0.42]) {
      ctx.beginPath();
      ctx.ellipse(0, -0.06, r, r * 0.86, 0, 0, 7);
      ctx.stroke();
    }
    return;
  }
  const conifer = variant >= 4;
  const tones = conifer ? ["#1f4a37", "#2a5f46", "#3a7758", "#4c8c69"] : [
    ["#2c5a2a", "#3a7233", "#4c8a3e", "#66a34c"], ["#35622a", "#477c33", "#5d953f", "#78ad50"],
    ["#28563a", "#356d48", "#468558", "#5d9c69"], ["#5a6424", "#75802e", "#919a3c", "#adb352"],
  ][variant];
  const lobes = conifer ? 9 : 8;
  tones.forEach((tone, ring) => {
    const size = (conifer ? 3.1 : 3.3) * (1 - ring * 0.24);
    const shift = -ring * 0.22;
    shape(ctx, tone, () => {
      for (let k = 0; k <= lobes * 4; k++) {
        const turn = (k / (lobes * 4)) * 6.2832;
        const wave = conifer ? Math.abs(Math.sin((turn * lobes) / 2 + ring)) * 0.22 : Math.sin(turn * lobes + ring * 1.7 + variant) * 0.07;
        const r = size * (1 - (conifer ? wave : wave) - hash2(Math.floor((turn / 6.2832) * lobes), ring, variant) * 0.09);
        const x = shift + Math.cos(turn) * r;
        const y = shift + Math.sin(turn) * r;
        if (k) ctx.lineTo(x, y);
        else ctx.moveTo(x, y);
      }
      ctx.closePath();
    }, ring ? 0 : 0.14);
  });
}

/** @param {Ctx} ctx @param {number} amount @param {number} variant */
function rock(ctx, amount, variant) {
  const size = amount ? 1.9 : 0.9;
  const corners = Array.from({ length: 8 }, (_, k) => {
    const r = size * (0.78 + hash2(k, variant, 9) * 0.34);
    return [Math.cos(k * 0.785) * r, Math.sin(k * 0.785) * r * 0.84];
  });
  const outline = () => {
    corners.forEach(([x, y], k) => (k ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
    ctx.closePath();
  };
  shape(ctx, "#77797c", outline);
  ctx.save();
  ctx.beginPath();
  outline();
  ctx.clip();
  for (let k = 0; k < 8; k++) {
    const [x1, y1] = corners[k];
    const [x2, y2] = corners[(k + 1) % 8];
    const light = 0.5 - Math.sin(k * 0.785 + 1.2) * 0.5;
    ctx.fillStyle = `rgba(${light > 0.5 ? "255,250,235" : "20,24,34"},${Math.abs(light - 0.5) * 0.62})`;
    ctx.beginPath();
    ctx.moveTo(-0.15, -0.25);
    ctx.lineTo(x1, y1);
    ctx.lineTo(x2, y2);
    ctx.fill();
  }
  ctx.restore();
}

/** @param {Ctx} ctx @param {number} amount @param {number} variant */
function bush(ctx, amount, variant) {
  const spots = [[-0.8, 0.2, 0.8], [0.7, 0.3, 0.8], [0, -0.6, 0.9], [0, 0.6, 0.75], [0, 0, 1]];
  shape(ctx, "#2f6b3a", () => {
    for (const [x, y, r] of spots) {
      ctx.moveTo(x + r, y);
      ctx.arc(x, y, r, 0, 7);
    }
  });
  ctx.fillStyle = "#468a4c";
  for (const [x, y, r] of spots) {
    ctx.beginPath();
    ctx.arc(x - 0.15, y - 0.2, r * 0.66, 0, 7);
    ctx.fill();
  }
  const berries = Math.min(12, amount * 2);
  for (let k = 0; k < berries; k++) {
    const turn = k * 2.4 + variant;
    const r = 0.25 + (k % 4) * 0.32;
    oval(ctx, "#d7263d", Math.cos(turn) * r, Math.sin(turn) * r, 0.19, 0.19, 0, 0.06);
    oval(ctx, "#ff9aa6", Math.cos(turn) * r - 0.06, Math.sin(turn) * r - 0.06, 0.06, 0.06, 0, 0);
  }
}

/** @param {Ctx} ctx */
function meat(ctx) {
  shape(ctx, "#efe7d6", () => ctx.roundRect(-1.25, -0.15, 1.2, 0.3, 0.14), 0.1);
  oval(ctx, "#efe7d6", -1.28, 0.16, 0.2, 0.2, 0, 0.08);
  oval(ctx, "#efe7d6", -1.28, -0.16, 0.2, 0.2, 0, 0.08);
  oval(ctx, "#a33b2f", 0.2, 0, 0.85, 0.62);
  oval(ctx, "#c9584a", 0.12, -0.12, 0.55, 0.34, 0, 0);
}

/** Logs and stones; the flame is alive and drawn apart. @param {Ctx} ctx */
function campfire(ctx) {
  for (let k = 0; k < 9; k++) {
    oval(ctx, k % 2 ? "#7f7f80" : "#929291", Math.cos(k * 0.698) * 1.35, Math.sin(k * 0.698) * 1.2, 0.36, 0.32, 0, 0.08);
  }
  for (const turn of [0.5, 1.65, 2.75]) {
    ctx.save();
    ctx.rotate(turn);
    shape(ctx, "#5b3d24", () => ctx.roundRect(-1.05, -0.18, 2.1, 0.36, 0.16), 0.08);
    ctx.restore();
  }
}

/** The colour of a kind that has no picture: always the same, and unlike its neighbours'. @param {string} kind */
export function colourOf(kind) {
  let sum = 0;
  for (let k = 0; k < kind.length; k++) sum = (Math.imul(sum, 31) + kind.charCodeAt(k)) | 0;
  return `hsl(${Math.floor(hash2(sum, kind.length, 4) * 360)} 70% 68%)`;
}

/** Something this page has no picture of. @param {Ctx} ctx @param {string} colour */
export function marker(ctx, colour) {
  oval(ctx, colour, 0, 0, 1, 1);
  oval(ctx, "rgba(255,255,255,.4)", -0.25, -0.3, 0.45, 0.36, -0.6, 0);
}

/** A soft disc of radius 1. @param {Ctx} ctx */
export function shadow(ctx) {
  const fade = ctx.createRadialGradient(0, 0, 0.6, 0, 0, 1.05);
  fade.addColorStop(0, "rgba(24,30,20,.3)");
  fade.addColorStop(1, "rgba(24,30,20,0)");
  ctx.fillStyle = fade;
  ctx.fillRect(-1.1, -1.1, 2.2, 2.2);
}

/** @type {Readonly<Record<string, (ctx: Ctx, second: number, variant: number) => void>>} `second`: the swing of what walks, the amount left in what stands */
export const PAINTERS = { sheep, deer, wolf, bear, avatar: armed, bare: avatar, tree, rock, bush, meat, campfire, blade };
export const WALKERS = new Set(["sheep", "deer", "wolf", "bear", "avatar", "bare"]);
/** Half the side of a picture, in world units: as small as the sprite allows, for every pixel costs. @type {Readonly<Record<string, number>>} */
export const REACH = { sheep: 2.1, deer: 2.5, wolf: 3, bear: 3.1, avatar: 2.4, bare: 1.6, tree: 3.7, rock: 2.5, bush: 2, meat: 1.7, campfire: 2, blade: 2.5 };
