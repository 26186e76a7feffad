/** Deterministic noise from world coordinates: every visitor sees the same meadow. */

/** 32-bit hash of two integers and a salt, 0 ≤ h < 1. @param {number} x @param {number} y @param {number} salt */
export function hash2(x, y, salt = 0) {
  let h = Math.imul(x | 0, 0x27d4eb2d) ^ Math.imul(y | 0, 0x165667b1) ^ Math.imul(salt + 1, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return ((h ^ (h >>> 16)) >>> 0) / 4294967296;
}

/** Smooth value noise, 0 to 1. @param {number} x @param {number} y @param {number} salt */
export function noise(x, y, salt = 0) {
  const xi = Math.floor(x);
  const yi = Math.floor(y);
  const fx = x - xi;
  const fy = y - yi;
  const u = fx * fx * (3 - 2 * fx);
  const v = fy * fy * (3 - 2 * fy);
  const a = hash2(xi, yi, salt);
  const b = hash2(xi + 1, yi, salt);
  const c = hash2(xi, yi + 1, salt);
  const d = hash2(xi + 1, yi + 1, salt);
  return a + (b - a) * u + (c - a) * v + (a - b - c + d) * u * v;
}

/** Several octaves of it, 0 to 1. @param {number} x @param {number} y @param {number} salt @param {number} octaves */
export function fractal(x, y, salt, octaves) {
  let sum = 0;
  let weight = 0;
  let share = 1;
  for (let i = 0; i < octaves; i++) {
    sum += noise(x, y, salt + i) * share;
    weight += share;
    share *= 0.5;
    x *= 2.03;
    y *= 2.03;
  }
  return sum / weight;
}
