// What the user has read. Invariant: a read is told to the gateway only up to what was handed over and finished, for it moves this
// device's position there too; so no crash between the two loses a message.

import { textOf, MynahError } from './errors.js';
import type { Inbound } from './inbound.js';
import type { Link } from './link.js';
import type { Lookup } from './lookup.js';

export interface ReadHooks {
  /** The gateway knows that the user has read `conv` up to `seq`. */
  read(conv: string, seq: number): void;
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
    const position = this.inbound.position(conv);
    if (position) {
      const upTo = Math.min(seq ?? position.taken, position.head);
      if (upTo <= position.finished) await this.#tell(conv, upTo);
      else this.#noted.set(conv, Math.max(upTo, this.#noted.get(conv) ?? 0));
      return;
    }
    const upTo = seq ?? (await this.lookup.find(conv))?.head;
    if (upTo === undefined) throw new MynahError(404, 'The user has no such conversation.');
    await this.#tell(conv, upTo);
  }

  /** Everything in `conv` up to `seq` is finished. */
  finished(conv: string, seq: number): void {
    const noted = this.#noted.get(conv);
    if (noted === undefined || noted > seq) return;
    this.#noted.delete(conv);
    this.#tell(conv, noted).catch((thrown: unknown) => {
      this.hooks.error(thrown instanceof MynahError ? thrown : new MynahError('protocol', textOf(thrown), thrown));
    });
  }

  async #tell(conv: string, seq: number): Promise<void> {
    if (seq < 1) return;
    await this.link.askPatiently(106, { conv, seq });
    this.hooks.read(conv, seq);
  }
}
