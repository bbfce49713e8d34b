// Renews the token of a live connection before it expires, so that the connection stays open. Invariants: at
// most one renewal is in flight. A renewal that fails is retried and does not close the connection, which
// keeps its old token until that expires.

import { backoff, type Pace } from './core/backoff.js';
import { MynahError } from './errors.js';
import type { Clock } from './host.js';
import type { Identity } from './identity.js';
import type { Connection } from './connection.js';
import type { RegisterResponse } from './protocol.js';

export interface RenewalHooks {
  /** The connection was registered again with `resume`, after the gateway had lost the registration. */
  registered(response: RegisterResponse): void;
  /** A renewal failed; the next attempt follows by itself. */
  failed(error: Error): void;
}

/**
 * A token is renewed this long before its expiry, or when a quarter of its time is left, whichever is later.
 */
const LEAD_MS = 60_000;

/**
 * The longest wait that timers support in every host. A token that is valid for longer is renewed earlier.
 */
const LONGEST_WAIT_MS = 2 ** 31 - 1;

export class Renewal {
  #cancel = (): void => undefined;
  /** The number of the last register. Answers that belong to an older one are ignored. */
  #round = 0;

  constructor(
    readonly connection: Connection,
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

  /** Registers again now, with `resume`: the gateway replays what this device has not acknowledged. */
  resume(): void {
    this.stop();
    void this.#renew(this.#round, true, 1);
  }

  /** The connection was lost: cancels the renewal. */
  stop(): void {
    this.#round++;
    this.#cancel();
  }

  #later(wait: number, resume: boolean, attempt: number): void {
    this.#cancel = this.clock.later(wait, () => void this.#renew(this.#round, resume, attempt));
  }

  async #renew(round: number, resume: boolean, attempt: number): Promise<void> {
    try {
      // Without `resume`, the register only replaces the token. There is no new replay.
      const { resume: _, ...request } = await this.identity.credentials();
      if (round !== this.#round) return;
      // The answer is handled before the frames behind it: the end of the replay may come in the same turn.
      await this.connection.request(1, resume ? { ...request, resume } : request, (response) => {
        if (round !== this.#round) return;
        if (resume) this.hooks.registered(response);
        else this.registered(response.ts);
      });
    } catch (thrown) {
      if (round !== this.#round || !this.connection.isOnline) return;
      const error = thrown instanceof Error ? thrown : new Error(String(thrown));
      this.hooks.failed(error);
      // After 503 the connection may be unregistered. Then it must resume.
      const isLost = error instanceof MynahError && error.code === 503;
      this.#later(backoff(attempt, this.retry, this.clock.random()), resume || isLost, attempt + 1);
    }
  }
}
