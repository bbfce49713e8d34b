// One conversation on its way to the application. Pure: no time, no socket, no storage. Invariants: `next` gives rising numbers,
// each once, none up to the position the lane began at; a number is passed over only if somebody who knows said that it does
// not exist (`settle`). Whatever comes twice, early or not at all changes nothing of that.

export interface Item<M> {
  readonly seq: number;
  /** Undefined for what this device sent itself: counted, not handed over. */
  readonly message: M | undefined;
}

/** Numbers kept in waiting at most; what comes beyond is fetched again later. */
const ROOM = 1_000;

export class Lane<M> {
  #begun = false;
  #taken = 0;
  #head = 0;
  #settled = 0;
  #waiting = new Map<number, Item<M>>();

  /** It is known where to begin. */
  get isBegun(): boolean {
    return this.#begun;
  }

  /** Handed over up to here, finished or not. */
  get taken(): number {
    return this.#taken;
  }

  /** The highest number that is known to exist. */
  get head(): number {
    return this.#head;
  }

  /** The lowest number in waiting, and whether this device sent it. */
  get lowest(): { seq: number; own: boolean } | undefined {
    let lowest: Item<M> | undefined;
    for (const item of this.#waiting.values()) if (!lowest || item.seq < lowest.seq) lowest = item;
    return lowest && { seq: lowest.seq, own: lowest.message === undefined };
  }

  /** Everything up to `position` was handed over before. Only the first call counts. */
  begin(position: number): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#taken = position;
    this.#settled = Math.max(this.#settled, position);
    this.note(position);
    for (const seq of this.#waiting.keys()) if (seq <= position) this.#waiting.delete(seq);
  }

  /** Numbers up to `head` were given out. */
  note(head: number): void {
    this.#head = Math.max(this.#head, head);
  }

  /** This message exists, pushed or replayed; undefined for one that this device sent. What finds no room is fetched later. */
  see(seq: number, message: M | undefined): void {
    if (this.#waiting.size < ROOM || seq === this.#taken + 1) this.#add({ seq, message });
    else this.note(seq);
  }

  /** A part of the record, as it was asked for after some number: what it does not hold up to `upTo` does not exist for us. */
  fetched(items: readonly Item<M>[], upTo: number): void {
    for (const item of items) this.#add(item);
    this.settle(upTo);
  }

  /** What is missing up to here does not exist any more, or was never for us. */
  settle(upTo: number): void {
    this.#settled = Math.max(this.#settled, upTo);
    this.note(upTo);
  }

  #add(item: Item<M>): void {
    this.note(item.seq);
    if (this.#begun && item.seq <= this.#taken) return;
    if (!this.#waiting.has(item.seq)) this.#waiting.set(item.seq, item);
  }

  /** Takes what is handed over next, if that is known. */
  next(): Item<M> | undefined {
    if (!this.#begun) return undefined;
    let item = this.#waiting.get(this.#taken + 1);
    if (!item && this.#taken < this.#settled) item = this.#afterHole();
    if (!item) return undefined;
    this.#waiting.delete(item.seq);
    this.#taken = item.seq;
    return item;
  }

  /** Steps over numbers that do not exist. */
  #afterHole(): Item<M> | undefined {
    const lowest = this.lowest?.seq ?? Infinity;
    if (lowest > this.#settled + 1) {
      this.#taken = this.#settled;
      return undefined;
    }
    return this.#waiting.get(lowest);
  }

  /** The number after which messages have to be fetched, if any are missing and none can be handed over meanwhile. */
  wants(): number | undefined {
    if (!this.#begun || this.#taken >= this.#head) return undefined;
    if (this.#waiting.has(this.#taken + 1) || this.#taken < this.#settled) return undefined;
    return this.#taken;
  }
}
