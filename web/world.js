/** The player's side of the game: what the client says becomes effects, and keys become commands. */

import {
  GOODS, HARVEST_EVERY_MS, HARVEST_REACH_UNITS, KINDS, SHOOT_EVERY_MS, SHOT_RANGE_UNITS, STRIKE_EVERY_MS, walking,
} from "./frontier.js";
import { lookOf } from "./scene.js";

/** @typedef {import("../clients/js/everstep.js").Client} Client */
/** @typedef {import("../clients/js/view.js").Entity & {look?: any}} Entity */
/** After a shot we face where we shot for so long, in ms. */
const AIM_HOLD_MS = 350;

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
    client.predict({ command: "Move", move: walking(() => ({ region: this.region, alive: this.alive })), snapUnits: 4 });
    this.#listen();
  }

  /** @returns {Entity | null} */
  get me() {
    return this.client.me;
  }

  get alive() {
    return (this.me?.is.Health?.hp ?? 1) > 0;
  }

  get region() {
    return this.client.views.get(this.client.own.region)?.region ?? null;
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
    if (nowMs < (this.readyMs[name] ?? 0) || !this.alive || !this.me) return false;
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
    if (!this.alive) this.#send("Respawn");
  }

  /** @param {string} text */
  say(text) {
    const trimmed = text.trim();
    if (trimmed) this.#send("Say", { text: trimmed });
  }

  /** What E would gather now. @returns {Entity | null} */
  get target() {
    const here = this.here;
    if (!here || !this.alive) return null;
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
    client.on("leave", (gone) => scene.ghost(gone, performance.now()));
    client.on("event:Said", ({ who, name, text }, region) => {
      hud.line(name, text);
      const speaker = entity(region, who);
      if (speaker) effects.say(speaker.key, text, performance.now());
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
