/** Time travel: an operator asks for a past stretch of the world, scrubs through it and watches. */

import { Effects } from "./effects.js";
import { daytime, GAME, KINDS } from "./frontier.js";
import { byId, dotOf, write } from "./hud.js";
import { Past } from "./past.js";
import { lookOf, Scene } from "./scene.js";

/** @typedef {import("../clients/js/view.js").Entity & {look?: any}} Entity */
/** What of the past is shown at first, in seconds before the last. */
const FIRST_S = 30;
/** Half the side of what "near the middle" means, in world units. */
const NEAR_UNITS = 128;
/** Another's stretch is waited for so often, and so long in between, in ms. */
const BUSY_TRIES = 15;
const BUSY_MS = 1000;
/** Lists and the map are drawn anew this often, in ms. */
const LISTS_EVERY_MS = 150;
const LINES_MAX = 40;
const CHAT_MAX = 12;
const MAGNIFY_MIN = 0.6;
const MAGNIFY_MAX = 2;

const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const scene = new Scene(byId("screen"), calm, true);
const effects = new Effects(calm);
const map = /** @type {CanvasRenderingContext2D} */ (/** @type {HTMLCanvasElement} */ (byId("map")).getContext("2d"));
const slider = /** @type {HTMLInputElement} */ (byId("slider"));
const fields = /** @type {Record<string, HTMLInputElement>} */ (Object.fromEntries(["from", "to", "near", "shard"].map((id) => [id, byId(id)])));
const focus = { x: 0, y: 0 };
const state = {
  past: blank(),
  /** What can be rebuilt. @type {any[]} */
  reach: [],
  playing: false,
  speed: 1,
  /** Handle of who is followed, -1: nobody. */
  followed: -1,
  /** Ends the asking for a stretch, when another is wanted. */
  asking: new AbortController(),
  looked: false,
};
let token = "";

function blank() {
  return new Past({ enter, leave, event: happened });
}

// -- the server --------------------------------------------------------------------

class Refusal extends Error {
  /** @param {number} status @param {string} reason */
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

/** Everything that is written under `path`, piece by piece. @param {string} path @param {AbortSignal} signal @param {(bytes: Uint8Array) => void} take */
async function read(path, signal, take) {
  let at = 0;
  for (let busy = 0; ; ) {
    const answer = await fetch(`/travel/${path}at=${at}`, { headers: { Authorization: `Bearer ${token}` }, cache: "no-store", signal });
    if (answer.status === 429 && at === 0 && busy++ < BUSY_TRIES) {
      tell("Another stretch is being rebuilt: waiting…");
      await new Promise((done) => setTimeout(done, BUSY_MS));
      continue;
    }
    if (!answer.ok) throw new Refusal(answer.status, (await answer.json().catch(() => null))?.error ?? answer.statusText);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    at += bytes.length;
    take(bytes);
    if (answer.headers.get("Everstep-State") === "done") return;
  }
}

/** @param {string} text @param {boolean} [bad] */
function tell(text, bad = false) {
  write(byId("status"), text);
  byId("status").className = bad ? "bad" : "";
}

/** Asks what there is; false: the token is no good. */
async function arrive() {
  /** @type {Uint8Array[]} */
  const pieces = [];
  try {
    await read("reach?", new AbortController().signal, (bytes) => pieces.push(bytes));
  } catch (error) {
    write(byId("refused"), String(/** @type {Error} */ (error).message));
    return false;
  }
  const text = await new Blob(/** @type {BlobPart[]} */ (pieces)).text();
  state.reach = text.trim().split("\n").filter(Boolean).map((line) => JSON.parse(line));
  const shard = byId("shard");
  const chosen = fields.shard.value;
  shard.replaceChildren(...state.reach.map((r) => new Option(String(r.shard), String(r.shard))));
  if (chosen) fields.shard.value = chosen;
  byId("shards").hidden = state.reach.length < 2;
  return true;
}

function chosen() {
  return state.reach.find((r) => String(r.shard) === fields.shard.value) ?? state.reach[0] ?? null;
}

/** The last seconds of the chosen shard into the form. */
function latest() {
  const reach = chosen();
  if (!reach) {
    tell("Nothing is kept yet.", true);
    return false;
  }
  for (const id of ["from", "to"]) Object.assign(fields[id], { min: reach.from, max: reach.to });
  fields.to.value = String(reach.to);
  fields.from.value = String(Math.max(reach.from, reach.to - Math.round(FIRST_S * reach.tick_rate_hz)));
  const seconds = Math.round((reach.to - reach.from) / reach.tick_rate_hz);
  write(byId("range"), `Ticks ${reach.from} to ${reach.to} can be rebuilt: ${seconds} s.`);
  return true;
}

async function rebuild() {
  state.asking.abort();
  const asking = (state.asking = new AbortController());
  const { from, to, near } = fields;
  const past = blank();
  const words = [`shard=${chosen()?.shard ?? 0}`, `from=${from.value}`, `to=${to.value}`];
  if (near.checked) words.push(`x=${focus.x}`, `y=${focus.y}`, `reach=${NEAR_UNITS}`);
  tell("Rebuilding…");
  try {
    await read(`stretch?${words.join("&")}&`, asking.signal, (bytes) => {
      past.feed(bytes);
      if (past.info && state.past !== past) show(past);
      if (past.info) {
        slider.max = String(past.end);
        tell(past.digest ? `${past.end - past.begin + 1} ticks. Digest at the last: ${past.digest}` : `Rebuilding… tick ${past.end} of ${past.last}`);
      }
    });
  } catch (error) {
    if (!asking.signal.aborted) tell(String(/** @type {Error} */ (error).message), true);
  }
}

/** A new stretch is here, or begins to be. @param {Past} past */
function show(past) {
  state.past = past;
  state.playing = true;
  unsay();
  slider.min = String(past.begin);
  slider.value = String(past.begin);
  byId("bar").hidden = false;
  write(byId("game"), past.info.game);
  document.title = `${past.info.game} · time travel`;
  if (!state.looked) {
    const { x, y, width, height } = past.info.region;
    Object.assign(focus, { x: x + width / 2, y: y + height / 2 });
    const somebody = [...past.entities()].find(({ is }) => is.Name);
    if (somebody) past.place(somebody, focus);
    state.looked = true;
  }
}

// -- what happened -----------------------------------------------------------------

/** Who is looked at anew after a jump looks as before: nobody is born by scrubbing. @type {Map<number, Entity>} */
const former = new Map();

/** @param {Entity} entity @param {boolean} jump */
function enter(entity, jump) {
  if (!jump) return;
  const was = former.get(entity.handle);
  former.delete(entity.handle);
  if (was?.look && was.kind === entity.kind) {
    entity.look = was.look;
    entity.look.entity = entity;
  } else lookOf(entity, -Infinity);
}

/** @param {Entity} entity @param {boolean} jump */
function leave(entity, jump) {
  if (jump) former.set(entity.handle, entity);
  else scene.ghost(entity, performance.now());
}

/** @param {string} name @param {Record<string, any>} args */
function happened(name, args) {
  const nowMs = performance.now();
  const { past } = state;
  const known = past.info.game === GAME;
  if (name === "Said" && "text" in args) {
    const speaker = past.entity(args.who);
    if (speaker) effects.say(speaker.key, args.text, nowMs);
    line(`${args.name ?? speaker?.is.Name?.text ?? "somebody"}: ${args.text}`);
  } else if (!known) line(`${name} ${JSON.stringify(args)}`);
  else if (name === "Shot") effects.arrow(/** @type {any} */ (args), nowMs);
  else if (name === "Hit") struck(past.entity(args.target), args.damage, nowMs);
  else if (name === "Died") {
    const who = past.entity(args.who);
    const killer = past.entity(args.killer);
    if (who?.is.Name) line(`${titleOf(who)} was killed by ${killer ? titleOf(killer) : "nobody"}`);
  }
}

/** @param {Entity | null} target @param {number} damage @param {number} nowMs */
function struck(target, damage, nowMs) {
  if (!target) return;
  const look = lookOf(target, nowMs);
  look.flashMs = nowMs;
  if (Number.isNaN(look.at.x)) return;
  effects.number(look.at.x, look.at.y, String(damage), "#ffffff", nowMs);
  effects.burst(look.at.x, look.at.y, "#b3241b", nowMs, 6);
}

/** @param {Entity} entity */
function titleOf(entity) {
  return entity.is.Name?.text || KINDS[entity.kind]?.label || entity.kind;
}

/** What was said and seen a moment ago was not yet: time goes back. */
function unsay() {
  effects.list.length = 0;
  effects.speech.clear();
  scene.ghosts.length = 0;
  former.clear();
  byId("log").replaceChildren();
}

/** @param {string} text */
function line(text) {
  const item = document.createElement("li");
  item.textContent = text;
  byId("log").append(item);
  while (byId("log").children.length > CHAT_MAX) byId("log").firstElementChild?.remove();
}

// -- the picture -------------------------------------------------------------------

let lastMs = performance.now();
let listsMs = 0;

/** @param {number} nowMs */
function frame(nowMs) {
  requestAnimationFrame(frame);
  const elapsedMs = Math.min(250, Math.max(0, nowMs - lastMs));
  lastMs = nowMs;
  const { past } = state;
  const rate = past.info?.tick_rate_hz ?? 20;
  if (state.playing && past.info) {
    past.go(past.time + (elapsedMs / 1000) * rate * state.speed);
    if (past.time >= past.last) state.playing = false;
  }
  const followed = past.entity(state.followed);
  if (followed) past.place(followed, focus);
  const day = past.info?.game === GAME ? daytime(past.time, rate) : { dark: 0 };
  scene.draw({
    nowMs: performance.now(), elapsedMs, focus, me: followed, effects, dark: day.dark,
    entities: past.entities(), place: past.place, aim: null, target: null, region: past.info?.region ?? null,
  });
  controls(past, rate);
  if (nowMs - listsMs < LISTS_EVERY_MS) return;
  listsMs = nowMs;
  drawMap(past);
  listPlayers(past);
  listSaid(past);
}

/** @param {Past} past @param {number} rate */
function controls(past, rate) {
  write(byId("play"), state.playing ? "❚❚" : "▶");
  if (slider.value !== String(past.tick)) slider.value = String(past.tick);
  if (past.info) write(byId("when"), `tick ${past.tick} · ${((past.tick - past.last) / rate).toFixed(2)} s`);
}

/** @param {Past} past */
function drawMap(past) {
  const { width: wide, height: high } = map.canvas;
  map.clearRect(0, 0, wide, high);
  if (!past.info) return;
  const { x, y, width, height } = past.info.region;
  const scale = Math.min(wide / width, high / height);
  const at = { x: 0, y: 0 };
  for (const entity of past.entities()) {
    const [colour, size] = dotOf(entity.kind);
    past.place(entity, at);
    map.fillStyle = colour;
    map.fillRect((at.x - x) * scale - size / 2, (at.y - y) * scale - size / 2, size, size);
  }
  const { camera } = scene;
  map.strokeStyle = "rgba(255,255,255,.8)";
  map.strokeRect((camera.left - x) * scale, (camera.top - y) * scale, (camera.right - camera.left) * scale, (camera.bottom - camera.top) * scale);
}

/** @param {Past} past */
function listPlayers(past) {
  const players = [...past.entities()].filter(({ is }) => is.Name).slice(0, LINES_MAX);
  byId("people").hidden = players.length === 0;
  const list = byId("players");
  const key = players.map((p) => `${p.handle} ${titleOf(p)}`).join("|") + state.followed;
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...players.map((player) => {
    const button = document.createElement("button");
    const handle = document.createElement("small");
    button.type = "button";
    button.append(titleOf(player), handle);
    handle.textContent = `#${player.handle}`;
    button.setAttribute("aria-pressed", String(player.handle === state.followed));
    button.addEventListener("click", () => (state.followed = state.followed === player.handle ? -1 : player.handle));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

/** @param {Past} past */
function listSaid(past) {
  const { said } = past;
  byId("doings").hidden = !past.info;
  const list = byId("said");
  const key = `${past.tick} ${past.begin} ${state.followed}`;
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  // Whoever is followed first.
  const lines = [...said].sort((a, b) => Number(b.handle === state.followed) - Number(a.handle === state.followed)).slice(0, LINES_MAX);
  list.replaceChildren(...lines.map((input) => {
    const item = document.createElement("li");
    const who = document.createElement("small");
    who.textContent = `${input.name || input.account || input.session}${input.handle === null ? "" : ` #${input.handle}`} `;
    const args = Object.entries(input.args).map(([name, value]) => `${name} ${typeof value === "number" ? Number(value.toFixed(3)) : value}`);
    item.append(who, `${input.command} ${args.join(", ")}`);
    return item;
  }));
}

// -- the hand ----------------------------------------------------------------------

/** Stops, and shows a tick. @param {number} tick */
function stopAt(tick) {
  if (tick < state.past.tick) unsay();
  state.playing = false;
  state.past.go(tick);
}

function playOrPause() {
  const { past } = state;
  if (!state.playing && past.time >= past.last) stopAt(past.begin);
  state.playing = !state.playing;
}

function wire() {
  slider.addEventListener("input", () => stopAt(Number(slider.value)));
  byId("play").addEventListener("click", playOrPause);
  byId("back").addEventListener("click", () => stopAt(state.past.tick - 1));
  byId("on").addEventListener("click", () => stopAt(state.past.tick + 1));
  byId("speed").addEventListener("change", () => (state.speed = Number(/** @type {HTMLSelectElement} */ (byId("speed")).value)));
  byId("shard").addEventListener("change", latest);
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    rebuild();
  });
  byId("latest").addEventListener("click", async () => {
    if ((await arrive()) && latest()) rebuild();
  });
  byId("map").addEventListener("click", (event) => {
    const { past } = state;
    if (!past.info) return;
    const { x, y, width, height } = past.info.region;
    const scale = Math.min(map.canvas.width / width, map.canvas.height / height);
    state.followed = -1;
    Object.assign(focus, { x: x + event.offsetX / scale, y: y + event.offsetY / scale });
  });
  const screen = byId("screen");
  screen.addEventListener("pointermove", (event) => {
    if (!(event.buttons & 1)) return;
    state.followed = -1;
    focus.x -= event.movementX / scene.camera.zoom;
    focus.y -= event.movementY / scene.camera.zoom;
  });
  screen.addEventListener("wheel", (event) => {
    event.preventDefault();
    // In few steps: every size has its own pictures.
    scene.magnify = Math.min(MAGNIFY_MAX, Math.max(MAGNIFY_MIN, scene.magnify * (event.deltaY < 0 ? 1.25 : 0.8)));
  }, { passive: false });
  addEventListener("keydown", (event) => {
    if (!state.past.info || document.querySelector("dialog[open]") || event.target instanceof HTMLInputElement) return;
    const second = state.past.info.tick_rate_hz;
    const by = event.shiftKey ? second : 1;
    if (event.key === " " && !(event.target instanceof HTMLButtonElement)) playOrPause();
    else if (event.key === "ArrowLeft") stopAt(state.past.tick - by);
    else if (event.key === "ArrowRight") stopAt(state.past.tick + by);
    else if (event.key === "Home") stopAt(state.past.begin);
    else if (event.key === "End") stopAt(state.past.end);
    else return;
    event.preventDefault();
  });
}

async function open() {
  const door = /** @type {HTMLDialogElement} */ (byId("door"));
  const given = /** @type {HTMLInputElement} */ (byId("token"));
  // Behind the #, so that no server's log has it; and not left in the address.
  token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
  if (token) history.replaceState(null, "", location.pathname + location.search);
  while (!token || !(await arrive())) {
    door.showModal();
    given.focus();
    await new Promise((done) => door.addEventListener("close", done, { once: true }));
    token = given.value;
  }
  if (latest()) await rebuild();
}

// For tests and the curious.
/** @type {any} */ (window).everstep = { state, scene, focus };
wire();
requestAnimationFrame(frame);
open();
