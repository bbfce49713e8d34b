// Sends acknowledgements to the gateway. Invariant: an acknowledgement is repeated until the gateway has
// answered it or has refused it for good.

import { Acks, type Ack, type AckPace } from './core/acks.js';
import { isTemporary } from './errors.js';
import type { Clock } from './host.js';
import type { Connection } from './connection.js';

/** A client that is being closed waits at most this long for the answers to its last acknowledgements. */
const LAST_MS = 1_000;

export class Acker {
  readonly #acks: Acks;
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #positionLost: (conv: string) => void;
  #cancel = (): void => undefined;

  /**
   * `positionLost` is called when the gateway's head is below the acknowledged seq: the gateway has another
   * history.
   */
  constructor(connection: Connection, clock: Clock, pace: AckPace, positionLost: (conv: string) => void) {
    this.#connection = connection;
    this.#clock = clock;
    this.#positionLost = positionLost;
    this.#acks = new Acks(pace);
  }

  note(conv: string, seq: number): void {
    this.#acks.note(conv, seq, this.#clock.now());
    this.sendDue();
  }

  /** Sends the acknowledgements that are due, and sets a timer for the others. */
  sendDue(): void {
    this.#cancel();
    if (!this.#connection.isOnline) return;
    for (const ack of this.#acks.take(this.#clock.now())) void this.#send(ack);
    const wait = this.#acks.wait(this.#clock.now());
    if (wait !== undefined) this.#cancel = this.#clock.later(wait, () => this.sendDue());
  }

  /** Sends all acknowledgements. Resolves when they were answered, or after `LAST_MS`. */
  async flush(): Promise<void> {
    this.#cancel();
    if (!this.#connection.isOnline) return;
    const sent = Promise.all(this.#acks.take(this.#clock.now(), true).map((ack) => this.#send(ack)));
    let cancel = (): void => undefined;
    const late = new Promise<void>((resolve) => (cancel = this.#clock.later(LAST_MS, resolve)));
    await Promise.race([sent, late]);
    cancel();
  }

  forget(conv: string): void {
    this.#acks.forget(conv);
  }

  clear(): void {
    this.#acks.clear();
  }

  async #send(ack: Ack): Promise<void> {
    try {
      const { head = ack.seq } = await this.#connection.request(103, ack);
      if (head < ack.seq) this.#positionLost(ack.conv);
    } catch (error) {
      if (isTemporary(error)) this.note(ack.conv, ack.seq);
    }
  }
}
