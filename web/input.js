/**
 * Keyboard, mouse and touch become one thing: an intent and a few actions.
 *
 * `intent` is where to walk (length ≤ 1); `on.ACTION` is called for "strike", "shoot", "harvest", "build",
 * "chat", "help", "respawn".
 */

const WALK_KEYS = {
  KeyW: [0, -1], ArrowUp: [0, -1], KeyS: [0, 1], ArrowDown: [0, 1],
  KeyA: [-1, 0], ArrowLeft: [-1, 0], KeyD: [1, 0], ArrowRight: [1, 0],
};
const ACTION_KEYS = {
  Space: "strike", KeyE: "harvest", KeyF: "build", Enter: "chat", KeyH: "help", KeyR: "respawn", Slash: "help",
};
/** While held these go on; the game takes them as fast as it allows. */
const HELD = new Set(["strike", "harvest", "shoot"]);
const STICK_PIXELS = 56;
const STICK_DEAD = 0.16;

export class Input {
  /** @param {HTMLElement} screen @param {HTMLElement} stick @param {HTMLElement} pad holder of the touch buttons @param {Record<string, () => void>} on */
  constructor(screen, stick, pad, on) {
    this.screen = screen;
    this.stick = stick;
    this.on = on;
    /** @type {Set<string>} */
    this.keys = new Set();
    /** Actions held now. @type {Set<string>} */
    this.held = new Set();
    this.mouse = { x: 0, y: 0, known: false };
    this.touch = { id: -1, x: 0, y: 0, dx: 0, dy: 0 };
    this.#keyboard();
    this.#pointer();
    this.#buttons(pad);
  }

  /** Where to walk. */
  get intent() {
    let { dx, dy } = this.touch;
    for (const key of this.keys) {
      const [kx, ky] = WALK_KEYS[/** @type {keyof typeof WALK_KEYS} */ (key)] ?? [0, 0];
      dx += kx;
      dy += ky;
    }
    const length = Math.hypot(dx, dy);
    if (length < STICK_DEAD) return { dx: 0, dy: 0 };
    // Two decimals are enough to steer by, and keep a resting thumb from chattering.
    const round = (/** @type {number} */ v) => Math.round((v / Math.max(1, length)) * 100) / 100;
    return { dx: round(dx), dy: round(dy) };
  }

  /** Repeats what is held. Call once per frame. */
  repeat() {
    for (const action of this.held) this.on[action]?.();
  }

  /** Lets go of everything: the page lost focus or a dialogue opened. */
  release() {
    this.keys.clear();
    this.held.clear();
    this.#stick(0, 0, -1);
  }

  #keyboard() {
    addEventListener("keydown", (event) => {
      const at = /** @type {HTMLElement} */ (event.target);
      if (at.closest("input, textarea, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
      // A focused button keeps its own Space and Enter.
      if (at.closest("button") && (event.code === "Space" || event.code === "Enter")) return;
      if (event.code in WALK_KEYS) this.keys.add(event.code);
      else if (event.code in ACTION_KEYS) {
        const action = ACTION_KEYS[/** @type {keyof typeof ACTION_KEYS} */ (event.code)];
        if (!event.repeat) this.on[action]?.();
        if (HELD.has(action)) this.held.add(action);
      } else return;
      event.preventDefault();
    });
    addEventListener("keyup", (event) => {
      this.keys.delete(event.code);
      this.held.delete(ACTION_KEYS[/** @type {keyof typeof ACTION_KEYS} */ (event.code)] ?? "");
    });
    addEventListener("blur", () => this.release());
  }

  #pointer() {
    const { screen, touch } = this;
    screen.addEventListener("pointerdown", (event) => {
      /** @type {HTMLElement | null} */ (document.activeElement)?.blur?.();
      if (event.pointerType === "mouse") {
        this.#moved(event);
        if (event.button === 0) {
          this.on.shoot?.();
          this.held.add("shoot");
        } else if (event.button === 2) this.on.strike?.();
        return;
      }
      if (touch.id >= 0) return;
      Object.assign(touch, { id: event.pointerId, x: event.clientX, y: event.clientY });
      screen.setPointerCapture(event.pointerId);
      this.#stick(0, 0, event.pointerId);
    });
    screen.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse") this.#moved(event);
      else if (event.pointerId === touch.id) {
        this.#stick((event.clientX - touch.x) / STICK_PIXELS, (event.clientY - touch.y) / STICK_PIXELS, touch.id);
      }
    });
    for (const end of ["pointerup", "pointercancel"]) {
      addEventListener(end, (event) => {
        const pointer = /** @type {PointerEvent} */ (event);
        if (pointer.pointerType === "mouse") this.held.delete("shoot");
        else if (pointer.pointerId === touch.id) this.#stick(0, 0, -1);
      });
    }
    screen.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  /** @param {PointerEvent} event */
  #moved(event) {
    Object.assign(this.mouse, { x: event.clientX, y: event.clientY, known: true });
  }

  /** @param {number} dx @param {number} dy @param {number} id */
  #stick(dx, dy, id) {
    const { stick, touch } = this;
    const length = Math.max(1, Math.hypot(dx, dy));
    Object.assign(touch, { id, dx: dx / length, dy: dy / length });
    stick.hidden = id < 0;
    if (id < 0) return;
    stick.style.transform = `translate(${touch.x}px, ${touch.y}px)`;
    /** @type {HTMLElement} */ (stick.firstElementChild).style.transform =
      `translate(${touch.dx * STICK_PIXELS * 0.7}px, ${touch.dy * STICK_PIXELS * 0.7}px)`;
  }

  /** @param {HTMLElement} pad */
  #buttons(pad) {
    for (const button of pad.querySelectorAll("button[data-action]")) {
      const action = /** @type {HTMLElement} */ (button).dataset.action ?? "";
      const press = (/** @type {Event} */ event) => {
        event.preventDefault();
        this.on[action]?.();
        if (HELD.has(action)) this.held.add(action);
      };
      button.addEventListener("pointerdown", press);
      // Keyboards and assistive technology click without a pointer.
      button.addEventListener("click", (event) => {
        if (/** @type {MouseEvent} */ (event).detail === 0) this.on[action]?.();
      });
      for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
        button.addEventListener(end, () => this.held.delete(action));
      }
    }
  }
}
