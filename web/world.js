/** The player's side of the game: what the client says becomes effects, and keys become commands. */

import {
  GAME, GOODS, HARVEST_EVERY_MS, HARVEST_REACH_UNITS, KINDS, SHOOT_EVERY_MS, SHOT_RANGE_UNITS, STRIKE_EVERY_MS, walking,
} from "./frontier.js";
import { lookOf } from "./scene.js";

/** @typedef {import("../clients/js/everstep.js").Client} Client */
/** @typedef {import("../clients/js/view.js").Entity & {look?: any}} Entity */
/** After a shot we face where we shot for so long, in ms. */
const AIM_HOLD_MS = 350;

/** An unknown game's events become lines no faster than this, in ms. */
const NEWS_EVERY_MS = 250;

/** @param {any} value of a component or an event */
function shown(value) {
  return typeof value === "number" && !Number.isInteger(value) ? value.toFixed(1) : String(value);
}

/** Whether a game has a command `Say` as this page sends it. @param {any} tree the schema, as in WELCOME */
export function canTalk(tree) {
  const say = tree?.commands.find((/** @type {any} */ command) => command.name === "Say");
  return say?.args.length === 1 && say.args[0].name === "text" && say.args[0].type === "utf8";
}

export class World {
  /** @param {Client} client @param {import("./effects.js").Effects} effects @param {import("./scene.js").Scene} scene @param {import("./hud.js").Hud} hud */
  constructor(client, effects, scene, hud) {
    this.client = client;
    this.effects = effects;
    this.scene = scene;
    this.hud = hud;
    this.bag = { wood: 0, stone: 0, food: 0 };
    this.done = { fires: 0, kills: 0 };
    this.facing = 0;
    this.aimedMs = -Infinity;
    this.killer = "";
    /** When an action may be sent again, ms; the server decides, this only spares it the asking. @type {Record<string, number>} */
    this.readyMs = {};
    /** Whether this is the game that the page was made for; any other is shown as what its schema says. */
    this.known = true;
    this.newsMs = -Infinity;
    client.on("welcome", () => this.#meet());
    this.#listen();
  }

  /** The schema is there: what can be done in this world? */
  #meet() {
    const { client } = this;
    this.known = client.schema?.game === GAME;
    const walks = client.schema?.commands.get("Move")?.args.map(({ name }) => name).join() === "dx,dy";
    if (this.known) {
      client.predict({ command: "Move", move: walking(() => ({ limits: this.limits, alive: this.alive })), snapUnits: 4 });
    } else if (walks) client.predict({ command: "Move" });
  }

  /** Whether one can speak here. */
  get talks() {
    return canTalk(this.client.schema?.tree);
  }

  /** What we are made of in a game that the page does not know: names and values. @returns {[string, string][]} */
  get own() {
    const { me } = this;
    const { schema } = this.client;
    if (!me || !schema) return [];
    return me.archetype.components
      .filter(({ id, name }) => id !== schema.position && name !== "Name")
      .flatMap(({ name, fields }) => fields.map((field) => /** @type {[string, string]} */ ([field.name, shown(me.is[name][field.name])])));
  }

  /** @returns {Entity | null} */
  get me() {
    return this.client.me;
  }

  get alive() {
    return (this.me?.is.Health?.hp ?? 1) > 0;
  }

  /** The world's rectangle. */
  get limits() {
    return this.client.limits;
  }

  /** Where we are drawn. */
  get here() {
    const me = this.me;
    return me ? lookOf(me, performance.now()).at : null;
  }

  /** Where to face, or null where the server's word is as good. @param {number} nowMs */
  aim(nowMs) {
    return this.alive && nowMs - this.aimedMs < AIM_HOLD_MS ? this.facing : null;
  }

  /** Every frame: where we want to go. @param {{dx: number, dy: number}} intent @param {number} nowMs */
  walk(intent, nowMs) {
    if (!this.me) return;
    if (!this.alive) {
      this.client.steer({ dx: 0, dy: 0 });
      return;
    }
    this.client.steer(intent);
    if ((intent.dx || intent.dy) && nowMs >= (this.readyMs.turn ?? 0)) this.#face(Math.atan2(intent.dy, intent.dx), nowMs);
  }

  /** @param {number} angle @param {number} nowMs */
  #face(angle, nowMs) {
    this.facing = angle;
    this.aimedMs = nowMs;
  }

  /** Says whether `name` may be sent now, and takes the turn. @param {string} name @param {number} everyMs */
  #turn(name, everyMs) {
    const nowMs = performance.now();
    if (!this.known || nowMs < (this.readyMs[name] ?? 0) || !this.alive || !this.me) return false;
    this.readyMs[name] = nowMs + everyMs;
    return true;
  }

  /** Sends what this game may or may not know. @param {string} name @param {Record<string, any>} [args] */
  #send(name, args = {}) {
    if (!this.client.schema?.commands.has(name)) return 0;
    return this.client.send(name, args);
  }

  strike() {
    if (!this.#turn("arm", STRIKE_EVERY_MS)) return;
    this.#send("Strike");
    const me = this.me;
    const here = this.here;
    if (!me || !here) return;
    const nowMs = performance.now();
    lookOf(me, nowMs).attackMs = nowMs;
    this.effects.sweep(here.x, here.y, lookOf(me, nowMs).angle, nowMs);
  }

  /** @param {{x: number, y: number} | null} target a place, or null: the nearest animal ahead */
  shoot(target) {
    const here = this.here;
    if (!here || !this.#turn("arm", SHOOT_EVERY_MS)) return;
    const at = target ?? this.#nearestAhead() ?? { x: here.x + Math.cos(this.facing), y: here.y + Math.sin(this.facing) };
    const length = Math.hypot(at.x - here.x, at.y - here.y);
    if (length < 0.01) return;
    const dx = Math.fround((at.x - here.x) / length);
    const dy = Math.fround((at.y - here.y) / length);
    this.#send("Shoot", { dx, dy, seen_tick: this.client.seenTick });
    const nowMs = performance.now();
    this.#face(Math.atan2(dy, dx), nowMs);
    this.readyMs.turn = nowMs + AIM_HOLD_MS;
  }

  harvest() {
    if (this.target && this.#turn("hand", HARVEST_EVERY_MS)) this.#send("Harvest");
  }

  build() {
    if (this.#turn("build", 400)) this.#send("Build");
  }

  respawn() {
    if (this.known && !this.alive) this.#send("Respawn");
  }

  /** @param {string} text */
  say(text) {
    const trimmed = text.trim();
    if (trimmed && this.talks) this.#send("Say", { text: trimmed });
  }

  /** What E would gather now. @returns {Entity | null} */
  get target() {
    const here = this.here;
    if (!here || !this.alive || !this.known) return null;
    return this.#nearest(here, HARVEST_REACH_UNITS, (e) => "harvest" in (KINDS[e.kind] ?? {}) && (e.is.Stock?.amount ?? 0) > 0);
  }

  #nearestAhead() {
    const here = this.here;
    if (!here) return null;
    const fx = Math.cos(this.facing);
    const fy = Math.sin(this.facing);
    const found = this.#nearest(here, SHOT_RANGE_UNITS, (e) => {
      const kind = KINDS[e.kind];
      if (!kind?.body || e === this.me || e.kind === "avatar" || e.is.Health?.hp === 0) return false;
      const { x, y } = lookOf(e, 0).at;
      return (x - here.x) * fx + (y - here.y) * fy > 0.4 * Math.hypot(x - here.x, y - here.y);
    });
    return found ? lookOf(found, 0).at : null;
  }

  /** @param {{x: number, y: number}} here @param {number} reach @param {(e: Entity) => boolean} fits @returns {Entity | null} */
  #nearest(here, reach, fits) {
    let best = null;
    let least = reach;
    for (const entity of /** @type {Iterable<Entity>} */ (this.client.entities())) {
      const at = entity.look?.at;
      if (!at) continue;
      const far = Math.hypot(at.x - here.x, at.y - here.y);
      if (far < least && fits(entity)) {
        best = entity;
        least = far;
      }
    }
    return best;
  }

  #listen() {
    const { client, effects, hud, scene } = this;
    const entity = (/** @type {number} */ region, /** @type {number} */ handle) => /** @type {Entity | null} */ (client.entity(region, handle));
    client.on("cross", (entity, before) => {
      // The same body in another region looks as it did.
      entity.look = before.look;
      if (entity.look) entity.look.entity = entity;
      effects.goOn(before.key, entity.key);
    });
    client.on("leave", (gone) => {
      if (!gone.onward) scene.ghost(gone, performance.now());
    });
    client.on("event:Said", ({ who, name, text }, region) => {
      hud.line(name, text);
      const speaker = entity(region, who);
      if (speaker) effects.say(speaker.key, text, performance.now());
    });
    client.on("event", (name, args, region) => {
      if (!this.known && name !== "Said") this.#news(name, args, region);
    });
    client.on("event:Hit", ({ attacker, target, damage }, region) => this.#hit(entity(region, attacker), entity(region, target), damage));
    client.on("event:Died", ({ who, killer }, region) => this.#died(entity(region, who), entity(region, killer)));
    client.on("event:Shot", (shot, region) => {
      const nowMs = performance.now();
      const shooter = entity(region, shot.who);
      if (shooter) lookOf(shooter, nowMs).attackMs = nowMs;
      effects.arrow(shot, nowMs);
    });
    client.on("event:Gathered", (news) => this.#gathered(news));
    client.on("change", (changed, component) => {
      if (component === "Stock" && changed.look) changed.look.flashMs = performance.now();
    });
  }

  /** An event of a game that the page does not know, as a line of news. @param {string} name @param {Record<string, any>} args @param {number} region */
  #news(name, args, region) {
    const nowMs = performance.now();
    if (nowMs - this.newsMs < NEWS_EVERY_MS) return;
    this.newsMs = nowMs;
    const types = new Map(this.client.schema?.tree.events.find((/** @type {any} */ e) => e.name === name)?.args.map((/** @type {any} */ a) => [a.name, a.type]));
    const words = Object.entries(args).map(([key, value]) => {
      if (types.get(key) !== "entity") return `${key} ${shown(value)}`;
      const who = this.client.entity(region, value);
      return `${key} ${who === this.me && who ? "you" : who?.is.Name?.text ?? who?.kind ?? "somebody"}`;
    });
    this.hud.line(null, `${name}: ${words.join(", ")}`);
  }

  /** @param {Entity | null} attacker @param {Entity | null} target @param {number} damage */
  #hit(attacker, target, damage) {
    const nowMs = performance.now();
    if (attacker) lookOf(attacker, nowMs).attackMs = nowMs;
    if (!target) return;
    const look = lookOf(target, nowMs);
    look.flashMs = nowMs;
    if (Number.isNaN(look.at.x)) return;
    const mine = target === this.me;
    this.effects.number(look.at.x, look.at.y, String(damage), mine ? "#ff8b7a" : attacker === this.me ? "#ffe27a" : "#ffffff", nowMs);
    this.effects.burst(look.at.x, look.at.y, "#b3241b", nowMs, 6);
    if (mine) this.killer = attacker ? attacker.is.Name?.text ?? `a ${KINDS[attacker.kind]?.label ?? attacker.kind}` : "";
  }

  /** @param {Entity | null} who @param {Entity | null} killer */
  #died(who, killer) {
    const nowMs = performance.now();
    if (who?.look && !Number.isNaN(who.look.at.x)) this.effects.burst(who.look.at.x, who.look.at.y, "#e8dcc8", nowMs, 16);
    if (killer && killer === this.me && who !== this.me) this.done.kills++;
    const name = who?.is.Name?.text;
    const by = killer && killer !== who ? killer.is.Name?.text ?? `a ${KINDS[killer.kind]?.label ?? killer.kind}` : "";
    if (who === this.me && by) this.killer = by;
    if (name) this.hud.line(null, by ? `${name} was killed by ${by}` : `${name} died`);
  }

  /** @param {{kind: number, amount: number, wood: number, stone: number, food: number}} news */
  #gathered({ kind, amount, wood, stone, food }) {
    const here = this.here;
    if (kind === 0 && wood < this.bag.wood && stone < this.bag.stone) this.done.fires++;
    if (here && kind && amount && !Number.isNaN(here.x)) {
      this.effects.number(here.x, here.y - 1, `+${amount} ${GOODS[kind] ?? ""}`, "#d8f5a8", performance.now(), 0.85);
    }
    this.bag = { wood, stone, food };
    this.hud.bag(this.bag);
  }
}
