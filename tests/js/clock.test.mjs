import assert from "node:assert/strict";
import { test } from "node:test";

import { ServerClock } from "../../clients/js/clock.js";

/** A small generator with a seed, so that a failure repeats. */
function chance(seed) {
  let s = seed;
  return () => ((s = (Math.imul(s, 1664525) + 1013904223) >>> 0) / 2 ** 32);
}

/** Runs a clock against a server whose tick is `truth(ms)`; calls `each(ms, error)`. */
function run(truth, { seconds, random, jitterMs = 40, baseMs = 20, rateAt = () => 20, each }) {
  const clock = new ServerClock(20, Math.floor(truth(0)), 0);
  const news = [];
  for (let ms = 0; ms < seconds * 1000; ms += 5) {
    if (ms % 1000 === 0 || (ms < 1200 && ms % 200 === 0)) {
      const there = baseMs + random() * jitterMs;
      const back = baseMs + random() * jitterMs;
      const tick = truth(ms + there);
      news.push({ at: ms + there + back, fn: (now) => {
        clock.pong(ms, now, Math.floor(tick), ((tick % 1) / rateAt(ms)) * 1e6, rateAt(ms) * 1000);
      } });
    }
    if (ms % 50 === 0) {
      const tick = Math.floor(truth(ms));
      news.push({ at: ms + baseMs + random() * jitterMs, fn: (now) => clock.observe(tick, now) });
    }
    for (const item of news.filter((n) => n.at <= ms)) {
      news.splice(news.indexOf(item), 1);
      item.fn(ms);
    }
    each(ms, clock.tick(ms) - truth(ms), clock);
  }
  return clock;
}

test("under jitter the clock stays within a third of a tick", () => {
  let worst = 0;
  run((ms) => 5000.3 + ms / 50, {
    seconds: 20, random: chance(1), each: (ms, error) => { if (ms > 4000) worst = Math.max(worst, Math.abs(error)); },
  });
  assert.ok(worst < 0.34, `worst error ${worst} ticks`);
});

test("it never runs backwards", () => {
  let last = -Infinity;
  run((ms) => 100 + ms / 50, {
    seconds: 20, random: chance(2), jitterMs: 200,
    each: (ms, error) => {
      const read = error + 100 + ms / 50;
      assert.ok(read >= last);
      last = read;
    },
  });
});

test("when time dilates to 10 Hz it follows, between PONGs too", () => {
  // At 8 s the server's time goes at half its speed.
  const truth = (ms) => (ms < 8000 ? ms / 50 : 160 + (ms - 8000) / 100);
  let worst = 0;
  const clock = run(truth, {
    seconds: 20, random: chance(3), rateAt: (ms) => (ms < 8000 ? 20 : 10),
    each: (ms, error) => { if (ms > 12000) worst = Math.max(worst, Math.abs(error)); },
  });
  assert.ok(Math.abs(clock.rateHz - 10) < 0.8, `rate ${clock.rateHz}`);
  assert.ok(worst < 1, `worst error ${worst} ticks`);
});

test("arriving ticks alone show a server that slows down", () => {
  const clock = new ServerClock(20, 0, 0);
  for (let i = 1; i <= 40; i++) clock.observe(i, i * 100);
  assert.ok(Math.abs(clock.rateHz - 10) < 1, `rate ${clock.rateHz}`);
});

test("far behind it jumps; the PONG of least round trip is believed", () => {
  const clock = new ServerClock(20, 0, 0);
  clock.pong(0, 20, 1000, 0, 20000);
  assert.ok(Math.abs(clock.tick(20) - 1000.2) < 1e-9);
  // 400 ms on the way back: by half the round trip this one is 4 ticks off.
  clock.pong(1000, 1420, 1020, 0, 20000);
  assert.equal(clock.rttMs, 20);
  assert.ok(Math.abs(clock.target(1420) - 1028.2) < 1e-9);
  assert.equal(clock.lastRttMs, 420);
});

test("a server that stood goes on where it stopped, and the clock with it", () => {
  for (const stoodMs of [1500, 5000, 30000]) {
    const clock = new ServerClock(20, 0, 0);
    const backMs = 10000 + stoodMs;
    let tick = 0;
    let tickMs = 0;
    let last = 0;
    for (let ms = 0; ms <= backMs + 10000; ms += 10) {
      if (ms % 50 === 0 && (ms < 10000 || ms >= backMs)) {
        tick++;
        tickMs = ms;
        clock.observe(tick, ms);
      }
      // Of different round trips: what came quicker is believed for as long as it is true, and no longer.
      const rttMs = ms < backMs ? 20 : 200;
      if (ms % 2000 === 0) clock.pong(ms - rttMs, ms, tick, Math.max(0, ms - rttMs / 2 - tickMs) * 1000, 20000);
      const now = clock.tick(ms);
      if (ms > backMs) assert.ok(now > last || now < last - 12, `it stands at ${now}, ${ms - backMs} ms after`);
      if (ms > backMs + 2500) assert.ok(Math.abs(now - (tick + (ms - tickMs) / 50)) < 3, `${now}, and the server is at ${tick}`);
      last = now;
    }
  }
});
