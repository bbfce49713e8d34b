// Finds the conversations in which this device is behind and which the answer to a register did not name.
// Invariant: the list of conversations is read once per connection that needs it. It is read again after a
// failure, and if conversations have moved in the list meanwhile. It is never read for a connection that has
// ended.

import { backoff, type Pace } from './core/backoff.js';
import { isTemporary, MynahError, textOf } from './errors.js';
import type { Clock } from './host.js';
import type { Inbound } from './inbound.js';
import type { Connection } from './connection.js';
import type { ConversationList } from './conversation-list.js';

export interface CatchUpHooks {
  /**
   * The list was read. Returns false if conversations moved in the list meanwhile and may have been missed.
   */
  isComplete(): boolean;
  error(error: MynahError): void;
}

export class CatchUp {
  #sid = '';

  constructor(
    readonly connection: Connection,
    readonly conversationList: ConversationList,
    readonly inbound: Inbound,
    readonly clock: Clock,
    readonly pace: Pace,
    readonly hooks: CatchUpHooks,
  ) {}

  /** Reads the cursors of this device from the list of conversations, for the connection `sid`. */
  async learn(sid: string, attempt = 1): Promise<void> {
    this.#sid = sid;
    try {
      for await (const { conv, head, cursor } of this.conversationList.all()) {
        if (this.#sid !== sid) return;
        if (head > cursor) this.inbound.learn(conv, head, cursor);
      }
      if (this.#sid === sid && !this.hooks.isComplete()) this.#again(sid, attempt);
    } catch (thrown) {
      if (!this.connection.isOnline || this.#sid !== sid) return;
      if (!isTemporary(thrown)) return this.hooks.error(new MynahError('protocol', textOf(thrown), thrown));
      this.#again(sid, attempt);
    }
  }

  #again(sid: string, attempt: number): void {
    this.clock.later(backoff(attempt, this.pace, this.clock.random()), () => {
      if (this.connection.isOnline && this.#sid === sid) void this.learn(sid, attempt + 1);
    });
  }
}
