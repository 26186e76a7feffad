/**
 * The server's tick, as known here: a line through the best PONG, followed without jumps.
 *
 * Of the recent PONGs the one with the least round trip is believed, for its error
 * is at most half of that (Cristian 1989; RFC 5905 calls it the clock filter). The
 * readable clock is slewed towards the line, and jumps only when it is far off: back,
 * too, for a server that stood still goes on where it stopped, and a clock that waited
 * for it would stand for as long again.
 */

/** PONGs remembered. */
const SAMPLES_MAX = 12;
/** One millisecond of round trip weighs as much as this many of age: old samples drift. */
const AGE_WEIGHT = 0.004;
/** The clock runs at most this much faster or slower than the server while it corrects itself. */
const SLEW_MAX = 0.1;
/** Further off than this, in ticks, it jumps. */
const JUMP_TICKS = 12;
/** Window over which arriving ticks are counted to see time dilate, in ms. */
const RATE_WINDOW_MS = 1000;
/** A measured rate nearer than this share of the nominal one to the believed one is noise. */
const RATE_NOISE = 0.04;

/** @param {number} value @param {number} low @param {number} high */
export function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

/** Times are in milliseconds of one local monotonic clock, given by the caller. */
export class ServerClock {
  /** @param {number} rateHz the nominal tick rate @param {number} tick the tick in WELCOME @param {number} nowMs */
  constructor(rateHz, tick, nowMs) {
    this.nominalHz = rateHz;
    /** Ticks per second the server really makes. */
    this.rateHz = rateHz;
    /** Smallest recent round trip, ms; NaN before the first PONG. */
    this.rttMs = NaN;
    /** Round trip of the latest PONG, ms. */
    this.lastRttMs = NaN;
    /** @type {{atMs: number, tick: number, rttMs: number}[]} */
    this.samples = [];
    /** @type {{atMs: number, tick: number}[]} */
    this.arrivals = [];
    this.line = { atMs: nowMs, tick };
    this.read = { atMs: nowMs, tick };
  }

  /**
   * A PONG came. @param {number} sentMs @param {number} nowMs
   * @param {number} tick @param {number} micros since that tick was due @param {number} rateMilliHz
   */
  pong(sentMs, nowMs, tick, micros, rateMilliHz) {
    const rttMs = Math.max(0, nowMs - sentMs);
    const rateHz = clamp(rateMilliHz / 1000, this.nominalHz * 0.02, this.nominalHz * 1.1);
    // A line drawn at another rate does not reach today.
    if (Math.abs(rateHz - this.rateHz) > this.nominalHz * RATE_NOISE) this.samples.length = 0;
    this.rateHz = rateHz;
    const here = tick + (micros / 1e6) * rateHz + (rttMs / 2000) * rateHz;
    // Further off than a slow way explains: the server stood, and what it said before it did leads past it.
    if (Math.abs(here - this.target(nowMs)) > JUMP_TICKS + (rttMs / 2000) * rateHz) this.samples.length = 0;
    this.samples.push({ atMs: nowMs, tick: here, rttMs });
    if (this.samples.length > SAMPLES_MAX) this.samples.shift();
    let best = this.samples[0];
    for (const sample of this.samples) {
      const weight = (/** @type {{rttMs: number, atMs: number}} */ s) => s.rttMs + (nowMs - s.atMs) * AGE_WEIGHT;
      if (weight(sample) <= weight(best)) best = sample;
    }
    const first = Number.isNaN(this.rttMs);
    this.rttMs = best.rttMs;
    this.lastRttMs = rttMs;
    this.line = { atMs: best.atMs, tick: best.tick };
    if (first) this.read = { atMs: nowMs, tick: Math.max(this.read.tick, this.target(nowMs)) };
  }

  /**
   * A frame of `tick` arrived: the server is there at least, and between PONGs
   * the ticks that arrive tell how fast its time goes.
   * @param {number} tick @param {number} nowMs
   */
  observe(tick, nowMs) {
    if (tick > this.target(nowMs)) this.line = { atMs: nowMs, tick };
    const arrivals = this.arrivals;
    if (arrivals.length && arrivals[arrivals.length - 1].tick >= tick) return;
    arrivals.push({ atMs: nowMs, tick });
    while (nowMs - arrivals[0].atMs > RATE_WINDOW_MS) arrivals.shift();
    const spanMs = nowMs - arrivals[0].atMs;
    if (arrivals.length < 5 || spanMs < RATE_WINDOW_MS * 0.6) return;
    const measuredHz = Math.min(((tick - arrivals[0].tick) / spanMs) * 1000, this.nominalHz);
    if (Math.abs(measuredHz - this.rateHz) <= this.nominalHz * RATE_NOISE) return;
    // Where the line is now stays; only its slope changes from here on.
    this.line = { atMs: nowMs, tick: this.target(nowMs) };
    this.rateHz += (measuredHz - this.rateHz) * 0.2;
  }

  /** Counts the ticks of another region from now on, whose number is this much higher. @param {number} ticks */
  shift(ticks) {
    for (const point of [this.line, this.read, ...this.samples, ...this.arrivals]) point.tick += ticks;
  }

  /** Where the line says the server is. @param {number} nowMs */
  target(nowMs) {
    return this.line.tick + ((nowMs - this.line.atMs) / 1000) * this.rateHz;
  }

  /** The server's tick now, with its fraction. Less than it was only by a jump. @param {number} nowMs */
  tick(nowMs) {
    const elapsed = (Math.max(0, nowMs - this.read.atMs) / 1000) * this.rateHz;
    const error = this.target(nowMs) - (this.read.tick + elapsed);
    if (Math.abs(error) > JUMP_TICKS) this.read = { atMs: nowMs, tick: this.read.tick + elapsed + error };
    else {
      const lean = clamp(error * 0.5, -SLEW_MAX, SLEW_MAX);
      this.read = { atMs: Math.max(nowMs, this.read.atMs), tick: this.read.tick + elapsed * (1 + lean) };
    }
    return this.read.tick;
  }
}
