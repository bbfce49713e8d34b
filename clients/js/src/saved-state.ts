// The state that survives a restart: the device id, and for each user the epoch, the position in each
// conversation, and the outbox. Invariants: writes happen one after another, in the order of the calls; a
// position is valid only in the epoch in which it was written.

import type { OutboxMessage } from './core/outbox.js';
import { MynahError, textOf } from './errors.js';
import type { StorageAdapter } from './storage/adapter.js';

/** Numbers of outbox messages are reserved in blocks, so that saving a message usually takes one write. */
const BLOCK = 32;

export class SavedState {
  readonly #storage: StorageAdapter;
  readonly #name: string;
  readonly #failed: (error: MynahError) => void;
  #user = '';
  #writes: Promise<unknown> = Promise.resolve();
  #next = 0;
  #reserved = 0;
  #oldest = 0;

  constructor(storage: StorageAdapter, name: string, failed: (error: MynahError) => void) {
    this.#storage = storage;
    this.#name = name;
    this.#failed = failed;
  }

  /** Chooses the user. All state but the device id is kept per user. */
  open(uid: string): void {
    this.#user = `${this.#name}:${encodeURIComponent(uid)}`;
  }

  /** Resolves when all writes so far are done. */
  async written(): Promise<void> {
    await this.#writes;
  }

  device(): Promise<string | undefined> {
    return this.#read(`${this.#name}:device`);
  }

  setDevice(device: string): Promise<boolean> {
    return this.#write(`${this.#name}:device`, device);
  }

  epoch(): Promise<string | undefined> {
    return this.#read(`${this.#user}:epoch`);
  }

  setEpoch(epoch: string): Promise<boolean> {
    return this.#write(`${this.#user}:epoch`, epoch);
  }

  /** The seq up to which the conversation was handled, and the mid of the message there, if it is known. */
  async position(conv: string, epoch: string): Promise<{ seq: number; mid: string | undefined } | undefined> {
    const [text, written, mid] = ((await this.#read(`${this.#user}:at:${conv}`)) ?? '').split(' ');
    const seq = Number(text);
    return written === epoch && Number.isSafeInteger(seq) ? { seq, mid } : undefined;
  }

  setPosition(conv: string, seq: number, epoch: string, mid?: string): Promise<boolean> {
    return this.#write(`${this.#user}:at:${conv}`, `${seq} ${epoch}${mid === undefined ? '' : ` ${mid}`}`);
  }

  /** The outbox of the last run, in order. */
  async messages(): Promise<OutboxMessage[]> {
    const range = /^(\d+) (\d+)$/.exec((await this.#read(`${this.#user}:out`)) ?? '');
    const [from, to] = range ? [Number(range[1]), Number(range[2])] : [0, 0];
    const texts = await Promise.all(Array.from({ length: to - from }, (_, i) => this.#read(`${this.#user}:out:${from + i}`)));
    const messages = texts.flatMap((text) => (text === undefined ? [] : this.#parseMessage(text)));
    this.#next = this.#reserved = to;
    this.#oldest = messages[0]?.n ?? to;
    return messages;
  }

  #parseMessage(text: string): OutboxMessage[] {
    try {
      return [JSON.parse(text) as OutboxMessage];
    } catch (thrown) {
      this.#failed(new MynahError('storage', 'A saved message of the outbox is not valid JSON and was skipped.', thrown));
      return [];
    }
  }

  /** Returns the number of the next outbox message. */
  number(): number {
    return this.#next++;
  }

  async saveMessage(message: OutboxMessage): Promise<void> {
    if (message.n >= this.#reserved) {
      this.#reserved = message.n + BLOCK;
      void this.#write(`${this.#user}:out`, `${this.#oldest} ${this.#reserved}`);
    }
    await this.#write(`${this.#user}:out:${message.n}`, JSON.stringify(message));
  }

  /** Removes an outbox message. `oldest` is the number of the oldest message that is left. */
  async removeMessage(n: number, oldest: number | undefined): Promise<void> {
    const low = oldest ?? this.#next;
    const removed = this.#queue(async () => this.#storage.remove(`${this.#user}:out:${n}`));
    if (low >= this.#oldest + BLOCK) {
      this.#oldest = low;
      void this.#write(`${this.#user}:out`, `${low} ${Math.max(low, this.#reserved)}`);
    }
    await removed;
  }

  async #read(key: string): Promise<string | undefined> {
    try {
      return (await this.#storage.get(key)) ?? undefined;
    } catch (thrown) {
      this.#failed(new MynahError('storage', `The storage could not be read: ${textOf(thrown)}`, thrown));
      return undefined;
    }
  }

  #write(key: string, value: string): Promise<boolean> {
    return this.#queue(async () => this.#storage.set(key, value));
  }

  /** Resolves with whether the write succeeded. A failed write is reported. */
  #queue(act: () => Promise<void>): Promise<boolean> {
    const done = this.#writes.then(act).then(
      () => true,
      (thrown: unknown) => {
        this.#failed(new MynahError('storage', `The storage could not be written: ${textOf(thrown)}`, thrown));
        return false;
      },
    );
    this.#writes = done;
    return done;
  }
}
