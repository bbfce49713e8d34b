// What the user has read. Invariant: a read is told to the gateway only up to what was handed over and finished, for it moves this
// device's position there too; so no crash between the two loses a message.

import { isTemporary, MynahError, textOf } from './errors.js';
import type { Inbound } from './inbound.js';
import type { Link } from './link.js';
import type { Lookup } from './lookup.js';

export interface ReadHooks {
  /** The gateway knows that the user has read `conv` up to `seq`. */
  read(conv: string, seq: number): void;
  /** The gateway has no such conversation of the user any more. True: it had one. */
  ended(conv: string): boolean;
  error(error: MynahError): void;
}

export class Reads {
  /** Reads of messages that are still being handed over. */
  #noted = new Map<string, number>();

  constructor(
    readonly link: Link,
    readonly inbound: Inbound,
    readonly lookup: Lookup,
    readonly hooks: ReadHooks,
  ) {}

  /** Up to `seq`, or up to everything that was handed over. */
  async mark(conv: string, seq?: number): Promise<void> {
    if (!this.inbound.position(conv)) await this.link.online();
    const position = this.inbound.position(conv) ?? (await this.#told(conv));
    if (!position) return;
    const upTo = Math.min(seq ?? position.taken, position.head);
    if (upTo <= position.finished) await this.#tell(conv, upTo);
    else this.#noted.set(conv, Math.max(upTo, this.#noted.get(conv) ?? 0));
  }

  /** Where the gateway says that we are, for a conversation in which nothing has happened since we came. */
  async #told(conv: string): Promise<{ finished: number; taken: number; head: number } | undefined> {
    const row = await this.lookup.find(conv);
    if (!row) {
      if (this.hooks.ended(conv)) return undefined;
      throw new MynahError(404, 'The user has no such conversation.');
    }
    return this.inbound.position(conv) ?? { finished: row.cursor, taken: row.cursor, head: row.head };
  }

  /** Everything in `conv` up to `seq` is finished. */
  finished(conv: string, seq: number): void {
    const noted = this.#noted.get(conv);
    if (noted === undefined || noted > seq) return;
    this.#noted.delete(conv);
    this.#tell(conv, noted).catch((thrown: unknown) => {
      if (isTemporary(thrown)) this.#noted.set(conv, Math.max(noted, this.#noted.get(conv) ?? 0));
      else if (!(thrown instanceof MynahError)) this.hooks.error(new MynahError('protocol', textOf(thrown), thrown));
      else if (thrown.code !== 'closed') this.hooks.error(thrown);
    });
  }

  /** There is a connection again: tells what could not be told. */
  registered(): void {
    for (const conv of [...this.#noted.keys()]) this.finished(conv, this.inbound.position(conv)?.finished ?? 0);
  }

  async #tell(conv: string, seq: number): Promise<void> {
    if (seq < 1) return;
    try {
      await this.link.askPatiently(106, { conv, seq });
    } catch (thrown) {
      // The user has left the team, or it was deleted: nothing in it is unread any more.
      if (thrown instanceof MynahError && (thrown.code === 403 || thrown.code === 404) && this.hooks.ended(conv)) return;
      throw thrown;
    }
    this.hooks.read(conv, seq);
  }
}
