// Random numbers that can be repeated: a generator with a seed, and the seeds of a run.

/** A generator of numbers from 0 to below 1. The same seed gives the same numbers. */
export function chance(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    next,
    below: (n) => Math.floor(next() * n),
    one: (list) => list[Math.floor(next() * list.length)],
    happens: (share) => next() < share,
  };
}

/**
 * The seeds of a run: the one in `MYNAH_SEED`, or else `count` new ones. The name of a test contains its
 * seed.
 */
export function seeds(count) {
  if (process.env.MYNAH_SEED) return [Number(process.env.MYNAH_SEED)];
  return Array.from({ length: count }, () => Math.floor(Math.random() * 2 ** 31));
}
