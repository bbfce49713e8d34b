// The read positions of the user. Invariant: a read is sent to the gateway only up to messages whose handlers
// have finished. A read also moves the cursor of this device, so a crash after an earlier read would lose
// messages.

import { isTemporary, MynahError, textOf } from './errors.js';
import type { Inbound } from './inbound.js';
import type { Connection } from './connection.js';
import type { ConversationList } from './conversation-list.js';

export interface ReadHooks {
  /** The gateway has accepted that the user has read `conv` up to `seq`. */
  read(conv: string, seq: number): void;
  /** The user does not have this conversation any more. Returns whether this client knew it. */
  ended(conv: string): boolean;
  error(error: MynahError): void;
}

export class Reads {
  /** Reads that wait for the handlers of their messages, by conversation. */
  #noted = new Map<string, number>();

  constructor(
    readonly connection: Connection,
    readonly inbound: Inbound,
    readonly conversationList: ConversationList,
    readonly hooks: ReadHooks,
  ) {}

  /** Marks `conv` as read up to `seq`, or up to the last delivered message. */
  async mark(conv: string, seq?: number): Promise<void> {
    if (!this.inbound.position(conv)) await this.connection.online();
    const position = this.inbound.position(conv) ?? (await this.#fetchPosition(conv));
    if (!position) return;
    const upTo = Math.min(seq ?? position.taken, position.head);
    if (upTo <= position.finished) await this.#send(conv, upTo);
    else this.#noted.set(conv, Math.max(upTo, this.#noted.get(conv) ?? 0));
  }

  /**
   * The gateway's position of this device, for a conversation without a message since the start of this
   * client.
   */
  async #fetchPosition(conv: string): Promise<{ finished: number; taken: number; head: number } | undefined> {
    const row = await this.conversationList.find(conv);
    if (!row) {
      if (this.hooks.ended(conv)) return undefined;
      throw new MynahError(404, 'This user has no conversation with this id.');
    }
    return this.inbound.position(conv) ?? { finished: row.cursor, taken: row.cursor, head: row.head };
  }

  /** The handlers of all messages in `conv` up to `seq` have finished. */
  finished(conv: string, seq: number): void {
    const noted = this.#noted.get(conv);
    if (noted === undefined || noted > seq) return;
    this.#noted.delete(conv);
    this.#send(conv, noted).catch((thrown: unknown) => {
      if (isTemporary(thrown)) this.#noted.set(conv, Math.max(noted, this.#noted.get(conv) ?? 0));
      else if (!(thrown instanceof MynahError)) this.hooks.error(new MynahError('protocol', textOf(thrown), thrown));
      else if (thrown.code !== 'closed') this.hooks.error(thrown);
    });
  }

  /** There is a connection again: sends the reads that could not be sent before. */
  registered(): void {
    for (const conv of [...this.#noted.keys()]) this.finished(conv, this.inbound.position(conv)?.finished ?? 0);
  }

  async #send(conv: string, seq: number): Promise<void> {
    if (seq < 1) return;
    try {
      await this.connection.requestWithRetry(106, { conv, seq });
    } catch (thrown) {
      // The user has left the team, or the team was deleted: it has no unread messages any more.
      if (thrown instanceof MynahError && (thrown.code === 403 || thrown.code === 404) && this.hooks.ended(conv)) return;
      throw thrown;
    }
    this.hooks.read(conv, seq);
  }
}
