// Sends the messages of the application. Invariants: a message is saved before it is sent, and removed after
// the gateway has answered for good and the handlers of 'sent' or 'failed' have finished; every attempt has
// the same cid; the promise of a send settles once.

import { backoff, type Pace } from './core/backoff.js';
import { Outbox, type OutboxMessage } from './core/outbox.js';
import { isTemporary, MynahError, textOf } from './errors.js';
import type { Clock } from './host.js';
import type { Connection } from './connection.js';
import type { SavedState } from './saved-state.js';
import type { Json, SendResponse, To } from './protocol.js';

/** The result of a send: the gateway has stored the message. */
export interface Receipt {
  readonly cid: string;
  readonly mid: string;
  readonly conv: string;
  readonly seq: number;
  readonly ts: number;
  /** The gateway had stored the message at an earlier attempt. */
  readonly duplicate: boolean;
}

/** The result of a send of a kind that is not stored. */
export interface Delivery {
  readonly cid: string;
  readonly ts: number;
  /** At least one connection was reached. */
  readonly delivered: boolean;
}

/** A message of the outbox. */
export interface Pending {
  readonly cid: string;
  /** The application's own id for the message, if it gave one. */
  readonly id?: string;
  readonly to: To;
  readonly type: number;
  readonly data: Json;
}

/** A message of the outbox that the gateway has accepted. */
export interface Sent extends Pending {
  readonly receipt: Receipt | Delivery;
}

/** A message of the outbox that the gateway has refused. */
export interface Failed extends Pending {
  readonly error: MynahError;
}

export interface OutboundHooks {
  sent(sent: Sent): Promise<void>;
  failed(failed: Failed): Promise<void>;
}

export interface OutboundPace {
  readonly retry: Pace;
  /** A message of a kind that is not stored expires after this time. */
  readonly transientMs: number;
}

interface Waiter {
  readonly promise: Promise<Receipt | Delivery>;
  resolve(receipt: Receipt | Delivery): void;
  reject(error: MynahError): void;
}

/** A message that was answered with an internal error (500) this many times has failed. */
const MAX_INTERNAL_ERRORS = 5;

export class Outbound {
  #waiters = new Map<string, Waiter>();
  #expiries = new Map<string, () => void>();
  #cancel = (): void => undefined;
  #closed = false;

  constructor(
    readonly outbox: Outbox,
    readonly connection: Connection,
    readonly savedState: SavedState,
    readonly clock: Clock,
    readonly pace: OutboundPace,
    readonly hooks: OutboundHooks,
  ) {}

  get pending(): Pending[] {
    return this.outbox.messages.map(asPending);
  }

  /** Adds the saved messages of earlier runs. */
  load(messages: readonly OutboxMessage[]): void {
    for (const message of messages) if (!this.outbox.has(message.cid)) this.outbox.add(message, { bounded: false });
  }

  /** Adds a message. The promise settles when the gateway has accepted or refused it. */
  async put(message: Omit<OutboxMessage, 'n'>): Promise<Receipt | Delivery> {
    const { cid } = message;
    if (this.#closed) throw new MynahError('closed', 'This client is closed.');
    if (!this.outbox.has(cid)) {
      const whole: OutboxMessage = { ...message, n: this.savedState.number() };
      this.outbox.add(whole, { held: true });
      const waiter = this.#waiter(cid);
      if (message.transient) this.#expire(cid);
      else await this.savedState.saveMessage(whole);
      this.outbox.release(cid);
      this.sendDue();
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
    const cancel = this.clock.later(this.pace.transientMs, () => {
      const message = this.outbox.get(cid);
      if (message) void this.#fail(message, new MynahError('offline', `The message could not be sent within ${this.pace.transientMs} ms, and kinds that are not stored are not sent later.`));
    });
    this.#expiries.set(cid, cancel);
  }

  /** Sends the messages that are due, and sets a timer for the others. */
  sendDue(): void {
    this.#cancel();
    if (this.#closed || !this.connection.isOnline) return;
    for (const message of this.outbox.take(this.clock.now())) void this.#send(message);
    const wait = this.outbox.wait(this.clock.now());
    if (wait !== undefined && wait > 0) this.#cancel = this.clock.later(wait, () => this.sendDue());
  }

  async #send(message: OutboxMessage): Promise<void> {
    const { type, to, cid, data } = message;
    try {
      const response = await this.connection.request(101, { type, to, cid, data });
      await this.confirm(cid, response);
    } catch (thrown) {
      const error = thrown instanceof MynahError ? thrown : new MynahError('protocol', textOf(thrown), thrown);
      if (this.#mayRetry(message, error)) {
        const wait = error.code === 'lost' ? 0 : backoff(this.outbox.attempts(cid), this.pace.retry, this.clock.random());
        this.outbox.again(cid, this.clock.now() + wait);
      } else await this.#fail(message, error);
    }
    this.sendDue();
  }

  #mayRetry({ cid, transient }: OutboxMessage, error: MynahError): boolean {
    if (error.code === 'closed') return true;
    if (error.code === 500) return this.outbox.attempts(cid) < MAX_INTERNAL_ERRORS && !transient;
    // A message of a kind that is not stored is repeated only if it was certainly not sent before.
    if (transient) return error.code === 401 || error.code === 429 || error.code === 503 || error.code === 'offline';
    return isTemporary(error);
  }

  /**
   * The gateway has accepted the message with this cid: it has answered, or the message was received back.
   */
  async confirm(cid: string, { mid, conv, seq, ts, duplicate = false, delivered = false }: Omit<SendResponse, 'code' | 'cid'>): Promise<void> {
    const message = this.outbox.settle(cid);
    if (!message) return;
    this.sendDue();
    const stored = mid !== undefined && conv !== undefined && seq !== undefined;
    const receipt = stored ? { cid, mid, conv, seq, ts, duplicate } : { cid, ts, delivered };
    this.#waiters.get(cid)?.resolve(receipt);
    await this.hooks.sent({ ...asPending(message), receipt });
    await this.#forget(message);
  }

  async #fail(message: OutboxMessage, error: MynahError): Promise<void> {
    if (!this.outbox.settle(message.cid)) return;
    this.sendDue();
    this.#waiters.get(message.cid)?.reject(error);
    await this.hooks.failed({ ...asPending(message), error });
    await this.#forget(message);
  }

  async #forget(message: OutboxMessage): Promise<void> {
    this.#waiters.delete(message.cid);
    this.#expiries.get(message.cid)?.();
    this.#expiries.delete(message.cid);
    if (message.transient) return;
    await this.savedState.removeMessage(message.n, this.outbox.messages.find((other) => !other.transient)?.n);
  }

  /** Unsent messages stay in the storage; the promises of their sends reject with `closed`. */
  close(): void {
    this.#closed = true;
    this.#cancel();
    const error = new MynahError('closed', 'The client was closed. The message stays in the outbox, and the next client over the same storage sends it.');
    for (const waiter of this.#waiters.values()) waiter.reject(error);
    for (const cancel of this.#expiries.values()) cancel();
    this.#waiters.clear();
    this.#expiries.clear();
  }
}

function asPending({ cid, id, to, type, data }: OutboxMessage): Pending {
  return { cid, ...(id !== undefined && { id }), to, type, data };
}
