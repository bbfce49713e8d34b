// Orders the received messages of one conversation for delivery. Pure: it uses no clock, no socket and no
// storage. Invariants: `next` returns ascending seqs, each once, and only seqs after the start position. A
// seq is skipped only after `settle` has said that it does not exist. This holds even if messages arrive
// twice, too early or not at all.

export interface Item<M> {
  readonly seq: number;
  /** Undefined for a message that this device sent itself: it is counted, but not delivered. */
  readonly message: M | undefined;
}

/** The largest number of waiting messages. Messages beyond it are dropped and fetched again later. */
const CAPACITY = 1_000;

export class DeliveryQueue<M> {
  #begun = false;
  #taken = 0;
  #head = 0;
  #settled = 0;
  #waiting = new Map<number, Item<M>>();
  /**
   * The lowest seq that was dropped because the queue was full. Higher ones are not queued before it arrives,
   * because they would use the space of those in between.
   */
  #dropped = Infinity;

  /** The start position is known. */
  get isBegun(): boolean {
    return this.#begun;
  }

  /** The last seq that was taken for delivery; its handlers may still run. */
  get taken(): number {
    return this.#taken;
  }

  /** The highest seq that is known to exist. */
  get head(): number {
    return this.#head;
  }

  /** The lowest waiting seq, and whether this device sent that message. */
  get lowest(): { seq: number; own: boolean } | undefined {
    let lowest: Item<M> | undefined;
    for (const item of this.#waiting.values()) if (!lowest || item.seq < lowest.seq) lowest = item;
    return lowest && { seq: lowest.seq, own: lowest.message === undefined };
  }

  /**
   * Sets the start position: all messages up to it were delivered before. Only the first call has an effect.
   */
  begin(position: number): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#taken = position;
    this.#settled = Math.max(this.#settled, position);
    this.note(position);
    for (const seq of this.#waiting.keys()) if (seq <= position) this.#waiting.delete(seq);
  }

  /** Seqs up to `head` exist. */
  note(head: number): void {
    this.#head = Math.max(this.#head, head);
  }

  /**
  /**
   * Adds a message that was pushed or replayed; `message` is undefined if this device sent it. Returns false
   * if the queue is full, so that the message must be fetched later.
   */
  see(seq: number, message: M | undefined): boolean {
    if (this.#dropped <= Math.max(this.#taken, this.#settled)) this.#dropped = Infinity;
    const hasRoom = seq === this.#taken + 1 || (this.#waiting.size < CAPACITY && seq <= this.#dropped);
    if (hasRoom) {
      this.#add({ seq, message });
      if (seq === this.#dropped) this.#dropped = Infinity;
    } else {
      this.note(seq);
      this.#dropped = Math.min(this.#dropped, seq);
    }
    return hasRoom;
  }

  /**
   * Adds a fetched part of the history. Seqs up to `upTo` that it does not contain do not exist for this
   * user.
   */
  fetched(items: readonly Item<M>[], upTo: number): void {
    for (const item of items) this.#add(item);
    this.settle(upTo);
  }

  /** Missing seqs up to `upTo` were deleted, or were never visible to this user. */
  settle(upTo: number): void {
    this.#settled = Math.max(this.#settled, upTo);
    this.note(upTo);
  }

  #add(item: Item<M>): void {
    this.note(item.seq);
    if (this.#begun && item.seq <= this.#taken) return;
    if (!this.#waiting.has(item.seq)) this.#waiting.set(item.seq, item);
  }

  /** Takes the next item, if it is known which one that is. */
  next(): Item<M> | undefined {
    if (!this.#begun) return undefined;
    let item = this.#waiting.get(this.#taken + 1);
    if (!item && this.#taken < this.#settled) item = this.#afterHole();
    if (!item) return undefined;
    this.#waiting.delete(item.seq);
    this.#taken = item.seq;
    return item;
  }

  /** Skips seqs that do not exist. */
  #afterHole(): Item<M> | undefined {
    const lowest = this.lowest?.seq ?? Infinity;
    if (lowest > this.#settled + 1) {
      this.#taken = this.#settled;
      return undefined;
    }
    return this.#waiting.get(lowest);
  }

  /**
   * The seq after which messages must be fetched, if messages are missing and nothing can be delivered
   * meanwhile.
   */
  wants(): number | undefined {
    if (!this.#begun || this.#taken >= this.#head) return undefined;
    if (this.#waiting.has(this.#taken + 1) || this.#taken < this.#settled) return undefined;
    return this.#taken;
  }
}
