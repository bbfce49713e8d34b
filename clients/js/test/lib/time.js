// Simulated time, which passes only in `pass`. Timers that are due run one after another; all promises settle
// between.

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

  /** Lets `ms` pass, but stops as soon as `done` returns true. Returns whether it did. */
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

/** Resolves when all promises that could settle have settled. */
const settled = () => new Promise((resolve) => setImmediate(resolve));
