/**
 * Others are shown a little in the past, between two states the server sent.
 *
 * `Playout` says which tick to show: the server's tick less a delay that follows
 * how late frames really come. `Track` keeps one entity's recent positions and
 * gives the place at that tick. Time is counted in ticks throughout, so
 * that a server whose time dilates slows the picture down and does not shake it.
 * Source: https://gafferongames.com/post/snapshot_interpolation/
 */

import { clamp } from "./clock.js";

/** Bounds of the delay, in ticks. */
const DELAY_MIN = 1.5;
const DELAY_MAX = 10;
/** The picture runs at most this much faster or slower than the server while the delay changes. */
const SLEW_MAX = 0.15;
/** Further off than this, in ticks, it jumps. */
const JUMP_TICKS = 8;
/** Frames whose lateness is remembered, and the share of them that must be in time. */
const LATENESS_MAX = 80;
const LATENESS_SHARE = 0.9;
/** Ticks to spare. */
const ROOM = 0.35;
/** Positions remembered per entity. */
const SNAPSHOTS_MAX = 8;
/** A pause between two updates longer than this, in ticks, was a rest and not a low rate. */
const PERIOD_MAX = 8;

/** Which tick to show. */
export class Playout {
  constructor() {
    /** Ticks behind the server. */
    this.delay = 2.25;
    /** How late the last frames came, in ticks. @type {number[]} */
    this.lateness = [];
    /** The tick shown; NaN before the first `advance`. */
    this.tick = NaN;
    this.server = NaN;
  }

  /** A frame of `tick` came while the server's clock, seen from here, read `serverTick`. @param {number} tick @param {number} serverTick */
  arrived(tick, serverTick) {
    this.lateness.push(clamp(serverTick - tick, 0, DELAY_MAX));
    if (this.lateness.length > LATENESS_MAX) this.lateness.shift();
    const sorted = [...this.lateness].sort((a, b) => a - b);
    // Steady jitter is covered; one stall of the page or the network is not worth seconds of delay.
    const usual = sorted[Math.floor((sorted.length - 1) * LATENESS_SHARE)];
    // One interval to interpolate over, and a little room.
    this.delay = clamp(usual + 1 + ROOM, DELAY_MIN, DELAY_MAX);
  }

  /** The clock's ticks count from elsewhere. @param {number} ticks */
  shift(ticks) {
    this.tick += ticks;
    this.server += ticks;
  }

  /** Moves on to the server's `serverTick` and returns the tick to show. @param {number} serverTick */
  advance(serverTick) {
    const target = serverTick - this.delay;
    const step = serverTick - this.server;
    this.server = serverTick;
    const error = target - (this.tick + step);
    if (!(Math.abs(error) < JUMP_TICKS)) this.tick = target; // NaN comes here too
    else this.tick += step * (1 + clamp(error * 0.2, -SLEW_MAX, SLEW_MAX));
    return this.tick;
  }
}

/** One entity's recent positions. Ticks are the client's clock's, whatever its region counts. */
export class Track {
  /** @param {number} tick @param {number} x @param {number} y */
  constructor(tick, x, y) {
    /** @type {{tick: number, x: number, y: number}[]} ascending by tick */
    this.snapshots = [{ tick, x, y }];
    /** Ticks between updates: 1 near by, more in the outer ring. */
    this.period = 1;
    /** Ticks this entity is shown behind the others, so that its next update is there in time. */
    this.lag = 0;
  }

  /** @param {number} tick @param {number} x @param {number} y */
  push(tick, x, y) {
    const last = this.snapshots[this.snapshots.length - 1];
    const gap = tick - last.tick;
    if (gap <= 0) {
      // A second frame of one tick, or a fresh view: the newest word counts.
      last.x = x;
      last.y = y;
      return;
    }
    if (gap > PERIOD_MAX || gap > this.period * 3) {
      // It rested: nothing is sent of what does not change. Without this it would creep through its rest.
      this.snapshots.push({ tick: tick - this.period, x: last.x, y: last.y });
    }
    if (gap <= PERIOD_MAX) this.period += (gap - this.period) * 0.5;
    this.snapshots.push({ tick, x, y });
    while (this.snapshots.length > SNAPSHOTS_MAX) this.snapshots.shift();
  }

  /** Forgets the past: the entity was put somewhere else. @param {number} tick @param {number} x @param {number} y */
  reset(tick, x, y) {
    this.snapshots = [{ tick, x, y }];
  }

  /** The clock's ticks count from elsewhere. @param {number} ticks */
  shift(ticks) {
    for (const snapshot of this.snapshots) snapshot.tick += ticks;
  }

  /**
   * The place at `tick`, written into `out`. Before the first and after the last known state it stands.
   * @template {{x: number, y: number}} P
   * @param {number} tick @param {P} out
   * @returns {P}
   */
  sample(tick, out) {
    this.lag += (Math.max(0, this.period - 1) - this.lag) * 0.02;
    const at = tick - this.lag;
    const list = this.snapshots;
    let i = list.length - 1;
    while (i > 0 && list[i].tick > at) i--;
    const from = list[i];
    const to = list[i + 1];
    if (!to || at <= from.tick) {
      out.x = from.x;
      out.y = from.y;
      return out;
    }
    const share = (at - from.tick) / (to.tick - from.tick);
    out.x = from.x + (to.x - from.x) * share;
    out.y = from.y + (to.y - from.y) * share;
    return out;
  }
}
