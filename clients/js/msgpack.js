/**
 * The part of msgpack that the protocol uses: nil, bool, int, float, str, bin, array, map.
 *
 * `decode` gives bin as a Uint8Array *view* of the frame: nothing is copied, and the
 * frame lives as long as a view of it does. Source: https://github.com/msgpack/msgpack/blob/master/spec.md
 */

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder();

/** Containers nested deeper than this are refused: a frame must not be able to exhaust the stack. */
export const DEPTH_MAX = 32;

/** Bytes that are not msgpack, or not the part of it spoken here. */
export class MsgpackError extends Error {}

/**
 * Wraps a number that must travel as a 32-bit float even where it happens to be whole:
 * `encode(1)` is an int, `encode(new Float32(1))` is a float.
 */
export class Float32 {
  /** @param {number} value */
  constructor(value) {
    this.value = value;
  }
}

class Writer {
  constructor() {
    this.bytes = new Uint8Array(256);
    this.view = new DataView(this.bytes.buffer);
    this.length = 0;
  }

  /** Makes room for `count` more bytes and returns where they start; it may replace `view`. @param {number} count */
  claim(count) {
    const start = this.length;
    this.length += count;
    if (this.length > this.bytes.length) {
      const grown = new Uint8Array(Math.max(this.length, this.bytes.length * 2));
      grown.set(this.bytes);
      this.bytes = grown;
      this.view = new DataView(grown.buffer);
    }
    return start;
  }

  /** @param {number} value */
  u8(value) {
    const at = this.claim(1);
    this.bytes[at] = value;
  }

  /** A tag, then `value` in 1, 2 or 4 bytes. @param {number} tag @param {number} width @param {number} value */
  tagged(tag, width, value) {
    this.u8(tag);
    const at = this.claim(width);
    if (width === 1) this.view.setUint8(at, value);
    else if (width === 2) this.view.setUint16(at, value);
    else this.view.setUint32(at, value);
  }

  /** @param {Uint8Array} bytes */
  raw(bytes) {
    const at = this.claim(bytes.length);
    this.bytes.set(bytes, at);
  }
}

/** @param {Writer} out @param {number} value */
function writeInteger(out, value) {
  if (value >= 0) {
    if (value < 0x80) out.u8(value);
    else if (value < 0x100) out.tagged(0xcc, 1, value);
    else if (value < 0x10000) out.tagged(0xcd, 2, value);
    else if (value < 0x100000000) out.tagged(0xce, 4, value);
    else {
      out.u8(0xcf);
      const at = out.claim(8);
      out.view.setBigUint64(at, BigInt(value));
    }
  } else if (value >= -0x20) out.u8(value & 0xff);
  else if (value >= -0x80) out.tagged(0xd0, 1, value);
  else if (value >= -0x8000) out.tagged(0xd1, 2, value);
  else if (value >= -0x80000000) out.tagged(0xd2, 4, value);
  else {
    out.u8(0xd3);
    const at = out.claim(8);
    out.view.setBigInt64(at, BigInt(value));
  }
}

/** @param {Writer} out @param {number} value */
function writeNumber(out, value) {
  // -0 is a float: as an int it would lose its sign.
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
    writeInteger(out, value);
    return;
  }
  out.u8(0xcb);
  const at = out.claim(8);
  out.view.setFloat64(at, value);
}

/** @param {Writer} out @param {number} length @param {[number, number]} fix first tag and limit of the short form @param {number[]} tags for 1, 2, 4 length bytes; 0: no such form */
function writeLength(out, length, fix, tags) {
  if (length < fix[1]) out.u8(fix[0] | length);
  else if (length < 0x100 && tags[0]) out.tagged(tags[0], 1, length);
  else if (length < 0x10000) out.tagged(tags[1], 2, length);
  else out.tagged(tags[2], 4, length);
}

/** @param {Writer} out @param {any} value @param {number} depth */
function write(out, value, depth) {
  if (depth > DEPTH_MAX) throw new MsgpackError(`nested deeper than ${DEPTH_MAX}`);
  if (value === null || value === undefined) out.u8(0xc0);
  else if (typeof value === "boolean") out.u8(value ? 0xc3 : 0xc2);
  else if (typeof value === "number") writeNumber(out, value);
  else if (typeof value === "string") {
    const bytes = utf8Encoder.encode(value);
    writeLength(out, bytes.length, [0xa0, 32], [0xd9, 0xda, 0xdb]);
    out.raw(bytes);
  } else if (value instanceof Float32) {
    out.u8(0xca);
    const at = out.claim(4);
    out.view.setFloat32(at, value.value);
  } else if (value instanceof Uint8Array) {
    writeLength(out, value.length, [0, 0], [0xc4, 0xc5, 0xc6]);
    out.raw(value);
  } else if (Array.isArray(value)) {
    writeLength(out, value.length, [0x90, 16], [0, 0xdc, 0xdd]);
    for (const item of value) write(out, item, depth + 1);
  } else if (typeof value === "object") {
    const entries = Object.entries(value);
    writeLength(out, entries.length, [0x80, 16], [0, 0xde, 0xdf]);
    for (const [key, item] of entries) {
      write(out, key, depth + 1);
      write(out, item, depth + 1);
    }
  } else throw new MsgpackError(`cannot encode a ${typeof value}`);
}

/**
 * Bytes of one value. Throws MsgpackError for what msgpack has no form for.
 * @param {any} value
 * @returns {Uint8Array}
 */
export function encode(value) {
  const out = new Writer();
  write(out, value, 0);
  return out.bytes.subarray(0, out.length);
}

class Reader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  /** Moves past `count` bytes and returns where they start. @param {number} count */
  take(count) {
    const start = this.at;
    if (start + count > this.bytes.length) throw new MsgpackError("truncated");
    this.at += count;
    return start;
  }

  /** Unsigned big-endian length. @param {number} width */
  length(width) {
    const at = this.take(width);
    if (width === 1) return this.view.getUint8(at);
    return width === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  /** @param {number} count */
  str(count) {
    const at = this.take(count);
    return utf8Decoder.decode(this.bytes.subarray(at, at + count));
  }

  /** @param {number} count */
  bin(count) {
    const at = this.take(count);
    return this.bytes.subarray(at, at + count);
  }

  /** @param {number} count @param {number} depth */
  array(count, depth) {
    if (count > this.bytes.length - this.at) throw new MsgpackError("an array longer than its bytes");
    const items = new Array(count);
    for (let i = 0; i < count; i++) items[i] = this.value(depth + 1);
    return items;
  }

  /** @param {number} count @param {number} depth */
  map(count, depth) {
    if (count * 2 > this.bytes.length - this.at) throw new MsgpackError("a map longer than its bytes");
    /** @type {Record<string, any>} */
    const items = {};
    for (let i = 0; i < count; i++) {
      const key = this.value(depth + 1);
      // defineProperty: a key named __proto__ must become a property, not a prototype.
      Object.defineProperty(items, String(key), {
        value: this.value(depth + 1), enumerable: true, configurable: true, writable: true,
      });
    }
    return items;
  }

  /** A number where it is exact, else a BigInt. @param {bigint} value */
  static wide(value) {
    return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
  }

  /** @param {number} depth @returns {any} */
  value(depth) {
    if (depth > DEPTH_MAX) throw new MsgpackError(`nested deeper than ${DEPTH_MAX}`);
    const tag = this.bytes[this.take(1)];
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.map(tag & 15, depth);
    if (tag < 0xa0) return this.array(tag & 15, depth);
    if (tag < 0xc0) return this.str(tag & 31);
    if (tag >= 0xe0) return tag - 0x100;
    switch (tag) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.bin(this.length(1));
      case 0xc5: return this.bin(this.length(2));
      case 0xc6: return this.bin(this.length(4));
      case 0xca: return this.view.getFloat32(this.take(4));
      case 0xcb: return this.view.getFloat64(this.take(8));
      case 0xcc: return this.view.getUint8(this.take(1));
      case 0xcd: return this.view.getUint16(this.take(2));
      case 0xce: return this.view.getUint32(this.take(4));
      case 0xcf: return Reader.wide(this.view.getBigUint64(this.take(8)));
      case 0xd0: return this.view.getInt8(this.take(1));
      case 0xd1: return this.view.getInt16(this.take(2));
      case 0xd2: return this.view.getInt32(this.take(4));
      case 0xd3: return Reader.wide(this.view.getBigInt64(this.take(8)));
      case 0xd9: return this.str(this.length(1));
      case 0xda: return this.str(this.length(2));
      case 0xdb: return this.str(this.length(4));
      case 0xdc: return this.array(this.length(2), depth);
      case 0xdd: return this.array(this.length(4), depth);
      case 0xde: return this.map(this.length(2), depth);
      case 0xdf: return this.map(this.length(4), depth);
      default: throw new MsgpackError(`tag 0x${tag.toString(16)} is not spoken here`);
    }
  }
}

/**
 * The one value in `bytes`. Throws MsgpackError for anything else, trailing bytes included.
 * @param {Uint8Array} bytes
 * @returns {any}
 */
export function decode(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (reader.at !== bytes.length) throw new MsgpackError("bytes after the value");
  return value;
}
