// The storage of one device: it survives the application, and nothing that a crashed application still tries to write gets in.

const NEVER = new Promise(() => {});

export class Notepad {
  #kept = new Map();
  #life = 0;
  #slow;

  /** `slow` devices have a storage that takes its time. */
  constructor({ slow = false } = {}) {
    this.#slow = slow;
  }

  /** The adapter for one run of the application; those of earlier runs are dead from here on. */
  open() {
    const life = ++this.#life;
    const act = async (work) => {
      if (this.#slow) await new Promise(setImmediate);
      return this.#life === life ? work() : NEVER;
    };
    return {
      get: (key) => act(() => this.#kept.get(key)),
      set: (key, value) => act(() => void this.#kept.set(key, value)),
      remove: (key) => act(() => void this.#kept.delete(key)),
    };
  }

  /** The application is gone. */
  crash() {
    this.#life++;
  }

  /** conv -> up to where it was handed over, as it is written down. */
  positions() {
    const found = new Map();
    for (const [key, value] of this.#kept) {
      const [, conv] = /:at:(.+)$/.exec(key) ?? [];
      if (conv) found.set(conv, Number(value.split(' ')[0]));
    }
    return found;
  }

  position(conv) {
    return this.positions().get(conv);
  }

  /** The numbers (`data.n`) of what is in the outbox. */
  outbox() {
    const found = new Set();
    for (const [key, value] of this.#kept) if (/:out:\d+$/.test(key)) found.add(JSON.parse(value).data.n);
    return found;
  }
}
