// How many messages are unread. Pure. Invariant: each message counts once, and a number that the gateway gave goes before one
// that was counted here.

interface Count {
  unread: number;
  /** The highest number that `unread` takes into account. */
  head: number;
}

export class Unread {
  /** Unread in conversations that are not listed by name. */
  #elsewhere = 0;
  #counts = new Map<string, Count>();

  get total(): number {
    let total = this.#elsewhere;
    for (const { unread } of this.#counts.values()) total += unread;
    return total;
  }

  /** What the gateway says at a register: the total, and conversations that have something in them. */
  begin(total: number, listed: readonly { conv: string; head: number; unread: number }[]): void {
    this.#counts.clear();
    this.#elsewhere = total;
    for (const { conv, head, unread } of listed) {
      this.#counts.set(conv, { unread, head });
      this.#elsewhere -= unread;
    }
    this.#elsewhere = Math.max(0, this.#elsewhere);
  }

  /** What the gateway says of one conversation later. */
  learn(conv: string, head: number, unread: number): void {
    const count = this.#counts.get(conv);
    if (count && count.head > head) return;
    if (!count) this.#elsewhere = Math.max(0, this.#elsewhere - unread);
    this.#counts.set(conv, { unread, head });
  }

  /** A message came; `counts` says whether its kind and its sender make it count. True: it was not taken into account before. */
  see(conv: string, seq: number, counts: boolean): boolean {
    const count = this.#counts.get(conv) ?? { unread: 0, head: 0 };
    if (seq <= count.head) return false;
    this.#counts.set(conv, { unread: count.unread + (counts ? 1 : 0), head: seq });
    return true;
  }

  /** The user left a team with message `seq`: what is unread in it is out of reach and counts no more. */
  leave(conv: string, seq: number): void {
    this.#counts.set(conv, { unread: 0, head: seq });
  }

  /** The user has read up to `seq`. False: only the gateway knows how many are left. */
  read(conv: string, seq: number): boolean {
    const count = this.#counts.get(conv);
    if (!count) return this.#elsewhere === 0;
    if (seq < count.head) return count.unread === 0;
    count.unread = 0;
    return true;
  }
}
