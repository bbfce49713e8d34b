// What is taken from whatever JavaScript runs in. Invariant: nothing else in this package touches a global that ES2020 does
// not promise; timers, time and chance come through a `Clock`, so that tests can have their own.

/** Time and chance. */
export interface Clock {
  /** Milliseconds since some moment. Never goes back, whatever is done to the time of day: waits are measured with it. */
  now(): number;
  /** Calls back once after `ms`; the result calls it off. */
  later(ms: number, then: () => void): () => void;
  /** At least 0, below 1. */
  random(): number;
}

/** As much of `fetch` as is used. */
export type Fetch = (
  url: string,
  init: { method: string; headers: Record<string, string>; body: string },
) => Promise<{ readonly status: number; json(): Promise<unknown> }>;

interface Globals {
  setTimeout(then: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  console?: { error(...what: unknown[]): void };
  crypto?: { getRandomValues?(bytes: Uint8Array): unknown };
  fetch?: Fetch;
  performance?: { now?(): number };
}

const host = globalThis as unknown as Globals;

/** The time of day where there is nothing better, without its steps back: a step ahead ends waits early, which does no harm. */
function steadied(): () => number {
  let last = Date.now();
  let passed = 0;
  return () => {
    const day = Date.now();
    passed += Math.max(0, day - last);
    last = day;
    return passed;
  };
}

export const systemClock: Clock = {
  now: typeof host.performance?.now === 'function' ? () => host.performance!.now!() : steadied(),
  later(ms, then) {
    const timer = host.setTimeout(then, ms);
    return () => host.clearTimeout(timer);
  },
  random: () => Math.random(),
};

/** Says on the console what nobody listened to. */
export function complain(error: unknown): void {
  host.console?.error(error);
}

/** The host's `fetch`, called as a function of its own. */
export function hostFetch(): Fetch | undefined {
  const { fetch } = host;
  return fetch && ((url, init) => fetch(url, init));
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

/** A word of `length` characters, 5 bits each: from the host's generator of random bytes where there is one. */
export function randomWord(length: number, clock: Clock): string {
  const bytes = new Uint8Array(length);
  if (clock === systemClock && host.crypto?.getRandomValues) host.crypto.getRandomValues(bytes);
  else for (let i = 0; i < length; i++) bytes[i] = Math.floor(clock.random() * 256);
  return Array.from(bytes, (byte) => ALPHABET[byte & 31]).join('');
}
