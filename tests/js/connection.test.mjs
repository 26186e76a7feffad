import assert from "node:assert/strict";
import { test } from "node:test";

import { Connection, FATAL_CLOSES, Message, TIMES, TRANSITIONS } from "../../clients/js/connection.js";
import { fixtures } from "./support/fixtures.mjs";
import { memoryPorts, welcome } from "./support/ports.mjs";

const URL_ = "ws://test/ws";

function build(random) {
  const memory = memoryPorts(random);
  const states = [];
  const faults = [];
  const messages = [];
  const connection = new Connection({ url: URL_, name: "Ada", token: null }, memory.ports, {
    state: (state, why) => states.push([state, why]),
    welcome: () => {},
    message: (m) => messages.push(m),
    fault: (e) => faults.push(e),
  });
  return { ...memory, connection, states, faults, messages, get socket() { return memory.sockets.at(-1); } };
}

/** Ways into every state. */
const INTO = {
  idle: () => {},
  connecting: (t) => t.connection.start(),
  joining: (t) => { INTO.connecting(t); t.socket.accept(); },
  live: (t) => { INTO.joining(t); t.socket.give([Message.WELCOME, welcome(fixtures.schema)]); },
  waiting: (t) => { INTO.live(t); t.socket.drop(1006); },
  leaving: (t) => { INTO.live(t); t.connection.leave(); },
  closed: (t) => { INTO.live(t); t.socket.drop(4010); },
};
/** How every signal comes about. `old` is the last socket, open or not. */
const CAUSE = {
  start: (t) => t.connection.start(),
  opened: (t) => t.socket?.accept(),
  welcomed: (t) => t.socket?.give([Message.WELCOME, welcome(fixtures.schema)]),
  dropped: (t) => t.socket?.drop(1006),
  refused: (t) => t.socket?.drop(4002),
  stale: (t) => t.time.advance(Math.max(TIMES.join, TIMES.silence + TIMES.ping, TIMES.leave) + 1),
  leave: (t) => t.connection.leave(),
  retry: (t) => t.connection.retry(),
};

test("every row of the table, and every pair that has none", () => {
  assert.deepEqual(Object.keys(INTO), Object.keys(TRANSITIONS));
  for (const [state, enter] of Object.entries(INTO)) {
    for (const [signal, cause] of Object.entries(CAUSE)) {
      // Time cannot pass in `waiting` without its own retry, which is the row beside it.
      if (state === "waiting" && signal === "stale") continue;
      const t = build();
      enter(t);
      assert.equal(t.connection.state, state, `the way into ${state}`);
      const seen = t.states.length;
      cause(t);
      const next = TRANSITIONS[state][signal];
      const first = t.states[seen]?.[0];
      assert.equal(first, next, `${state} + ${signal}`);
    }
  }
});

test("HELLO comes first and carries version, token, resume token, name", () => {
  const t = build();
  INTO.joining(t);
  assert.deepEqual(t.socket.sent, [[Message.HELLO, 1, null, null, "Ada"]]);
});

test("after a drop it resumes with the token of the last WELCOME", () => {
  const t = build();
  INTO.waiting(t);
  t.time.advance(TIMES.backoffMax);
  assert.equal(t.sockets.length, 2);
  t.socket.accept();
  assert.deepEqual(t.socket.sent, [[Message.HELLO, 1, null, "token-1", "Ada"]]);
});

test("a page that reloads resumes from storage; leaving forgets", () => {
  const t = build();
  INTO.live(t);
  const again = new Connection({ url: URL_ }, t.ports, { state() {}, welcome() {}, message() {}, fault() {} });
  assert.equal(again.resume, "token-1");
  t.connection.leave();
  assert.equal(t.kept.size, 0);
  assert.deepEqual(t.socket.sent.at(-1), [Message.LEAVE]);
});

test("a resume token the server refuses is not tried again", () => {
  const t = build();
  INTO.waiting(t);
  t.time.advance(TIMES.backoffMax);
  t.socket.accept();
  t.socket.give([Message.ERROR, 10, "unknown resume token", null]);
  t.socket.drop(1006);
  t.time.advance(TIMES.backoffMax);
  t.socket.accept();
  assert.equal(t.socket.sent[0][3], null);
});

test("where the resume token is refused it says HELLO again without one, on the same connection", () => {
  const t = build();
  INTO.waiting(t);
  t.time.advance(TIMES.backoffMax);
  t.socket.accept();
  t.socket.give([Message.ERROR, 10, "the session is over", null]);
  assert.deepEqual(t.socket.of(Message.HELLO).map((hello) => hello[3]), ["token-1", null]);
  t.time.advance(TIMES.join - 1);
  assert.equal(t.connection.state, "joining");
  t.socket.give([Message.WELCOME, welcome(fixtures.schema)]);
  assert.equal(t.connection.state, "live");
  assert.equal(t.sockets.length, 2);
});

test("pauses double to a limit, and half of each is chance", () => {
  for (const [random, share] of [[() => 0, 0.5], [() => 0.999999, 1]]) {
    const t = build(random);
    INTO.waiting(t);
    for (let n = 0; n < 9; n++) {
      const pause = Math.min(TIMES.backoffMax, TIMES.backoffMin * 2 ** n) * share;
      assert.ok(Math.abs(t.connection.retryAtMs - t.time.ms - pause) < 0.02, `pause ${n}`);
      t.time.advance(pause + 0.01);
      assert.equal(t.connection.state, "connecting");
      t.socket.drop(1006);
    }
  }
});

test("a session that is welcomed and dropped at once does not reset the pauses; one that lasts does", () => {
  const t = build(() => 0);
  INTO.waiting(t);
  t.time.advance(TIMES.backoffMin);
  INTO_live_again(t);
  t.socket.drop(1006);
  assert.equal(t.connection.attempts, 2);
  t.time.advance(TIMES.backoffMax);
  INTO_live_again(t);
  for (let s = 0; s < 8; s++) {
    t.time.advance(1000);
    t.socket.give([Message.PONG, 0, 1000, 0, 20000]);
  }
  t.socket.drop(1006);
  assert.equal(t.connection.attempts, 1);
});

function INTO_live_again(t) {
  t.socket.accept();
  t.socket.give([Message.WELCOME, welcome(fixtures.schema, { resumed: true })]);
  assert.equal(t.connection.state, "live");
}

test("it pings while live, and a server that falls silent is given up", () => {
  const t = build();
  INTO.live(t);
  t.time.advance(TIMES.ping * 3);
  assert.ok(t.socket.of(Message.PING).length >= 7);
  t.time.advance(TIMES.silence);
  assert.equal(t.connection.state === "waiting" || t.connection.state === "connecting", true);
  assert.match(t.states.find(([s]) => s === "waiting")[1], /silent/);
  assert.equal(t.sockets[0].closed, true);
});

test("each fatal close code ends it with a reason, every other one is tried again", () => {
  for (const code of Object.keys(FATAL_CLOSES).map(Number)) {
    const t = build();
    INTO.live(t);
    t.socket.drop(code);
    assert.equal(t.connection.state, "closed", String(code));
    assert.equal(t.connection.why, FATAL_CLOSES[code]);
    assert.equal(t.time.timers.size, 0);
  }
  for (const code of [1001, 1006, 1011, 4001, 4005, 4006, 4007, 4008, 4009, 4011]) {
    const t = build();
    INTO.live(t);
    t.socket.drop(code);
    assert.equal(t.connection.state, "waiting", String(code));
  }
});

test("the server's BYE says why", () => {
  const t = build();
  INTO.live(t);
  t.socket.give([Message.BYE, 4012, "banned for flying"]);
  t.socket.drop(4012, "banned for flying");
  assert.deepEqual(t.states.at(-1), ["closed", "banned for flying"]);
});

test("late events of a socket given up are no news", () => {
  const t = build();
  INTO.connecting(t);
  const old = t.socket;
  t.time.advance(TIMES.join + TIMES.backoffMax);
  assert.notEqual(t.socket, old);
  const state = t.connection.state;
  old.accept();
  old.give([Message.WELCOME, welcome(fixtures.schema)]);
  old.drop(4002);
  assert.equal(t.connection.state, state);
  assert.deepEqual(old.sent, []);
});

test("what is no message is a fault, and the session goes on", () => {
  const t = build();
  INTO.live(t);
  t.socket.onmessage({ data: "text" });
  t.socket.onmessage({ data: new Uint8Array([0xc1]).buffer });
  t.socket.give({ not: "an array" });
  assert.equal(t.faults.length, 3);
  assert.equal(t.connection.state, "live");
});

test("an address that cannot be opened is tried again", () => {
  const t = build();
  t.ports.WebSocket = class {
    constructor() {
      throw new SyntaxError("bad address");
    }
  };
  t.connection.start();
  t.time.advance(1);
  assert.equal(t.connection.state, "waiting");
  assert.equal(t.faults.length, 1);
});

test("a socket that is closing takes nothing more", () => {
  const t = build();
  INTO.live(t);
  const sent = t.socket.sent.length;
  t.socket.close();
  t.time.advance(TIMES.ping * 2);
  assert.equal(t.connection.write([Message.CHECK]), false);
  assert.equal(t.socket.sent.length, sent);
});
