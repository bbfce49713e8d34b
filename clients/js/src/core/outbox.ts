// The messages that wait to be sent. Pure: time is an argument. Invariants: each destination has at most one
// message in flight, and its messages are sent in the order in which they were added; an entry stays until it
// is settled; the number of entries is bounded.

import { MynahError } from '../errors.js';
import type { Json, To } from '../protocol.js';

/** A message as it is saved until the gateway has accepted or refused it. */
export interface OutboxMessage {
  /** The position in the order of sends. The numbers continue after a restart. */
  readonly n: number;
  readonly cid: string;
  readonly to: To;
  readonly type: number;
  readonly data: Json;
  /** The application's own id for the message. */
  readonly id?: string;
  /** The kind is not stored: the message is not saved, and not sent twice. */
  readonly transient?: true;
}

interface QueuedMessage {
  readonly message: OutboxMessage;
  inFlight: boolean;
  attempts: number;
  notBefore: number;
}

function destination({ to }: OutboxMessage): string {
  return 'user' in to ? `user ${to.user}` : `team ${to.team}`;
}

export class Outbox {
  readonly #most: number;
  readonly #concurrency: number;
  #queues = new Map<string, QueuedMessage[]>();
  #byCid = new Map<string, QueuedMessage>();
  #inFlight = 0;

  /** At most `most` messages, `abreast` of them under way. */
  constructor(most: number, concurrency: number) {
    this.#most = most;
    this.#concurrency = concurrency;
  }

  get size(): number {
    return this.#byCid.size;
  }

  /** All messages, in the order in which they were added. */
  get messages(): OutboxMessage[] {
    return [...this.#byCid.values()].map((entry) => entry.message).sort((a, b) => a.n - b.n);
  }

  has(cid: string): boolean {
    return this.#byCid.has(cid);
  }

  get(cid: string): OutboxMessage | undefined {
    return this.#byCid.get(cid)?.message;
  }

  /**
   * Adds a message. `bounded: false` is for saved messages of earlier runs, which may exceed the bound. A
   * `held` message keeps its place in the order, and is not sent before `release`.
   */
  add(message: OutboxMessage, { bounded = true, held = false } = {}): void {
    if (bounded && this.size >= this.#most) {
      throw new MynahError('full', `The outbox is full (${this.#most} messages): wait until some of them are sent.`);
    }
    const entry: QueuedMessage = { message, inFlight: false, attempts: 0, notBefore: held ? Infinity : 0 };
    this.#byCid.set(message.cid, entry);
    const queue = this.#queues.get(destination(message)) ?? [];
    queue.push(entry);
    this.#queues.set(destination(message), queue);
  }

  release(cid: string): void {
    const entry = this.#byCid.get(cid);
    if (entry) entry.notBefore = 0;
  }

  /** Takes the messages that are due. They are in flight from now on. */
  take(now: number): OutboxMessage[] {
    const due: OutboxMessage[] = [];
    for (const [first] of this.#queues.values()) {
      if (this.#inFlight >= this.#concurrency) break;
      if (!first || first.inFlight || first.notBefore > now) continue;
      first.inFlight = true;
      first.attempts++;
      this.#inFlight++;
      due.push(first.message);
    }
    return due;
  }

  /** The milliseconds until the next message is due; undefined if none waits for its time. */
  wait(now: number): number | undefined {
    let wait: number | undefined;
    for (const [first] of this.#queues.values()) {
      if (!first || first.inFlight || first.notBefore === Infinity) continue;
      const own = Math.max(0, first.notBefore - now);
      wait = Math.min(wait ?? own, own);
    }
    return wait;
  }

  /** How many times a message was sent. */
  attempts(cid: string): number {
    return this.#byCid.get(cid)?.attempts ?? 0;
  }

  /** An attempt failed: the message stays the first one of its destination and is sent again at `at`. */
  again(cid: string, at: number): void {
    const entry = this.#byCid.get(cid);
    if (!entry?.inFlight) return;
    entry.inFlight = false;
    entry.notBefore = at;
    this.#inFlight--;
  }

  /** Removes a message that was accepted or has failed. Returns it, unless it was removed before. */
  settle(cid: string): OutboxMessage | undefined {
    const entry = this.#byCid.get(cid);
    if (!entry) return undefined;
    this.#byCid.delete(cid);
    if (entry.inFlight) this.#inFlight--;
    const key = destination(entry.message);
    const rest = (this.#queues.get(key) ?? []).filter((other) => other !== entry);
    if (rest.length > 0) this.#queues.set(key, rest);
    else this.#queues.delete(key);
    return entry.message;
  }
}
