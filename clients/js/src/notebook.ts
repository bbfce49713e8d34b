// What a client keeps over restarts: its device id, and per user the epoch, the position in each conversation, and the outbox.
// Invariants: writes happen one after another in the order asked for; a position counts only in the epoch it was written in.

import type { Letter } from './core/outbox.js';
import { MynahError, textOf } from './errors.js';
import type { StorageAdapter } from './storage/adapter.js';

/** Numbers of letters are reserved in blocks, so that putting one in is one write. */
const BLOCK = 32;

export class Notebook {
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

  /** Everything but the device id belongs to this user. */
  open(uid: string): void {
    this.#user = `${this.#name}:${encodeURIComponent(uid)}`;
  }

  /** Resolves when everything asked for so far is written. */
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

  /** Up to where this conversation was handed over, and the message there, where it is known. */
  async position(conv: string, epoch: string): Promise<{ seq: number; mid: string | undefined } | undefined> {
    const [text, written, mid] = ((await this.#read(`${this.#user}:at:${conv}`)) ?? '').split(' ');
    const seq = Number(text);
    return written === epoch && Number.isSafeInteger(seq) ? { seq, mid } : undefined;
  }

  setPosition(conv: string, seq: number, epoch: string, mid?: string): Promise<boolean> {
    return this.#write(`${this.#user}:at:${conv}`, `${seq} ${epoch}${mid === undefined ? '' : ` ${mid}`}`);
  }

  /** The letters of the last run, in order. */
  async letters(): Promise<Letter[]> {
    const range = /^(\d+) (\d+)$/.exec((await this.#read(`${this.#user}:out`)) ?? '');
    const [from, to] = range ? [Number(range[1]), Number(range[2])] : [0, 0];
    const texts = await Promise.all(Array.from({ length: to - from }, (_, i) => this.#read(`${this.#user}:out:${from + i}`)));
    const letters = texts.flatMap((text) => (text === undefined ? [] : this.#letter(text)));
    this.#next = this.#reserved = to;
    this.#oldest = letters[0]?.n ?? to;
    return letters;
  }

  #letter(text: string): Letter[] {
    try {
      return [JSON.parse(text) as Letter];
    } catch (thrown) {
      this.#failed(new MynahError('storage', 'A message of the outbox cannot be read and is left out.', thrown));
      return [];
    }
  }

  /** The number of the next letter. */
  number(): number {
    return this.#next++;
  }

  async keepLetter(letter: Letter): Promise<void> {
    if (letter.n >= this.#reserved) {
      this.#reserved = letter.n + BLOCK;
      void this.#write(`${this.#user}:out`, `${this.#oldest} ${this.#reserved}`);
    }
    await this.#write(`${this.#user}:out:${letter.n}`, JSON.stringify(letter));
  }

  /** Forgets a letter; `oldest` is the number of the oldest that is left. */
  async dropLetter(n: number, oldest: number | undefined): Promise<void> {
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

  /** Whether it was done. */
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
