// Messages that wait to be sent. Pure: time is an argument. Invariants: of one destination one message is under way, and none
// before those that were put in earlier; an entry stays until it is settled; there are never more than the bound.

import { MynahError } from '../errors.js';
import type { Json, To } from '../protocol.js';

/** A message as it is kept until the gateway has it. */
export interface Letter {
  /** The order in which letters were put in; it goes on over restarts. */
  readonly n: number;
  readonly cid: string;
  readonly to: To;
  readonly type: number;
  readonly data: Json;
  /** The application's own id for it. */
  readonly id?: string;
  /** Of the moment: not kept over a restart, and not sent twice. */
  readonly transient?: true;
}

interface Entry {
  readonly letter: Letter;
  underWay: boolean;
  attempts: number;
  notBefore: number;
}

function destination({ to }: Letter): string {
  return 'user' in to ? `user ${to.user}` : `team ${to.team}`;
}

export class Outbox {
  readonly #most: number;
  readonly #abreast: number;
  #queues = new Map<string, Entry[]>();
  #byCid = new Map<string, Entry>();
  #underWay = 0;

  /** At most `most` letters, `abreast` of them under way. */
  constructor(most: number, abreast: number) {
    this.#most = most;
    this.#abreast = abreast;
  }

  get size(): number {
    return this.#byCid.size;
  }

  /** All letters in the order in which they were put in. */
  get letters(): Letter[] {
    return [...this.#byCid.values()].map((entry) => entry.letter).sort((a, b) => a.n - b.n);
  }

  has(cid: string): boolean {
    return this.#byCid.has(cid);
  }

  get(cid: string): Letter | undefined {
    return this.#byCid.get(cid)?.letter;
  }

  /** Puts a letter in; one of a former run may exceed the bound, a new one may not. A held one keeps its place until released. */
  add(letter: Letter, { bounded = true, held = false } = {}): void {
    if (bounded && this.size >= this.#most) {
      throw new MynahError('full', `The outbox holds ${this.#most} messages: wait until some of them are sent.`);
    }
    const entry: Entry = { letter, underWay: false, attempts: 0, notBefore: held ? Infinity : 0 };
    this.#byCid.set(letter.cid, entry);
    const queue = this.#queues.get(destination(letter)) ?? [];
    queue.push(entry);
    this.#queues.set(destination(letter), queue);
  }

  release(cid: string): void {
    const entry = this.#byCid.get(cid);
    if (entry) entry.notBefore = 0;
  }

  /** The letters that go out now; they are under way from here on. */
  take(now: number): Letter[] {
    const due: Letter[] = [];
    for (const [first] of this.#queues.values()) {
      if (this.#underWay >= this.#abreast) break;
      if (!first || first.underWay || first.notBefore > now) continue;
      first.underWay = true;
      first.attempts++;
      this.#underWay++;
      due.push(first.letter);
    }
    return due;
  }

  /** Milliseconds until a letter that waits for its next attempt may go; undefined when none does. */
  wait(now: number): number | undefined {
    let wait: number | undefined;
    for (const [first] of this.#queues.values()) {
      if (!first || first.underWay || first.notBefore === Infinity) continue;
      const own = Math.max(0, first.notBefore - now);
      wait = Math.min(wait ?? own, own);
    }
    return wait;
  }

  /** How often a letter was tried. */
  attempts(cid: string): number {
    return this.#byCid.get(cid)?.attempts ?? 0;
  }

  /** An attempt came to nothing: the letter stays the first of its destination and goes again at `at`. */
  again(cid: string, at: number): void {
    const entry = this.#byCid.get(cid);
    if (!entry?.underWay) return;
    entry.underWay = false;
    entry.notBefore = at;
    this.#underWay--;
  }

  /** A letter is sent, or never will be. Returns it unless it was settled before. */
  settle(cid: string): Letter | undefined {
    const entry = this.#byCid.get(cid);
    if (!entry) return undefined;
    this.#byCid.delete(cid);
    if (entry.underWay) this.#underWay--;
    const key = destination(entry.letter);
    const rest = (this.#queues.get(key) ?? []).filter((other) => other !== entry);
    if (rest.length > 0) this.#queues.set(key, rest);
    else this.#queues.delete(key);
    return entry.letter;
  }
}
