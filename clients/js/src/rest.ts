// Conversations in which this device is behind, beyond those that the answer to a register names. Invariant: the list is gone
// through once per connection that needs it, again after a failure, and never for a connection that has ended.

import { backoff, type Pace } from './core/backoff.js';
import { isTemporary, MynahError, textOf } from './errors.js';
import type { Clock } from './host.js';
import type { Inbound } from './inbound.js';
import type { Link } from './link.js';
import type { Lookup } from './lookup.js';

export class Rest {
  #sid = '';

  constructor(
    readonly link: Link,
    readonly lookup: Lookup,
    readonly inbound: Inbound,
    readonly clock: Clock,
    readonly pace: Pace,
    readonly error: (error: MynahError) => void,
  ) {}

  /** Learns where this device is, for the connection `sid`. */
  async learn(sid: string, attempt = 1): Promise<void> {
    this.#sid = sid;
    try {
      for await (const { conv, head, cursor } of this.lookup.all()) {
        if (this.#sid !== sid) return;
        if (head > cursor) this.inbound.learn(conv, head, cursor);
      }
    } catch (thrown) {
      if (!this.link.isOnline || this.#sid !== sid) return;
      if (!isTemporary(thrown)) return this.error(new MynahError('protocol', textOf(thrown), thrown));
      this.clock.later(backoff(attempt, this.pace, this.clock.random()), () => {
        if (this.link.isOnline && this.#sid === sid) void this.learn(sid, attempt + 1);
      });
    }
  }
}
