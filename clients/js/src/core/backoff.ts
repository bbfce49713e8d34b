// How long to wait before a retry. Pure. Invariant: waits grow up to a bound, and each is random, so that
// many clients do not retry at the same time.

export interface Pace {
  readonly firstMs: number;
  readonly mostMs: number;
}

/**
 * The wait in milliseconds before retry number `attempt` (1 is the first), varied at random by up to a
 * quarter.
 */
export function backoff(attempt: number, { firstMs, mostMs }: Pace, random: number): number {
  const wait = Math.min(mostMs, firstMs * 2 ** Math.min(attempt - 1, 20));
  return Math.round(wait * (0.75 + random / 2));
}
