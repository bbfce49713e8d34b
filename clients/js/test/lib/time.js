// Time that passes only when told. What is due runs one after another, each followed by everything that waits for it.

export class Time {
  #now = 1_000;
  #timers = [];
  #count = 0;

  constructor(random) {
    this.random = random;
  }

  now() {
    return this.#now;
  }

  later(ms, then) {
    const timer = { at: this.#now + Math.max(0, ms), n: this.#count++, then };
    this.#timers.push(timer);
    return () => {
      const index = this.#timers.indexOf(timer);
      if (index >= 0) this.#timers.splice(index, 1);
    };
  }

  /** Lets `ms` pass, or as much of it as it takes until `done`. */
  async pass(ms, done = () => false) {
    const end = this.#now + ms;
    for (;;) {
      await settled();
      if (done()) return true;
      const timer = this.#timers.reduce((first, other) => (!first || other.at < first.at || (other.at === first.at && other.n < first.n) ? other : first), undefined);
      if (!timer || timer.at > end) break;
      this.#timers.splice(this.#timers.indexOf(timer), 1);
      this.#now = Math.max(this.#now, timer.at);
      timer.then();
    }
    this.#now = end;
    return done();
  }
}

/** Resolves when no promise has anything left to do. */
const settled = () => new Promise((resolve) => setImmediate(resolve));
