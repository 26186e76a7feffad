/**
 * Everstep's client: one object that holds what you see of the world.
 *
 *     const client = new Client({ url: "ws://localhost:8080/ws", name: "Ada" });
 *     client.on("event:Said", ({ text }) => console.log(text));
 *     client.connect();
 *     client.send("Say", { text: "hello" });
 *
 * Call `frame()` once per drawn frame; then `place(entity)` says where to draw it.
 *
 * A world may have several regions; to a player they are one. Who crosses a border goes on as another object: it enters,
 * `cross(entity, before)` says who it was, and then the one before leaves.
 *
 * Events: `state(state, why)`, `welcome(info)`, `you(entity)`, `enter(entity, tick)`, `cross(entity, before)`, `leave(entity, tick)`,
 * `change(entity, componentName, tick)`, `tick(tick, region)`, `event(name, args, region)`,
 * `event:NAME(args, region)`, `receipt(seq)`, `lost(name, args, seq)`, `refused({code, text, seq})`,
 * `bye(code, text)`, `fault(error)`.
 */

import { ServerClock, clamp } from "./clock.js";
import { Connection, FULL, Message, RATE_EXCEEDED, realPorts } from "./connection.js";
import { Emitter } from "./events.js";
import { Playout, Track } from "./interpolation.js";
import { Prediction } from "./prediction.js";
import { Schema, SchemaError } from "./schema.js";
import { RegionView, entityKey } from "./view.js";

/** @typedef {import("./view.js").Entity} Entity */
/** @typedef {import("./connection.js").Ports} Ports */
/** @typedef {{x: number, y: number}} Point */

/** Reliable commands that wait for their receipt; one more is refused. */
const RELIABLE_MAX = 64;
/** Where another client spoke: more than it can have under way, so that no number is given twice. */
const UNHEARD_INPUTS_MAX = 65_536;
/** Own steps made up for in one frame; after a longer pause the server's word is enough. */
const CATCH_UP_STEPS = 10;
/**
 * Own steps are made this part of a tick before the server's. An input sent with a step is then under way for
 * half a tick at the most before it counts, and its acknowledgement never overtakes the step.
 */
const OWN_PHASE = 0.5;
/** The world's clock is slewed towards what the server says of it within about so many seconds; further off, it jumps. */
const WORLD_SLEW_S = 5;
/** A jump further than this between two ticks, in world units, is a teleport and not a walk. */
const TELEPORT_UNITS = 16;

export class Client extends Emitter {
  /**
   * @param {object} options
   * @param {string} options.url
   * @param {string | null} [options.name] what to be called
   * @param {string | null} [options.token] JWT, or null for a guest
   * @param {Partial<Ports>} [options.ports] WebSocket, time, chance and storage, where not the real ones
   */
  constructor({ url, name = null, token = null, ports = {} }) {
    super();
    /** @type {Ports} */
    this.ports = { ...realPorts(), ...ports };
    this.connection = new Connection({ url, name, token }, this.ports, {
      state: (state, why) => this.#stateChanged(state, why),
      welcome: (info) => this.#welcome(info),
      message: (message, bytes) => this.#message(message, bytes),
      fault: (error) => this.emit("fault", error),
    });
    /** What WELCOME said. @type {any} */
    this.info = null;
    /** @type {Schema | null} */
    this.schema = null;
    /** @type {Map<number, RegionView>} */
    this.views = new Map();
    /** @type {ServerClock | null} */
    this.clock = null;
    this.playout = new Playout();
    /** The world's clock as it is drawn, in ticks: the same on both sides of a border. NaN before the first view. */
    this.worldTick = NaN;
    /** @type {Prediction | null} */
    this.prediction = null;
    /** @type {{command: string, move?: import("./prediction.js").Move, snapUnits?: number} | null} */
    this.predicted = null;
    this.own = { region: -1, handle: -1 };
    /** Who is about to enter -> who that was before, by key. @type {Map<number, Entity>} */
    this.crossing = new Map();
    /** Whether WELCOME goes on with the session that was played here, and nowhere else since. */
    this.goesOn = false;
    this.seq = 0;
    this.acked = 0;
    /** Commands without a receipt yet, by sequence number. @type {Map<number, {name: string, args: Record<string, any>}>} */
    this.reliable = new Map();
    this.counters = { bytesIn: 0, framesIn: 0, inputsOut: 0 };
    this.steering = { wanted: /** @type {any} */ (null), sent: "", sentMs: -Infinity, seq: 0 };
    /** Who asked for a view's digest. @type {{resolve: (v: any) => void, reject: (e: Error) => void}[]} */
    this.checks = [];
    /** Their question: the regions that have not answered it, and the digests of those that have. */
    this.asked = { regions: /** @type {Set<number>} */ (new Set()), digests: /** @type {any[]} */ ([]) };
    this.frameMs = NaN;
    this.stepped = NaN;
    this.ownPlace = { x: 0, y: 0 };
  }

  /** `idle`, `connecting`, `joining`, `live`, `waiting`, `leaving` or `closed`. */
  get state() {
    return this.connection.state;
  }

  /** The session's number; it survives a resume. @returns {number | null} */
  get session() {
    return this.info?.session ?? null;
  }

  /** Your entity, or null while it is not in view. @returns {Entity | null} */
  get me() {
    return this.entity(this.own.region, this.own.handle);
  }

  /** Begin. It goes on by itself until `leave` or until the server refuses for good. */
  connect() {
    this.connection.start();
  }

  /** Leave the world for good. */
  leave() {
    this.connection.leave();
  }

  /** @param {number} region @param {number} handle @returns {Entity | null} */
  entity(region, handle) {
    return this.views.get(region)?.entities.get(handle) ?? null;
  }

  /** All entities in view, or those of one kind. @param {string} [kind] @returns {Generator<Entity>} */
  *entities(kind) {
    for (const view of this.views.values()) {
      for (const entity of view.entities.values()) if (!kind || entity.kind === kind) yield entity;
    }
  }

  /**
   * Sends a command. Returns its sequence number, or 0 where it cannot be sent now.
   * Throws SchemaError for what the schema does not allow, and before the first WELCOME.
   * @param {string} name @param {Record<string, any>} [args]
   */
  send(name, args = {}) {
    if (!this.schema) throw new Error("not welcomed yet: the schema is unknown");
    const { command, values, kept } = this.schema.checkCommand(name, args, this.own.region);
    if (command.reliable && this.reliable.size >= RELIABLE_MAX) return 0;
    const seq = this.seq + 1;
    if (!this.connection.write([Message.INPUT, seq, command.id, values])) return 0;
    this.seq = seq;
    this.counters.inputsOut++;
    if (command.reliable) this.reliable.set(seq, { name, args: kept });
    if (this.predicted?.command === name) this.prediction?.hold(seq, args);
    return seq;
  }

  /**
   * Predict own movement: `command` is the game's movement command, `move` its rule in the server's terms.
   * Without a rule nothing is foreseen: `steer` sends the command, and we see ourselves as late as others do.
   * @param {{command: string, move?: import("./prediction.js").Move, snapUnits?: number}} predicted
   */
  predict(predicted) {
    this.predicted = predicted;
  }

  /** The movement wanted now. It is sent by `frame` when it changed, no faster than the server takes it. @param {Record<string, any>} args */
  steer(args) {
    this.steering.wanted = args;
  }

  /**
   * Asks the server for a digest of what this client must see, of every region in view. `region`, `tick`, `expected` and
   * `own` are of the first that differs, or of our own region; `count` is over all. Who asks again before the answer has
   * come gets the same one.
   * @returns {Promise<{equal: boolean, tick: number, count: number, region: number, expected: any, own: any}>}
   */
  check() {
    return new Promise((resolve, reject) => {
      if (!this.connection.write([Message.CHECK])) reject(new Error("not connected"));
      else if (this.checks.push({ resolve, reject }) === 1) {
        const seen = [...this.views.values()].filter(({ entities }) => entities.size).map(({ region }) => region.id);
        this.asked = { regions: new Set([this.own.region, ...seen]), digests: [] };
      }
    });
  }

  /** The whole world's rectangle, or null before WELCOME. @returns {{x: number, y: number, width: number, height: number} | null} */
  get limits() {
    if (!this.info) return null;
    const edges = this.info.regions.map((/** @type {any} */ r) => {
      const margin = r.margin ?? 0;
      return [r.x + margin, r.y + margin, r.x + r.width - margin, r.y + r.height - margin];
    });
    const [x, y] = [0, 1].map((i) => Math.min(...edges.map((/** @type {number[]} */ e) => e[i])));
    const [x2, y2] = [2, 3].map((i) => Math.max(...edges.map((/** @type {number[]} */ e) => e[i])));
    return { x, y, width: x2 - x, height: y2 - y };
  }

  /** Once per drawn frame: moves time on. @param {number} [nowMs] */
  frame(nowMs = this.ports.now()) {
    if (!this.clock) return;
    const elapsedMs = Number.isNaN(this.frameMs) ? 0 : Math.max(0, nowMs - this.frameMs);
    this.frameMs = nowMs;
    const serverTick = this.clock.tick(nowMs);
    const shown = this.playout.tick;
    this.#tellTime(this.playout.advance(serverTick), shown);
    if (this.prediction) this.#stepOwn(this.prediction, serverTick + OWN_PHASE, elapsedMs, nowMs);
    else this.#sendSteering(nowMs);
  }

  /**
   * Moves the world's clock on, never back. Regions know it to a second or two, and no border is to show.
   * @param {number} tick that is shown now @param {number} before that was shown
   */
  #tellTime(tick, before) {
    const home = this.views.get(this.own.region);
    if (!home || Number.isNaN(home.arrivedMs)) return;
    const slewTicks = WORLD_SLEW_S * this.info.tick_rate_hz;
    const step = tick - before;
    const error = tick + home.ahead - (this.worldTick + step);
    if (Math.abs(error) < slewTicks) this.worldTick += Math.max(0, step) * (1 + clamp(error / slewTicks, -1, 1));
    else if (!(error < 0)) this.worldTick = tick + home.ahead; // NaN comes here too
  }

  /** @param {Prediction} prediction @param {number} ownTick @param {number} elapsedMs @param {number} nowMs */
  #stepOwn(prediction, ownTick, elapsedMs, nowMs) {
    const whole = Math.floor(ownTick);
    const due = Number.isNaN(this.stepped) ? 0 : Math.min(whole - this.stepped, CATCH_UP_STEPS);
    // Together with a step, so that it reaches the server at the same phase of its tick every time.
    if (due > 0) this.#sendSteering(nowMs);
    for (let i = 0; i < due; i++) prediction.step();
    // The clock went back to where the server stood: it has not made the ticks that our steps of that time were for.
    if (due < 0) prediction.shift(due);
    this.stepped = whole;
    prediction.sample(ownTick - whole, elapsedMs, this.ownPlace);
  }

  /** Where to draw an entity, after `frame`. @param {Entity} entity @param {Point} [out] @returns {Point} */
  place(entity, out = { x: 0, y: 0 }) {
    if (this.prediction && entity.handle === this.own.handle && entity.region === this.own.region) {
      out.x = this.ownPlace.x;
      out.y = this.ownPlace.y;
      return out;
    }
    return entity.track.sample(this.playout.tick, out);
  }

  /** The server tick that others are drawn at: what lag compensation wants to know. */
  get seenTick() {
    return Math.max(0, Math.round(this.playout.tick) || 0);
  }

  /** @param {number} nowMs */
  #sendSteering(nowMs) {
    const { wanted, sent, sentMs } = this.steering;
    if (!wanted || this.state !== "live" || !this.predicted) return;
    // Half of what the server takes: the other half is for everything else.
    const everyMs = clamp(2000 / (this.info.limits?.inputs_per_s || 20), 40, 250);
    if (nowMs - sentMs < everyMs) return;
    // What travels, and not an entity with all that it is.
    const { kept } = /** @type {Schema} */ (this.schema).checkCommand(this.predicted.command, wanted, this.own.region);
    const key = JSON.stringify(kept);
    if (key === sent) return;
    const seq = this.send(this.predicted.command, wanted);
    if (seq) Object.assign(this.steering, { sent: key, sentMs: nowMs, seq });
  }

  /** @param {string} state @param {string} why */
  #stateChanged(state, why) {
    if (state !== "live") {
      for (const check of this.checks.splice(0)) check.reject(new Error("the connection went"));
    }
    this.emit("state", state, why);
    if (state !== "live") return;
    this.#sendAgain();
    // Only now: who hears it may want to send.
    this.emit("welcome", this.info);
  }

  /** @param {any} info */
  #welcome(info) {
    const nowMs = this.ports.now();
    // An older server tells no `taken`.
    const highest = Math.max(info.ack, info.taken ?? 0);
    // What is above all that was sent here another page or device sent.
    this.goesOn = info.resumed && this.info?.session === info.session && highest <= this.seq;
    this.info = info;
    this.schema = new Schema(info.schema);
    for (const view of this.views.values()) view.clear(info.tick);
    this.views.clear();
    this.crossing.clear();
    for (const region of info.regions) this.views.set(region.id, this.#view(region, info.tick));
    this.clock = new ServerClock(info.tick_rate_hz, info.tick, nowMs);
    this.playout = new Playout();
    this.worldTick = NaN;
    this.frameMs = NaN;
    // Its inputs had other numbers: none of them will be acknowledged in this session.
    if (!this.goesOn) this.prediction = null;
    this.#own(info.entity.region, info.entity.handle);
    this.acked = info.ack;
    // Others' inputs may be under way still: none of ours may have their numbers.
    if (!this.goesOn) this.seq = info.resumed ? highest + UNHEARD_INPUTS_MAX : 0;
    this.steering.sent = "";
  }

  /** @param {import("./schema.js").Region} region @param {number} tick */
  #view(region, tick) {
    const schema = /** @type {Schema} */ (this.schema);
    const place = schema.components[schema.position].name;
    return new RegionView(schema, region, tick, {
      enter: (entity, at) => {
        const { x, y } = entity.is[place] ?? { x: 0, y: 0 };
        const before = this.crossing.get(entity.key);
        if (before) this.#goOn(before, entity, at - this.#lead(entity), x, y);
        else entity.track = new Track(at - this.#lead(entity), x, y);
        if (entity.region === this.own.region && entity.handle === this.own.handle) this.#startPrediction(entity);
        this.emit("enter", entity, at);
        if (before) this.emit("cross", entity, before);
      },
      leave: (entity, at) => {
        // It crossed and did not enter: over there it is out of view, and whoever has its handle next is somebody else.
        for (const [key, before] of this.crossing) if (before === entity) this.crossing.delete(key);
        this.emit("leave", entity, at);
      },
      change: (entity, component, at) => {
        if (component === schema.position) {
          const { x, y } = entity.is[place];
          const last = entity.track.snapshots[entity.track.snapshots.length - 1];
          const tick = at - this.#lead(entity);
          if (Math.abs(x - last.x) + Math.abs(y - last.y) > TELEPORT_UNITS) entity.track.reset(tick, x, y);
          else entity.track.push(tick, x, y);
        }
        this.emit("change", entity, schema.components[component].name, at);
      },
    });
  }

  /** How far an entity's region is ahead of the clock, in ticks. @param {Entity} entity */
  #lead(entity) {
    return this.views.get(entity.region)?.lead ?? 0;
  }

  /** One who crossed a border goes on from where it is drawn. @param {Entity} before @param {Entity} entity @param {number} tick @param {number} x @param {number} y */
  #goOn(before, entity, tick, x, y) {
    this.crossing.delete(entity.key);
    entity.track = before.track;
    entity.track.push(tick, x, y);
    entity.before = before;
    before.onward = entity;
    // Who it was before that is nobody's business any more, and would never be freed.
    before.before = null;
  }

  /** @param {Entity} entity */
  #startPrediction(entity) {
    if (!this.predicted?.move || !this.schema || !this.info) return;
    const state = entity.is[this.schema.components[this.schema.position].name];
    const { move, snapUnits } = this.predicted;
    // An own record that comes again (a fresh view) is a correction like any other.
    if (this.prediction) return;
    this.prediction = new Prediction({ move, rateHz: this.info.tick_rate_hz, snapUnits });
    this.prediction.reset(state);
    this.stepped = NaN;
  }

  /** @param {number} region @param {number} handle */
  #own(region, handle) {
    if (this.own.region === region && this.own.handle === handle && this.prediction) return;
    const before = this.me;
    if (region !== this.own.region) this.#rebase(this.views.get(region)?.lead ?? 0);
    this.own = { region, handle };
    const me = this.me;
    // The same body in another region: what was foreseen of it still is.
    if (me && before && me.before === before) return;
    this.prediction = null;
    if (me) this.#startPrediction(me);
    // A new body does not know what the old one was told.
    this.steering.sent = "";
  }

  /** Our own region is another one, whose ticks are ahead of the clock's. @param {number} ticks */
  #rebase(ticks) {
    if (!ticks) return;
    this.clock?.shift(ticks);
    this.playout.shift(ticks);
    this.prediction?.shift(ticks);
    this.stepped += ticks;
    for (const view of this.views.values()) {
      view.lead -= ticks;
      view.measured = Number.isNaN(view.measured) ? view.lead : view.measured - ticks;
      for (const entity of view.entities.values()) {
        // A track that goes on in another object is shifted there.
        if (!entity.onward) entity.track?.shift(ticks);
      }
    }
  }

  /** What has no receipt is said again, under the same numbers; lost is what was said in an older session, or before others spoke in this one. */
  #sendAgain() {
    for (const [seq, { name, args }] of [...this.reliable]) {
      const again = this.goesOn && this.#checked(name, args);
      if (again) {
        this.connection.write([Message.INPUT, seq, again.command.id, again.values]);
      } else {
        this.reliable.delete(seq);
        this.emit("lost", name, args, seq);
      }
    }
  }

  /** A command as the game has it now: it may be of another version since. Null where it has none like that. @param {string} name @param {Record<string, any>} args */
  #checked(name, args) {
    try {
      return /** @type {Schema} */ (this.schema).checkCommand(name, args, this.own.region);
    } catch (error) {
      if (error instanceof SchemaError) return null;
      throw error;
    }
  }

  /** @param {any[]} message @param {number} bytes */
  #message(message, bytes) {
    this.counters.bytesIn += bytes;
    this.counters.framesIn++;
    switch (message[0]) {
      case Message.DELTA: return this.#seen(message, false);
      case Message.KEYFRAME: return this.#seen(message, true);
      case Message.ACK: this.acked = message[1]; return undefined;
      case Message.RECEIPT:
        this.reliable.delete(message[1]);
        return this.emit("receipt", message[1]);
      case Message.EVENT: {
        const event = this.schema?.readEvent(message[2], message[3]);
        if (!event) return undefined;
        this.emit(`event:${event.name}`, event.args, message[1]);
        return this.emit("event", event.name, event.args, message[1]);
      }
      case Message.PONG:
        return this.clock?.pong(message[1], this.ports.now(), message[2], message[3], message[4]);
      case Message.VIEW_DIGEST: return this.#digest(message);
      case Message.ERROR:
        if (message[3]) this.#refused(message[1], message[3]);
        return this.emit("refused", { code: message[1], text: message[2], seq: message[3] });
      case Message.BYE: return this.emit("bye", message[1], message[2]);
      case Message.YOU:
        this.#own(message[1], message[2]);
        return this.emit("you", this.me);
      case Message.CROSS: {
        const before = this.entity(message[1], message[2]);
        if (before) this.crossing.set(entityKey(message[3], message[4]), before);
        return undefined;
      }
      case Message.CLOCK: {
        const view = this.views.get(message[1]);
        if (view) view.ahead = message[2];
        return undefined;
      }
      default: return undefined; // a later version may say more
    }
  }

  /** @param {number} code @param {number} seq of the command that was refused */
  #refused(code, seq) {
    this.reliable.delete(seq);
    this.prediction?.refuse(seq);
    // What is wanted still is: it was passed over for the moment in which it came.
    if (seq === this.steering.seq && (code === FULL || code === RATE_EXCEEDED)) this.steering.sent = "";
  }

  /** @param {any[]} message @param {boolean} fresh */
  #seen(message, fresh) {
    const view = this.views.get(message[1]);
    if (!view || !this.clock || !this.schema) return;
    const nowMs = this.ports.now();
    const home = this.views.get(this.own.region);
    if (home && view !== home && !Number.isNaN(home.arrivedMs)) {
      const passed = ((nowMs - home.arrivedMs) / 1000) * this.clock.rateHz;
      view.follow(view.tickOf(message, fresh) - home.tick - passed);
    }
    view.arrivedMs = nowMs;
    if (fresh) view.keyframe(message);
    else view.delta(message);
    if (fresh && !view.entities.size) this.#answered(view.region.id);
    if (view === home) this.clock.observe(view.tick, nowMs);
    this.playout.arrived(view.tick - view.lead, this.clock.tick(nowMs));
    if (this.prediction && view.region.id === this.own.region) {
      const me = this.me;
      if (me) this.prediction.reconcile(this.acked, view.tick, me.is[this.schema.components[this.schema.position].name]);
    }
    this.emit("tick", view.tick, view.region.id);
  }

  /** @param {any[]} message */
  #digest([, region, tick, count, crc]) {
    const own = this.views.get(region)?.digest() ?? { count: 0, crc: 0 };
    const equal = own.count === count && own.crc === crc;
    const { regions, digests } = this.asked;
    if (regions.has(region)) digests.push({ equal, region, tick, count, expected: { count, crc }, own });
    this.#answered(region);
  }

  /** A region answered, or is out of view and will not. @param {number} region */
  #answered(region) {
    const { regions, digests } = this.asked;
    if (!regions.delete(region) || regions.size) return;
    const told = digests.find(({ equal }) => !equal) ?? digests.find((digest) => digest.region === this.own.region) ?? digests[0];
    const verdict = { ...told, count: digests.reduce((sum, { count }) => sum + count, 0) };
    // Questions that cross count as one, and have one answer.
    for (const { resolve } of this.checks.splice(0)) resolve(verdict);
  }

  /** Figures for a display. */
  stats() {
    return {
      ...this.counters,
      pingMs: this.clock?.rttMs ?? NaN,
      tick: this.clock ? Math.floor(this.clock.read.tick) : 0,
      rateHz: this.clock?.rateHz ?? NaN,
      delayTicks: this.playout.delay,
      correction: this.prediction?.lastError ?? 0,
      entities: [...this.views.values()].reduce((sum, view) => sum + view.entities.size, 0),
    };
  }
}

export { SchemaError } from "./schema.js";
