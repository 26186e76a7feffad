/**
 * One session over as many sockets as it takes: connect, HELLO, resume, ping, leave.
 *
 * The whole behaviour is the table below. Sockets, time and chance are handed in, so a
 * test walks every row of it.
 */

import { decode, encode } from "./msgpack.js";

export const VERSION = 1;

/** Message types. docs/protocol.md has their shapes. */
export const Message = Object.freeze({
  HELLO: 1, INPUT: 2, PING: 3, CHECK: 4, LEAVE: 5,
  WELCOME: 16, DELTA: 17, KEYFRAME: 18, ACK: 19, RECEIPT: 20, EVENT: 21,
  PONG: 22, VIEW_DIGEST: 23, ERROR: 24, BYE: 25, YOU: 26, CROSS: 27, CLOCK: 28,
});

/** Codes of ERROR that are acted on here: too much was said, the world is busy, there is nothing to come back to. */
export const RATE_EXCEEDED = 6;
export const FULL = 9;
export const RESUME_FAILED = 10;

/** Close codes after which coming back would only repeat it. Any other: retry. @type {Record<number, string>} */
export const FATAL_CLOSES = Object.freeze({
  1000: "the session is over",
  1003: "the server does not understand this client",
  4000: "the server does not understand this client",
  4002: "this client's version is not spoken here",
  4003: "the sign-in was not accepted",
  4004: "this page may not connect to that server",
  4010: "the session goes on in another window",
  4012: "the game removed you",
});

/**
 * state → signal → next state. A pair that is not here changes nothing: late news of a socket given up.
 *
 *   idle        never started
 *   connecting  the socket is opening
 *   joining     HELLO sent, no WELCOME yet
 *   live        in the world
 *   waiting     the socket is gone; the next try comes after a pause
 *   leaving     LEAVE sent, the server closes
 *   closed      over, by us or for good
 *
 * @type {Record<string, Record<string, string>>}
 */
export const TRANSITIONS = Object.freeze({
  idle: { start: "connecting" },
  connecting: { opened: "joining", dropped: "waiting", stale: "waiting", refused: "closed", leave: "closed" },
  joining: { welcomed: "live", dropped: "waiting", stale: "waiting", refused: "closed", leave: "closed" },
  live: { dropped: "waiting", stale: "waiting", refused: "closed", leave: "leaving" },
  waiting: { retry: "connecting", leave: "closed" },
  leaving: { dropped: "closed", stale: "closed", refused: "closed" },
  closed: { start: "connecting" },
});

/** Pauses and limits, in milliseconds. */
export const TIMES = Object.freeze({
  backoffMin: 250, backoffMax: 8000,
  // No WELCOME, or nothing heard while live, for this long: the socket is dead, whatever TCP thinks.
  join: 10000, silence: 8000, leave: 2000,
  ping: 2000, pingFirst: 200,
  // A session that lived less than this does not reset the backoff.
  steady: 3000,
});
/** WebSocket.OPEN. */
const SOCKET_OPEN = 1;
/** The clock needs a few samples soon. */
const FIRST_PINGS = 6;

/**
 * @typedef {object} Ports
 * @property {new (url: string) => any} WebSocket
 * @property {() => number} now milliseconds, monotonic
 * @property {(fn: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} random 0 ≤ r < 1
 * @property {{getItem(k: string): string | null, setItem(k: string, v: string): void, removeItem(k: string): void} | null} storage
 */

/** @returns {Ports} the real ones */
export function realPorts() {
  return {
    WebSocket: globalThis.WebSocket,
    now: () => performance.now(),
    setTimeout: (fn, ms) => setTimeout(fn, ms),
    clearTimeout: (timer) => clearTimeout(timer),
    random: () => Math.random(),
    storage: null,
  };
}

export class Connection {
  /**
   * @param {object} options
   * @param {string} options.url ws:// or wss://
   * @param {string | null} [options.token] JWT, or null for a guest
   * @param {string | null} [options.name]
   * @param {Ports} ports
   * @param {{state(state: string, why: string): void, welcome(info: any): void, message(message: any[], bytes: number): void, fault(error: unknown): void}} hooks
   */
  constructor({ url, token = null, name = null }, ports, hooks) {
    this.url = url;
    this.token = token;
    this.name = name;
    this.ports = ports;
    this.hooks = hooks;
    this.state = "idle";
    /** Resume token of the last WELCOME. @type {string | null} */
    this.resume = ports.storage?.getItem(this.#storageKey()) ?? null;
    /** @type {any} */
    this.socket = null;
    /** @type {Set<any>} */
    this.timers = new Set();
    this.attempts = 0;
    this.heardMs = 0;
    this.liveSinceMs = Infinity;
    this.pings = 0;
    /** When the next try comes, for display. */
    this.retryAtMs = NaN;
    this.why = "";
  }

  #storageKey() {
    return `everstep:${this.url}`;
  }

  /** Begin, or begin again after `closed`. */
  start() {
    this.#signal("start");
  }

  /** Leave the world for good. */
  leave() {
    this.#signal("leave", "left");
  }

  /** Do not wait for the pause to end: the network is said to be back. */
  retry() {
    this.#signal("retry");
  }

  /** Writes a message if live; says whether it was written. @param {any[]} message */
  write(message) {
    return this.state === "live" && this.#put(message);
  }

  /** @param {string} signal @param {string} [why] */
  #signal(signal, why = "") {
    const next = TRANSITIONS[this.state]?.[signal];
    if (!next) return;
    const from = this.state;
    this.state = next;
    if (why) this.why = why;
    this.#stopTimers();
    this.#enter(next, from);
    this.hooks.state(next, this.why);
  }

  /** @param {string} state @param {string} from */
  #enter(state, from) {
    switch (state) {
      case "connecting": return this.#open();
      case "joining": return this.#hello();
      case "live": return this.#live();
      case "waiting": return this.#wait();
      case "leaving":
        this.#put([Message.LEAVE]);
        this.#forget();
        return this.#after(TIMES.leave, () => this.#signal("stale"));
      case "closed":
        // Leaving before the server ever answered: there may still be a session to come back to, so keep its token.
        if (from !== "waiting" && from !== "connecting") this.#forget();
        return this.#dropSocket();
      default:
    }
  }

  #open() {
    this.#after(TIMES.join, () => this.#signal("stale", "no answer"));
    let socket;
    try {
      socket = new this.ports.WebSocket(this.url);
    } catch (error) {
      this.hooks.fault(error);
      this.#after(0, () => this.#signal("dropped", "the address cannot be reached"));
      return;
    }
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    // Each checks that it speaks for the current socket: a late event of an old one is no news.
    socket.onopen = () => socket === this.socket && this.#signal("opened");
    socket.onmessage = (/** @type {{data: any}} */ event) => socket === this.socket && this.#heard(event.data);
    socket.onclose = (/** @type {{code: number, reason: string}} */ event) => {
      if (socket !== this.socket) return;
      this.socket = null;
      const fatal = FATAL_CLOSES[event.code];
      if (fatal) this.#signal("refused", event.reason || fatal);
      else this.#signal("dropped", event.reason || `connection lost (${event.code})`);
    };
    socket.onerror = () => {}; // a close always follows, with what there is to know
  }

  #hello() {
    this.#stopTimers();
    this.#after(TIMES.join, () => this.#signal("stale", "no answer"));
    this.#put([Message.HELLO, VERSION, this.token, this.resume, this.name]);
  }

  #live() {
    this.liveSinceMs = this.ports.now();
    this.pings = 0;
    this.#pingLoop();
  }

  #pingLoop() {
    const nowMs = this.ports.now();
    if (nowMs - this.heardMs > TIMES.silence) {
      this.#signal("stale", "the server fell silent");
      return;
    }
    if (nowMs - this.liveSinceMs > TIMES.steady) this.attempts = 0;
    this.#put([Message.PING, nowMs]);
    this.#after(this.pings++ < FIRST_PINGS ? TIMES.pingFirst : TIMES.ping, () => this.#pingLoop());
  }

  #wait() {
    this.#dropSocket();
    // Half of the pause is chance: a thousand clients of a restarted server must not come at once.
    const pauseMs = Math.min(TIMES.backoffMax, TIMES.backoffMin * 2 ** this.attempts) * (0.5 + this.ports.random() / 2);
    this.attempts = Math.min(this.attempts + 1, 16);
    this.retryAtMs = this.ports.now() + pauseMs;
    this.#after(pauseMs, () => this.#signal("retry"));
  }

  /** @param {any} data */
  #heard(data) {
    this.heardMs = this.ports.now();
    try {
      if (!(data instanceof ArrayBuffer)) throw new TypeError("a text frame");
      const message = decode(new Uint8Array(data));
      if (!Array.isArray(message)) throw new TypeError("not a message");
      if (message[0] === Message.WELCOME) this.#welcomed(message[1]);
      if (message[0] === Message.BYE && message[2]) this.why = message[2];
      if (message[0] === Message.ERROR && message[1] === RESUME_FAILED) this.#beginAnew();
      this.hooks.message(message, data.byteLength);
    } catch (error) {
      this.hooks.fault(error);
    }
  }

  /** @param {any} info */
  #welcomed(info) {
    if (this.state !== "joining") return;
    this.resume = info.resume;
    this.ports.storage?.setItem(this.#storageKey(), info.resume);
    this.hooks.welcome(info);
    this.#signal("welcomed");
  }

  /** @param {any[]} message */
  #put(message) {
    // A socket that is closing takes nothing; its end comes as an event of its own.
    if (this.socket?.readyState !== SOCKET_OPEN) return false;
    this.socket.send(encode(message));
    return true;
  }

  /** The session to come back to is over. The server waits for another HELLO. */
  #beginAnew() {
    this.#forget();
    if (this.state === "joining") this.#hello();
  }

  #forget() {
    this.resume = null;
    this.ports.storage?.removeItem(this.#storageKey());
  }

  #dropSocket() {
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  /** @param {number} ms @param {() => void} fn */
  #after(ms, fn) {
    const timer = this.ports.setTimeout(() => {
      this.timers.delete(timer);
      fn();
    }, ms);
    this.timers.add(timer);
  }

  /** Every timer belongs to the state that set it. */
  #stopTimers() {
    for (const timer of this.timers) this.ports.clearTimeout(timer);
    this.timers.clear();
  }
}
