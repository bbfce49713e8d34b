// Random numbers from a seed. Each user of random numbers has its own stream with a name, so that an
// additional number in one place does not change the numbers elsewhere.

export class Chance {
  #state;
  #seed;

  constructor(seed, name = '') {
    let hash = seed | 0;
    for (const character of name) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193);
    this.#seed = seed;
    this.#state = hash;
  }

  of(name) {
    return new Chance(this.#seed, name);
  }

  /** A number of at least 0 and below 1 (mulberry32). */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  between(least, most) {
    return least + this.next() * (most - least);
  }

  int(least, most) {
    return Math.floor(this.between(least, most + 1));
  }

  isOne(share) {
    return this.next() < share;
  }

  pick(list) {
    return list[Math.floor(this.next() * list.length)];
  }

  /** Chooses one of the names at random, by weight. */
  weighted(weights) {
    let at = this.next() * Object.values(weights).reduce((sum, weight) => sum + weight, 0);
    for (const [name, weight] of Object.entries(weights)) if ((at -= weight) < 0) return name;
    return Object.keys(weights)[0];
  }
}
