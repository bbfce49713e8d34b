// Which acknowledgements are due. Pure. Invariant: what is told is never beyond what was noted, and what was told and got lost
// is told again once it is noted again.

export interface Ack {
  readonly conv: string;
  readonly seq: number;
}

export interface AckPace {
  /** An acknowledgement waits at most this long for others of its conversation. */
  readonly waitMs: number;
  /** So many messages of a conversation do not wait. */
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

  /** The application has everything in `conv` up to `seq`. */
  note(conv: string, seq: number, now: number): void {
    const waiting = this.#waiting.get(conv);
    if (!waiting) this.#waiting.set(conv, { seq, count: 1, since: now });
    else if (seq > waiting.seq) {
      waiting.seq = seq;
      waiting.count++;
    }
  }

  /** Takes what has waited long enough, or everything. */
  take(now: number, all = false): Ack[] {
    const due: Ack[] = [];
    for (const [conv, { seq, count, since }] of this.#waiting) {
      if (!all && count < this.#pace.most && now - since < this.#pace.waitMs) continue;
      this.#waiting.delete(conv);
      due.push({ conv, seq });
    }
    return due;
  }

  /** Milliseconds until something is due; undefined when nothing waits. */
  wait(now: number): number | undefined {
    let wait: number | undefined;
    for (const { count, since } of this.#waiting.values()) {
      const own = count >= this.#pace.most ? 0 : Math.max(0, since + this.#pace.waitMs - now);
      wait = Math.min(wait ?? own, own);
    }
    return wait;
  }

  /** Another history of one conversation. */
  forget(conv: string): void {
    this.#waiting.delete(conv);
  }

  /** Another history: what was noted means nothing any more. */
  clear(): void {
    this.#waiting.clear();
  }
}
