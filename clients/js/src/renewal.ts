// Renews the token of a live connection before it expires, so that the connection stays. Invariants: at most one renewal is under
// way; one that fails is tried again and ends nothing: the connection has its old token until that expires.

import { backoff, type Pace } from './core/backoff.js';
import { MynahError } from './errors.js';
import type { Clock } from './host.js';
import type { Identity } from './identity.js';
import type { Link } from './link.js';
import type { RegisterResponse } from './protocol.js';

export interface RenewalHooks {
  /** Registered with `resume`, after the gateway had lost the registration. */
  registered(response: RegisterResponse): void;
  /** A renewal failed; the next attempt follows by itself. */
  failed(error: Error): void;
}

/** A token is renewed this long before its end, or after three quarters of what is left of it, whichever comes last. */
const LEAD_MS = 60_000;

/** The longest wait that every host's timer can keep; a token that lives longer is renewed earlier. */
const LONGEST_WAIT_MS = 2 ** 31 - 1;

export class Renewal {
  #callOff = (): void => undefined;
  /** Counts registers: what belongs to an older one is not heard. */
  #round = 0;

  constructor(
    readonly link: Link,
    readonly identity: Identity,
    readonly clock: Clock,
    readonly retry: Pace,
    readonly hooks: RenewalHooks,
  ) {}

  /** A connection was registered, or its token renewed, at `ts` by the gateway's clock. */
  registered(ts: number): void {
    this.stop();
    const left = this.identity.tokenLeftMs(ts);
    if (left === undefined) return;
    const wait = Math.max(left - Math.min(LEAD_MS, left / 4), this.retry.firstMs);
    this.#later(Math.min(wait, LONGEST_WAIT_MS), false, 1);
  }

  /** The connection ended: nothing is to be renewed. */
  stop(): void {
    this.#round++;
    this.#callOff();
  }

  #later(wait: number, resume: boolean, attempt: number): void {
    this.#callOff = this.clock.later(wait, () => void this.#renew(this.#round, resume, attempt));
  }

  async #renew(round: number, resume: boolean, attempt: number): Promise<void> {
    try {
      // Without `resume` the connection only gets a new token; what it receives goes on as it was.
      const { resume: _, ...request } = await this.identity.credentials();
      if (round !== this.#round) return;
      const response = await this.link.ask(1, resume ? { ...request, resume } : request);
      if (round !== this.#round) return;
      if (resume) this.hooks.registered(response);
      else this.registered(response.ts);
    } catch (thrown) {
      if (round !== this.#round || !this.link.isOnline) return;
      const error = thrown instanceof Error ? thrown : new Error(String(thrown));
      this.hooks.failed(error);
      // After 503 the connection may be unregistered, and has to resume.
      const isLost = error instanceof MynahError && error.code === 503;
      this.#later(backoff(attempt, this.retry, this.clock.random()), resume || isLost, attempt + 1);
    }
  }
}
