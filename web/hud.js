/** Everything on the page that is not the picture: figures, chat, dialogues, radar. */

import { KINDS } from "./frontier.js";
import { colourOf } from "./painters.js";

/** Chat lines kept on the page. */
const LINES_MAX = 60;
/** The radar's radius in world units. */
const RADAR_UNITS = 80;
const RADAR_COLOURS = { tree: "rgba(90,150,80,.55)", rock: "rgba(170,170,175,.6)", bush: "rgba(215,80,100,.6)", campfire: "#ff9a2b", meat: "#d86a5a" };
const STATE_WORDS = { live: "online", waiting: "offline", connecting: "connecting", joining: "joining", closed: "closed", idle: "ready", leaving: "leaving" };

/** @template {HTMLElement} [T=HTMLElement] @param {string} id @returns {T} */
export function byId(id) {
  return /** @type {T} */ (document.getElementById(id));
}

/** Colour and size of a kind's dot on a map. @param {string} name @returns {[string, number]} */
export function dotOf(name) {
  const kind = KINDS[name];
  const size = name === "avatar" || kind?.danger || name === "campfire" ? 4 : 2;
  if (name === "avatar") return ["#ffe27a", size];
  if (kind?.danger) return ["#ff5a48", size];
  const known = RADAR_COLOURS[/** @type {keyof typeof RADAR_COLOURS} */ (name)];
  return [known ?? (kind ? "rgba(255,255,255,.8)" : colourOf(name)), size];
}

/** Writes only what changed: a layout costs more than a comparison. @param {HTMLElement} node @param {string} text */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export class Hud {
  constructor() {
    this.nodes = Object.fromEntries(
      ["ping", "tick", "rate", "fps", "players", "entities", "state", "goal", "hour", "wood", "stone", "food"].map((id) => [id, byId(id)]),
    );
    this.radar = /** @type {CanvasRenderingContext2D} */ (/** @type {HTMLCanvasElement} */ (byId("radar")).getContext("2d"));
    this.log = byId("log");
    this.lastLineMs = 0;
  }

  /** The player is in: show what belongs to playing. @param {string} name */
  show(name) {
    for (const id of ["hud", "chat", "keys", "pad"]) byId(id).hidden = false;
    write(byId("my-name"), name);
  }

  /** @param {string} state @param {string} why */
  connection(state, why) {
    write(this.nodes.state, STATE_WORDS[/** @type {keyof typeof STATE_WORDS} */ (state)] ?? state);
    byId("dot").className = state;
    const link = byId("link");
    link.hidden = state === "live" || state === "idle" || state === "leaving";
    byId("retry").hidden = state !== "waiting" && state !== "closed";
    write(byId("retry"), state === "closed" ? "Join again" : "Try now");
    write(byId("link-text"), {
      closed: `Disconnected: ${why || "the session is over"}.`,
      waiting: `Reconnecting… (${why || "connection lost"})`,
    }[state] ?? (why ? "Reconnecting…" : "Connecting…"));
    /** @type {HTMLElement} */ (link.querySelector(".spin")).hidden = state === "closed";
  }

  /** @param {{pingMs: number, tick: number, bytesPerS: number, fps: number, players: number, entities: number, rateHz: number}} s */
  figures(s) {
    const { nodes } = this;
    write(nodes.ping, Number.isFinite(s.pingMs) ? `${Math.round(s.pingMs)} ms` : "–");
    write(nodes.tick, `${s.tick} · ${s.rateHz ? s.rateHz.toFixed(0) : "–"} Hz`);
    write(nodes.rate, `${(s.bytesPerS / 1024).toFixed(1)} KiB/s`);
    write(nodes.fps, String(Math.round(s.fps)));
    write(nodes.players, String(s.players));
    write(nodes.entities, String(s.entities));
  }

  /** @param {number} hp @param {number | null} points */
  health(hp, points) {
    const meter = byId("health");
    if (meter.getAttribute("aria-valuenow") !== String(hp)) {
      meter.setAttribute("aria-valuenow", String(hp));
      meter.classList.toggle("low", hp <= 30);
      /** @type {HTMLElement} */ (meter.firstElementChild).style.transform = `scaleX(${hp / 100})`;
      write(/** @type {HTMLElement} */ (meter.lastElementChild), String(hp));
    }
    if (points !== null) write(/** @type {HTMLElement} */ (byId("points").querySelector("b")), String(points));
  }

  /** @param {{wood: number, stone: number, food: number}} bag */
  bag(bag) {
    write(this.nodes.wood, String(bag.wood));
    write(this.nodes.stone, String(bag.stone));
    write(this.nodes.food, String(bag.food));
  }

  /**
   * What there is to say of a game that this page does not know.
   * @param {[string, string][]} own names and values of what we are made of
   * @param {Map<string, number>} kinds how many of each kind are in view
   */
  own(own, kinds) {
    const lines = [...own, ...[...kinds].map(([kind, count]) => [kind, String(count)])];
    const key = lines.join("|");
    const list = byId("own");
    if (list.dataset.key === key) return;
    list.dataset.key = key;
    list.hidden = false;
    list.replaceChildren(...lines.map(([name, value], k) => {
      const line = document.createElement("li");
      if (k >= own.length) {
        const dot = document.createElement("i");
        dot.style.background = colourOf(name);
        line.append(dot);
      }
      const figure = document.createElement("b");
      figure.textContent = value;
      line.append(name, figure);
      return line;
    }));
  }

  /** @param {string} text */
  goal(text) {
    write(this.nodes.goal, text);
  }

  /** @param {number} hour 0 to 1, 0 at dawn @param {boolean} night */
  time(hour, night) {
    byId("sun").className = night ? "night" : "";
    write(this.nodes.hour, night ? "night" : hour > 0.55 ? "dusk is near" : "day");
  }

  /** @param {string | null} name null: news and not speech @param {string} text */
  line(name, text) {
    const line = document.createElement("li");
    if (name === null) line.className = "news";
    else {
      const who = document.createElement("b");
      who.textContent = `${name}: `;
      line.append(who);
    }
    line.append(text);
    this.log.append(line);
    while (this.log.children.length > LINES_MAX) this.log.firstElementChild?.remove();
  }

  /** @param {string | null} text who did it; null: alive */
  death(text) {
    const box = byId("death");
    const shown = !box.hidden;
    if (text !== null) write(byId("death-text"), text);
    box.hidden = text === null;
    if (text !== null && !shown) byId("rise").focus({ preventScroll: true });
    if (text === null && shown) /** @type {HTMLElement | null} */ (document.activeElement)?.blur?.();
  }

  /**
   * Those around us, as dots.
   * @param {{x: number, y: number}} me @param {Iterable<any>} entities @param {any} own
   */
  drawRadar(me, entities, own) {
    const ctx = this.radar;
    const size = ctx.canvas.width;
    const scale = size / 2 / RADAR_UNITS;
    ctx.clearRect(0, 0, size, size);
    ctx.strokeStyle = "rgba(255,255,255,.12)";
    for (const r of [0.33, 0.66]) {
      ctx.beginPath();
      ctx.arc(size / 2, size / 2, (size / 2) * r, 0, 7);
      ctx.stroke();
    }
    for (const entity of entities) {
      const at = entity.look?.at;
      if (!at || entity === own) continue;
      const x = (at.x - me.x) * scale;
      const y = (at.y - me.y) * scale;
      if (x * x + y * y > (size / 2 - 3) ** 2) continue;
      const [colour, dot] = dotOf(entity.kind);
      ctx.fillStyle = colour;
      ctx.fillRect(size / 2 + x - dot / 2, size / 2 + y - dot / 2, dot, dot);
    }
    ctx.fillStyle = "#fff";
    ctx.beginPath();
    ctx.arc(size / 2, size / 2, 3.5, 0, 7);
    ctx.fill();
  }
}
