/** The client's ports, kept in memory: time that moves when told to, sockets whose other end is the test. */

import { decode, encode } from "../../../clients/js/msgpack.js";

export class MemoryTime {
  constructor() {
    this.ms = 0;
    this.timers = new Map();
    this.next = 1;
  }

  /** Moves on, running each timer when it is due, in order. */
  advance(ms) {
    const end = this.ms + ms;
    for (;;) {
      const due = [...this.timers].filter(([, t]) => t.at <= end).sort((a, b) => a[1].at - b[1].at || a[0] - b[0])[0];
      if (!due) break;
      this.timers.delete(due[0]);
      this.ms = due[1].at;
      due[1].fn();
    }
    this.ms = end;
  }
}

/** A network in memory. `sockets` holds every socket opened, in order. */
export function memoryPorts(random = () => 0.5) {
  const time = new MemoryTime();
  const sockets = [];
  const kept = new Map();
  class MemorySocket {
    constructor(url) {
      this.url = url;
      this.sent = [];
      this.closed = false;
      this.readyState = 0;
      sockets.push(this);
    }

    send(bytes) {
      this.sent.push(decode(new Uint8Array(bytes)));
    }

    close() {
      this.closed = true;
      this.readyState = 2;
    }

    // The other end:
    accept() {
      this.readyState = 1;
      this.onopen({});
    }

    give(message) {
      const bytes = encode(message);
      this.onmessage({ data: bytes.slice().buffer });
    }

    drop(code = 1006, reason = "") {
      this.readyState = 3;
      this.onclose({ code, reason });
    }

    of(type) {
      return this.sent.filter((m) => m[0] === type);
    }
  }
  const ports = {
    WebSocket: MemorySocket,
    now: () => time.ms,
    setTimeout: (fn, ms) => {
      time.timers.set(time.next, { at: time.ms + ms, fn });
      return time.next++;
    },
    clearTimeout: (timer) => time.timers.delete(timer),
    random,
    storage: {
      getItem: (k) => kept.get(k) ?? null,
      setItem: (k, v) => kept.set(k, v),
      removeItem: (k) => kept.delete(k),
    },
  };
  return { ports, time, sockets, kept };
}

/** A WELCOME's map. */
export function welcome(schema, more = {}) {
  return {
    version: 1, session: 42, resume: "token-1", resumed: false, ack: 0, tick: 1000, tick_rate_hz: 20, name: "Ada",
    regions: [{ id: 3, x: 1024, y: -512, width: 1024, height: 1024, handle: "u16" }],
    entity: { region: 3, handle: 7 },
    limits: { frame_bytes_max: 4096, inputs_per_s: 40, inputs_burst: 40, grace_s: 30, idle_s: 30 },
    schema, ...more,
  };
}
