/**
 * The WELCOME schema, compiled: readers for packed records, checks for command arguments.
 *
 * A field's value is `raw * scale + offset`, plus the region's origin on its axis.
 * Records are little endian, without padding.
 */

import { Float32 } from "./msgpack.js";

/** @typedef {{id: number, x: number, y: number, width: number, height: number, handle: "u16" | "u32"}} Region */
/** @typedef {{name: string, type: string, min: number | null, max: number | null, size: number}} Argument */
/** @typedef {{id: number, name: string, args: Argument[], latest_wins: boolean, reliable: boolean}} Command */
/** @typedef {{id: number, name: string, args: Argument[]}} EventKind */
/** @typedef {(view: DataView, at: number) => number} ReadRaw */

/** A schema that contradicts itself, or an argument it does not allow. */
export class SchemaError extends Error {}

/** Bytes and reader of each number type. @type {Record<string, {size: number, read: ReadRaw}>} */
const NUMBERS = {
  bool: { size: 1, read: (view, at) => view.getUint8(at) },
  u8: { size: 1, read: (view, at) => view.getUint8(at) },
  i8: { size: 1, read: (view, at) => view.getInt8(at) },
  u16: { size: 2, read: (view, at) => view.getUint16(at, true) },
  i16: { size: 2, read: (view, at) => view.getInt16(at, true) },
  u32: { size: 4, read: (view, at) => view.getUint32(at, true) },
  i32: { size: 4, read: (view, at) => view.getInt32(at, true) },
  f32: { size: 4, read: (view, at) => view.getFloat32(at, true) },
};

/** Inclusive bounds of integer argument types. @type {Record<string, [number, number]>} */
const BOUNDS = {
  u8: [0, 0xff], i8: [-0x80, 0x7f],
  u16: [0, 0xffff], i16: [-0x8000, 0x7fff],
  u32: [0, 0xffffffff], i32: [-0x80000000, 0x7fffffff],
  entity: [0, 0xffffffff],
};

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder();

/** Bytes of a handle in a region. @param {Region} region */
export function handleSize(region) {
  return NUMBERS[region.handle].size;
}

/** @param {Region} region @returns {ReadRaw} */
export function handleReader(region) {
  return NUMBERS[region.handle].read;
}

/** Zero-padded UTF-8. @param {DataView} view @param {number} at @param {number} size */
function readText(view, at, size) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + at, size);
  const end = bytes.indexOf(0);
  return utf8Decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/**
 * @param {{name: string, type: string, scale: number, offset: number, axis: string, size: number}} field
 * @param {number} at byte offset in the component's record
 */
function compileField(field, at) {
  const { name, type, scale, offset, axis, size } = field;
  if (type === "utf8") {
    return { name, size, read: (/** @type {DataView} */ view, /** @type {number} */ base) => readText(view, base + at, size) };
  }
  const number = NUMBERS[type];
  if (!number) throw new SchemaError(`field ${name}: unknown type ${type}`);
  const raw = number.read;
  if (type === "bool") {
    return { name, size: 1, read: (/** @type {DataView} */ view, /** @type {number} */ base) => raw(view, base + at) !== 0 };
  }
  /** @type {(view: DataView, base: number, region: Region) => number} */
  let read = (view, base) => raw(view, base + at) * scale + offset;
  if (axis === "x") read = (view, base, region) => raw(view, base + at) * scale + offset + region.x;
  if (axis === "y") read = (view, base, region) => raw(view, base + at) * scale + offset + region.y;
  return { name, size: number.size, read };
}

/** One replicated component: reads its fields from packed bytes. */
export class Component {
  /** @param {{id: number, name: string, fields: any[]}} tree */
  constructor(tree) {
    this.id = tree.id;
    this.name = tree.name;
    this.size = 0;
    this.fields = tree.fields.map((field) => {
      const compiled = compileField(field, this.size);
      this.size += compiled.size;
      return compiled;
    });
  }

  /**
   * Reads the fields at byte `at` into `out` and returns it.
   * @param {DataView} view @param {number} at @param {Region} region
   * @param {Record<string, any>} out
   */
  read(view, at, region, out) {
    for (const field of this.fields) out[field.name] = field.read(view, at, region);
    return out;
  }
}

/** What an entity is made of: components in record order, and where each lies. */
export class Archetype {
  /** @param {{id: number, name: string, components: number[]}} tree @param {Component[]} components */
  constructor(tree, components) {
    this.id = tree.id;
    this.name = tree.name;
    this.size = 0;
    this.components = tree.components.map((id) => components[id]);
    /** Component id -> byte offset in the record, the handle left out. @type {Map<number, number>} */
    this.offsets = new Map();
    for (const component of this.components) {
      if (!component) throw new SchemaError(`archetype ${tree.name} names an unknown component`);
      this.offsets.set(component.id, this.size);
      this.size += component.size;
    }
  }
}

/**
 * Checks one argument and gives what travels. Throws SchemaError naming what is wrong.
 * @param {string} where @param {Argument} argument @param {any} value @param {number} region whose handle a bare one is
 * @returns {any}
 */
function checkArgument(where, argument, value, region) {
  const { name, type, min, max, size } = argument;
  const path = `${where}.${name}`;
  if (type === "entity" && typeof value === "object" && value !== null) {
    return [value.region, value.handle].map((n) => checkArgument(where, { ...argument, type: "u32" }, n, region));
  }
  if (type === "bool") {
    if (typeof value !== "boolean") throw new SchemaError(`${path} is a bool, not ${typeof value}`);
    return value;
  }
  if (type === "utf8") {
    if (typeof value !== "string") throw new SchemaError(`${path} is text, not ${typeof value}`);
    const bytes = utf8Encoder.encode(value).length;
    if (bytes > size) throw new SchemaError(`${path} has ${bytes} bytes, ${size} fit`);
    return value;
  }
  if (typeof value !== "number" || !Number.isFinite(value)) throw new SchemaError(`${path} is not a finite number`);
  const [low, high] = BOUNDS[type] ?? [-Infinity, Infinity];
  if (BOUNDS[type] && !Number.isInteger(value)) throw new SchemaError(`${path} is not whole`);
  if (value < Math.max(low, min ?? -Infinity) || value > Math.min(high, max ?? Infinity)) {
    throw new SchemaError(`${path} is out of range: ${value}`);
  }
  if (type === "entity") return [region, value];
  return type === "f32" ? new Float32(value) : value;
}

/** A game's schema. Lookups by wire number and by name. */
export class Schema {
  /** @param {any} tree the map in WELCOME */
  constructor(tree) {
    this.tree = tree;
    /** @type {string} */
    this.game = tree.game;
    /** Id of the component that places an entity. @type {number} */
    this.position = tree.position;
    /** @type {Component[]} */
    this.components = [];
    for (const component of tree.components) this.components[component.id] = new Component(component);
    /** @type {Archetype[]} */
    this.archetypes = [];
    for (const archetype of tree.archetypes) this.archetypes[archetype.id] = new Archetype(archetype, this.components);
    /** @type {Map<string, Command>} */
    this.commands = new Map(tree.commands.map((/** @type {Command} */ c) => [c.name, c]));
    /** @type {Map<number, EventKind>} */
    this.events = new Map(tree.events.map((/** @type {EventKind} */ e) => [e.id, e]));
    const place = this.components[this.position];
    if (!place?.fields.some((f) => f.name === "x") || !place.fields.some((f) => f.name === "y")) {
      throw new SchemaError("the position component needs x and y");
    }
  }

  /**
   * Wire arguments of a command from named ones; `kept`: these, entities as they are called now. Throws SchemaError.
   * @param {string} name @param {Record<string, any>} args @param {number} region whose handles bare ones are
   * @returns {{command: Command, values: any[], kept: Record<string, any>}}
   */
  checkCommand(name, args, region) {
    const command = this.commands.get(name);
    if (!command) throw new SchemaError(`no command ${name} in ${this.game}`);
    for (const given of Object.keys(args)) {
      if (!command.args.some((a) => a.name === given)) throw new SchemaError(`${name} has no argument ${given}`);
    }
    const values = command.args.map((a) => checkArgument(name, a, args[a.name], region));
    const kept = command.args.map(({ name, type }, i) => {
      return [name, type === "entity" ? { region: values[i][0], handle: values[i][1] } : args[name]];
    });
    return { command, values, kept: Object.fromEntries(kept) };
  }

  /**
   * Named arguments of an event, or null for a number this schema does not know.
   * @param {number} id @param {any[]} values
   * @returns {{name: string, args: Record<string, any>} | null}
   */
  readEvent(id, values) {
    const kind = this.events.get(id);
    if (!kind) return null;
    return { name: kind.name, args: Object.fromEntries(kind.args.map((a, i) => [a.name, values[i]])) };
  }
}
