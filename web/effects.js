/** What lasts a moment: arrows, numbers, sparks, speech. Times in milliseconds. */

/** Effects alive at once; the oldest goes. */
const EFFECTS_MAX = 240;
const SPEECH_MS = 5000;

/** @typedef {{kind: string, x: number, y: number, bornMs: number, lifeMs: number, [key: string]: any}} Effect */

export class Effects {
  /** @param {boolean} calm fewer and stiller ones, for those who asked for reduced motion */
  constructor(calm) {
    this.calm = calm;
    /** @type {Effect[]} */
    this.list = [];
    /** @type {Map<number, {text: string, untilMs: number}>} by entity key */
    this.speech = new Map();
  }

  /** @param {Effect} effect */
  add(effect) {
    this.list.push(effect);
    if (this.list.length > EFFECTS_MAX) this.list.shift();
  }

  /** @param {number} x @param {number} y @param {string} text @param {string} colour @param {number} nowMs @param {number} [size] */
  number(x, y, text, colour, nowMs, size = 1) {
    this.add({ kind: "number", x, y, text, colour, size, bornMs: nowMs, lifeMs: 900, drift: (Math.random() - 0.5) * 1.6 });
  }

  /** @param {number} x @param {number} y @param {string} colour @param {number} nowMs @param {number} [count] */
  burst(x, y, colour, nowMs, count = 8) {
    if (this.calm) return;
    for (let k = 0; k < count; k++) {
      const turn = Math.random() * 6.283;
      const speed = 2 + Math.random() * 4;
      this.add({
        kind: "spark", x, y, dx: Math.cos(turn) * speed, dy: Math.sin(turn) * speed,
        colour, bornMs: nowMs, lifeMs: 300 + Math.random() * 250,
      });
    }
  }

  /** @param {{x: number, y: number, dx: number, dy: number, length: number}} shot @param {number} nowMs */
  arrow(shot, nowMs) {
    this.add({ kind: "arrow", ...shot, bornMs: nowMs, lifeMs: 80 + (shot.length / 130) * 1000 });
  }

  /** @param {number} x @param {number} y @param {number} angle @param {number} nowMs */
  sweep(x, y, angle, nowMs) {
    this.add({ kind: "sweep", x, y, angle, bornMs: nowMs, lifeMs: 200 });
  }

  /** @param {number} key @param {string} text @param {number} nowMs */
  say(key, text, nowMs) {
    this.speech.set(key, { text, untilMs: nowMs + SPEECH_MS });
  }

  /** One who speaks goes by another key. @param {number} before @param {number} key */
  goOn(before, key) {
    const said = this.speech.get(before);
    if (said) this.speech.set(key, said);
    this.speech.delete(before);
  }

  /** Draws what lies over the bodies. @param {CanvasRenderingContext2D} ctx @param {any} camera @param {number} nowMs */
  draw(ctx, camera, nowMs) {
    this.list = this.list.filter((e) => nowMs - e.bornMs < e.lifeMs);
    const zoom = camera.zoom;
    for (const e of this.list) {
      const share = (nowMs - e.bornMs) / e.lifeMs;
      const x = camera.toX(e.x);
      const y = camera.toY(e.y);
      ctx.globalAlpha = Math.max(0, 1 - share ** 3);
      if (e.kind === "number") this.#number(ctx, e, x, y, share, zoom);
      else if (e.kind === "spark") {
        const age = (nowMs - e.bornMs) / 1000;
        ctx.fillStyle = e.colour;
        const size = zoom * 0.22 * (1 - share);
        ctx.fillRect(x + e.dx * age * zoom - size / 2, y + e.dy * age * zoom - size / 2, size, size);
      } else if (e.kind === "arrow") drawArrow(ctx, e, camera, share);
      else if (e.kind === "sweep") {
        ctx.strokeStyle = "rgba(255,255,255,.75)";
        ctx.lineWidth = zoom * 0.5 * (1 - share);
        ctx.beginPath();
        ctx.arc(x, y, zoom * 3.1, e.angle - 1.05, e.angle - 1.05 + 2.1 * Math.min(1, share * 1.6 + 0.15));
        ctx.stroke();
      }
    }
    ctx.globalAlpha = 1;
    for (const [key, { untilMs }] of this.speech) if (untilMs < nowMs) this.speech.delete(key);
  }

  /** @param {CanvasRenderingContext2D} ctx @param {Effect} e @param {number} x @param {number} y @param {number} share @param {number} zoom */
  #number(ctx, e, x, y, share, zoom) {
    const rise = this.calm ? 1.5 : 1.5 + (1 - (1 - share) ** 2) * 2.4;
    ctx.font = `800 ${Math.round(Math.max(13, zoom * 1.05) * e.size)}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    ctx.lineWidth = 4;
    ctx.strokeStyle = "rgba(20,16,12,.85)";
    ctx.fillStyle = e.colour;
    const at = x + (this.calm ? 0 : e.drift * share * zoom);
    ctx.strokeText(e.text, at, y - rise * zoom);
    ctx.fillText(e.text, at, y - rise * zoom);
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {Effect} e @param {any} camera @param {number} share */
function drawArrow(ctx, e, camera, share) {
  const head = Math.min(1, share * 1.15) * e.length;
  const tail = Math.max(0, head - 2.4);
  ctx.lineCap = "round";
  const line = (/** @type {number} */ from, /** @type {number} */ to, /** @type {string} */ colour, /** @type {number} */ width) => {
    ctx.strokeStyle = colour;
    ctx.lineWidth = width * camera.zoom;
    ctx.beginPath();
    ctx.moveTo(camera.toX(e.x + e.dx * from), camera.toY(e.y + e.dy * from));
    ctx.lineTo(camera.toX(e.x + e.dx * to), camera.toY(e.y + e.dy * to));
    ctx.stroke();
  };
  line(Math.max(0, head - 9), tail, "rgba(255,255,255,.25)", 0.14);
  line(tail, head, "#3a2a1a", 0.36);
  line(tail, head, "#e9d9b4", 0.18);
  line(tail, Math.min(tail + 0.5, head), "#f4f4f4", 0.4);
  line(Math.max(tail, head - 0.4), head, "#c9d1db", 0.36);
}
