/**
 * What this client sees of one region: entities by handle, kept up by KEYFRAME and DELTA.
 *
 * The raw bytes of every entity are kept beside the decoded values, so that
 * the view digest is taken over what the server sent and not over what was
 * made of it.
 */

import { handleReader, handleSize } from "./schema.js";

/** @typedef {import("./schema.js").Region} Region */
/** @typedef {import("./schema.js").Schema} Schema */
/** @typedef {import("./schema.js").Archetype} Archetype */

/**
 * An entity in view. Components stand by name: `entity.is.Position.x`.
 * @typedef {object} Entity
 * @property {number} key unique among all regions in view
 * @property {number} region
 * @property {number} handle
 * @property {Archetype} archetype
 * @property {string} kind the archetype's name
 * @property {Record<string, any>} is decoded components, current as of `tick`
 * @property {Uint8Array} raw packed components, without the handle
 * @property {DataView} rawView over `raw`
 * @property {any} track the interpolation track, set by the client
 * @property {Entity | null} before who this was in the region that it came from, while that is still known
 * @property {Entity | null} onward who this is now, after it crossed a border: it leaves this region next
 */

/**
 * What a view tells about changes, in the order they apply.
 * @typedef {object} ViewHooks
 * @property {(entity: Entity, tick: number) => void} enter
 * @property {(entity: Entity, tick: number) => void} leave
 * @property {(entity: Entity, component: number, tick: number) => void} change
 */

/** Of a region's lead over our own: what counts as another one, how fast it is followed, and when it is believed. */
const LEAD_JUMP_TICKS = 4;
const LEAD_GAIN = 0.1;
const LEAD_SLACK_TICKS = 0.75;

/** A frame that contradicts the schema. */
export class ViewError extends Error {}

const CRC_TABLE = new Uint32Array(256).map((_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  return c;
});

/** CRC-32 as zlib's, continued from `crc`. @param {Uint8Array} bytes @param {number} [crc] */
export function crc32(bytes, crc = 0) {
  let c = ~crc;
  for (let i = 0; i < bytes.length; i++) c = CRC_TABLE[(c ^ bytes[i]) & 0xff] ^ (c >>> 8);
  return ~c >>> 0;
}

/** A number that names an entity among all regions. @param {number} region @param {number} handle */
export function entityKey(region, handle) {
  return region * 0x100000000 + handle;
}

/** The full tick that `low7` stands for, at or after `last`. @param {number} low7 @param {number} last */
export function unwrapTick(low7, last) {
  return last + ((low7 - last) & 127);
}

/** @param {Uint8Array} bytes */
function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** One region's entities. */
export class RegionView {
  /** @param {Schema} schema @param {Region} region @param {number} tick @param {ViewHooks} hooks */
  constructor(schema, region, tick, hooks) {
    this.schema = schema;
    this.region = region;
    /** Tick of the last DELTA or KEYFRAME. */
    this.tick = tick;
    /** How far its ticks are ahead of the client's clock's, which counts those of our own region. */
    this.lead = 0;
    /** The same as it is measured, with its noise; NaN before the first frame. */
    this.measured = NaN;
    /** How far the world's clock is ahead of its ticks, as the server told. */
    this.ahead = 0;
    /** When its last frame came, ms; NaN before the first. */
    this.arrivedMs = NaN;
    /** @type {Map<number, Entity>} */
    this.entities = new Map();
    this.hooks = hooks;
    this.handleSize = handleSize(region);
    this.readHandle = handleReader(region);
  }

  /** `[18, region, tick, enters]`: forget everything, start from these. @param {any[]} message */
  keyframe(message) {
    const [, , tick, enters] = message;
    this.clear(tick);
    this.tick = tick;
    this.#enters(enters);
  }

  /** `[17, region, tick_low7, leaves, enters, component, changes, …]`. @param {any[]} message */
  delta(message) {
    this.tick = unwrapTick(message[2], this.tick);
    if (message[3]) this.#leaves(message[3]);
    this.#enters(message[4]);
    for (let i = 5; i + 1 < message.length; i += 2) this.#changes(message[i], message[i + 1]);
  }

  /** The tick that a KEYFRAME or DELTA of this region stands for. @param {any[]} message @param {boolean} fresh */
  tickOf(message, fresh) {
    return fresh ? message[2] : unwrapTick(message[2], this.tick);
  }

  /**
   * Its ticks are this far ahead of our own region's, by a frame that has just come. Followed in whole ticks, and
   * not before it is clear, for networks jitter and what is drawn must not.
   * @param {number} ahead
   */
  follow(ahead) {
    if (Math.abs(ahead - this.measured) < LEAD_JUMP_TICKS) this.measured += (ahead - this.measured) * LEAD_GAIN;
    else this.measured = ahead; // NaN comes here too
    if (Math.abs(this.measured - this.lead) < LEAD_SLACK_TICKS) return;
    const before = this.lead;
    this.lead = Math.round(this.measured);
    for (const entity of this.entities.values()) entity.track?.shift(before - this.lead);
  }

  /** Everything leaves. @param {number} tick */
  clear(tick) {
    for (const entity of this.entities.values()) this.hooks.leave(entity, tick);
    this.entities.clear();
  }

  /** Count and CRC-32 over all entities, ascending by handle: archetype byte, then the full record. */
  digest() {
    const handles = [...this.entities.keys()].sort((a, b) => a - b);
    const head = new Uint8Array(1 + this.handleSize);
    const headView = viewOf(head);
    let crc = 0;
    for (const handle of handles) {
      const entity = /** @type {Entity} */ (this.entities.get(handle));
      head[0] = entity.archetype.id;
      if (this.handleSize === 2) headView.setUint16(1, handle, true);
      else headView.setUint32(1, handle, true);
      crc = crc32(entity.raw, crc32(head, crc));
    }
    return { count: handles.length, crc };
  }

  /** @param {Uint8Array} bytes */
  #leaves(bytes) {
    if (bytes.length % this.handleSize) throw new ViewError("leaves: not a whole number of handles");
    const view = viewOf(bytes);
    for (let at = 0; at < bytes.length; at += this.handleSize) this.#drop(this.readHandle(view, at));
  }

  /** @param {number} handle */
  #drop(handle) {
    const entity = this.entities.get(handle);
    if (!entity) return;
    this.entities.delete(handle);
    this.hooks.leave(entity, this.tick);
  }

  /** @param {any[] | null} enters `[archetype, bin, …]` */
  #enters(enters) {
    if (!enters) return;
    for (let i = 0; i + 1 < enters.length; i += 2) {
      const archetype = this.schema.archetypes[enters[i]];
      if (!archetype) throw new ViewError(`unknown archetype ${enters[i]}`);
      this.#enterAll(archetype, enters[i + 1]);
    }
  }

  /** @param {Archetype} archetype @param {Uint8Array} bytes */
  #enterAll(archetype, bytes) {
    const size = this.handleSize + archetype.size;
    if (bytes.length % size) throw new ViewError(`${archetype.name}: not a whole number of records`);
    const view = viewOf(bytes);
    for (let at = 0; at < bytes.length; at += size) {
      const handle = this.readHandle(view, at);
      // An enter for a handle that is here replaces it.
      this.#drop(handle);
      // Copied: changes are written into it, and the frame it came in may be freed.
      const raw = bytes.slice(at + this.handleSize, at + size);
      /** @type {Entity} */
      const entity = {
        key: entityKey(this.region.id, handle), region: this.region.id, handle,
        archetype, kind: archetype.name, is: {}, raw, rawView: viewOf(raw), track: null, before: null, onward: null,
      };
      for (const component of archetype.components) {
        const offset = /** @type {number} */ (archetype.offsets.get(component.id));
        entity.is[component.name] = component.read(entity.rawView, offset, this.region, {});
      }
      this.entities.set(handle, entity);
      this.hooks.enter(entity, this.tick);
    }
  }

  /** @param {number} id @param {Uint8Array} bytes */
  #changes(id, bytes) {
    const component = this.schema.components[id];
    if (!component) throw new ViewError(`unknown component ${id}`);
    const size = this.handleSize + component.size;
    if (bytes.length % size) throw new ViewError(`${component.name}: not a whole number of change records`);
    const view = viewOf(bytes);
    for (let at = 0; at < bytes.length; at += size) {
      const entity = this.entities.get(this.readHandle(view, at));
      const offset = entity?.archetype.offsets.get(id);
      // The server shares a cell's bytes among its viewers: some name what this client left behind.
      if (!entity || offset === undefined) continue;
      entity.raw.set(bytes.subarray(at + this.handleSize, at + size), offset);
      component.read(entity.rawView, offset, this.region, entity.is[component.name]);
      this.hooks.change(entity, id, this.tick);
    }
  }
}
