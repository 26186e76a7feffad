import assert from "node:assert/strict";
import { test } from "node:test";

import { encode } from "../../clients/js/msgpack.js";
import { Schema, SchemaError } from "../../clients/js/schema.js";
import { fixtures } from "./support/fixtures.mjs";

const schema = new Schema(fixtures.schema);

test("sizes and offsets are those of packed records", () => {
  assert.deepEqual(schema.components.map((c) => c.size), [4, 3, 12, 9]);
  assert.deepEqual(schema.archetypes.map((a) => a.size), [19, 4, 13]);
  assert.deepEqual([...schema.archetypes[2].offsets], [[3, 0], [0, 9]]);
});

test("arguments go out in the schema's order, f32 as floats", () => {
  const { command, values } = schema.checkCommand("Move", { dy: 0, dx: 1 }, 3);
  assert.equal(command.id, 16);
  assert.deepEqual([...encode(values)], [0x92, 0xca, 0x3f, 0x80, 0, 0, 0xca, 0, 0, 0, 0]);
});

test("an entity goes out with its region: ours, where only its handle is given", () => {
  for (const who of [7, { region: 3, handle: 7 }]) {
    assert.deepEqual(schema.checkCommand("Poke", { who, hard: true }, 3).values, [[3, 7], true]);
  }
  assert.deepEqual(schema.checkCommand("Poke", { who: { region: 4, handle: 7 }, hard: true }, 3).values, [[4, 7], true]);
});

test("what the schema does not allow is refused with its name", () => {
  const wrong = [
    ["Fly", {}, /no command Fly/],
    ["Move", { dx: 1 }, /Move\.dy/],
    ["Move", { dx: 1, dy: 0, dz: 0 }, /no argument dz/],
    ["Move", { dx: 1.01, dy: 0 }, /Move\.dx is out of range/],
    ["Move", { dx: NaN, dy: 0 }, /finite/],
    ["Move", { dx: Infinity, dy: 0 }, /finite/],
    ["Move", { dx: "1", dy: 0 }, /finite number/],
    ["Say", { text: "nine bytes" }, /10 bytes, 8 fit/],
    ["Say", { text: "äääää" }, /10 bytes/],
    ["Say", { text: 5 }, /is text/],
    ["Poke", { who: -1, hard: true }, /out of range/],
    ["Poke", { who: 1.5, hard: true }, /not whole/],
    ["Poke", { who: { region: 3 }, hard: true }, /not a finite number/],
    ["Poke", { who: { region: 3, handle: 2 ** 32 }, hard: true }, /out of range/],
    ["Poke", { who: null, hard: true }, /not a finite number/],
    ["Poke", { who: 1, hard: 1 }, /is a bool/],
  ];
  for (const [name, args, why] of wrong) {
    assert.throws(() => schema.checkCommand(name, args, 3), (e) => e instanceof SchemaError && why.test(e.message), `${name} ${why}`);
  }
});

test("events come with named arguments; unknown ones are null", () => {
  assert.deepEqual(schema.readEvent(0, [7, "hi"]), { name: "Said", args: { who: 7, text: "hi" } });
  assert.equal(schema.readEvent(99, []), null);
});

test("a schema that contradicts itself is refused", () => {
  const broken = (change) => {
    const tree = structuredClone(fixtures.schema);
    change(tree);
    return () => new Schema(tree);
  };
  assert.throws(broken((t) => (t.components[1].fields[0].type = "u128")), SchemaError);
  assert.throws(broken((t) => t.archetypes[0].components.push(77)), SchemaError);
  assert.throws(broken((t) => (t.position = 2)), SchemaError);
});
