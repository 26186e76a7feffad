/**
 * Own movement without waiting for the server: predict, then reconcile.
 *
 * The game's `move(state, input, dt)` is stepped here at the server's tick rate with the
 * input just sent. Each authoritative state says which inputs it knows; it replaces
 * what was predicted, and the steps it does not know yet are made again from
 * there. What is shown glides over small corrections and jumps over large ones.
 * Source: https://www.gabrielgambetta.com/client-side-prediction-server-reconciliation.html
 *
 * The server holds an input for as many ticks as lie between its arrival and the
 * next one's. So steps are matched to ticks by the first tick that acknowledged their
 * input: `lead = tick - step` stays nearly constant while the input is held.
 */

/** @typedef {{x: number, y: number}} Point */
/** @typedef {(state: Point, input: any, dt: number) => Point} Move */

/** Steps kept unacknowledged, in seconds: more means that the connection is gone. */
const PENDING_MAX_S = 2;

export class Prediction {
  /**
   * @param {object} options
   * @param {Move} options.move pure: gives a new state, leaves its arguments alone
   * @param {number} options.rateHz nominal tick rate; `dt` is 1 / rateHz
   * @param {number} [options.snapUnits] a correction longer than this is shown at once
   * @param {number} [options.smoothMs] time in which half of a small correction is shown
   */
  constructor({ move, rateHz, snapUnits = 3, smoothMs = 60 }) {
    this.move = move;
    this.dt = 1 / rateHz;
    this.pendingMax = Math.ceil(rateHz * PENDING_MAX_S);
    this.snapUnits = snapUnits;
    this.smoothMs = smoothMs;
    /** Length of the last correction, world units. */
    this.lastError = 0;
    /** @type {Point} where we are after the last step, and before it */
    this.state = { x: 0, y: 0 };
    this.previous = this.state;
    /** The input held now, and its sequence number. @type {{seq: number, input: any} | null} */
    this.held = null;
    /** Steps the server may not know yet. @type {{index: number, seq: number, input: any}[]} */
    this.steps = [];
    this.index = 0;
    this.acked = 0;
    /** Server tick less own step, of the same step; NaN before the first acknowledgement. */
    this.lead = NaN;
    /** The last own step that the authoritative state contains. */
    this.known = NaN;
    /** Sequence numbers of inputs sent and not acknowledged, ascending. @type {number[]} */
    this.sent = [];
    /** Where the picture still differs from `state`. */
    this.glide = { x: 0, y: 0 };
  }

  /** Stands at an authoritative state, with nothing sent yet. @param {Point} state */
  reset(state) {
    this.state = { x: state.x, y: state.y };
    this.previous = this.state;
    this.held = null;
    this.steps = [];
    this.sent = [];
    this.lead = NaN;
    this.known = NaN;
    this.glide = { x: 0, y: 0 };
  }

  /** The server's ticks count from elsewhere. @param {number} ticks */
  shift(ticks) {
    this.lead += ticks;
  }

  /** An input was sent. @param {number} seq @param {any} input */
  hold(seq, input) {
    this.held = { seq, input };
    this.sent.push(seq);
  }

  /** The server did not take an input that was sent. @param {number} seq */
  refuse(seq) {
    if (this.held?.seq === seq) this.held = null;
    this.sent = this.sent.filter((s) => s !== seq);
    this.steps = this.steps.filter((s) => s.seq !== seq);
  }

  /** One tick of own movement. */
  step() {
    this.index++;
    this.previous = this.state;
    if (!this.held || this.index <= this.known) return;
    this.steps.push({ index: this.index, ...this.held });
    if (this.steps.length > this.pendingMax) this.steps.shift();
    this.state = this.move(this.state, this.held.input, this.dt);
  }

  /**
   * The server's word: at the end of `tick`, all inputs up to `seq` processed, we stood at `state`.
   * @param {number} seq @param {number} tick @param {Point} state
   */
  reconcile(seq, tick, state) {
    let newest = 0;
    while (this.sent.length && this.sent[0] <= seq) newest = /** @type {number} */ (this.sent.shift());
    if (newest) {
      this.acked = newest;
      const first = this.steps.find((s) => s.seq === newest);
      // Without a step of ours yet, the next one is what the server has just made.
      this.lead = tick - (first ? first.index : this.index + 1);
    }
    this.known = tick - this.lead;
    this.steps = this.steps.filter((s) => s.seq > this.acked || !(s.index <= this.known));
    const before = this.state;
    /** @type {Point} */
    let now = { x: state.x, y: state.y };
    for (const s of this.steps) now = this.move(now, s.input, this.dt);
    const dx = before.x - now.x;
    const dy = before.y - now.y;
    this.lastError = Math.hypot(dx, dy);
    this.state = now;
    if (this.lastError > this.snapUnits) {
      this.previous = now;
      this.glide = { x: 0, y: 0 };
      return;
    }
    // The picture stays where it was: both ends of the shown step move, the glide takes it up.
    this.previous = { x: this.previous.x - dx, y: this.previous.y - dy };
    this.glide.x += dx;
    this.glide.y += dy;
  }

  /**
   * Where to show ourselves: `fraction` of the way through the current tick.
   * @param {number} fraction 0 to 1 @param {number} elapsedMs since the last call
   * @param {Point} out
   */
  sample(fraction, elapsedMs, out) {
    const keep = 0.5 ** (elapsedMs / this.smoothMs);
    this.glide.x *= keep;
    this.glide.y *= keep;
    out.x = this.previous.x + (this.state.x - this.previous.x) * fraction + this.glide.x;
    out.y = this.previous.y + (this.state.y - this.previous.y) * fraction + this.glide.y;
    return out;
  }
}
