/** The page: puts the parts together and runs the frame loop. */

import { Client } from "../clients/js/everstep.js";
import { Effects } from "./effects.js";
import { daytime, FULL_HEALTH, GAME, nextGoal } from "./frontier.js";
import { byId, Hud } from "./hud.js";
import { Input } from "./input.js";
import { Scene } from "./scene.js";
import { canTalk, World } from "./world.js";

const NAMES = ["Wren", "Rowan", "Ash", "Linnea", "Bram", "Juniper", "Sorrel", "Alder", "Hazel", "Finch", "Maren", "Tamsin"];
/** Figures are rewritten this often, in ms. */
const FIGURES_EVERY_MS = 500;
const RADAR_EVERY_MS = 150;
/** In an empty meadow the camera drifts, in units per ms. */
const DRIFT = 0.0022;

const query = new URLSearchParams(location.search);
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const touch = matchMedia("(pointer: coarse)").matches;
const scene = new Scene(byId("screen"), calm, touch);
const effects = new Effects(calm);
const hud = new Hud();
/** @type {Client | null} */
let client = null;
/** @type {World | null} */
let world = null;

/** Storage may be forbidden; the page plays without. @param {() => Storage} which */
function storage(which) {
  try {
    which().getItem("everstep");
    return which();
  } catch {
    return null;
  }
}
const kept = storage(() => localStorage);

/** Where the server is: this page's own host, unless ?server=ws://… says otherwise. */
function address() {
  const given = query.get("server");
  if (given) return given;
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
}

const input = new Input(byId("screen"), byId("stick"), byId("pad"), {
  strike: () => world?.strike(),
  shoot: () => world?.shoot(input.mouse.known ? scene.worldAt(input.mouse.x, input.mouse.y) : null),
  harvest: () => world?.harvest(),
  build: () => world?.build(),
  respawn: () => world?.respawn(),
  chat: openChat,
  help: openHelp,
});

function openChat() {
  input.release();
  byId("chat").classList.add("open");
  byId("words").focus();
}

function openHelp() {
  input.release();
  /** @type {HTMLDialogElement} */ (byId("help")).showModal();
}

/** @param {string} name */
function play(name) {
  kept?.setItem("everstep:name", name);
  hud.show(name);
  client = new Client({ url: address(), name, ports: { storage: storage(() => sessionStorage) } });
  world = new World(client, effects, scene, hud);
  client.on("state", (state, why) => hud.connection(state, why));
  client.on("welcome", (info) => {
    hud.show(info.name || name);
    dress(info.schema);
    const { game } = info.schema;
    const hint = game === GAME ? `the frontier. ${touch ? "Tap Help" : "Press H"} if you are lost.` : `${game}.`;
    hud.line(null, info.resumed ? "You are back." : `Welcome to ${hint}`);
  });
  client.on("refused", ({ text }) => console.info(`refused: ${text}`));
  client.on("fault", (error) => console.error(error));
  Object.assign(/** @type {any} */ (window).everstep, { client, world });
  client.connect();
}

/** A game that this page was not made for shows under its own name, without what only the frontier has. @param {any} schema as in WELCOME */
function dress(schema) {
  document.body.classList.toggle("mute", !canTalk(schema));
  if (!document.body.classList.toggle("stranger", schema.game !== GAME)) return;
  document.title = `${schema.game} · Everstep`;
  byId("start-title").textContent = schema.game;
}

/** Asks the page's own server what it plays; of another one we hear when it welcomes us. */
async function ask() {
  if (query.has("server")) return;
  try {
    dress(await (await fetch("/schema.json")).json());
  } catch (error) {
    console.info(`no word of the game before joining: ${error}`);
  }
}

function begin() {
  const start = /** @type {HTMLDialogElement} */ (byId("start"));
  const name = /** @type {HTMLInputElement} */ (byId("name"));
  name.value = query.get("name") ?? kept?.getItem("everstep:name") ?? NAMES[Math.floor(Math.random() * NAMES.length)];
  start.addEventListener("close", () => play(name.value.trim() || NAMES[0]), { once: true });
  if (query.has("play")) {
    play(name.value);
    return;
  }
  start.showModal();
  name.focus();
  name.select();
}

function wire() {
  const words = /** @type {HTMLInputElement} */ (byId("words"));
  const chat = byId("chat");
  byId("say").addEventListener("submit", (event) => {
    event.preventDefault();
    world?.say(words.value);
    words.value = "";
    words.blur();
  });
  words.addEventListener("keydown", (event) => {
    if (event.key === "Escape") words.blur();
  });
  words.addEventListener("focus", () => chat.classList.add("open"));
  words.addEventListener("blur", () => chat.classList.remove("open"));
  byId("rise").addEventListener("click", () => world?.respawn());
  byId("retry").addEventListener("click", () => (client?.state === "closed" ? client.connect() : client?.connection.retry()));
  for (const button of document.querySelectorAll("#keys button")) button.addEventListener("click", openHelp);
  addEventListener("online", () => client?.connection.retry());
}

const stats = { fps: 0, frameMs: 0, lastMs: 0, drawn: 0, bytesPerS: 0, players: 0 };
let lastMs = performance.now();
let figuresMs = 0;
let radarMs = 0;
let figuresBytes = 0;
const focus = { x: 512, y: 512 };
const noRegion = { x: 0, y: 0 };
/** Only where the page is measured. @type {import("./crowd.js").Crowd | null} */
let crowd = null;
if (query.has("bodies")) {
  import("./crowd.js").then(({ Crowd }) => {
    crowd = new Crowd(Number(query.get("bodies")), query.get("crowd"), query.has("night"));
  });
}

/** @param {number} nowMs */
function figures(nowMs) {
  if (!client || nowMs - figuresMs < FIGURES_EVERY_MS) return;
  const now = client.stats();
  stats.bytesPerS = ((now.bytesIn - figuresBytes) / (nowMs - figuresMs)) * 1000;
  figuresBytes = now.bytesIn;
  figuresMs = nowMs;
  stats.players = 0;
  for (const { is } of client.entities()) if (is.Name) stats.players++;
  hud.figures({ ...now, fps: stats.fps, bytesPerS: stats.bytesPerS, players: stats.players });
}

/** What the panels say about us. @param {number} nowMs @param {{hour: number, night: boolean}} day */
function panels(nowMs, day) {
  if (!client || !world) return;
  figures(nowMs);
  const me = world.me;
  if (!me) return;
  if (world.known) ours(me, day);
  else if (figuresMs === nowMs) hud.own(world.own, kindsInView());
  if (nowMs - radarMs < RADAR_EVERY_MS) return;
  radarMs = nowMs;
  hud.drawRadar(focus, client.entities(), me);
}

/** How many of each kind are in view. */
function kindsInView() {
  /** @type {Map<string, number>} */
  const kinds = new Map();
  for (const { kind } of client?.entities() ?? []) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  return kinds;
}

/** What the frontier's panels say. @param {import("../clients/js/view.js").Entity} me @param {{hour: number, night: boolean}} day */
function ours(me, day) {
  if (!world) return;
  hud.health(me.is.Health?.hp ?? FULL_HEALTH, me.is.Score?.points ?? null);
  hud.death(world.alive ? null : world.killer ? `Killed by ${world.killer}. You keep your bag.` : "You will rise at the nearest hamlet.");
  hud.time(day.hour, day.night);
  hud.goal(nextGoal({ ...world.bag, ...world.done, points: me.is.Score?.points ?? 0 }, day.night, !touch));
}

/** @param {number} nowMs */
function frame(nowMs) {
  requestAnimationFrame(frame);
  const elapsedMs = Math.min(250, Math.max(0, nowMs - lastMs));
  lastMs = nowMs;
  if (elapsedMs > 0) stats.fps += (1000 / elapsedMs - stats.fps) * 0.05;
  const begun = performance.now();
  let day = { hour: 0, dark: 0, night: false };
  if (client && world) {
    const typing = document.activeElement === byId("words") || document.querySelector("dialog[open]") !== null;
    if (!typing) input.repeat();
    world.walk(input.intent, nowMs);
    client.frame(begun);
    if (client.clock && world.known) day = daytime(client.worldTick || 0, client.info.tick_rate_hz);
  }
  const me = world?.me ?? null;
  if (me && client) client.place(me, focus);
  else if (!client && !calm) focus.x += elapsedMs * DRIFT;
  crowd?.step(begun, focus);
  scene.draw({
    nowMs: begun, elapsedMs, focus, me, effects, dark: crowd?.dark ?? day.dark,
    entities: crowd ? crowd.among(client?.entities() ?? []) : client?.entities() ?? [],
    place: (entity, out) => {
      if (entity.region === -1 && crowd) crowd.place(entity, out);
      else if (!client?.place(entity, out)) Object.assign(out, noRegion);
    },
    aim: world?.aim(begun) ?? null,
    target: world?.target ?? null,
    region: world?.limits ?? null,
  });
  panels(begun, day);
  stats.drawn = scene.drawn;
  stats.lastMs = performance.now() - begun;
  stats.frameMs += (stats.lastMs - stats.frameMs) * 0.05;
}

// For tests and the curious.
/** @type {any} */ (window).everstep = { client, world, stats, scene, focus };
wire();
ask().then(begin);
requestAnimationFrame(frame);
