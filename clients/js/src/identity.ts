// Who this is, and on which device. Invariant: the device is made once per storage; every cid of this device begins with its tag.

import { backoff } from './core/backoff.js';
import { MynahError } from './errors.js';
import { randomWord, type Clock } from './host.js';
import type { Notebook } from './notebook.js';
import { DEFAULTS, type Options, type TimedToken } from './options.js';
import type { RegisterRequest } from './protocol.js';
import { expiryOf, subjectOf } from './token.js';

export class Identity {
  readonly #options: Options;
  readonly #notebook: Notebook;
  readonly #clock: Clock;
  #uid: string | undefined;
  #device: string | undefined;
  #tag = '';
  /** The token that was given last, and when. */
  #given: { token: string; ttlMs: number | undefined; at: number } | undefined;

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

  /** The token, from the application if it makes them. Rejects when it takes longer than an answer of the gateway may take. */
  async token(): Promise<string | undefined> {
    const { token } = this.#options;
    if (typeof token !== 'function') return token;
    const given = await this.#inTime(async () => token());
    const { token: text, ttlMs = undefined } = typeof given === 'string' ? { token: given } : given;
    this.#given = { token: text, ttlMs, at: this.#clock.now() };
    return text;
  }

  #inTime(ask: () => Promise<string | TimedToken>): Promise<string | TimedToken> {
    const { timeoutMs = DEFAULTS.timeoutMs } = this.#options;
    return new Promise((resolve, reject) => {
      const late = new MynahError('timeout', `The application did not give a token within ${timeoutMs} ms.`);
      const callOff = this.#clock.later(timeoutMs, () => reject(late));
      ask().then(resolve, reject).finally(callOff);
    });
  }

  /**
   * How long the token that was given last is still good, at the time `ts` of the gateway's clock; undefined for a token that
   * never changes and for one of which that is not known.
   */
  tokenLeftMs(ts: number): number | undefined {
    if (!this.#given) return undefined;
    const { token, ttlMs, at } = this.#given;
    if (ttlMs !== undefined) return at + ttlMs - this.#clock.now();
    const expiry = expiryOf(token);
    return expiry === undefined ? undefined : expiry - ts;
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
