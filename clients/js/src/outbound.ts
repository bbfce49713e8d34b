// Messages on their way to the gateway. Invariants: a message is written down before it is sent and forgotten after the gateway
// has it and 'sent' was handled; every attempt carries the same cid; whoever called `send` is told once.

import { backoff, type Pace } from './core/backoff.js';
import { Outbox, type Letter } from './core/outbox.js';
import { isTemporary, MynahError, textOf } from './errors.js';
import type { Clock } from './host.js';
import type { Link } from './link.js';
import type { Notebook } from './notebook.js';
import type { Json, SendResponse, To } from './protocol.js';

/** A stored message that the gateway has. */
export interface Receipt {
  readonly cid: string;
  readonly mid: string;
  readonly conv: string;
  readonly seq: number;
  readonly ts: number;
  /** An earlier attempt had arrived. */
  readonly duplicate: boolean;
}

/** A message of a kind that is not stored went out. */
export interface Delivery {
  readonly cid: string;
  readonly ts: number;
  /** Somebody was reached. */
  readonly delivered: boolean;
}

/** A message of the outbox. */
export interface Pending {
  readonly cid: string;
  /** The application's own id for it, where it gave one. */
  readonly id?: string;
  readonly to: To;
  readonly type: number;
  readonly data: Json;
}

/** A message of the outbox that the gateway has. */
export interface Sent extends Pending {
  readonly receipt: Receipt | Delivery;
}

/** A message of the outbox that the gateway will not have. */
export interface Failed extends Pending {
  readonly error: MynahError;
}

export interface OutboundHooks {
  sent(sent: Sent): Promise<void>;
  failed(failed: Failed): Promise<void>;
}

export interface OutboundPace {
  readonly retry: Pace;
  /** A message of the moment is given up after so long. */
  readonly transientMs: number;
}

interface Waiter {
  readonly promise: Promise<Receipt | Delivery>;
  resolve(receipt: Receipt | Delivery): void;
  reject(error: MynahError): void;
}

/** Times that an internal error of the gateway's is worth another attempt. */
const MISTAKES = 5;

export class Outbound {
  #waiters = new Map<string, Waiter>();
  #expiries = new Map<string, () => void>();
  #callOff = (): void => undefined;
  #closed = false;

  constructor(
    readonly outbox: Outbox,
    readonly link: Link,
    readonly notebook: Notebook,
    readonly clock: Clock,
    readonly pace: OutboundPace,
    readonly hooks: OutboundHooks,
  ) {}

  get pending(): Pending[] {
    return this.outbox.letters.map(asPending);
  }

  /** Puts in what a former run left. */
  load(letters: readonly Letter[]): void {
    for (const letter of letters) if (!this.outbox.has(letter.cid)) this.outbox.add(letter, { bounded: false });
  }

  /** Takes a message; the promise settles when the gateway has it or never will. */
  async put(letter: Omit<Letter, 'n'>): Promise<Receipt | Delivery> {
    const { cid } = letter;
    if (this.#closed) throw new MynahError('closed', 'This client is closed.');
    if (!this.outbox.has(cid)) {
      const whole: Letter = { ...letter, n: this.notebook.number() };
      this.outbox.add(whole, { held: true });
      const waiter = this.#waiter(cid);
      if (letter.transient) this.#expire(cid);
      else await this.notebook.keepLetter(whole);
      this.outbox.release(cid);
      this.go();
      return waiter.promise;
    }
    return this.#waiter(cid).promise;
  }

  #waiter(cid: string): Waiter {
    let waiter = this.#waiters.get(cid);
    if (!waiter) {
      const settle: Partial<Waiter> = {};
      const promise = new Promise<Receipt | Delivery>((resolve, reject) => Object.assign(settle, { resolve, reject }));
      promise.catch(() => undefined);
      waiter = { ...(settle as Waiter), promise };
      this.#waiters.set(cid, waiter);
    }
    return waiter;
  }

  #expire(cid: string): void {
    const callOff = this.clock.later(this.pace.transientMs, () => {
      const letter = this.outbox.get(cid);
      if (letter) void this.#fail(letter, new MynahError('offline', 'A message of the moment could not be sent in time.'));
    });
    this.#expiries.set(cid, callOff);
  }

  /** Sends what may go now, and sees to it that the rest goes later. */
  go(): void {
    this.#callOff();
    if (this.#closed || !this.link.isOnline) return;
    for (const letter of this.outbox.take(this.clock.now())) void this.#send(letter);
    const wait = this.outbox.wait(this.clock.now());
    if (wait !== undefined && wait > 0) this.#callOff = this.clock.later(wait, () => this.go());
  }

  async #send(letter: Letter): Promise<void> {
    const { type, to, cid, data } = letter;
    try {
      const response = await this.link.ask(101, { type, to, cid, data });
      await this.confirm(cid, response);
    } catch (thrown) {
      const error = thrown instanceof MynahError ? thrown : new MynahError('protocol', textOf(thrown), thrown);
      if (this.#goesAgain(letter, error)) {
        const wait = error.code === 'lost' ? 0 : backoff(this.outbox.attempts(cid), this.pace.retry, this.clock.random());
        this.outbox.again(cid, this.clock.now() + wait);
      } else await this.#fail(letter, error);
    }
    this.go();
  }

  #goesAgain({ cid, transient }: Letter, error: MynahError): boolean {
    if (error.code === 'closed') return true;
    if (error.code === 500) return this.outbox.attempts(cid) < MISTAKES && !transient;
    // A message of the moment goes again only if it surely did not go before.
    if (transient) return error.code === 401 || error.code === 429 || error.code === 503 || error.code === 'offline';
    return isTemporary(error);
  }

  /** The gateway has the message with this cid, as it answered or as the record shows. */
  async confirm(cid: string, { mid, conv, seq, ts, duplicate = false, delivered = false }: Omit<SendResponse, 'code' | 'cid'>): Promise<void> {
    const letter = this.outbox.settle(cid);
    if (!letter) return;
    this.go();
    const stored = mid !== undefined && conv !== undefined && seq !== undefined;
    const receipt = stored ? { cid, mid, conv, seq, ts, duplicate } : { cid, ts, delivered };
    this.#waiters.get(cid)?.resolve(receipt);
    await this.hooks.sent({ ...asPending(letter), receipt });
    await this.#forget(letter);
  }

  async #fail(letter: Letter, error: MynahError): Promise<void> {
    if (!this.outbox.settle(letter.cid)) return;
    this.go();
    this.#waiters.get(letter.cid)?.reject(error);
    await this.hooks.failed({ ...asPending(letter), error });
    await this.#forget(letter);
  }

  async #forget(letter: Letter): Promise<void> {
    this.#waiters.delete(letter.cid);
    this.#expiries.get(letter.cid)?.();
    this.#expiries.delete(letter.cid);
    if (letter.transient) return;
    await this.notebook.dropLetter(letter.n, this.outbox.letters.find((other) => !other.transient)?.n);
  }

  /** What is not sent stays written down; whoever waits is told that this client will not send it. */
  close(): void {
    this.#closed = true;
    this.#callOff();
    const error = new MynahError('closed', 'The client was closed; what is in the outbox is sent by the next one.');
    for (const waiter of this.#waiters.values()) waiter.reject(error);
    for (const callOff of this.#expiries.values()) callOff();
    this.#waiters.clear();
    this.#expiries.clear();
  }
}

function asPending({ cid, id, to, type, data }: Letter): Pending {
  return { cid, ...(id !== undefined && { id }), to, type, data };
}
