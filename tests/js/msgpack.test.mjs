import assert from "node:assert/strict";
import { test } from "node:test";

import { DEPTH_MAX, Float32, MsgpackError, decode, encode } from "../../clients/js/msgpack.js";
import { crc32 } from "../../clients/js/view.js";
import { fixtures, unhex } from "./support/fixtures.mjs";

const LONG = [
  "x".repeat(300), "y".repeat(70000), Array.from({ length: 70000 }, (_, i) => i),
  Object.fromEntries(Array.from({ length: 70000 }, (_, i) => [String(i), i])),
];

test("every value is the bytes that Python's msgpack writes, and comes back", () => {
  for (const { value, hex } of fixtures.msgpack.filter((f) => f.hex)) {
    assert.equal(Buffer.from(encode(value)).toString("hex"), hex, JSON.stringify(value));
    assert.deepEqual(decode(unhex(hex)), value);
  }
});

test("long values too", () => {
  for (const value of LONG) {
    const bytes = encode(value);
    const isMap = !Array.isArray(value) && typeof value === "object";
    // A JavaScript object keeps integer-like keys in numeric order, as the fixture has them.
    const found = fixtures.msgpack.find((f) => f.bytes === bytes.length && f.crc === crc32(bytes));
    assert.ok(found, `${isMap ? "map" : typeof value} of ${bytes.length} bytes`);
    assert.deepEqual(decode(bytes), value);
  }
});

test("bin comes back as a view of the frame", () => {
  const bytes = encode([1, new Uint8Array([9, 8, 7]), new Uint8Array(300), new Uint8Array(70000).fill(5)]);
  const [, small, middle, large] = decode(bytes);
  assert.deepEqual([...small], [9, 8, 7]);
  assert.equal(small.buffer, bytes.buffer);
  assert.equal(middle.length, 300);
  assert.equal(large[69999], 5);
});

test("Float32 is a float even where it is whole", () => {
  assert.deepEqual([...encode(new Float32(1))], [0xca, 0x3f, 0x80, 0, 0]);
  assert.ok(Object.is(decode(encode(-0)), -0));
});

test("a 64-bit integer that no double holds comes back as BigInt", () => {
  assert.equal(decode(unhex("cfffffffffffffffff")), 2n ** 64n - 1n);
  assert.equal(decode(unhex("d38000000000000000")), -(2n ** 63n));
});

test("a key named __proto__ is a key", () => {
  const value = decode(unhex("81a95f5f70726f746f5f5f81a56164" + "6d696ec3"));
  assert.equal(value.admin, undefined);
  assert.deepEqual(Object.keys(value), ["__proto__"]);
});

test("what is cut short, unknown, too deep or too long is refused", () => {
  const whole = encode([1, "text", new Uint8Array(20), { key: [1.5] }]);
  for (let end = 0; end < whole.length; end++) assert.throws(() => decode(whole.subarray(0, end)), MsgpackError);
  for (const hex of ["c1", "c7000100", "d40100", "9200", "ddffffffff", "dfffffffff", "c6ffffffff", "0101"]) {
    assert.throws(() => decode(unhex(hex)), MsgpackError, hex);
  }
  assert.throws(() => decode(new Uint8Array(DEPTH_MAX + 2).fill(0x91)), MsgpackError);
  assert.throws(() => encode(() => {}), MsgpackError);
});
