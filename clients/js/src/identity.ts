// Who this is, and on which device. Invariant: the device is made once per storage; every cid of this device begins with its tag.

import { backoff } from './core/backoff.js';
import { MynahError } from './errors.js';
import { randomWord, type Clock } from './host.js';
import type { Notebook } from './notebook.js';
import { DEFAULTS, type Options } from './options.js';
import type { RegisterRequest } from './protocol.js';
import { subjectOf } from './token.js';

export class Identity {
  readonly #options: Options;
  readonly #notebook: Notebook;
  readonly #clock: Clock;
  #uid: string | undefined;
  #device: string | undefined;
  #tag = '';

  constructor(options: Options, notebook: Notebook, clock: Clock) {
    this.#options = options;
    this.#notebook = notebook;
    this.#clock = clock;
  }

  get uid(): string | undefined {
    return this.#uid;
  }

  get device(): string | undefined {
    return this.#device;
  }

  /** A short word made of the device id. */
  get tag(): string {
    return this.#tag;
  }

  /** Finds out, and opens the notebook for the user. A token that cannot be had is asked for again while `failed` says so. */
  async open(failed: (error: Error) => boolean): Promise<void> {
    let device = this.#options.deviceid ?? (await this.#notebook.device());
    if (device === undefined) {
      device = randomWord(20, this.#clock);
      await this.#notebook.setDevice(device);
    }
    this.#device = device;
    this.#tag = tagOf(device);
    const { uid } = this.#options;
    this.#uid = uid === undefined ? subjectOf(await this.#firstToken(failed)) : String(uid);
    if (this.#uid === undefined) throw new MynahError(401, 'Give a uid, or a token whose "sub" can be read.');
    this.#notebook.open(this.#uid);
  }

  async #firstToken(failed: (error: Error) => boolean): Promise<string> {
    for (let attempt = 1; ; attempt++) {
      try {
        return (await this.token()) ?? '';
      } catch (thrown) {
        if (!failed(thrown instanceof Error ? thrown : new Error(String(thrown)))) throw new MynahError('closed', 'This client is closed.');
        const pace = { ...DEFAULTS.retry, ...this.#options.retry };
        await new Promise<void>((go) => this.#clock.later(backoff(attempt, pace, this.#clock.random()), go));
      }
    }
  }

  async token(): Promise<string | undefined> {
    const { token } = this.#options;
    return typeof token === 'function' ? token() : token;
  }

  async credentials(): Promise<RegisterRequest> {
    const { platform, type } = this.#options;
    const token = await this.token();
    return {
      ...(this.#uid !== undefined && { uid: this.#uid }),
      ...(token !== undefined && { token }),
      ...(platform !== undefined && { platform }),
      ...(type !== undefined && { type }),
      deviceid: this.#device ?? '',
      resume: true,
      format: 'object',
    };
  }
}

/** Two 32-bit FNV-1a hashes of the device id, as a word. */
function tagOf(device: string): string {
  let [a, b] = [0x811c9dc5, 0x01000193];
  for (let i = 0; i < device.length; i++) {
    const code = device.charCodeAt(i);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ (code + i), 0x01000193);
  }
  return [a, b].map((hash) => (hash >>> 0).toString(36)).join('');
}
