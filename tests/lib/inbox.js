// What arrived and was not asked for yet. A test takes the first item that fits, in order of arrival, and waits for it
// if need be; it never sleeps. The time limit only turns a hang into a failure that shows what did arrive.

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

  /** Resolves with the first item for which `fits` holds, and removes it. */
  take(fits = () => true, what = 'anything') {
    const index = this.#items.findIndex(fits);
    if (index >= 0) return Promise.resolve(this.#items.splice(index, 1)[0]);
    const stack = new Error();
    return new Promise((resolve, reject) => {
      const waiter = { fits };
      const timer = setTimeout(() => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        stack.message = `${this.#name}: waited in vain for ${what}; untaken: ${inspect(this.#items, { depth: 4, maxArrayLength: 20 })}`;
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

  /** What arrived and was not taken. */
  get untaken() {
    return [...this.#items];
  }
}

/** Fails after a while with `what` in the message unless `promise` settles first. */
export function within(promise, what, ms = PATIENCE_MS) {
  const stack = new Error(`waited in vain for ${what}`);
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(stack), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Asks `probe` again and again until it returns something true, and returns that. */
export async function eventually(probe, what) {
  const stack = new Error(`waited in vain for ${what}`);
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    if (Date.now() > end) throw stack;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
