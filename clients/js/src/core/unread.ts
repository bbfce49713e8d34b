// How many messages are unread. Pure. Invariants: each message counts once; a number that the gateway gave goes before one that was
// counted here; once every conversation is known by name, the total is the sum of theirs.

interface Count {
  unread: number;
  /** The highest number that `unread` takes into account. */
  head: number;
  /** The gateway gave this number. Otherwise the conversation was not listed, and what was unread in it is in `#elsewhere`. */
  known: boolean;
}

export class Unread {
  /** Unread in conversations that the gateway has counted and not named yet. */
  #elsewhere = 0;
  /** Every conversation with something unread is known. */
  #complete = true;
  /** What comes now was there when the gateway counted. */
  #replaying = false;
  #counts = new Map<string, Count>();

  get total(): number {
    let total = this.#elsewhere;
    for (const { unread } of this.#counts.values()) total += unread;
    return total;
  }

  /**
   * What the gateway says at a register: the total, and conversations that have something in them. `more`: there are others, which
   * `learn` names one by one; then `settle` is asked.
   */
  begin(total: number, listed: readonly { conv: string; head: number; unread: number }[], more = false): void {
    this.#counts.clear();
    this.#elsewhere = total;
    for (const { conv, head, unread } of listed) {
      this.#counts.set(conv, { unread, head, known: true });
      this.#elsewhere -= unread;
    }
    this.#elsewhere = more ? Math.max(0, this.#elsewhere) : 0;
    this.#complete = !more;
    this.#replaying = true;
  }

  /** The replay is over. */
  resumed(): void {
    this.#replaying = false;
  }

  /** What the gateway says of one conversation later. */
  learn(conv: string, head: number, unread: number): void {
    const count = this.#counts.get(conv);
    // An older answer. Where the gateway's number is not known yet, a later answer gives it.
    if (count && count.head > head) return;
    if (!count?.known) this.#elsewhere = Math.max(0, this.#elsewhere - Math.max(0, unread - (count?.unread ?? 0)));
    this.#counts.set(conv, { unread, head, known: true });
  }

  /** All conversations were gone through. False: of some the number is not known yet, since they moved meanwhile. */
  settle(): boolean {
    for (const { known } of this.#counts.values()) if (!known) return false;
    this.#elsewhere = 0;
    this.#complete = true;
    return true;
  }

  /** Something was sent to a conversation, which moves to the front of the list. */
  moved(conv: string): void {
    if (!this.#complete && !this.#counts.has(conv)) this.#counts.set(conv, { unread: 0, head: 0, known: false });
  }

  /** A message came; `counts` says whether its kind and its sender make it count. True: it was not taken into account before. */
  see(conv: string, seq: number, counts: boolean): boolean {
    const count = this.#counts.get(conv) ?? { unread: 0, head: 0, known: this.#complete };
    if (seq <= count.head) return false;
    // What is replayed of a conversation that was not named was counted by the gateway.
    const isNew = counts && (count.known || !this.#replaying);
    this.#counts.set(conv, { unread: count.unread + (isNew ? 1 : 0), head: seq, known: count.known });
    return true;
  }

  /** The user left a team with message `seq`: what is unread in it is out of reach and counts no more. */
  leave(conv: string, seq: number): void {
    this.#counts.set(conv, { unread: 0, head: seq, known: true });
  }

  /** A conversation has ended for the user, who was told so by a refusal. False: nothing is known of it. */
  end(conv: string): boolean {
    const count = this.#counts.get(conv);
    if (count) this.leave(conv, count.head);
    return count !== undefined;
  }

  /** The user has read up to `seq`. False: only the gateway knows how many are left. */
  read(conv: string, seq: number): boolean {
    const count = this.#counts.get(conv);
    if (!count?.known) return this.#complete;
    if (seq < count.head) return count.unread === 0;
    count.unread = 0;
    return true;
  }
}
