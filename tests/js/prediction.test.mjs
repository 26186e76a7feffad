import assert from "node:assert/strict";
import { test } from "node:test";

import { Prediction } from "../../clients/js/prediction.js";

const SPEED = 12;
const WALL = 30;
const move = ({ x, y }, { dx, dy }, dt) => ({ x: x + dx * SPEED * dt, y: y + dy * SPEED * dt });
const quantise = (v) => Math.round(v * 64) / 64;

/**
 * A client and a server with ticks of delay between them. `inputs`: step -> intent; `late(seq)`: extra ticks an input takes.
 * Gives, per tick, where the client is shown, where the server has it, and the correction.
 */
function play({ ticks, inputs, delay = 3, late = () => 0, serverMove = move }) {
  const client = new Prediction({ move, rateHz: 20, snapUnits: 3 });
  let server = { x: 0, y: 0 };
  let intent = { dx: 0, dy: 0 };
  let acked = 0;
  let seq = 0;
  const toServer = [];
  const toClient = [];
  const rows = [];
  for (let tick = 0; tick < ticks; tick++) {
    if (inputs[tick]) {
      seq++;
      client.hold(seq, inputs[tick]);
      toServer.push({ at: tick + delay + late(seq), seq, input: inputs[tick] });
    }
    client.step();
    for (const news of toServer.filter((n) => n.at === tick)) [intent, acked] = [news.input, news.seq];
    server = serverMove(server, intent, 1 / 20);
    toClient.push({ at: tick + delay, acked, tick, state: { x: quantise(server.x), y: quantise(server.y) } });
    let error = 0;
    while (toClient.length && toClient[0].at <= tick) {
      const news = toClient.shift();
      client.reconcile(news.acked, news.tick, news.state);
      error = Math.max(error, client.lastError);
    }
    rows.push({ client: { ...client.state }, server: { ...server }, error });
  }
  return rows;
}

test("own movement shows at once, and the server's word changes nothing but the rounding", () => {
  const rows = play({ ticks: 120, inputs: { 10: { dx: 1, dy: 0 }, 40: { dx: 0, dy: 1 }, 60: { dx: -0.6, dy: 0.8 }, 90: { dx: 0, dy: 0 } } });
  assert.ok(Math.abs(rows[10].client.x - 0.6) < 1e-9, "the first step shows in its own tick");
  assert.ok(Math.max(...rows.map((r) => r.error)) <= 0.025, `corrections up to ${Math.max(...rows.map((r) => r.error))}`);
  const end = rows[119];
  assert.ok(Math.hypot(end.client.x - end.server.x, end.client.y - end.server.y) < 0.02);
});

test("an input that comes a tick late is corrected by one step, once", () => {
  const rows = play({
    ticks: 120, inputs: { 10: { dx: 1, dy: 0 }, 40: { dx: 0, dy: 1 }, 80: { dx: 0, dy: 0 } }, late: (seq) => (seq === 2 ? 1 : 0),
  });
  const large = rows.filter((r) => r.error > 0.05);
  // The late turn adds a step east when it becomes known, and takes a step south at the stop.
  assert.ok(large.length >= 1 && large.length <= 4, `${large.length} corrections`);
  assert.ok(Math.max(...rows.map((r) => r.error)) < 0.9);
  const end = rows[119];
  assert.ok(Math.hypot(end.client.x - end.server.x, end.client.y - end.server.y) < 0.02);
});

test("a wall only the server knows: the client is never further ahead than the delay allows", () => {
  const serverMove = (s, i, dt) => ({ ...move(s, i, dt), x: Math.min(WALL, move(s, i, dt).x) });
  const rows = play({ ticks: 120, inputs: { 5: { dx: 1, dy: 0 }, 100: { dx: 0, dy: 0 } }, serverMove });
  assert.ok(Math.max(...rows.map((r) => r.client.x)) <= WALL + 0.6 * 8);
  assert.ok(Math.abs(rows[119].client.x - WALL) < 0.02);
});

test("many inputs in one tick: the last counts", () => {
  const client = new Prediction({ move, rateHz: 20 });
  client.hold(1, { dx: 1, dy: 0 });
  client.hold(2, { dx: 0, dy: 1 });
  client.step();
  assert.deepEqual(client.state, { x: 0, y: 0.6000000000000001 });
  client.reconcile(2, 50, { x: 0, y: 0.6 });
  assert.equal(client.steps.length, 0);
});

test("a small correction glides, a large one jumps", () => {
  const client = new Prediction({ move, rateHz: 20, snapUnits: 3, smoothMs: 60 });
  const shown = () => client.sample(1, 0, { x: NaN, y: NaN });
  client.reset({ x: 10, y: 10 });
  client.reconcile(0, 5, { x: 11, y: 10 });
  assert.deepEqual(shown(), { x: 10, y: 10 });
  const later = client.sample(1, 60, { x: NaN, y: NaN });
  assert.ok(Math.abs(later.x - 10.5) < 1e-9);
  client.reconcile(0, 6, { x: 40, y: 10 });
  assert.deepEqual(shown(), { x: 40, y: 10 });
});

test("without any word from the server the memory is bounded", () => {
  const client = new Prediction({ move, rateHz: 20 });
  client.hold(1, { dx: 1, dy: 0 });
  for (let i = 0; i < 1000; i++) client.step();
  assert.equal(client.steps.length, 40);
});

test("an acknowledgement that overtakes our step: the step is not made twice", () => {
  const client = new Prediction({ move, rateHz: 20 });
  client.hold(1, { dx: 1, dy: 0 });
  client.reconcile(1, 50, { x: 0.6, y: 0 });
  client.step();
  assert.equal(client.state.x, 0.6);
  client.step();
  assert.ok(Math.abs(client.state.x - 1.2) < 1e-9);
  client.reconcile(1, 51, { x: 1.2, y: 0 });
  assert.ok(client.lastError < 1e-9);
});
