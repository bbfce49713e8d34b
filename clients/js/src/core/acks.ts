// Batches acknowledgements and decides which are due. Pure: time is an argument. Invariants: an
// acknowledgement is never beyond the seq that was noted; one that got lost is sent again after it was noted
// again.

export interface Ack {
  readonly conv: string;
  readonly seq: number;
}

export interface AckPace {
  /** An acknowledgement waits at most this long for others of its conversation. */
  readonly waitMs: number;
  /** After this many messages of a conversation, the acknowledgement is sent at once. */
  readonly most: number;
}

interface Waiting {
  seq: number;
  count: number;
  since: number;
}

export class Acks {
  readonly #pace: AckPace;
  #waiting = new Map<string, Waiting>();

  constructor(pace: AckPace) {
    this.#pace = pace;
  }

  /** The application has handled all messages of `conv` up to `seq`. */
  note(conv: string, seq: number, now: number): void {
    const waiting = this.#waiting.get(conv);
    if (!waiting) this.#waiting.set(conv, { seq, count: 1, since: now });
    else if (seq > waiting.seq) {
      waiting.seq = seq;
      waiting.count++;
    }
  }

  /** Takes the acknowledgements that are due, or all of them. */
  take(now: number, all = false): Ack[] {
    const due: Ack[] = [];
    for (const [conv, { seq, count, since }] of this.#waiting) {
      if (!all && count < this.#pace.most && now - since < this.#pace.waitMs) continue;
      this.#waiting.delete(conv);
      due.push({ conv, seq });
    }
    return due;
  }

  /** The milliseconds until the next acknowledgement is due; undefined if there is none. */
  wait(now: number): number | undefined {
    let wait: number | undefined;
    for (const { count, since } of this.#waiting.values()) {
      const own = count >= this.#pace.most ? 0 : Math.max(0, since + this.#pace.waitMs - now);
      wait = Math.min(wait ?? own, own);
    }
    return wait;
  }

  /** Drops the acknowledgement of a conversation of which the gateway has another history. */
  forget(conv: string): void {
    this.#waiting.delete(conv);
  }

  /** Drops all acknowledgements, because the gateway has another history. */
  clear(): void {
    this.#waiting.clear();
  }
}
