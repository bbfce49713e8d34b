// The storage of one device. It survives a crash of the application, and a crashed application cannot write
// to it any more.

const NEVER = new Promise(() => {});

export class DeviceStorage {
  #kept = new Map();
  #life = 0;
  #slow;

  /** The storage of a `slow` device is asynchronous. */
  constructor({ slow = false } = {}) {
    this.#slow = slow;
  }

  /** Opens the storage for a run of the application. Adapters of earlier runs stop working. */
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

  /** The application has crashed. */
  crash() {
    this.#life++;
  }

  /** conv -> the written position. */
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

  /** The numbers (`data.n`) of the messages in the outbox. */
  outbox() {
    const found = new Set();
    for (const [key, value] of this.#kept) if (/:out:\d+$/.test(key)) found.add(JSON.parse(value).data.n);
    return found;
  }
}
