/** A minimal event emitter. */
export class Emitter {
  /** @type {Map<string, Set<(...args: any[]) => void>>} */
  #listeners = new Map();

  /**
   * Calls `fn` on every `name` until the returned function is called.
   * @param {string} name @param {(...args: any[]) => void} fn
   * @returns {() => void}
   */
  on(name, fn) {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set.add(fn));
    return () => set.delete(fn);
  }

  /** Resolves with the arguments of the next `name`. @param {string} name @returns {Promise<any[]>} */
  once(name) {
    return new Promise((resolve) => {
      const off = this.on(name, (...args) => {
        off();
        resolve(args);
      });
    });
  }

  /** @param {string} name @param {...any} args */
  emit(name, ...args) {
    for (const fn of this.#listeners.get(name) ?? []) fn(...args);
  }
}
