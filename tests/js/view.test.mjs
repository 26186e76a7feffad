import assert from "node:assert/strict";
import { test } from "node:test";

import { decode } from "../../clients/js/msgpack.js";
import { Schema } from "../../clients/js/schema.js";
import { RegionView, ViewError, crc32, unwrapTick } from "../../clients/js/view.js";
import { fixtures, unhex } from "./support/fixtures.mjs";

const schema = new Schema(fixtures.schema);

function build({ region }) {
  const log = [];
  const view = new RegionView(schema, region, 990, {
    enter: (e, tick) => log.push(["enter", e.handle, e.kind, tick]),
    leave: (e, tick) => log.push(["leave", e.handle, e.kind, tick]),
    change: (e, c, tick) => log.push(["change", e.handle, c, tick]),
  });
  return { view, log };
}

for (const fixture of fixtures.views) {
  const width = fixture.region.handle;
  const [keyframe, first, second] = fixture.frames.map((hex) => decode(unhex(hex)));

  test(`${width}: the digest after every frame is the server's`, () => {
    const { view } = build(fixture);
    fixture.digests.forEach(([count, crc], i) => {
      if (i) view.delta([keyframe, first, second][i]);
      else view.keyframe(keyframe);
      assert.deepEqual(view.digest(), { count, crc });
    });
    assert.equal(view.tick, 1061);
  });

  test(`${width}: fields are decoded with scale, offset and the region's origin`, () => {
    const { view } = build(fixture);
    view.keyframe(keyframe);
    assert.deepEqual(view.entities.get(7).is, {
      Position: { x: 1024 + 10, y: -512 + 20 }, Health: { hp: 90, shield: 0 }, Name: { text: "Zoë" },
    });
    assert.equal(view.entities.get(5).is.Name.text, "twelve bytes");
    view.delta(first);
    assert.deepEqual(view.entities.get(7).is.Health, { hp: 80, shield: 12 });
    assert.deepEqual(view.entities.get(9).is.Odds, { flag: true, ratio: 0.25, big: -70000 });
  });

  test(`${width}: leaves, enters, changes apply in this order; strangers are ignored`, () => {
    const { view, log } = build(fixture);
    view.keyframe(keyframe);
    log.length = 0;
    view.delta(first);
    assert.deepEqual(log, [
      ["leave", 300, "rock", 1001], ["enter", 9, "odd", 1001],
      ["change", 7, 0, 1001], ["change", 5, 0, 1001], ["change", 7, 1, 1001],
    ]);
    log.length = 0;
    view.delta(second);
    assert.deepEqual(log, [["leave", 5, "avatar", 1061], ["enter", 5, "rock", 1061]]);
  });

  test(`${width}: a keyframe forgets everything before it`, () => {
    const { view, log } = build(fixture);
    view.keyframe(keyframe);
    view.delta(first);
    log.length = 0;
    view.keyframe([18, 3, 2000, null]);
    assert.equal(view.entities.size, 0);
    assert.equal(view.tick, 2000);
    assert.equal(log.filter(([what]) => what === "leave").length, 3);
  });
}

test("records that do not fill their bytes are refused", () => {
  const { view } = build(fixtures.views[0]);
  assert.throws(() => view.delta([17, 3, 0, new Uint8Array(3), null]), ViewError);
  assert.throws(() => view.delta([17, 3, 0, null, [0, new Uint8Array(20)]]), ViewError);
  assert.throws(() => view.delta([17, 3, 0, null, [9, new Uint8Array(0)]]), ViewError);
  assert.throws(() => view.delta([17, 3, 0, null, null, 0, new Uint8Array(5)]), ViewError);
  assert.throws(() => view.delta([17, 3, 0, null, null, 44, new Uint8Array(0)]), ViewError);
});

test("ticks unwrap from their low 7 bits, also past 32 bits", () => {
  for (const last of [0, 127, 1000, 2 ** 31 + 5, 2 ** 40 + 126]) {
    for (const gap of [0, 1, 64, 127]) assert.equal(unwrapTick((last + gap) % 128, last), last + gap);
  }
});

test("crc32 is zlib's", () => {
  assert.equal(crc32(new TextEncoder().encode("123456789")), 0xcbf43926);
  assert.equal(crc32(new TextEncoder().encode("6789"), crc32(new TextEncoder().encode("12345"))), 0xcbf43926);
});
