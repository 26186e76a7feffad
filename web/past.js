/**
 * A stretch of the past, as `everstep stretch` writes it: what was seen, tick by tick, forwards and backwards.
 *
 * It is read as a client reads its frames; see server/commands/stretch.py for what is around them.
 */

import { decode } from "../clients/js/msgpack.js";
import { Schema } from "../clients/js/schema.js";
import { RegionView } from "../clients/js/view.js";

/** @typedef {import("../clients/js/view.js").Entity} Entity */
/** @typedef {{session: number, handle: number | null, name: string, account: string, command: string, args: Record<string, any>}} Input */

const DELTA = 17;
const KEYFRAME = 18;
const EVENT = 21;
const HEADER = 64;
const INPUTS = 65;
const END = 66;
/** Whoever goes further than this at once, in ticks, does not hear what happened on the way. */
const TOLD_TICKS = 40;
/** A jump further than this between two ticks, in world units, is a teleport and not a walk. */
const TELEPORT_UNITS = 16;

/**
 * Whom a stretch tells of what it shows.
 * @typedef {object} Onlooker
 * @property {(entity: Entity, jump: boolean) => void} enter
 * @property {(entity: Entity, jump: boolean) => void} leave
 * @property {(name: string, args: Record<string, any>) => void} event only of ticks that are gone through forwards
 */

export class Past {
  /** @param {Onlooker} onlooker */
  constructor(onlooker) {
    this.onlooker = onlooker;
    /** What the header said. @type {any} */
    this.info = null;
    /** @type {Schema | null} */
    this.schema = null;
    /** @type {RegionView | null} */
    this.view = null;
    /** First tick, last tick that is here, last tick there will be. */
    this.begin = 0;
    this.end = -1;
    this.last = 0;
    /** Digest of the state at the last tick, once it is here. @type {string | null} */
    this.digest = null;
    /** The moment shown: a tick, or somewhere between it and the one before. */
    this.time = 0;
    /** By tick. @type {Map<number, any[]>} */
    this.keyframes = new Map();
    /** @type {Map<number, any[]>} */
    this.deltas = new Map();
    /** @type {Map<number, any[][]>} */
    this.events = new Map();
    /** @type {Map<number, Input[]>} */
    this.inputs = new Map();
    this.rest = new Uint8Array(0);
    this.jumping = false;
    /** The view has had its first keyframe. */
    this.opened = false;
    this.place = this.place.bind(this);
  }

  /** Takes the next bytes of the stretch. @param {Uint8Array} bytes */
  feed(bytes) {
    const whole = new Uint8Array(this.rest.length + bytes.length);
    whole.set(this.rest);
    whole.set(bytes, this.rest.length);
    const view = new DataView(whole.buffer);
    let at = 0;
    while (whole.length - at >= 4) {
      const size = view.getUint32(at, true);
      if (whole.length - at - 4 < size) break;
      this.#read(/** @type {any[]} */ (decode(whole.subarray(at + 4, at + 4 + size))));
      at += 4 + size;
    }
    this.rest = whole.slice(at);
  }

  /** @param {any[]} message */
  #read(message) {
    switch (message[0]) {
      case HEADER: return this.#open(message[1]);
      case KEYFRAME:
        this.keyframes.set(message[2], message);
        if (this.end < this.begin) {
          this.end = message[2];
          this.go(this.begin);
        }
        return undefined;
      case INPUTS:
        this.inputs.set(message[1], message[2].map((/** @type {any[]} */ [session, handle, name, account, command, args]) => ({ session, handle, name, account, command, args })));
        return undefined;
      case DELTA:
        this.end++;
        this.deltas.set(this.end, message);
        return undefined;
      case EVENT: {
        const there = this.events.get(this.end);
        if (there) there.push(message);
        else this.events.set(this.end, [message]);
        return undefined;
      }
      case END:
        this.digest = message[2];
        return undefined;
      default: return undefined; // a later version may say more
    }
  }

  /** @param {any} info */
  #open(info) {
    this.info = info;
    this.schema = new Schema(info.schema);
    this.begin = info.from;
    this.end = info.from - 1;
    this.last = info.to;
    const place = this.schema.components[this.schema.position];
    this.view = new RegionView(this.schema, info.region, info.from, {
      enter: (entity) => {
        const { x, y } = entity.is[place.name];
        entity.track = { fromX: x, fromY: y, tick: -1 };
        this.onlooker.enter(entity, this.jumping);
      },
      leave: (entity) => this.onlooker.leave(entity, this.jumping),
      change: (entity, component) => {
        if (component === place.id) entity.track.tick = this.view?.tick;
      },
    });
  }

  /** Shows a moment, as near to it as what is here allows. @param {number} time in ticks */
  go(time) {
    const { view } = this;
    if (!view || this.end < this.begin) return;
    this.time = Math.min(Math.max(time, this.begin), this.end);
    const tick = Math.ceil(this.time);
    const key = this.begin + Math.floor((tick - this.begin) / this.info.keyframe_every) * this.info.keyframe_every;
    const told = tick > view.tick && tick - view.tick <= TOLD_TICKS;
    this.jumping = !told;
    if (!this.opened || tick < view.tick || (key > view.tick && !told)) {
      view.keyframe(/** @type {any[]} */ (this.keyframes.get(key)));
      this.opened = true;
    }
    while (view.tick < tick) this.#step(view, told);
    this.jumping = false;
  }

  /** @param {RegionView} view @param {boolean} told */
  #step(view, told) {
    const place = /** @type {Schema} */ (this.schema).components[/** @type {Schema} */ (this.schema).position].name;
    for (const { is, track } of view.entities.values()) {
      track.fromX = is[place].x;
      track.fromY = is[place].y;
    }
    view.delta(/** @type {any[]} */ (this.deltas.get(view.tick + 1)));
    for (const message of told ? this.events.get(view.tick) ?? [] : []) {
      const event = this.schema?.readEvent(message[2], message[3]);
      if (event) this.onlooker.event(event.name, event.args);
    }
  }

  /** The tick shown, or the next one. */
  get tick() {
    return this.view?.tick ?? 0;
  }

  /** What the tick shown was given. @returns {Input[]} */
  get said() {
    return this.inputs.get(this.tick) ?? [];
  }

  /** @returns {Iterable<Entity>} */
  entities() {
    return this.view?.entities.values() ?? [];
  }

  /** @param {number} handle @returns {Entity | null} */
  entity(handle) {
    return this.view?.entities.get(handle) ?? null;
  }

  /** Where an entity is at the moment shown. @template {{x: number, y: number}} P @param {Entity} entity @param {P} out @returns {P} */
  place(entity, out) {
    const { schema, view } = this;
    if (!schema || !view) return out;
    const { x, y } = entity.is[schema.components[schema.position].name];
    const { fromX, fromY, tick } = entity.track;
    const moved = tick === view.tick && Math.abs(x - fromX) + Math.abs(y - fromY) <= TELEPORT_UNITS;
    const share = moved ? 1 - (view.tick - this.time) : 1;
    out.x = fromX + (x - fromX) * share;
    out.y = fromY + (y - fromY) * share;
    if (!moved) {
      out.x = x;
      out.y = y;
    }
    return out;
  }
}
