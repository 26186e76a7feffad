import assert from "node:assert/strict";
import { test } from "node:test";

import { Playout, Track } from "../../clients/js/interpolation.js";

const at = (track, tick) => track.sample(tick, { x: NaN, y: NaN });

test("between two states the place is on the line between them", () => {
  const track = new Track(10, 0, 0);
  track.push(11, 2, -4);
  assert.deepEqual(at(track, 10.25), { x: 0.5, y: -1 });
  assert.deepEqual(at(track, 11), { x: 2, y: -4 });
});

test("before the first and after the last state it stands", () => {
  const track = new Track(10, 3, 4);
  track.push(11, 5, 6);
  assert.deepEqual(at(track, 2), { x: 3, y: 4 });
  assert.deepEqual(at(track, 99), { x: 5, y: 6 });
});

test("after a rest it starts when it started, and does not creep through the rest", () => {
  const track = new Track(10, 0, 0);
  track.push(60, 1, 0);
  assert.equal(at(track, 40).x, 0);
  assert.equal(at(track, 59).x, 0);
  assert.equal(at(track, 59.5).x, 0.5);
});

test("at a low rate the walk is smooth, and shown late enough to have its end", () => {
  const track = new Track(0, 0, 0);
  const shown = [];
  for (let tick = 0; tick < 200; tick++) {
    if (tick % 4 === 0 && tick) track.push(tick, tick * 0.5, 0);
    for (let k = 0; k < 3; k++) shown.push(at(track, tick - 1.5 + k / 3).x);
  }
  const steps = shown.slice(300).map((x, i) => x - shown[299 + i]);
  assert.ok(Math.max(...steps) < 0.5 / 3 + 0.02, `largest step ${Math.max(...steps)}`);
  assert.ok(Math.min(...steps) > 0.5 / 3 - 0.02, `smallest step ${Math.min(...steps)}`);
});

test("two states of one tick: the newer counts", () => {
  const track = new Track(5, 0, 0);
  track.push(6, 1, 1);
  track.push(6, 2, 2);
  assert.deepEqual(at(track, 6), { x: 2, y: 2 });
  assert.equal(track.snapshots.length, 2);
});

test("memory is bounded", () => {
  const track = new Track(0, 0, 0);
  for (let t = 1; t < 1000; t++) track.push(t, t, 0);
  assert.ok(track.snapshots.length <= 8);
});

test("the delay follows how late frames come", () => {
  const calm = new Playout();
  for (let t = 0; t < 100; t++) calm.arrived(t, t + 0.6);
  assert.ok(calm.delay > 1.6 && calm.delay < 2.5, `calm ${calm.delay}`);
  const rough = new Playout();
  for (let t = 0; t < 100; t++) rough.arrived(t, t + (t % 5 === 0 ? 4 : 0.6));
  assert.ok(rough.delay >= 5, `rough ${rough.delay}`);
  const once = new Playout();
  for (let t = 0; t < 100; t++) once.arrived(t, t + (t >= 90 && t < 95 ? 9 : 0.6));
  assert.equal(once.delay, calm.delay);
});

test("when time dilates the picture slows down without shaking", () => {
  const playout = new Playout();
  const track = new Track(0, 0, 0);
  let server = 0;
  let last = -Infinity;
  const steps = [];
  for (let frame = 0; frame < 1200; frame++) {
    // 60 frames a second; from the fifth second the server makes 10 ticks a second, not 20.
    const rate = frame < 300 ? 20 : 10;
    const before = Math.floor(server);
    server += rate / 60;
    if (Math.floor(server) > before) {
      track.push(Math.floor(server), Math.floor(server) * 0.6, 0);
      playout.arrived(Math.floor(server), server);
    }
    const { x } = at(track, playout.advance(server));
    if (frame > 60) steps.push((x - last) / (rate / 60));
    last = x;
  }
  assert.ok(Math.min(...steps) > 0.6 * 0.8 && Math.max(...steps) < 0.6 * 1.2, `${Math.min(...steps)} to ${Math.max(...steps)}`);
});

test("far off, the picture jumps", () => {
  const playout = new Playout();
  playout.advance(100);
  playout.advance(500);
  assert.equal(playout.tick, 500 - playout.delay);
});
