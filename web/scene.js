/**
 * The picture: ground, bodies, canopies, light. Knows the world only through what `entities()` gives.
 *
 * Most of it is whole pictures stamped on whole device pixels, without any transform: see sprites.js for why.
 * A pass that draws in CSS pixels says so.
 */

import { FIRE_FUEL, FIRE_WARMTH_UNITS, KINDS, PLAIN, Pose } from "./frontier.js";
import { Labels } from "./labels.js";
import { Night } from "./night.js";
import { hash2 } from "./noise.js";
import { SWINGS, VARIANTS } from "./painters.js";
import { picture } from "./picture.js";
import { Sprites, Tone } from "./sprites.js";
import { Terrain } from "./terrain.js";

/** @typedef {import("../clients/js/view.js").Entity} Entity */
/** @typedef {import("./picture.js").Picture} Picture */
/** The longer side of the screen shows this many world units; the server sends at least 64 around us. */
const SIGHT_UNITS = 92;
const ZOOM_MIN = 9;
const ZOOM_MAX = 24;
/** Steps of the scale in pixels per unit: so that a tile of ground, and half of one, is whole pixels wide. */
const SCALE_STEP = 1 / 8;
/** Who is so near the picture's edge is drawn: the largest sprite reaches so far. */
const MARGIN_UNITS = 5;
/** Strides per world unit walked. */
const STRIDES_PER_UNIT = { sheep: 0.42, deer: 0.3, wolf: 0.3, bear: 0.24, avatar: 0.3 };
/** The index into SWINGS over the six phases of a stride: a sine. */
const PHASES = [0, 1, 1, 0, 2, 2];
const BUSH_BERRIES_MAX = 6;
const FLASH_MS = 160;
const ATTACK_MS = 220;
const BORN_MS = 200;
const GHOST_MS = 350;
const GHOSTS_MAX = 60;
/** A tree is seen through when we are so near to its stem. */
const UNDER_UNITS = 3.6;
/** @type {[string, number, number][]} colour, size, speed */
const FLAMES = [["#e8541e", 1, 1], ["#ff9a2b", 0.72, 1.4], ["#ffe27a", 0.42, 1.9]];

/** How an entity looks, and looked last frame; kept on the entity, and all that a frame needs of it. */
class Look {
  /** @param {Entity} entity @param {number} nowMs */
  constructor(entity, nowMs) {
    this.entity = entity;
    this.kind = KINDS[entity.kind] ?? PLAIN;
    this.variant = Math.floor(hash2(entity.handle, entity.region, 3) * VARIANTS);
    /** Of `Sprites.look`; -1 until drawn. */
    this.sprite = -1;
    this.at = { x: NaN, y: NaN };
    /** On the screen, device pixels. */
    this.x = 0;
    this.y = 0;
    this.angle = entity.is.Heading?.angle ?? 0;
    this.walked = hash2(entity.handle, 1, 8) * 4;
    this.bornMs = nowMs;
    this.flashMs = -Infinity;
    this.attackMs = -Infinity;
    this.pose = 0;
    /** The name as last drawn. @type {Picture | null} */
    this.name = null;
    this.nameKey = "";
    this.nameColour = "";
    this.nameRatio = 0;
  }
}

/** @typedef {Look} EntityLook */

/** @param {Entity & {look?: Look}} entity @param {number} nowMs @returns {Look} */
export function lookOf(entity, nowMs) {
  return (entity.look ??= new Look(entity, nowMs));
}

/**
 * What a frame shows.
 * @typedef {object} Frame
 * @property {number} nowMs
 * @property {number} elapsedMs
 * @property {{x: number, y: number}} focus where the camera looks
 * @property {Iterable<Entity>} entities
 * @property {(entity: Entity, out: {x: number, y: number}) => void} place
 * @property {(Entity & {look?: Look}) | null} me
 * @property {number | null} aim our own heading, where we know better than the server
 * @property {(Entity & {look?: Look}) | null} target what E would gather
 * @property {number} dark 0 to 1
 * @property {import("./effects.js").Effects} effects
 * @property {{x: number, y: number, width: number, height: number} | null} region
 */

/** Where the picture looks. `zoom`, `width`, `toX` and `toY` are in CSS pixels, `scale` and the origin in device pixels. */
class Camera {
  x = 0;
  y = 0;
  zoom = 16;
  scale = 16;
  width = 1;
  height = 1;
  /** The device pixel of the world's (0, 0) is minus this: whole numbers. */
  originX = 0;
  originY = 0;
  left = 0;
  top = 0;
  right = 1;
  bottom = 1;

  /** @param {number} x world units */
  toX(x) {
    return (x - this.x) * this.zoom + this.width / 2;
  }

  /** @param {number} y world units */
  toY(y) {
    return (y - this.y) * this.zoom + this.height / 2;
  }
}

export class Scene {
  /** @param {HTMLCanvasElement} screen @param {boolean} calm @param {boolean} touch no keys to show */
  constructor(screen, calm, touch) {
    this.screen = screen;
    this.ctx = /** @type {CanvasRenderingContext2D} */ (screen.getContext("2d", { alpha: false }));
    this.calm = calm;
    this.terrain = new Terrain();
    this.sprites = new Sprites();
    this.night = new Night(calm);
    this.labels = new Labels(this.sprites, touch);
    /** @type {{picture: Picture, x: number, y: number, angle: number, bornMs: number}[]} */
    this.ghosts = [];
    /** Those in sight, from the top of the screen to the bottom. @type {Look[]} */
    this.seen = [];
    this.glow = { scale: 0, picture: /** @type {Picture | null} */ (null) };
    this.drawn = 0;
    /** Device pixels per CSS pixel. */
    this.ratio = 1;
    /** How much larger than a player sees it all is drawn. */
    this.magnify = 1;
    this.camera = new Camera();
  }

  /** The world place under a point of the screen. @param {number} x CSS pixels @param {number} y */
  worldAt(x, y) {
    const { camera } = this;
    return { x: camera.x + (x - camera.width / 2) / camera.zoom, y: camera.y + (y - camera.height / 2) / camera.zoom };
  }

  /** @param {number} x @param {number} y */
  #aim(x, y) {
    const { screen, camera } = this;
    const ratio = Math.min(2, devicePixelRatio || 1);
    const wide = Math.round((screen.clientWidth || 1) * ratio);
    const high = Math.round((screen.clientHeight || 1) * ratio);
    this.ratio = ratio;
    if (screen.width !== wide || screen.height !== high) {
      screen.width = wide;
      screen.height = high;
    }
    camera.width = wide / ratio;
    camera.height = high / ratio;
    const zoom = Math.min(ZOOM_MAX, Math.max(ZOOM_MIN, Math.max(camera.width, camera.height) / SIGHT_UNITS)) * this.magnify;
    const scale = Math.round((zoom * ratio) / SCALE_STEP) * SCALE_STEP;
    camera.scale = scale;
    camera.zoom = scale / ratio;
    // On whole pixels, so that the ground is copied and not computed.
    camera.originX = Math.round(x * scale - wide / 2);
    camera.originY = Math.round(y * scale - high / 2);
    camera.x = (camera.originX + wide / 2) / scale;
    camera.y = (camera.originY + high / 2) / scale;
    camera.left = camera.originX / scale;
    camera.top = camera.originY / scale;
    camera.right = camera.left + wide / scale;
    camera.bottom = camera.top + high / scale;
    this.sprites.resize(scale);
  }

  #devicePixels() {
    this.ctx.setTransform(1, 0, 0, 1, 0, 0);
  }

  #cssPixels() {
    this.ctx.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
  }

  /** Draws one frame. @param {Frame} frame */
  draw(frame) {
    const { ctx, camera } = this;
    this.#aim(frame.focus.x, frame.focus.y);
    this.#devicePixels();
    this.terrain.draw(ctx, camera);
    this.#edges(frame.region);
    this.#collect(frame);
    this.#grounds(frame);
    this.sprites.begin();
    for (const look of this.seen) if (isLow(look)) this.#body(look, frame);
    for (const look of this.seen) if (!isLow(look)) this.#node(look, frame);
    this.#ghosts(frame.nowMs);
    this.#cssPixels();
    frame.effects.draw(ctx, camera, frame.nowMs);
    this.#devicePixels();
    if (frame.dark > 0.01) this.night.draw(ctx, camera, this.seen, frame);
    this.labels.draw(ctx, camera, this.ratio, this.seen, frame);
    this.drawn = this.seen.length;
  }

  /** Leaves a fading picture where an entity was. @param {Entity & {look?: Look}} entity @param {number} nowMs */
  ghost(entity, nowMs) {
    const look = entity.look;
    if (!look || look.sprite < 0 || this.ghosts.length > GHOSTS_MAX) return;
    this.ghosts.push({
      picture: this.sprites.get(look.sprite, this.#second(look)), x: look.at.x, y: look.at.y,
      angle: look.kind.body ? look.angle : 0, bornMs: nowMs,
    });
  }

  /** @param {Frame} frame */
  #collect(frame) {
    const { seen, camera } = this;
    const left = camera.left - MARGIN_UNITS;
    const right = camera.right + MARGIN_UNITS;
    const top = camera.top - MARGIN_UNITS;
    const bottom = camera.bottom + MARGIN_UNITS;
    seen.length = 0;
    for (const entity of frame.entities) {
      const look = lookOf(entity, frame.nowMs);
      const { at } = look;
      const oldX = at.x;
      const oldY = at.y;
      frame.place(entity, at);
      if (at.x < left || at.x > right || at.y < top || at.y > bottom) continue;
      if (look.sprite < 0) look.sprite = this.sprites.look(entity.kind, look.variant);
      if (look.kind.body) this.#animate(look, at.x - oldX, at.y - oldY, frame);
      look.x = at.x * camera.scale - camera.originX;
      look.y = at.y * camera.scale - camera.originY;
      seen.push(look);
    }
    seen.sort(fromTheTop);
  }

  /** @param {Look} look @param {number} dx @param {number} dy @param {Frame} frame */
  #animate(look, dx, dy, frame) {
    const { is } = look.entity;
    const moved = Math.sqrt(dx * dx + dy * dy);
    if (moved > 0.001 && moved < 3) look.walked += moved;
    const own = look.entity === frame.me;
    const wanted = own && frame.aim !== null ? frame.aim : is.Heading?.angle ?? look.angle;
    let turn = (wanted - look.angle) % 6.283185;
    if (turn > 3.141593) turn -= 6.283185;
    if (turn < -3.141593) turn += 6.283185;
    look.angle += turn * (1 - 0.5 ** (frame.elapsedMs / 45));
    const pose = is.State?.pose ?? Pose.IDLE;
    if (pose === Pose.ATTACK && look.pose !== Pose.ATTACK) look.attackMs = frame.nowMs;
    look.pose = pose;
  }

  /** Which of the look's pictures shows it now. @param {Look} look */
  #second(look) {
    const { kind } = look.entity;
    if (look.kind.body) {
      const perUnit = STRIDES_PER_UNIT[/** @type {keyof typeof STRIDES_PER_UNIT} */ (kind)] ?? 0;
      return PHASES[Math.floor(look.walked * perUnit * PHASES.length) % PHASES.length] % SWINGS.length;
    }
    const amount = look.entity.is.Stock?.amount ?? 1;
    return kind === "bush" ? Math.min(BUSH_BERRIES_MAX, amount) : Math.min(1, amount);
  }

  /** An upright picture, on whole pixels. @param {Picture} stamp @param {number} x its middle, device pixels @param {number} y */
  #stamp(stamp, x, y) {
    this.ctx.drawImage(stamp, Math.round(x - stamp.width / 2), Math.round(y - stamp.height / 2));
  }

  /** A picture turned to the very angle: dear. @param {Picture} stamp @param {number} x @param {number} y @param {number} turn @param {number} [size] */
  #put(stamp, x, y, turn, size = 1) {
    const c = Math.cos(turn) * size;
    const s = Math.sin(turn) * size;
    this.ctx.setTransform(c, s, -s, c, x, y);
    this.ctx.drawImage(stamp, -stamp.width / 2, -stamp.height / 2);
    this.#devicePixels();
  }

  /** Shadows, and the light of fires on the ground. @param {Frame} frame */
  #grounds(frame) {
    const { ctx, camera, sprites } = this;
    const px = camera.scale;
    for (const { entity, kind, x, y } of this.seen) {
      if (entity.is.Stock && !entity.is.Stock.amount) continue;
      const tall = (entity.kind === "tree" ? 0.9 : 0.25) * px;
      this.#stamp(sprites.shadow(kind.radius), x + tall, y + tall * 1.3);
    }
    for (const { entity, x, y } of this.seen) if (entity.kind === "campfire") this.#stamp(this.#warmth(), x, y);
    const own = frame.me?.look;
    if (frame.me && own && (frame.me.is.Health?.hp ?? 1) > 0) {
      ctx.lineWidth = Math.max(1.5 * this.ratio, px * 0.14);
      ctx.strokeStyle = "rgba(255,232,150,.85)";
      ctx.beginPath();
      ctx.ellipse(own.x, own.y + px * 0.2, px * 1.75, px * 1.6, 0, 0, 7);
      ctx.stroke();
    }
    const target = frame.target?.look;
    if (!target) return;
    ctx.setLineDash([6 * this.ratio, 5 * this.ratio]);
    ctx.lineWidth = 2 * this.ratio;
    ctx.strokeStyle = "rgba(255,255,255,.9)";
    ctx.beginPath();
    ctx.arc(target.x, target.y, target.kind.radius * px * 1.12, 0, 7);
    ctx.stroke();
    ctx.setLineDash([]);
  }

  /** The glow of a fire on the ground. */
  #warmth() {
    const { scale } = this.camera;
    if (!this.glow.picture || this.glow.scale !== scale) {
      const reach = Math.ceil(FIRE_WARMTH_UNITS * scale);
      this.glow.scale = scale;
      this.glow.picture = picture(reach * 2, reach * 2, (ctx) => {
        const glow = ctx.createRadialGradient(reach, reach, 0, reach, reach, reach);
        glow.addColorStop(0, "rgba(255,190,90,.34)");
        glow.addColorStop(1, "rgba(255,170,70,0)");
        ctx.fillStyle = glow;
        ctx.fillRect(0, 0, reach * 2, reach * 2);
      });
    }
    return this.glow.picture;
  }

  /** @param {Look} look @param {Frame} frame */
  #body(look, frame) {
    const { ctx, camera, sprites } = this;
    const { entity } = look;
    const px = camera.scale;
    let { x, y } = look;
    const dead = look.pose === Pose.DEAD || entity.is.Health?.hp === 0;
    const attack = (frame.nowMs - look.attackMs) / ATTACK_MS;
    const angle = look.kind.body ? look.angle : 0.6;
    if (attack < 1) {
      const lunge = Math.sin(attack * Math.PI) * 0.7 * px;
      x += Math.cos(angle) * lunge;
      y += Math.sin(angle) * lunge;
    }
    if (look.pose === Pose.EAT && !this.calm) x += Math.sin(frame.nowMs / 120 + entity.handle) * 0.1 * px;
    const alpha = Math.min(1, (frame.nowMs - look.bornMs) / BORN_MS) * (dead ? 0.6 : 1);
    if (alpha < 1) ctx.globalAlpha = alpha;
    const struck = frame.nowMs - look.flashMs < FLASH_MS;
    const tone = struck ? Tone.STRUCK : dead ? Tone.DEAD : Tone.PLAIN;
    const second = this.#second(look);
    if (attack < 1 && entity.kind === "avatar" && !dead) this.#fighter(look, second, x, y, attack);
    else {
      // Our own turns as smoothly as the screen; 32 headings do for the rest.
      const turned = entity === frame.me && tone === Tone.PLAIN ? null : sprites.turned(look.sprite, second, angle, tone);
      if (turned) this.#stamp(turned, x, y);
      else this.#put(sprites.get(look.sprite, second), x, y, angle);
    }
    if (alpha < 1) ctx.globalAlpha = 1;
  }

  /** One who strikes: the blade swings apart from the body. @param {Look} look @param {number} second @param {number} x @param {number} y @param {number} attack 0 to 1 */
  #fighter(look, second, x, y, attack) {
    const { sprites } = this;
    const px = this.camera.scale;
    const hand = look.angle + 0.95;
    this.#put(sprites.get(sprites.look("bare", look.variant), second), x, y, look.angle);
    this.#put(
      sprites.get(sprites.look("blade", 0), 0), x + Math.cos(hand) * px * 1.05, y + Math.sin(hand) * px * 1.05,
      look.angle - 1.55 + attack * 2.2, 0.72,
    );
  }

  /** @param {Look} look @param {Frame} frame */
  #node(look, frame) {
    const { ctx, camera, sprites } = this;
    const { entity, at } = look;
    const me = frame.me?.look?.at;
    const under = me && entity.kind === "tree" && entity.is.Stock?.amount && Math.hypot(me.x - at.x, me.y - at.y) < UNDER_UNITS;
    const alpha = Math.min(1, (frame.nowMs - look.bornMs) / BORN_MS) * (under ? 0.55 : 1);
    if (alpha < 1) ctx.globalAlpha = alpha;
    const shake = frame.nowMs - look.flashMs < FLASH_MS && !this.calm ? Math.sin(frame.nowMs / 14) * 0.14 * camera.scale : 0;
    this.#stamp(sprites.get(look.sprite, this.#second(look)), look.x + shake, look.y);
    if (entity.kind === "campfire") this.#flame(look, frame.nowMs);
    if (alpha < 1) ctx.globalAlpha = 1;
  }

  /** @param {Look} look @param {number} nowMs */
  #flame({ entity, x, y }, nowMs) {
    const { ctx, camera } = this;
    const fuel = entity.is.Stock?.amount ?? FIRE_FUEL;
    const size = camera.scale * (0.55 + Math.min(1, fuel / FIRE_FUEL) * 0.55);
    const t = this.calm ? 0 : nowMs / 130 + entity.handle;
    for (const [colour, scale, speed] of FLAMES) {
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
    const { ctx, camera, ghosts } = this;
    if (!ghosts.length) return;
    for (const { picture: shown, x, y, angle, bornMs } of ghosts) {
      ctx.globalAlpha = Math.max(0, 1 - (nowMs - bornMs) / GHOST_MS);
      this.#put(shown, x * camera.scale - camera.originX, y * camera.scale - camera.originY, angle);
    }
    ctx.globalAlpha = 1;
    this.ghosts = ghosts.filter((g) => nowMs - g.bornMs < GHOST_MS);
  }

  /** Beyond the region's edge there is mist. @param {Frame["region"]} region */
  #edges(region) {
    const { ctx, camera } = this;
    if (!region) return;
    const x2 = region.x + region.width;
    const y2 = region.y + region.height;
    if (camera.left > region.x && camera.top > region.y && camera.right < x2 && camera.bottom < y2) return;
    this.#cssPixels();
    const left = camera.toX(region.x);
    const top = camera.toY(region.y);
    const width = region.width * camera.zoom;
    const height = region.height * camera.zoom;
    ctx.fillStyle = "rgba(24,32,40,.78)";
    ctx.beginPath();
    ctx.rect(0, 0, camera.width, camera.height);
    ctx.rect(left, top, width, height);
    ctx.fill("evenodd");
    ctx.strokeStyle = "rgba(235,240,230,.5)";
    ctx.lineWidth = 3;
    ctx.strokeRect(left, top, width, height);
    this.#devicePixels();
  }
}

/** Drawn below what stands. @param {Look} look */
function isLow(look) {
  return look.kind.body || look.entity.kind === "meat";
}

/** @param {Look} a @param {Look} b */
function fromTheTop(a, b) {
  return a.y - b.y;
}
