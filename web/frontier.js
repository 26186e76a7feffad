/**
 * What this page knows of the game `games/frontier`: rules that both sides compute, and how things are called.
 *
 * The numbers are those of games/frontier/constants.py. A kind or a component that
 * is not here is drawn as a disc, so another game shows too.
 */

export const GAME = "frontier";
export const SPEED_UNITS_PER_S = 12;
export const EDGE_UNITS = 1 / 64;
export const HARVEST_REACH_UNITS = 5;
export const SHOT_RANGE_UNITS = 48;
export const STRIKE_EVERY_MS = 500;
export const SHOOT_EVERY_MS = 600;
export const HARVEST_EVERY_MS = 400;
export const FIRE_COST = { wood: 5, stone: 2 };
export const FIRE_WARMTH_UNITS = 10;
export const FIRE_FOR_EVER = 255;
export const FIRE_FUEL = 100;
export const FULL_HEALTH = 100;
export const DAY_S = 240;
export const DAYLIGHT_FRACTION = 0.65;

export const Pose = Object.freeze({ IDLE: 0, WALK: 1, RUN: 2, ATTACK: 3, EAT: 4, DEAD: 5 });

/**
 * How each kind is treated: a body walks and turns, the rest stands. Radii in world units.
 * @type {Readonly<Record<string, {body: boolean, radius: number, label: string, danger?: boolean, harvest?: string}>>}
 */
export const KINDS = Object.freeze({
  avatar: { body: true, radius: 1.3, label: "player" },
  deer: { body: true, radius: 1.5, label: "deer" },
  sheep: { body: true, radius: 1.4, label: "sheep" },
  wolf: { body: true, radius: 1.5, label: "wolf", danger: true },
  bear: { body: true, radius: 2.2, label: "bear", danger: true },
  tree: { body: false, radius: 3.4, label: "tree", harvest: "wood" },
  rock: { body: false, radius: 1.9, label: "rock", harvest: "stone" },
  bush: { body: false, radius: 1.6, label: "berries", harvest: "food" },
  meat: { body: false, radius: 1.0, label: "meat", harvest: "food" },
  campfire: { body: false, radius: 1.4, label: "fire" },
});

/** Of what this page has no picture for: a disc. */
export const PLAIN = Object.freeze({ body: true, radius: 1, label: "" });

/** Names of `Gathered.kind`. */
export const GOODS = ["", "wood", "stone", "berries", "meat"];

/**
 * The server's `walk_avatars`: position += intent * speed * dt, kept inside the world.
 * @param {() => {limits: {x: number, y: number, width: number, height: number} | null, alive: boolean}} around
 */
export function walking(around) {
  return (/** @type {{x: number, y: number}} */ at, /** @type {{dx: number, dy: number}} */ intent, /** @type {number} */ dt) => {
    const { limits, alive } = around();
    if (!alive || !limits) return at;
    const length = Math.max(1, Math.hypot(intent.dx, intent.dy));
    const step = (SPEED_UNITS_PER_S * dt) / length;
    return {
      x: Math.min(Math.max(at.x + intent.dx * step, limits.x), limits.x + limits.width - EDGE_UNITS),
      y: Math.min(Math.max(at.y + intent.dy * step, limits.y), limits.y + limits.height - EDGE_UNITS),
    };
  };
}

/**
 * The hour, from the world's clock alone: 0 at dawn, 1 at the next; and how dark it is, 0 to 1.
 * @param {number} tick @param {number} rateHz
 */
export function daytime(tick, rateHz) {
  const seconds = (tick / rateHz) % DAY_S;
  const hour = seconds / DAY_S;
  const dusk = 0.06;
  let dark = 0;
  if (hour > DAYLIGHT_FRACTION - dusk) dark = Math.min(1, (hour - DAYLIGHT_FRACTION + dusk) / dusk);
  if (hour > 1 - dusk) dark = Math.min(dark, (1 - hour) / dusk);
  return { hour, dark, night: seconds >= DAY_S * DAYLIGHT_FRACTION };
}

/** What to tell a newcomer next; `keys`: with a keyboard, else by touch. @param {{wood: number, stone: number, food: number, points: number, fires: number, kills: number}} done @param {boolean} night @param {boolean} keys */
export function nextGoal(done, night, keys) {
  const gather = keys ? "press E" : "tap Gather";
  if (night && done.fires === 0) return "It is night: stay by a fire. Wolves and bears keep away from it.";
  if (done.wood < FIRE_COST.wood && done.fires === 0) {
    return `Gather wood: stand by a tree and ${gather} (${done.wood} of ${FIRE_COST.wood})`;
  }
  if (done.stone < FIRE_COST.stone && done.fires === 0) {
    return `Gather stone: find a grey rock and ${gather} (${done.stone} of ${FIRE_COST.stone})`;
  }
  if (done.fires === 0) return `Build a fire: ${keys ? "press F" : "tap Fire"}. It heals you and scares wolves.`;
  if (done.kills === 0) return `Hunt: shoot a deer${keys ? " with the mouse" : ""}, then ${gather} to take its meat.`;
  return night ? "Survive the night. Keep your fires fed with F." : "Explore, hunt, and meet others. Mind the wolves after dusk.";
}
