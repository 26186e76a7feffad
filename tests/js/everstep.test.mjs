import assert from "node:assert/strict";
import { test } from "node:test";

import { Message } from "../../clients/js/connection.js";
import { Client } from "../../clients/js/everstep.js";
import { decode } from "../../clients/js/msgpack.js";
import { SchemaError } from "../../clients/js/schema.js";
import { fixtures, unhex } from "./support/fixtures.mjs";
import { memoryPorts, welcome } from "./support/ports.mjs";

const [fixture] = fixtures.views;
const [keyframe, first] = fixture.frames.map((hex) => decode(unhex(hex)));
const [, [count, crc]] = fixture.digests;

function build(more) {
  const memory = memoryPorts();
  const client = new Client({ url: "ws://test/ws", name: "Ada", ports: memory.ports });
  const heard = [];
  for (const name of ["enter", "leave", "you", "event:Said", "receipt", "lost", "refused", "bye"]) {
    client.on(name, (...args) => heard.push([name, ...args]));
  }
  client.connect();
  memory.sockets[0].accept();
  memory.sockets[0].give([Message.WELCOME, welcome(fixtures.schema, more)]);
  return { ...memory, client, heard, get socket() { return memory.sockets.at(-1); } };
}

function comeBack(t, more) {
  t.socket.drop(1006);
  t.time.advance(10000);
  t.socket.accept();
  t.socket.give([Message.WELCOME, welcome(fixtures.schema, more)]);
}

test("a view is kept, found by kind and by handle, and checked", async () => {
  const t = build();
  t.socket.give(keyframe);
  t.socket.give(first);
  assert.equal(t.client.me.is.Name.text, "Zoë");
  assert.deepEqual([...t.client.entities("avatar")].map((e) => e.handle), [7, 5]);
  assert.equal(t.client.entity(3, 9).kind, "odd");
  const good = t.client.check();
  t.socket.give([Message.VIEW_DIGEST, 3, 1001, count, crc]);
  assert.equal((await good).equal, true);
  const bad = t.client.check();
  t.socket.give([Message.VIEW_DIGEST, 3, 1001, count, crc ^ 1]);
  assert.equal((await bad).equal, false);
  assert.equal(t.socket.of(Message.CHECK).length, 2);
});

test("commands are numbered, checked, and refused while not live", () => {
  const t = build();
  assert.equal(t.client.send("Say", { text: "hi" }), 1);
  assert.equal(t.client.send("Poke", { who: 5, hard: false }), 2);
  assert.deepEqual(t.socket.of(Message.INPUT), [[2, 1, 17, ["hi"]], [2, 2, 18, [[3, 5], false]]]);
  assert.throws(() => t.client.send("Say", { text: 1 }), SchemaError);
  t.socket.drop(1006);
  assert.equal(t.client.send("Poke", { who: 5, hard: false }), 0);
});

test("a reliable command without a receipt is said again after a resume, under its own number", () => {
  const t = build();
  for (const text of ["one", "two", "three"]) t.client.send("Say", { text });
  t.socket.give([Message.RECEIPT, 1]);
  comeBack(t, { resumed: true, ack: 2 });
  // The second was processed, but its receipt may have been lost: the server is asked.
  assert.deepEqual(t.socket.of(Message.INPUT), [[2, 2, 17, ["two"]], [2, 3, 17, ["three"]]]);
  assert.equal(t.client.send("Say", { text: "four" }), 4);
});

test("a session that another page began goes on above all that may be under way", () => {
  const t = build();
  t.client.send("Say", { text: "one" });
  comeBack(t, { resumed: true, session: 43, ack: 5 });
  assert.deepEqual(t.socket.of(Message.INPUT), []);
  assert.deepEqual(t.heard.filter(([n]) => n === "lost"), [["lost", "Say", { text: "one" }, 1]]);
  assert.equal(t.client.send("Say", { text: "two" }), 5 + 65_536 + 1);
});

test("what has no receipt is lost where another page or device spoke meanwhile, and not said again", () => {
  for (const more of [{ ack: 3 }, { ack: 0, taken: 3 }]) {
    const t = build();
    for (const text of ["one", "two"]) t.client.send("Say", { text });
    t.socket.give([Message.RECEIPT, 1]);
    comeBack(t, { resumed: true, ...more });
    // Whether the other one gave the second number, too, is not known.
    assert.deepEqual(t.socket.of(Message.INPUT), []);
    assert.deepEqual(t.heard.filter(([n]) => n === "lost"), [["lost", "Say", { text: "two" }, 2]]);
    assert.equal(t.client.send("Say", { text: "three" }), 3 + 65_536 + 1);
  }
});

test("a session that another page began goes on above what came to its gateway and is not processed yet", () => {
  const t = build({ resumed: true, ack: 5, taken: 70_000 });
  assert.equal(t.client.send("Say", { text: "one" }), 70_000 + 65_536 + 1);
});

test("what a new session does not know is reported lost", () => {
  const t = build();
  t.client.send("Say", { text: "one" });
  comeBack(t, { resumed: false, session: 43 });
  assert.deepEqual(t.heard.filter(([n]) => n === "lost"), [["lost", "Say", { text: "one" }, 1]]);
  assert.equal(t.client.reliable.size, 0);
  assert.equal(t.client.send("Say", { text: "two" }), 1);
});

test("what is said again to a later version of the game is what it was by name, or lost", () => {
  const t = build();
  t.client.send("Say", { text: "one" });
  t.client.send("Say", { text: "too long" });
  t.socket.drop(1006);
  t.time.advance(10000);
  t.socket.accept();
  const later = structuredClone(fixtures.schema);
  const say = later.commands.find((c) => c.name === "Say");
  say.id = 21;
  say.args[0].size = 5;
  t.socket.give([Message.WELCOME, welcome(later, { resumed: true })]);
  assert.deepEqual(t.socket.of(Message.INPUT), [[2, 1, 21, ["one"]]]);
  assert.deepEqual(t.heard.filter(([n]) => n === "lost"), [["lost", "Say", { text: "too long" }, 2]]);
});

test("an entity that is steered at may be any object, and is told when it is another one", () => {
  const t = build();
  t.client.predict({ command: "Poke" });
  const target = { region: 3, handle: 5 };
  target.self = target;
  const frames = (n) => { for (let i = 0; i < n; i++) t.client.frame(t.time.advance(100)); };
  t.client.steer({ who: target, hard: false });
  frames(5);
  t.client.steer({ who: { region: 3, handle: 7 }, hard: false });
  frames(5);
  assert.deepEqual(t.socket.of(Message.INPUT).map((m) => m[3][0]), [[3, 5], [3, 7]]);
});

test("reliable commands that wait are bounded", () => {
  const t = build();
  for (let i = 1; i <= 64; i++) assert.equal(t.client.send("Say", { text: "x" }), i);
  assert.equal(t.client.send("Say", { text: "x" }), 0);
  t.socket.give([Message.RECEIPT, 1]);
  assert.equal(t.client.send("Say", { text: "x" }), 65);
});

test("events, errors and goodbyes are told by name", () => {
  const t = build();
  t.socket.give([Message.EVENT, 3, 0, [5, "hello"]]);
  t.socket.give([Message.EVENT, 3, 77, []]);
  t.socket.give([Message.ERROR, 11, "too far", 9]);
  t.socket.give([Message.BYE, 1001, "going down"]);
  t.socket.give([99, "from the future"]);
  assert.deepEqual(t.heard, [
    ["event:Said", { who: 5, text: "hello" }, 3], ["refused", { code: 11, text: "too far", seq: 9 }], ["bye", 1001, "going down"],
  ]);
});

test("a check that the connection does not survive is rejected", async () => {
  const t = build();
  const pending = t.client.check();
  t.socket.drop(1006);
  await assert.rejects(pending, /connection/);
  await assert.rejects(t.client.check(), /not connected/);
});

test("steering sends what changed, together with a step of our own, and again after a resume", () => {
  const t = build();
  t.client.predict({ command: "Move", move: (s, i, dt) => ({ x: s.x + i.dx * dt, y: s.y + i.dy * dt }) });
  t.socket.give(keyframe);
  const sent = () => t.socket.of(Message.INPUT).map((m) => m.slice(1));
  const frame = (ms) => {
    t.time.advance(ms);
    t.client.frame();
  };
  // Ticks are 50 ms; our steps fall at 25, 75, 125, 175 ms.
  t.client.steer({ dx: 1, dy: 0 });
  frame(0);
  assert.deepEqual(sent(), [], "no step yet");
  frame(30);
  frame(50);
  assert.deepEqual(sent(), [[1, 16, [1, 0]]], "held, not repeated");
  t.client.steer({ dx: 0, dy: 1 });
  frame(10);
  t.client.steer({ dx: 0, dy: 0 });
  frame(10);
  assert.equal(sent().length, 1, "between steps nothing goes out");
  frame(30);
  assert.deepEqual(sent().slice(1), [[2, 16, [0, 0]]], "of two changes between steps the newest counts");
  comeBack(t, { resumed: true, ack: 2 });
  t.socket.give(keyframe);
  frame(0);
  frame(60);
  assert.deepEqual(sent(), [[3, 16, [0, 0]]]);
});

test("own place is predicted at once and meets the server's; others come from the past", () => {
  const t = build();
  t.client.predict({ command: "Move", move: (s, i, dt) => ({ x: s.x + i.dx * 12 * dt, y: s.y + i.dy * 12 * dt }) });
  t.socket.give(keyframe);
  t.client.frame();
  const start = t.client.place(t.client.me).x;
  assert.equal(start, 1034);
  t.client.steer({ dx: 1, dy: 0 });
  for (let i = 0; i < 10; i++) {
    t.time.advance(20);
    t.client.frame();
  }
  assert.ok(t.client.place(t.client.me).x > start + 1, "walks before the server says so");
  assert.equal(t.client.place(t.client.entity(3, 5)).x, 1025);
});

test("steering that a busy world passed over is foreseen no longer and said again; what is wrong is not", () => {
  const t = build();
  t.client.predict({ command: "Move", move: (s, i, dt) => ({ x: s.x + i.dx * 12 * dt, y: s.y + i.dy * 12 * dt }) });
  t.socket.give(keyframe);
  t.client.frame();
  const start = t.client.place(t.client.me).x;
  const walk = (ms) => {
    for (let at = 0; at < ms; at += 25) {
      t.time.advance(25);
      t.client.frame();
    }
  };
  const numbers = () => t.socket.of(Message.INPUT).map(([, seq]) => seq);
  t.client.steer({ dx: 1, dy: 0 });
  walk(100);
  for (const [code, seq] of [[9, 1], [6, 2]]) {
    assert.deepEqual(numbers().at(-1), seq);
    t.socket.give([Message.ERROR, code, "the world is busy", seq]);
    walk(200);
  }
  assert.deepEqual(numbers(), [1, 2, 3]);
  t.socket.give([Message.ERROR, 4, "Move.dx must be something else", 3]);
  t.socket.give([Message.DELTA, 3, (keyframe[2] + 1) & 127, null, null]);
  walk(1000);
  assert.deepEqual(numbers(), [1, 2, 3]);
  assert.ok(Math.abs(t.client.place(t.client.me).x - start) < 0.01);
});

test("YOU gives another body", () => {
  const t = build();
  t.socket.give(keyframe);
  t.socket.give([Message.YOU, 3, 5]);
  assert.equal(t.client.me.handle, 5);
});

test("in a new session nothing is foreseen of what was said in the old one, though its body has the same handle", () => {
  const t = build();
  t.client.predict({ command: "Move", move: (at, { dx }, dt) => ({ x: at.x + dx * 10 * dt, y: at.y }) });
  t.socket.give(keyframe);
  t.client.frame();
  const start = t.client.place(t.client.me).x;
  for (let i = 1; i <= 40; i++) {
    t.client.send("Say", { text: "hi" });
    t.socket.give([Message.RECEIPT, i]);
  }
  t.client.steer({ dx: 1, dy: 0 });
  for (let i = 0; i < 5; i++) {
    t.time.advance(50);
    t.client.frame();
  }
  assert.deepEqual(t.client.prediction.sent, [41], "it is under way as the connection breaks, and never heard of again");
  comeBack(t, { session: 43, resumed: false });
  t.socket.give(keyframe);
  t.client.steer({ dx: 0, dy: 1 });
  for (let i = 1; i <= 5; i++) {
    t.time.advance(50);
    t.client.frame();
    t.socket.give([Message.ACK, t.client.seq]);
    t.socket.give([Message.DELTA, 3, (keyframe[2] + i) & 127, null, null]);
  }
  assert.deepEqual(t.client.prediction.sent, []);
  assert.equal(t.client.place(t.client.me).x, start);
});

/** A world of two regions beside each other; the east one counts its ticks from `lead` further on. */
function bordered(lead = 0) {
  const west = { id: 3, x: 1016, y: -520, width: 272, height: 272, handle: "u16", margin: 8 };
  const east = { ...west, id: 4, x: 1272 };
  const t = build({ regions: [west, east] });
  for (const name of ["cross"]) t.client.on(name, (...args) => t.heard.push([name, ...args]));
  const record = (handle, x) => {
    const bytes = new Uint8Array(2 + t.client.schema.archetypes[1].size);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, handle, true);
    view.setUint16(2, x * 64, true);
    view.setUint16(4, 640, true);
    return bytes;
  };
  const move = (handle, x) => record(handle, x).slice(0, 6);
  const tick = (n, messages) => {
    t.time.advance(50);
    t.client.frame();
    for (const message of messages) t.socket.give(message(n, n + lead));
  };
  return { ...t, client: t.client, get socket() { return t.socket; }, record, move, tick };
}

for (const lead of [0, 500, -300]) {
  test(`who crosses a border goes on from where it is drawn, in a region whose ticks are ${lead} ahead`, () => {
    const t = bordered(lead);
    const rock = t.client.schema.archetypes[1].id;
    t.socket.give([Message.KEYFRAME, 3, 1000, [rock, t.record(7, 250), rock, t.record(5, 252)]]);
    t.socket.give([Message.KEYFRAME, 4, 1000 + lead, null]);
    let x = 252;
    const west = (n) => [Message.DELTA, 3, n & 127, null, null, 0, t.move(5, x)];
    const still = (region) => (n, m) => [Message.DELTA, region, (region === 3 ? n : m) & 127, null, null];
    for (let n = 1001; n <= 1010; n++) {
      x += 0.5;
      t.tick(n, [west, still(4)]);
    }
    const before = t.client.entity(3, 5);
    const drawn = t.client.place(before).x;
    // Another origin: 257.5 units into the one are 1.5 into the other.
    t.tick(1011, [
      () => [Message.CROSS, 3, 5, 4, 40],
      (_, m) => [Message.DELTA, 4, m & 127, null, [rock, t.record(40, x + 0.5 - 256)]],
      (n) => [Message.DELTA, 3, n & 127, new Uint8Array([5, 0]), null],
    ]);
    const after = t.client.entity(4, 40);
    assert.equal(t.client.entity(3, 5), null);
    assert.equal(after.before, before);
    assert.equal(before.onward, after);
    assert.deepEqual(t.heard.slice(-3).map(([name, entity]) => [name, entity]), [["enter", after], ["cross", after], ["leave", before]]);
    let last = t.client.place(after).x;
    assert.ok(last >= drawn && last < drawn + 1, `drawn at ${drawn}, then at ${last}`);
    for (let n = 1012; n <= 1030; n++) {
      x += 0.5;
      t.tick(n, [still(3), (_, m) => [Message.DELTA, 4, m & 127, null, null, 0, t.move(40, x + 0.5 - 256)]]);
      const now = t.client.place(after).x;
      assert.ok(now > last && now < last + 1, `from ${last} to ${now}`);
      last = now;
    }
  });

  test(`our own body crosses, and the clock goes on in a region whose ticks are ${lead} ahead`, async () => {
    const t = bordered(lead);
    const rock = t.client.schema.archetypes[1].id;
    t.client.predict({ command: "Move", move: (at, { dx }, dt) => ({ x: at.x + dx * 10 * dt, y: at.y }) });
    t.socket.give([Message.KEYFRAME, 3, 1000, [rock, t.record(7, 252)]]);
    t.socket.give([Message.KEYFRAME, 4, 1000 + lead, null]);
    t.client.steer({ dx: 1, dy: 0 });
    let x = 252;
    for (let n = 1001; n <= 1012; n++) {
      if (n > 1002) x += 0.5;
      t.tick(n, [() => [Message.ACK, 1], (k) => [Message.DELTA, 3, k & 127, null, null, 0, t.move(7, x)], (_, m) => [Message.DELTA, 4, m & 127, null, null]]);
    }
    const drawn = t.client.place(t.client.me).x;
    const { prediction } = t.client;
    const clock = t.client.clock.tick(t.time.ms);
    x += 0.5;
    t.tick(1013, [
      () => [Message.CROSS, 3, 7, 4, 40],
      (_, m) => [Message.DELTA, 4, m & 127, null, [rock, t.record(40, x - 256)]],
      () => [Message.YOU, 4, 40],
      (n) => [Message.DELTA, 3, n & 127, new Uint8Array([7, 0]), null],
    ]);
    assert.equal(t.client.me, t.client.entity(4, 40));
    // What was foreseen still is.
    assert.equal(t.client.prediction, prediction);
    assert.ok(Math.abs(t.client.clock.tick(t.time.ms) - clock - lead - 1) < 0.5);
    let last = drawn;
    for (let n = 1014; n <= 1030; n++) {
      x += 0.5;
      t.tick(n, [(_, m) => [Message.DELTA, 4, m & 127, null, null, 0, t.move(40, x - 256)]]);
      const now = t.client.place(t.client.me).x;
      assert.ok(now > last - 0.2 && now < last + 1.2, `from ${last} to ${now}`);
      last = now;
    }
    assert.ok(t.client.prediction.lastError < 0.51, String(t.client.prediction.lastError));
  });
}

test("after its region stood for long one steers as before, and is where the server has one", () => {
  const t = bordered();
  const rock = t.client.schema.archetypes[1].id;
  t.client.predict({ command: "Move", move: (at, { dx }, dt) => ({ x: at.x + dx * 10 * dt, y: at.y }) });
  t.socket.give([Message.KEYFRAME, 3, 1000, [rock, t.record(7, 50)]]);
  t.client.steer({ dx: 1, dy: 0 });
  let x = 50;
  const pong = (n, stoodMs) => t.socket.give([Message.PONG, t.time.ms, n, stoodMs * 1000, 20000]);
  const walk = (first, last) => {
    for (let n = first; n <= last; n++) {
      if (n > 1002) x += 0.5;
      t.tick(n, [() => [Message.ACK, 1], (k) => [Message.DELTA, 3, k & 127, null, null, 0, t.move(7, x)]]);
      if (n % 20 === 0) pong(n, 0);
    }
  };
  walk(1001, 1040);
  for (let i = 1; i <= 100; i++) {
    t.tick(1040, []);
    if (i % 20 === 0) pong(1040, i * 50);
  }
  walk(1041, 1070);
  const ahead = t.client.place(t.client.me).x - (1016 + x);
  assert.ok(Math.abs(ahead) < 2, `drawn ${ahead} units ahead of the server`);
  const said = t.socket.of(Message.INPUT).length;
  t.client.steer({ dx: -1, dy: 0 });
  walk(1071, 1075);
  assert.equal(t.socket.of(Message.INPUT).length, said + 1);
});

test("who crosses a border out of view is nobody's past", () => {
  const t = bordered();
  const rock = t.client.schema.archetypes[1].id;
  t.socket.give([Message.KEYFRAME, 3, 1000, [rock, t.record(7, 250), rock, t.record(5, 252)]]);
  t.socket.give([Message.KEYFRAME, 4, 1000, null]);
  t.tick(1001, [
    () => [Message.CROSS, 3, 5, 4, 40],
    (_, m) => [Message.DELTA, 4, m & 127, null, null],
    (n) => [Message.DELTA, 3, n & 127, new Uint8Array([5, 0]), null],
  ]);
  t.heard.length = 0;
  t.tick(1002, [(_, m) => [Message.DELTA, 4, m & 127, null, [rock, t.record(40, 100)]]]);
  const stranger = t.client.entity(4, 40);
  assert.equal(stranger.before, null);
  assert.deepEqual(t.heard.filter(([name]) => name === "cross"), []);
  assert.equal(t.client.place(stranger).x, 1372);
});

for (const lead of [0, 500, -300]) {
  for (const announced of [true, false]) {
    const how = announced ? "with CROSS" : "in a view that began anew";
    test(`the world's clock goes on over a border ${how}, to a region whose ticks are ${lead} ahead`, () => {
      const t = bordered(lead);
      const rock = t.client.schema.archetypes[1].id;
      // The world's clock is where the region that made most ticks has it.
      const [west, east] = lead > 0 ? [lead, 0] : [0, -lead];
      t.client.frame();
      assert.ok(Number.isNaN(t.client.worldTick), "nothing is known before the first view");
      t.socket.give([Message.CLOCK, 3, west]);
      t.socket.give([Message.KEYFRAME, 3, 1000, [rock, t.record(7, 250)]]);
      t.socket.give([Message.KEYFRAME, 4, 1000 + lead, null]);
      const still = (region) => (n, m) => [Message.DELTA, region, (region === 3 ? n : m) & 127, null, null];
      for (let n = 1001; n <= 1010; n++) t.tick(n, [still(3), still(4)]);
      let last = t.client.worldTick;
      assert.ok(Math.abs(last - (1000 + west + 8)) < 3, String(last));
      t.tick(1011, [
        ...(announced ? [() => [Message.CROSS, 3, 7, 4, 40]] : []),
        announced
          ? (_, m) => [Message.DELTA, 4, m & 127, null, [rock, t.record(40, 0)]]
          : (_, m) => [Message.KEYFRAME, 4, m, [rock, t.record(40, 0)]],
        () => [Message.CLOCK, 4, east],
        () => [Message.YOU, 4, 40],
        announced ? (n) => [Message.DELTA, 3, n & 127, new Uint8Array([7, 0]), null] : (n) => [Message.KEYFRAME, 3, n, null],
      ]);
      for (let n = 1012; n <= 1060; n++) {
        t.tick(n, [still(4)]);
        const now = t.client.worldTick;
        assert.ok(now >= last && now < last + 2.5, `from ${last} to ${now} at ${n}`);
        last = now;
      }
      assert.ok(Math.abs(last - (1060 + west - 2.5)) < 3, String(last));
    });
  }
}

test("the world's clock catches up by gliding, jumps where it is far behind, and never goes back", () => {
  const t = bordered();
  const rock = t.client.schema.archetypes[1].id;
  t.socket.give([Message.KEYFRAME, 3, 1000, [rock, t.record(7, 250)]]);
  let n = 1000;
  const pass = (ticks) => {
    const seen = [];
    for (let i = 0; i < ticks; i++) {
      t.tick(++n, [(k) => [Message.DELTA, 3, k & 127, null, null]]);
      seen.push(t.client.worldTick);
    }
    return seen;
  };
  const steps = (seen) => seen.slice(1).map((tick, i) => tick - seen[i]);
  pass(10);
  t.socket.give([Message.CLOCK, 3, 40]);
  const forward = pass(300);
  assert.ok(steps(forward).every((step) => step >= 0.8 && step <= 2.2), "two seconds are made up for by and by");
  assert.ok(Math.abs(forward.at(-1) - t.client.playout.tick - 40) < 4);
  t.socket.give([Message.CLOCK, 3, 5000]);
  assert.ok(pass(2).at(-1) > 5900, "minutes are not");
  t.socket.give([Message.CLOCK, 3, 4980]);
  const held = pass(300);
  assert.ok(steps(held).every((step) => step >= 0 && step <= 1.2), "who is ahead waits");
  assert.ok(Math.abs(held.at(-1) - t.client.playout.tick - 4980) < 4);
  t.socket.give([Message.CLOCK, 3, 0]);
  assert.ok(steps(pass(40)).every((step) => step === 0));
});

test("a check is answered by every region in view, and by none that went out of it", async () => {
  const t = bordered();
  const rock = t.client.schema.archetypes[1].id;
  t.socket.give([Message.KEYFRAME, 3, 1000, [rock, t.record(7, 252)]]);
  t.socket.give([Message.KEYFRAME, 4, 1000, [rock, t.record(9, 10)]]);
  const digest = (region) => {
    const { count: n, crc: sum } = t.client.views.get(region).digest();
    return [Message.VIEW_DIGEST, region, 1000, n, sum];
  };
  const whole = t.client.check();
  t.socket.give(digest(3));
  t.socket.give(digest(4));
  assert.deepEqual([(await whole).equal, (await whole).region, (await whole).count], [true, 3, 2]);
  const wrong = t.client.check();
  const [, , tick, n, sum] = digest(4);
  t.socket.give([Message.VIEW_DIGEST, 4, tick, n, sum ^ 1]);
  t.socket.give(digest(3));
  assert.deepEqual([(await wrong).equal, (await wrong).region], [false, 4]);
  const half = t.client.check();
  t.socket.give([Message.KEYFRAME, 4, 1001, null]);
  t.socket.give(digest(3));
  assert.equal((await half).equal, true);
});

test("checks that cross have one answer, and a later one its own", async () => {
  const t = build();
  t.socket.give(keyframe);
  t.socket.give(first);
  const both = [t.client.check(), t.client.check()];
  t.socket.give([Message.VIEW_DIGEST, 3, 1001, count, crc]);
  assert.deepEqual((await Promise.all(both)).map(({ equal }) => equal), [true, true]);
  const later = t.client.check();
  t.socket.give([Message.VIEW_DIGEST, 3, 1001, count, crc ^ 1]);
  assert.equal((await later).equal, false);
});

test("the world's limits are those of its regions without what they share", () => {
  assert.deepEqual(bordered().client.limits, { x: 1024, y: -512, width: 512, height: 256 });
});
