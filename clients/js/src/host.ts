// What the package uses of the JavaScript host. Invariant: no other file uses a global that is not part of
// ES2020. Time, timers and random numbers come from a `Clock`, so that tests can replace them.

/** Time and random numbers. */
export interface Clock {
  /**
   * Milliseconds of a monotonic clock: it does not go back when the time of day is set. Waits are measured
   * with it.
   */
  now(): number;
  /** Calls `then` once after `ms`. Returns a function that cancels the call. */
  later(ms: number, then: () => void): () => void;
  /** A random number of at least 0 and below 1. */
  random(): number;
}

/** The part of `fetch` that is used. */
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

/**
 * A monotonic clock for hosts without `performance.now`: the time of day without its steps back. A step ahead
 * ends waits early, which does no harm.
 */
function monotonicTimeOfDay(): () => number {
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
  now: typeof host.performance?.now === 'function' ? () => host.performance!.now!() : monotonicTimeOfDay(),
  later(ms, then) {
    const timer = host.setTimeout(then, ms);
    return () => host.clearTimeout(timer);
  },
  random: () => Math.random(),
};

/** Logs an error that has no handler to the console. */
export function logError(error: unknown): void {
  host.console?.error(error);
}

/** The host's `fetch`, wrapped so that it is never called as a method. */
export function hostFetch(): Fetch | undefined {
  const { fetch } = host;
  return fetch && ((url, init) => fetch(url, init));
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

/** A random word of `length` characters, 5 bits each. It uses `crypto.getRandomValues` if the host has it. */
export function randomWord(length: number, clock: Clock): string {
  const bytes = new Uint8Array(length);
  if (clock === systemClock && host.crypto?.getRandomValues) host.crypto.getRandomValues(bytes);
  else for (let i = 0; i < length; i++) bytes[i] = Math.floor(clock.random() * 256);
  return Array.from(bytes, (byte) => ALPHABET[byte & 31]).join('');
}
