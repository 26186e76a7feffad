/** The client in a world whose one region is divided into four, and united again, while it looks. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Client } from "../../clients/js/everstep.js";
import { startServer } from "./support/server.mjs";
import { TcpWebSocket } from "./support/websocket.mjs";

const LIMIT = { timeout: 60_000 };
const TOKEN = "of-an-operator-".padEnd(40, "x");
const REGION = 1;
let server;

before(async () => {
  server = await startServer("games.frontier", { EVERSTEP_WORLD__SPLIT_DEPTH: "1", EVERSTEP_OPERATOR__TOKEN: TOKEN });
}, LIMIT);

after(() => server.stop(), LIMIT);

async function order(action) {
  const headers = { Authorization: `Bearer ${TOKEN}` };
  const answer = await fetch(`${server.http}/ground/${action}?region=${REGION}`, { headers });
  assert.equal(answer.status, 202);
}

function until(client, holds) {
  return new Promise((resolve) => {
    const off = client.on("tick", () => {
      if (!holds()) return;
      off();
      resolve();
    });
  });
}

/** A client that stands in a quarter which its region gives away. */
async function joinOutside() {
  for (;;) {
    const client = new Client({ url: server.url, name: "Ada", ports: { WebSocket: TcpWebSocket } });
    client.on("fault", (error) => { throw error; });
    client.connect();
    const pump = setInterval(() => client.frame(), 16);
    await until(client, () => client.me !== null && [...client.entities()].length > 20);
    const { x, y } = client.me.is.Position;
    if (Math.max(x, y) > 520) return { client, pump };
    // Hamlets are chosen by chance: come again.
    clearInterval(pump);
    client.leave();
  }
}

test("nobody goes out of sight, and the view is the server's, before, after and in between", LIMIT, async () => {
  const { client, pump } = await joinOutside();
  let welcomes = 0;
  client.on("welcome", () => (welcomes += 1));
  assert.deepEqual(client.info.regions.map(({ id }) => id), [1, 2, 3, 4]);
  assert.deepEqual(client.limits, { x: 0, y: 0, width: 1024, height: 1024 });
  const atFirst = [...client.entities()].length;
  let fewest = atFirst;
  let alone = 0;
  client.on("tick", () => {
    fewest = Math.min(fewest, [...client.entities()].length);
    alone += client.me === null;
  });
  for (const action of ["divide", "unite", "divide", "unite"]) {
    await order(action);
    await until(client, () => (client.own.region === REGION) === (action === "unite"));
    for (let i = 0; i < 3; i++) {
      const verdict = await client.check();
      assert.ok(verdict.equal, JSON.stringify(verdict));
    }
  }
  assert.equal(alone, 0);
  assert.equal(welcomes, 0);
  assert.ok(fewest > atFirst / 2, `${fewest} of ${atFirst}`);
  clearInterval(pump);
  client.leave();
});
