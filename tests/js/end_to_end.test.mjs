/** The client against the real server and the sample game. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Client } from "../../clients/js/everstep.js";
import { walking } from "../../web/frontier.js";
import { startServer } from "./support/server.mjs";
import { TcpWebSocket } from "./support/websocket.mjs";

const LIMIT = { timeout: 30_000 };
let server;
const clients = [];

before(async () => {
  server = await startServer();
}, LIMIT);

after(async () => {
  for (const { client, pump } of clients) {
    clearInterval(pump);
    client.leave();
  }
  await server.stop();
}, LIMIT);

/** Resolves when `holds()` does, asked after every tick and every change of state. */
function until(client, holds) {
  return new Promise((resolve) => {
    const ask = () => {
      if (!holds()) return;
      offs.forEach((off) => off());
      resolve();
    };
    const offs = [client.on("tick", ask), client.on("state", ask)];
    ask();
  });
}

async function join(name) {
  const client = new Client({ url: server.url, name, ports: { WebSocket: TcpWebSocket } });
  client.predict({ command: "Move", move: walking(() => ({ limits: client.limits, alive: true })) });
  client.on("fault", (error) => { throw error; });
  client.connect();
  // Draws as a browser would; nothing waits for it.
  clients.push({ client, pump: setInterval(() => client.frame(), 16) });
  await until(client, () => client.me !== null && !Number.isNaN(client.clock.rttMs));
  return client;
}

/** The far side of the region from here, so that no edge stops us. */
function inwards(client) {
  const region = client.views.get(client.own.region).region;
  return client.me.is.Position.x > region.x + region.width / 2 ? -1 : 1;
}

test("a client joins, sees itself by name, and its view is the server's, again and again", LIMIT, async () => {
  const client = await join("Ada");
  assert.equal(client.me.is.Name.text, "Ada");
  assert.equal(client.info.tick_rate_hz, 20);
  assert.ok([...client.entities()].length > 1);
  client.steer({ dx: inwards(client), dy: 0 });
  for (let i = 0; i < 5; i++) {
    const verdict = await client.check();
    assert.ok(verdict.equal, JSON.stringify(verdict));
  }
  client.steer({ dx: 0, dy: 0 });
});

test("prediction ends where the server has us", LIMIT, async () => {
  const client = await join("Bela");
  const start = { ...client.me.is.Position };
  const way = inwards(client);
  client.steer({ dx: 0.8 * way, dy: 0.6 });
  await until(client, () => Math.abs(client.me.is.Position.x - start.x) > 10);
  client.steer({ dx: 0, dy: 0 });
  await until(client, () => client.steering.sent === '{"dx":0,"dy":0}' && client.acked === client.seq);
  const { seq } = client;
  await until(client, () => client.prediction.steps.every((s) => s.seq === seq));
  const here = client.prediction.state;
  const there = client.me.is.Position;
  assert.ok(Math.hypot(here.x - there.x, here.y - there.y) < 0.05, `${JSON.stringify(here)} ${JSON.stringify(there)}`);
});

test("two clients see each other move and hear each other", LIMIT, async () => {
  const one = await join("Cleo");
  let two = await join("Dana");
  // Hamlets are chosen by chance: come again until we share one.
  while (!two.entity(one.own.region, one.own.handle)) {
    two.leave();
    await until(two, () => two.state === "closed");
    two = await join("Dana");
  }
  const seen = () => two.entity(one.own.region, one.own.handle).is.Position;
  const start = { ...seen() };
  one.steer({ dx: 0, dy: one.me.is.Position.y > 500 ? -1 : 1 });
  await until(two, () => Math.abs(seen().y - start.y) > 5);
  one.steer({ dx: 0, dy: 0 });
  const heard = two.once("event:Said");
  one.send("Say", { text: "grüß dich" });
  const [said] = await heard;
  assert.deepEqual([said.name, said.text, said.who], ["Cleo", "grüß dich", one.own.handle]);
});

test("a killed connection resumes: same session, same body, sequence numbers go on", LIMIT, async () => {
  const client = await join("Enid");
  const { session } = client;
  const own = { ...client.own };
  client.send("Say", { text: "before" });
  await until(client, () => client.acked === client.seq);
  const { seq } = client;
  client.connection.socket.kill();
  await until(client, () => client.state === "waiting");
  await until(client, () => client.state === "live" && client.me !== null);
  assert.equal(client.info.resumed, true);
  assert.equal(client.session, session);
  assert.deepEqual(client.own, own);
  assert.ok(client.send("Say", { text: "after" }) > seq);
  await until(client, () => client.acked === client.seq);
  const verdict = await client.check();
  assert.ok(verdict.equal, JSON.stringify(verdict));
});

test("leaving closes for good", LIMIT, async () => {
  const client = await join("Finn");
  client.leave();
  await until(client, () => client.state === "closed");
  assert.equal(client.connection.resume, null);
});

test("a command out of range never leaves; a refused one is told", LIMIT, async () => {
  const client = await join("Gwen");
  assert.throws(() => client.send("Move", { dx: 2, dy: 0 }), /out of range/);
  const refused = client.once("refused");
  client.connection.write([2, client.seq + 1, 9999, []]);
  const [{ code }] = await refused;
  assert.equal(code, 3);
});
