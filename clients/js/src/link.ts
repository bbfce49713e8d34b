// One connection to the gateway, made again whenever it ends. Invariants: requests go out only while registered; every request
// settles, by its answer, its time or the end of the connection; after a stop nothing connects until `open`.

import { backoff, type Pace } from './core/backoff.js';
import { isTemporary, MynahError } from './errors.js';
import type { Clock } from './host.js';
import type { RegisterRequest, RegisterResponse, Refusal, RequestKind, RequestOf, ResponseOf } from './protocol.js';
import type { Wire } from './socket.js';

/** Why a link that was stopped stays so. */
export type Stopped = 'displaced' | 'signed-out' | 'refused' | 'closed';
export type Status = 'idle' | 'connecting' | 'connected' | Stopped;

/** A frame as it came: of any kind, with any fields. */
export interface Frame {
  readonly type: number;
  readonly data?: unknown;
  readonly seq?: unknown;
  readonly conv?: unknown;
}

export interface LinkHooks {
  /** What to register with, at every connect anew. */
  credentials(): Promise<RegisterRequest>;
  status(status: Status): void;
  registered(response: RegisterResponse): void;
  frame(frame: Frame): void;
  /** The connection ended after it was registered. */
  lost(reason: string): void;
  error(error: MynahError): void;
  /** An attempt to connect failed, or to get a token; the next one follows by itself. */
  unreachable(error: Error): void;
}

export interface LinkPace {
  readonly timeoutMs: number;
  readonly retry: Pace;
}

/** Times that something is asked before whoever wants it is told that it cannot be had. */
const ATTEMPTS = 4;

export class Link {
  readonly #wire: Wire;
  readonly #clock: Clock;
  readonly #pace: LinkPace;
  readonly #hooks: LinkHooks;
  #status: Status = 'idle';
  /** Counts connections: what an older one answers is not heard. */
  #round = 0;
  #refusals = 0;
  #callOff = (): void => undefined;
  #asked = new Set<(error: MynahError) => void>();
  #waiting = new Set<(error?: MynahError) => void>();

  constructor(wire: Wire, clock: Clock, pace: LinkPace, hooks: LinkHooks) {
    this.#wire = wire;
    this.#clock = clock;
    this.#pace = pace;
    this.#hooks = hooks;
    wire.on('connect', () => this.#connected());
    wire.on('disconnect', (reason) => this.#disconnected(String(reason)));
    wire.on('message', (raw) => this.#heard(raw));
    wire.on('connect_error', (error) => {
      if (this.#status === 'connecting') hooks.unreachable(error instanceof Error ? error : new Error(String(error)));
    });
  }

  get status(): Status {
    return this.#status;
  }

  get isOnline(): boolean {
    return this.#status === 'connected';
  }

  /** Connects, for the first time or again after a stop; a link that was closed stays so. */
  open(): void {
    if (this.#status === 'connecting' || this.#status === 'connected' || this.#status === 'closed') return;
    this.#refusals = 0;
    this.#become('connecting');
    this.#wire.connect();
  }

  /** Disconnects and stays away. */
  stop(status: Stopped): void {
    if (this.#status === 'closed') return;
    const wasOnline = this.isOnline;
    this.#become(status);
    this.#end(new MynahError(status === 'closed' ? 'closed' : 'offline', `This client is ${status}.`));
    for (const go of [...this.#waiting]) go(this.#absence());
    this.#wire.disconnect();
    if (wasOnline) this.#hooks.lost(status);
  }

  /** Asks at once; rejects when that cannot be, or when the answer is no. */
  ask<K extends RequestKind>(kind: K, data: RequestOf<K>): Promise<ResponseOf<K>> {
    if (!this.isOnline || !this.#wire.connected) return Promise.reject(this.#absence());
    const round = this.#round;
    return new Promise((resolve, reject) => {
      this.#emit(kind, data, (error, answer) => {
        if (!error) return resolve(answer as ResponseOf<K>);
        // A register that is refused leaves the connection registered as it was.
        if (error.code === 401 && kind !== 1 && round === this.#round) this.#registerLater(round);
        reject(error);
      });
    });
  }

  /** Asks as soon as there is a connection, and again when the answer was lost or is "later"; only for what may be asked twice. */
  async askPatiently<K extends RequestKind>(kind: K, data: RequestOf<K>): Promise<ResponseOf<K>> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.online();
        return await this.ask(kind, data);
      } catch (error) {
        if (attempt >= ATTEMPTS || !isTemporary(error) || (error as MynahError).code === 'offline') throw error;
        await new Promise<void>((go) => this.#clock.later(backoff(attempt, this.#pace.retry, this.#clock.random()), go));
      }
    }
  }

  /** Resolves when registered; rejects when that takes too long or cannot come any more. */
  online(): Promise<void> {
    if (this.isOnline) return Promise.resolve();
    if (this.#status !== 'connecting' && this.#status !== 'idle') return Promise.reject(this.#absence());
    return new Promise((resolve, reject) => {
      const settle = (error?: MynahError): void => {
        callOff();
        this.#waiting.delete(settle);
        if (error) reject(error);
        else resolve();
      };
      const callOff = this.#clock.later(this.#pace.timeoutMs, () => settle(this.#absence()));
      this.#waiting.add(settle);
    });
  }

  #absence(): MynahError {
    if (this.#status === 'closed') return new MynahError('closed', 'This client is closed.');
    return new MynahError('offline', `There is no connection to the gateway (${this.#status}).`);
  }

  #become(status: Status): void {
    if (this.#status === status) return;
    this.#status = status;
    this.#hooks.status(status);
  }

  /** Calls back once, in the turn in which the answer came: what came after it is heard after it. */
  #emit(kind: number, data: unknown, then: (error: MynahError | undefined, answer?: unknown) => void): void {
    const settle = (error: MynahError | undefined, answer?: unknown): void => {
      if (!this.#asked.delete(fail)) return;
      callOff();
      then(error, answer);
    };
    const fail = (error: MynahError): void => settle(error);
    const callOff = this.#clock.later(this.#pace.timeoutMs, () =>
      fail(new MynahError('timeout', `The gateway did not answer kind ${kind} within ${this.#pace.timeoutMs} ms.`)),
    );
    this.#asked.add(fail);
    this.#wire.emit('message', JSON.stringify({ type: kind, data }), (answer: unknown) => settle(refusalOf(answer), answer));
  }

  /** All questions of the connection that ended stay unanswered. */
  #end(error: MynahError): void {
    this.#round++;
    this.#callOff();
    for (const fail of [...this.#asked]) fail(error);
  }

  #connected(): void {
    if (this.#status !== 'connecting') {
      // Stopped while the socket was on its way.
      if (this.#status !== 'connected') this.#wire.disconnect();
      return;
    }
    this.#round++;
    void this.#register(this.#round);
  }

  async #register(round: number): Promise<void> {
    try {
      const credentials = await this.#hooks.credentials();
      if (round !== this.#round) return;
      this.#emit(1, credentials, (error, answer) => {
        if (round !== this.#round) return;
        if (error) this.#refused(round, error);
        else this.#registered(answer as RegisterResponse);
      });
    } catch (thrown) {
      // No token was to be had: perhaps later.
      if (round !== this.#round) return;
      this.#hooks.unreachable(thrown instanceof Error ? thrown : new Error(String(thrown)));
      this.#registerLater(round);
    }
  }

  #registered(response: RegisterResponse): void {
    this.#refusals = 0;
    this.#become('connected');
    this.#hooks.registered(response);
    for (const go of [...this.#waiting]) go();
  }

  #refused(round: number, error: MynahError): void {
    if (isTemporary(error) && error.code !== 401) return this.#registerLater(round);
    this.#hooks.error(error);
    this.stop('refused');
  }

  #registerLater(round: number): void {
    this.#callOff();
    const wait = backoff(++this.#refusals, this.#pace.retry, this.#clock.random());
    this.#callOff = this.#clock.later(wait, () => {
      if (round === this.#round) void this.#register(round);
    });
  }

  #disconnected(reason: string): void {
    const wasOnline = this.isOnline;
    if (this.#status !== 'connecting' && !wasOnline) return;
    if (reason === 'io server disconnect') return this.stop('signed-out');
    this.#become('connecting');
    this.#end(new MynahError('lost', `The connection ended: ${reason}.`));
    if (wasOnline) this.#hooks.lost(reason);
  }

  #heard(raw: unknown): void {
    if (!this.isOnline && this.#status !== 'connecting') return;
    const frame = frameOf(raw);
    if (!frame) return;
    if (frame.type === 12) {
      this.#hooks.frame(frame);
      this.stop('displaced');
    } else if (this.isOnline) this.#hooks.frame(frame);
  }
}

/** The error in an answer, if its code is not 0. */
function refusalOf(answer: unknown): MynahError | undefined {
  const { code, error } = (answer ?? {}) as Partial<Refusal>;
  if (code === 0) return undefined;
  if (typeof code !== 'number') return new MynahError('protocol', 'The gateway answered something without a code.');
  return new MynahError(code, error ?? `The gateway answered ${code}.`);
}

function frameOf(raw: unknown): Frame | undefined {
  try {
    const frame = (typeof raw === 'string' ? JSON.parse(raw) : raw) as Frame | null;
    return typeof frame === 'object' && frame !== null && typeof frame.type === 'number' ? frame : undefined;
  } catch {
    return undefined;
  }
}
