// A queue of received items. A test takes the first item that fits, in order of arrival, and waits for it if
// necessary; it never sleeps. The time limit only turns a hang into a failure that shows what was received.

import { inspect } from 'node:util';

export const PATIENCE_MS = 15_000;

export class Inbox {
  #name;
  #items = [];
  #waiters = [];

  constructor(name) {
    this.#name = name;
  }

  push(item) {
    const index = this.#waiters.findIndex((waiter) => waiter.fits(item));
    if (index >= 0) this.#waiters.splice(index, 1)[0].resolve(item);
    else this.#items.push(item);
  }

  /** Resolves with the first item for which `fits` returns true, and removes it. */
  take(fits = () => true, what = 'anything') {
    const index = this.#items.findIndex(fits);
    if (index >= 0) return Promise.resolve(this.#items.splice(index, 1)[0]);
    const stack = new Error();
    return new Promise((resolve, reject) => {
      const waiter = { fits };
      const timer = setTimeout(() => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        stack.message = `${this.#name}: timed out waiting for ${what}; received and not taken: ${inspect(this.#items, { depth: 4, maxArrayLength: 20 })}`;
        reject(stack);
      }, PATIENCE_MS);
      waiter.resolve = (item) => {
        clearTimeout(timer);
        resolve(item);
      };
      this.#waiters.push(waiter);
    });
  }

  /** Takes `count` items that fit, in order of arrival. */
  async takeMany(count, fits, what) {
    const taken = [];
    while (taken.length < count) taken.push(await this.take(fits, what && `${what} (${taken.length + 1} of ${count})`));
    return taken;
  }

  /** The items that were received and not taken. */
  get untaken() {
    return [...this.#items];
  }
}

/** Fails with `what` in the message if `promise` does not settle within `ms`. */
export function within(promise, what, ms = PATIENCE_MS) {
  const stack = new Error(`timed out waiting for ${what}`);
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(stack), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Calls `probe` until it returns a truthy value, and returns that. */
export async function eventually(probe, what, ms = PATIENCE_MS) {
  const stack = new Error(`timed out waiting for ${what}`);
  const end = Date.now() + ms;
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    if (Date.now() > end) throw stack;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
