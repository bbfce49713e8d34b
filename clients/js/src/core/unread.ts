// Counts unread messages. Pure. Invariants: each message counts once; a count from the gateway replaces one
// that was counted here; once every conversation is known by its id, the total is the sum of their counts.

interface Count {
  unread: number;
  /** The highest seq that `unread` includes. */
  head: number;
  /** The count includes one from the gateway. Otherwise, earlier unread messages are part of `#elsewhere`. */
  known: boolean;
}

export class Unread {
  /** Unread messages of the conversations that are in the gateway's total, but that it has not named yet. */
  #elsewhere = 0;
  /** Every conversation with unread messages is known. */
  #complete = true;
  /** A replay is running: its messages are included in the gateway's counts. */
  #replaying = false;
  #counts = new Map<string, Count>();

  get total(): number {
    let total = this.#elsewhere;
    for (const { unread } of this.#counts.values()) total += unread;
    return total;
  }

  /**
   * Takes over the answer to a register: the total, and the conversations with unread messages. If `more` is
   * true, there are further conversations. The caller then passes them to `learn` one by one, and calls
   * `settle`.
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

  /** The replay has ended. */
  resumed(): void {
    this.#replaying = false;
  }

  /** Takes over a later count of the gateway for one conversation. */
  learn(conv: string, head: number, unread: number): void {
    const count = this.#counts.get(conv);
    // The answer is older than what was counted here. If the conversation is not known yet, a later answer
    // has its count.
    if (count && count.head > head) return;
    if (!count?.known) this.#elsewhere = Math.max(0, this.#elsewhere - Math.max(0, unread - (count?.unread ?? 0)));
    this.#counts.set(conv, { unread, head, known: true });
  }

  /**
   * The list of conversations was read. Returns false if some counts are not known, because conversations
   * have moved.
   */
  settle(): boolean {
    for (const { known } of this.#counts.values()) if (!known) return false;
    this.#elsewhere = 0;
    this.#complete = true;
    return true;
  }

  /** A message was sent to a conversation, which therefore moves to the front of the list. */
  moved(conv: string): void {
    if (!this.#complete && !this.#counts.has(conv)) this.#counts.set(conv, { unread: 0, head: 0, known: false });
  }

  /**
   * A message was received; `counts` is whether it can be unread. Returns whether it was not included before.
   */
  see(conv: string, seq: number, counts: boolean): boolean {
    const count = this.#counts.get(conv) ?? { unread: 0, head: 0, known: this.#complete };
    if (seq <= count.head) return false;
    // Replayed messages of a conversation that was not named are included in the gateway's total.
    const isNew = counts && (count.known || !this.#replaying);
    this.#counts.set(conv, { unread: count.unread + (isNew ? 1 : 0), head: seq, known: count.known });
    return true;
  }

  /** The user left a team with message `seq`. Its unread messages can no longer be read and do not count. */
  leave(conv: string, seq: number): void {
    this.#counts.set(conv, { unread: 0, head: seq, known: true });
  }

  /**
   * The gateway refused the user access to a conversation. Returns whether the conversation was known here.
   */
  end(conv: string): boolean {
    const count = this.#counts.get(conv);
    if (count) this.leave(conv, count.head);
    return count !== undefined;
  }

  /**
   * The user has read up to `seq`. Returns false if only the gateway knows how many messages are still
   * unread.
   */
  read(conv: string, seq: number): boolean {
    const count = this.#counts.get(conv);
    if (!count?.known) return this.#complete;
    if (seq < count.head) return count.unread === 0;
    count.unread = 0;
    return true;
  }
}
