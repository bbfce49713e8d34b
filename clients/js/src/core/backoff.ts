// How long to wait before asking again. Pure. Invariant: waits grow to a bound, and two clients do not wait alike.

export interface Pace {
  readonly firstMs: number;
  readonly mostMs: number;
}

/** The wait before attempt number `attempt` (1 is the first repetition), spread by a quarter either way. */
export function backoff(attempt: number, { firstMs, mostMs }: Pace, random: number): number {
  const wait = Math.min(mostMs, firstMs * 2 ** Math.min(attempt - 1, 20));
  return Math.round(wait * (0.75 + random / 2));
}
