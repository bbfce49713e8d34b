// Conversations in which this device is behind, beyond those that the answer to a register names. Invariant: the list is gone
// through once per connection that needs it, again after a failure or when conversations moved meanwhile, and never for a
// connection that has ended.

import { backoff, type Pace } from './core/backoff.js';
import { isTemporary, MynahError, textOf } from './errors.js';
import type { Clock } from './host.js';
import type { Inbound } from './inbound.js';
import type { Link } from './link.js';
import type { Lookup } from './lookup.js';

export interface RestHooks {
  /** The list was gone through. False: conversations moved meanwhile and were missed. */
  isComplete(): boolean;
  error(error: MynahError): void;
}

export class Rest {
  #sid = '';

  constructor(
    readonly link: Link,
    readonly lookup: Lookup,
    readonly inbound: Inbound,
    readonly clock: Clock,
    readonly pace: Pace,
    readonly hooks: RestHooks,
  ) {}

  /** Learns where this device is, for the connection `sid`. */
  async learn(sid: string, attempt = 1): Promise<void> {
    this.#sid = sid;
    try {
      for await (const { conv, head, cursor } of this.lookup.all()) {
        if (this.#sid !== sid) return;
        if (head > cursor) this.inbound.learn(conv, head, cursor);
      }
      if (this.#sid === sid && !this.hooks.isComplete()) this.#again(sid, attempt);
    } catch (thrown) {
      if (!this.link.isOnline || this.#sid !== sid) return;
      if (!isTemporary(thrown)) return this.hooks.error(new MynahError('protocol', textOf(thrown), thrown));
      this.#again(sid, attempt);
    }
  }

  #again(sid: string, attempt: number): void {
    this.clock.later(backoff(attempt, this.pace, this.clock.random()), () => {
      if (this.link.isOnline && this.#sid === sid) void this.learn(sid, attempt + 1);
    });
  }
}
