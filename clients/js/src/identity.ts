// The user, the device and the token of this client. Invariants: a device id is generated once per storage;
// every cid of this device begins with its tag.

import { backoff } from './core/backoff.js';
import { MynahError } from './errors.js';
import { randomWord, type Clock } from './host.js';
import type { SavedState } from './saved-state.js';
import { DEFAULTS, type Options, type TimedToken } from './options.js';
import type { RegisterRequest } from './protocol.js';
import { expiryOf, subjectOf } from './token.js';

export class Identity {
  readonly #options: Options;
  readonly #savedState: SavedState;
  readonly #clock: Clock;
  #uid: string | undefined;
  #device: string | undefined;
  #tag = '';
  /** The last token from the application's function, and when it was returned. */
  #given: { token: string; ttlMs: number | undefined; at: number } | undefined;

  constructor(options: Options, savedState: SavedState, clock: Clock) {
    this.#options = options;
    this.#savedState = savedState;
    this.#clock = clock;
  }

  get uid(): string | undefined {
    return this.#uid;
  }

  get device(): string | undefined {
    return this.#device;
  }

  /** A short hash of the device id: the prefix of every cid. */
  get tag(): string {
    return this.#tag;
  }

  /**
   * Determines the device and the user, and opens the saved state of the user. If the application cannot
   * supply the first token, it is asked again as long as `failed` returns true.
   */
  async open(failed: (error: Error) => boolean): Promise<void> {
    let device = this.#options.deviceid ?? (await this.#savedState.device());
    if (device === undefined) {
      device = randomWord(20, this.#clock);
      await this.#savedState.setDevice(device);
    }
    this.#device = device;
    this.#tag = tagOf(device);
    const { uid } = this.#options;
    this.#uid = uid === undefined ? subjectOf(await this.#firstToken(failed)) : String(uid);
    if (this.#uid === undefined) throw new MynahError(401, 'The user is unknown: pass the option "uid", or a token that is a JWT with a "sub".');
    this.#savedState.open(this.#uid);
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

  /** The token of the options, or a fresh one from the application's function. Rejects after `timeoutMs`. */
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
      const cancel = this.#clock.later(timeoutMs, () => reject(late));
      ask().then(resolve, reject).finally(cancel);
    });
  }

  /**
   * How many milliseconds the last token is still valid when the gateway's clock shows `ts`. Undefined if the
   * token never changes or its expiry is unknown.
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

/** Two 32-bit FNV-1a hashes of the device id, in base 36. */
function tagOf(device: string): string {
  let [a, b] = [0x811c9dc5, 0x01000193];
  for (let i = 0; i < device.length; i++) {
    const code = device.charCodeAt(i);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ (code + i), 0x01000193);
  }
  return [a, b].map((hash) => (hash >>> 0).toString(36)).join('');
}
