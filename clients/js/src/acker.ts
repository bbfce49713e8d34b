// Tells the gateway what this device has. Invariant: an acknowledgement is told again until it was answered, or the gateway says
// that there is nothing to acknowledge.

import { Acks, type Ack, type AckPace } from './core/acks.js';
import { isTemporary } from './errors.js';
import type { Clock } from './host.js';
import type { Link } from './link.js';

/** A client that is closed waits at most this long for the answers to its last acknowledgements. */
const LAST_MS = 1_000;

export class Acker {
  readonly #acks: Acks;
  readonly #link: Link;
  readonly #clock: Clock;
  readonly #beyond: (conv: string) => void;
  #callOff = (): void => undefined;

  /** `beyond`: the gateway has less of a conversation than what was acknowledged, and so another history of it. */
  constructor(link: Link, clock: Clock, pace: AckPace, beyond: (conv: string) => void) {
    this.#link = link;
    this.#clock = clock;
    this.#beyond = beyond;
    this.#acks = new Acks(pace);
  }

  note(conv: string, seq: number): void {
    this.#acks.note(conv, seq, this.#clock.now());
    this.go();
  }

  /** Tells what is due, and sees to the rest later. */
  go(): void {
    this.#callOff();
    if (!this.#link.isOnline) return;
    for (const ack of this.#acks.take(this.#clock.now())) void this.#tell(ack);
    const wait = this.#acks.wait(this.#clock.now());
    if (wait !== undefined) this.#callOff = this.#clock.later(wait, () => this.go());
  }

  /** Tells everything; resolves when it was answered, or after a while. */
  async flush(): Promise<void> {
    this.#callOff();
    if (!this.#link.isOnline) return;
    const told = Promise.all(this.#acks.take(this.#clock.now(), true).map((ack) => this.#tell(ack)));
    let callOff = (): void => undefined;
    const late = new Promise<void>((resolve) => (callOff = this.#clock.later(LAST_MS, resolve)));
    await Promise.race([told, late]);
    callOff();
  }

  forget(conv: string): void {
    this.#acks.forget(conv);
  }

  clear(): void {
    this.#acks.clear();
  }

  async #tell(ack: Ack): Promise<void> {
    try {
      const { head = ack.seq } = await this.#link.ask(103, ack);
      if (head < ack.seq) this.#beyond(ack.conv);
    } catch (error) {
      if (isTemporary(error)) this.note(ack.conv, ack.seq);
    }
  }
}
