/** The picture: ground, bodies, canopies, light. Knows the world only through what `entities()` gives. */

import { FIRE_FOR_EVER, FIRE_WARMTH_UNITS, KINDS, Pose } from "./frontier.js";
import { hash2 } from "./noise.js";
import { Sprites, STRIDES, VARIANTS } from "./sprites.js";
import { canvas, Terrain } from "./terrain.js";

/** @typedef {import("../clients/js/view.js").Entity} Entity */
/** The longer side of the screen shows this many world units; the server sends at least 64 around us. */
const SIGHT_UNITS = 92;
const ZOOM_MIN = 9;
const ZOOM_MAX = 24;
/** Strides per world unit walked. */
const STRIDES_PER_UNIT = { sheep: 0.42, deer: 0.3, wolf: 0.3, bear: 0.24, avatar: 0.3 };
const FLASH_MS = 160;
const ATTACK_MS = 220;
const GHOST_MS = 350;
const PLAIN = { body: true, radius: 1, label: "" };
/** The light canvas is this much coarser than the screen. */
const LIGHT_COARSE = 6;

/** How an entity looked last frame; kept on the entity. */
class Look {
  /** @param {Entity} entity @param {number} nowMs */
  constructor(entity, nowMs) {
    this.variant = Math.floor(hash2(entity.handle, entity.region, 3) * VARIANTS);
    this.at = { x: NaN, y: NaN };
    this.angle = entity.is.Heading?.angle ?? 0;
    this.walked = hash2(entity.handle, 1, 8) * 4;
    this.bornMs = nowMs;
    this.flashMs = -Infinity;
    this.attackMs = -Infinity;
    this.pose = 0;
  }
}

/** @param {Entity & {look?: Look}} entity @param {number} nowMs @returns {Look} */
export function lookOf(entity, nowMs) {
  return (entity.look ??= new Look(entity, nowMs));
}

export class Scene {
  /** @param {HTMLCanvasElement} screen @param {boolean} calm @param {boolean} touch no keys to show */
  constructor(screen, calm, touch) {
    this.screen = screen;
    this.touch = touch;
    this.ctx = /** @type {CanvasRenderingContext2D} */ (screen.getContext("2d", { alpha: false }));
    this.calm = calm;
    this.terrain = new Terrain();
    this.sprites = new Sprites();
    this.light = canvas(1, 1);
    /** @type {{picture: HTMLCanvasElement, x: number, y: number, angle: number, bornMs: number}[]} */
    this.ghosts = [];
    this.drawn = 0;
    /** Device pixels per CSS pixel. */
    this.ratio = 1;
    this.camera = {
      x: 0, y: 0, zoom: 16, width: 1, height: 1, left: 0, top: 0, right: 1, bottom: 1,
      toX: (/** @type {number} */ x) => (x - this.camera.x) * this.camera.zoom + this.camera.width / 2,
      toY: (/** @type {number} */ y) => (y - this.camera.y) * this.camera.zoom + this.camera.height / 2,
    };
  }

  /** The world place under a point of the screen. @param {number} x CSS pixels @param {number} y */
  worldAt(x, y) {
    const { camera } = this;
    return { x: camera.x + (x - camera.width / 2) / camera.zoom, y: camera.y + (y - camera.height / 2) / camera.zoom };
  }

  /** @param {number} x @param {number} y */
  #aim(x, y) {
    const width = this.screen.clientWidth || 1;
    const height = this.screen.clientHeight || 1;
    const ratio = Math.min(2, devicePixelRatio || 1);
    this.ratio = ratio;
    if (this.screen.width !== Math.round(width * ratio) || this.screen.height !== Math.round(height * ratio)) {
      this.screen.width = Math.round(width * ratio);
      this.screen.height = Math.round(height * ratio);
      this.light = canvas(width / LIGHT_COARSE + 1, height / LIGHT_COARSE + 1);
    }
    const zoom = Math.min(ZOOM_MAX, Math.max(ZOOM_MIN, Math.max(width, height) / SIGHT_UNITS));
    Object.assign(this.camera, { x, y, zoom, width, height });
    Object.assign(this.camera, {
      left: x - width / 2 / zoom, right: x + width / 2 / zoom,
      top: y - height / 2 / zoom, bottom: y + height / 2 / zoom,
    });
    this.sprites.resize(zoom * ratio);
    this.ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  /**
   * Draws one frame.
   * @param {object} frame
   * @param {number} frame.nowMs @param {number} frame.elapsedMs
   * @param {{x: number, y: number}} frame.focus where the camera looks
   * @param {Iterable<Entity>} frame.entities
   * @param {(entity: Entity, out: {x: number, y: number}) => void} frame.place
   * @param {Entity | null} frame.me
   * @param {number | null} frame.aim our own heading, where we know better than the server
   * @param {Entity | null} frame.target what E would gather
   * @param {number} frame.dark 0 to 1
   * @param {import("./effects.js").Effects} frame.effects
   * @param {{x: number, y: number, width: number, height: number} | null} frame.region
   */
  draw(frame) {
    const { ctx, camera } = this;
    this.#aim(frame.focus.x, frame.focus.y);
    this.sprites.refill();
    this.terrain.draw(ctx, camera);
    this.#edges(frame.region);
    const seen = this.#collect(frame);
    this.#grounds(seen, frame);
    for (const item of seen) if (item.kind.body || item.entity.kind === "meat") this.#body(item, frame);
    for (const item of seen) if (!item.kind.body && item.entity.kind !== "meat") this.#node(item, frame);
    this.#ghosts(frame.nowMs);
    frame.effects.draw(ctx, camera, frame.nowMs);
    if (frame.dark > 0.01) this.#night(seen, frame);
    this.#labels(seen, frame);
    this.drawn = seen.length;
  }

  /** Leaves a fading picture where an entity was. @param {Entity & {look?: Look}} entity @param {number} nowMs */
  ghost(entity, nowMs) {
    const look = entity.look;
    if (!look || Number.isNaN(look.at.x) || this.ghosts.length > 60) return;
    const kind = KINDS[entity.kind] ?? PLAIN;
    this.ghosts.push({
      picture: this.#picture(entity, look, kind), x: look.at.x, y: look.at.y,
      angle: kind.body ? look.angle : 0, bornMs: nowMs,
    });
  }

  /** @param {any} frame */
  #collect(frame) {
    const { left, right, top, bottom } = this.camera;
    const seen = [];
    for (const entity of frame.entities) {
      const look = lookOf(entity, frame.nowMs);
      const { x: oldX, y: oldY } = look.at;
      frame.place(entity, look.at);
      if (look.at.x < left - 5 || look.at.x > right + 5 || look.at.y < top - 5 || look.at.y > bottom + 5) continue;
      const kind = KINDS[entity.kind] ?? PLAIN;
      if (kind.body) this.#animate(entity, look, oldX, oldY, frame);
      seen.push({ entity, look, kind, x: this.camera.toX(look.at.x), y: this.camera.toY(look.at.y) });
    }
    return seen.sort((a, b) => a.y - b.y);
  }

  /** @param {Entity} entity @param {Look} look @param {number} oldX @param {number} oldY @param {any} frame */
  #animate(entity, look, oldX, oldY, frame) {
    const moved = Math.hypot(look.at.x - oldX, look.at.y - oldY);
    if (moved > 0.001 && moved < 3) look.walked += moved;
    const own = entity === frame.me;
    const wanted = own && frame.aim !== null ? frame.aim : entity.is.Heading?.angle ?? look.angle;
    let turn = (wanted - look.angle) % 6.283185;
    if (turn > 3.141593) turn -= 6.283185;
    if (turn < -3.141593) turn += 6.283185;
    look.angle += turn * (1 - 0.5 ** (frame.elapsedMs / 45));
    const pose = entity.is.State?.pose ?? Pose.IDLE;
    if (pose === Pose.ATTACK && look.pose !== Pose.ATTACK) look.attackMs = frame.nowMs;
    look.pose = pose;
  }

  /** Which of the kind's pictures shows it now. @param {Entity} entity @param {Look} look @param {any} kind */
  #second(entity, look, kind) {
    if (!kind.body) return Math.min(12, entity.is.Stock?.amount ?? 1);
    const perUnit = STRIDES_PER_UNIT[/** @type {keyof typeof STRIDES_PER_UNIT} */ (entity.kind)] ?? 0.3;
    return Math.floor(look.walked * perUnit * STRIDES) % STRIDES;
  }

  /** What it looks like now, unturned. @param {Entity} entity @param {Look} look @param {any} kind @param {string} [as] */
  #picture(entity, look, kind, as = entity.kind) {
    return this.sprites.get(as, look.variant, this.#second(entity, look, kind));
  }

  /** Draws an upright picture; at its own size it lands on whole pixels. @param {HTMLCanvasElement} picture @param {number} x @param {number} y @param {number} size CSS pixels per picture pixel */
  #stamp(picture, x, y, size) {
    const { ctx, ratio } = this;
    const snap = (/** @type {number} */ v) => Math.round(v * ratio) / ratio;
    ctx.drawImage(picture, snap(x - (picture.width * size) / 2), snap(y - (picture.height * size) / 2), picture.width * size, picture.height * size);
  }

  /** Shadows, and the light of fires on the ground. @param {any[]} seen @param {any} frame */
  #grounds(seen, frame) {
    const { ctx, camera } = this;
    const zoom = camera.zoom;
    const shadow = this.sprites.get("shadow", 0, 0);
    for (const { entity, kind, x, y } of seen) {
      if (entity.is.Stock && !entity.is.Stock.amount) continue;
      const tall = (entity.kind === "tree" ? 0.9 : 0.25) * zoom;
      const r = kind.radius * zoom * 1.1;
      ctx.drawImage(shadow, x + tall - r, y + tall * 1.3 - r * 0.9, r * 2, r * 1.8);
    }
    for (const { entity, x, y } of seen) if (entity.kind === "campfire") this.#warmth(x, y, zoom);
    if (frame.me?.look && (frame.me.is.Health?.hp ?? 1) > 0) {
      const { x, y } = frame.me.look.at;
      ctx.lineWidth = Math.max(1.5, zoom * 0.14);
      ctx.strokeStyle = "rgba(255,232,150,.85)";
      ctx.beginPath();
      ctx.ellipse(camera.toX(x), camera.toY(y) + zoom * 0.2, zoom * 1.75, zoom * 1.6, 0, 0, 7);
      ctx.stroke();
    }
    const target = frame.target?.look?.at;
    if (target) {
      ctx.setLineDash([6, 5]);
      ctx.lineWidth = 2;
      ctx.strokeStyle = "rgba(255,255,255,.9)";
      ctx.beginPath();
      ctx.arc(camera.toX(target.x), camera.toY(target.y), (KINDS[frame.target.kind] ?? PLAIN).radius * zoom * 1.12, 0, 7);
      ctx.stroke();
      ctx.setLineDash([]);
    }
  }

  /** @param {number} x @param {number} y @param {number} zoom */
  #warmth(x, y, zoom) {
    const { ctx } = this;
    const reach = FIRE_WARMTH_UNITS * zoom;
    const glow = ctx.createRadialGradient(x, y, 0, x, y, reach);
    glow.addColorStop(0, "rgba(255,190,90,.34)");
    glow.addColorStop(1, "rgba(255,170,70,0)");
    ctx.fillStyle = glow;
    ctx.fillRect(x - reach, y - reach, reach * 2, reach * 2);
  }

  /** @param {any} item @param {any} frame */
  #body({ entity, look, kind, x, y }, frame) {
    const { ctx, camera, sprites } = this;
    const dead = look.pose === Pose.DEAD || entity.is.Health?.hp === 0;
    let dx = 0;
    let dy = 0;
    const attack = (frame.nowMs - look.attackMs) / ATTACK_MS;
    if (attack < 1 && kind.body) {
      const lunge = Math.sin(attack * Math.PI) * 0.7 * camera.zoom;
      dx = Math.cos(look.angle) * lunge;
      dy = Math.sin(look.angle) * lunge;
    }
    if (look.pose === Pose.EAT && !this.calm) dx += Math.sin(frame.nowMs / 120 + entity.handle) * 0.1 * camera.zoom;
    ctx.globalAlpha = Math.min(1, (frame.nowMs - look.bornMs) / 200) * (dead ? 0.6 : 1);
    const size = camera.zoom / sprites.scale;
    const flash = frame.nowMs - look.flashMs < FLASH_MS;
    if (flash) ctx.filter = "brightness(1.9) saturate(.4)";
    else if (dead) ctx.filter = "grayscale(.8) brightness(.75)";
    const angle = kind.body ? look.angle : 0.6;
    const fighting = attack < 1 && entity.kind === "avatar" && !dead;
    const turned = entity === frame.me || fighting ? null : sprites.turned(entity.kind, look.variant, this.#second(entity, look, kind), angle);
    if (turned) this.#stamp(turned, x + dx, y + dy, size);
    else sprites.put(ctx, this.#picture(entity, look, kind, fighting ? "bare" : entity.kind), x + dx, y + dy, angle, size);
    if (fighting) {
      const hand = angle + 0.95;
      sprites.put(
        ctx, sprites.get("blade", 0, 0), x + dx + Math.cos(hand) * camera.zoom * 1.05,
        y + dy + Math.sin(hand) * camera.zoom * 1.05, angle - 1.55 + attack * 2.2, size * 0.72,
      );
    }
    if (flash || dead) ctx.filter = "none";
    ctx.globalAlpha = 1;
  }

  /** @param {any} item @param {any} frame */
  #node({ entity, look, x, y }, frame) {
    const { ctx, camera, sprites } = this;
    const tree = entity.kind === "tree" && entity.is.Stock?.amount;
    const me = frame.me?.look?.at;
    const under = tree && me && Math.hypot(me.x - look.at.x, me.y - look.at.y) < 3.6;
    ctx.globalAlpha = Math.min(1, (frame.nowMs - look.bornMs) / 200) * (under ? 0.55 : 1);
    const shake = frame.nowMs - look.flashMs < FLASH_MS && !this.calm ? Math.sin(frame.nowMs / 14) * 0.14 * camera.zoom : 0;
    this.#stamp(this.#picture(entity, look, KINDS[entity.kind] ?? PLAIN), x + shake, y, camera.zoom / sprites.scale);
    if (entity.kind === "campfire") this.#flame(entity, x, y, frame.nowMs);
    ctx.globalAlpha = 1;
  }

  /** @param {Entity} entity @param {number} x @param {number} y @param {number} nowMs */
  #flame(entity, x, y, nowMs) {
    const { ctx, camera } = this;
    const fuel = entity.is.Stock?.amount ?? 100;
    const size = camera.zoom * (0.55 + Math.min(1, fuel / 100) * 0.55);
    const t = this.calm ? 0 : nowMs / 130 + entity.handle;
    for (const [colour, scale, speed] of /** @type {[string, number, number][]} */ ([["#e8541e", 1, 1], ["#ff9a2b", 0.72, 1.4], ["#ffe27a", 0.42, 1.9]])) {
      const lean = Math.sin(t * speed) * 0.22 * size;
      const tall = size * scale * (1.9 + Math.sin(t * speed * 1.3) * 0.22);
      ctx.fillStyle = colour;
      ctx.beginPath();
      ctx.moveTo(x - size * scale * 0.72, y);
      ctx.quadraticCurveTo(x - size * scale * 0.8, y - tall * 0.5, x + lean, y - tall);
      ctx.quadraticCurveTo(x + size * scale * 0.8, y - tall * 0.5, x + size * scale * 0.72, y);
      ctx.quadraticCurveTo(x, y + size * scale * 0.55, x - size * scale * 0.72, y);
      ctx.fill();
    }
  }

  /** @param {number} nowMs */
  #ghosts(nowMs) {
    const { ctx, camera, sprites } = this;
    this.ghosts = this.ghosts.filter((g) => nowMs - g.bornMs < GHOST_MS);
    for (const g of this.ghosts) {
      ctx.globalAlpha = 1 - (nowMs - g.bornMs) / GHOST_MS;
      sprites.put(ctx, g.picture, camera.toX(g.x), camera.toY(g.y), g.angle, camera.zoom / sprites.scale);
    }
    ctx.globalAlpha = 1;
  }

  /** Beyond the region's edge there is mist. @param {any} region */
  #edges(region) {
    if (!region) return;
    const { ctx, camera } = this;
    const x1 = camera.toX(region.x);
    const y1 = camera.toY(region.y);
    const x2 = camera.toX(region.x + region.width);
    const y2 = camera.toY(region.y + region.height);
    ctx.fillStyle = "rgba(24,32,40,.78)";
    ctx.beginPath();
    ctx.rect(0, 0, camera.width, camera.height);
    ctx.rect(x1, y1, x2 - x1, y2 - y1);
    ctx.fill("evenodd");
    ctx.strokeStyle = "rgba(235,240,230,.5)";
    ctx.lineWidth = 3;
    ctx.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }

  /** @param {any[]} seen @param {any} frame */
  #night(seen, frame) {
    const light = /** @type {CanvasRenderingContext2D} */ (this.light.getContext("2d"));
    const { width, height } = this.light;
    light.globalCompositeOperation = "source-over";
    light.clearRect(0, 0, width, height);
    light.fillStyle = `rgba(9,14,42,${0.66 * frame.dark})`;
    light.fillRect(0, 0, width, height);
    light.globalCompositeOperation = "destination-out";
    const hole = (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ units, /** @type {number} */ strength) => {
      const r = (units * this.camera.zoom) / LIGHT_COARSE;
      const glow = light.createRadialGradient(x / LIGHT_COARSE, y / LIGHT_COARSE, 0, x / LIGHT_COARSE, y / LIGHT_COARSE, r);
      glow.addColorStop(0, `rgba(0,0,0,${strength})`);
      glow.addColorStop(0.5, `rgba(0,0,0,${strength * 0.55})`);
      glow.addColorStop(1, "rgba(0,0,0,0)");
      light.fillStyle = glow;
      light.fillRect(x / LIGHT_COARSE - r, y / LIGHT_COARSE - r, r * 2, r * 2);
    };
    for (const { entity, x, y } of seen) {
      const flicker = this.calm ? 1 : 1 + Math.sin(frame.nowMs / 170 + entity.handle) * 0.03;
      if (entity.kind === "campfire") hole(x, y, 22 * flicker, 0.95);
      else if (entity === frame.me) hole(x, y, 13, 0.6);
    }
    this.ctx.drawImage(this.light, 0, 0, width * LIGHT_COARSE, height * LIGHT_COARSE);
  }

  /** Names, health and speech, over the night. @param {any[]} seen @param {any} frame */
  #labels(seen, frame) {
    const { ctx, camera } = this;
    const zoom = camera.zoom;
    ctx.textAlign = "center";
    ctx.textBaseline = "alphabetic";
    for (const { entity, kind, x, y } of seen) {
      const hp = entity.is.Health?.hp;
      const top = y - kind.radius * zoom - 12;
      if (hp > 0 && hp < 100) {
        const wide = Math.max(28, kind.radius * zoom * 1.7);
        ctx.fillStyle = "rgba(16,14,12,.8)";
        ctx.fillRect(x - wide / 2 - 1, top - 1, wide + 2, 7);
        ctx.fillStyle = hp > 55 ? "#7ad15a" : hp > 25 ? "#f0b93a" : "#ee5a48";
        ctx.fillRect(x - wide / 2, top, (wide * hp) / 100, 5);
      }
      const name = entity.is.Name?.text;
      if (name) {
        const picture = this.sprites.name(name, entity === frame.me ? "#ffe896" : "#ffffff", this.ratio);
        const wide = picture.width / this.ratio;
        ctx.drawImage(picture, Math.round(x - wide / 2), Math.round(top - 21), wide, picture.height / this.ratio);
      }
      if (entity.kind === "campfire" && entity.is.Stock?.amount < FIRE_FOR_EVER) {
        const wide = 34;
        ctx.fillStyle = "rgba(16,14,12,.7)";
        ctx.fillRect(x - wide / 2 - 1, y + zoom * 1.6, wide + 2, 6);
        ctx.fillStyle = "#ff9a2b";
        ctx.fillRect(x - wide / 2, y + zoom * 1.6 + 1, (wide * Math.min(100, entity.is.Stock.amount)) / 100, 4);
      }
      const said = frame.effects.speech.get(entity.key);
      if (said) this.#bubble(said.text, x, top - (name ? 24 : 8));
    }
    const target = frame.target?.look?.at;
    if (target && !this.touch) this.#key("E", camera.toX(target.x), camera.toY(target.y));
  }

  /** @param {string} text @param {number} x @param {number} y */
  #key(text, x, y) {
    const { ctx } = this;
    ctx.fillStyle = "rgba(18,20,24,.86)";
    ctx.beginPath();
    ctx.roundRect(x - 13, y - 13, 26, 26, 6);
    ctx.fill();
    ctx.strokeStyle = "rgba(255,255,255,.85)";
    ctx.lineWidth = 1.5;
    ctx.stroke();
    ctx.font = "700 15px system-ui, sans-serif";
    ctx.fillStyle = "#fff";
    ctx.fillText(text, x, y + 5.5);
  }

  /** @param {string} text @param {number} x @param {number} y */
  #bubble(text, x, y) {
    const { ctx } = this;
    ctx.font = "500 14px system-ui, sans-serif";
    const lines = wrap(ctx, text, 220);
    const wide = Math.max(...lines.map((l) => ctx.measureText(l).width)) + 18;
    const tall = lines.length * 18 + 10;
    ctx.fillStyle = "rgba(255,252,244,.95)";
    ctx.beginPath();
    ctx.roundRect(x - wide / 2, y - tall, wide, tall, 8);
    ctx.moveTo(x - 6, y);
    ctx.lineTo(x, y + 7);
    ctx.lineTo(x + 6, y);
    ctx.fill();
    ctx.fillStyle = "#1d1a16";
    lines.forEach((line, k) => ctx.fillText(line, x, y - tall + 19 + k * 18));
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {string} text @param {number} width */
function wrap(ctx, text, width) {
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    const last = lines[lines.length - 1];
    const longer = last ? `${last} ${word}` : word;
    if (!last || ctx.measureText(longer).width <= width) lines[lines.length - 1] = longer;
    else if (lines.length < 4) lines.push(word);
    else {
      lines[lines.length - 1] = `${last} …`;
      break;
    }
  }
  return lines;
}
