// The connection to the gateway, which is made again whenever it is lost. Invariants: requests are sent only
// while the connection is registered; every request settles, by its answer, its timeout or the loss of the
// connection; after a stop the client does not connect until `open` is called.

import { backoff, type Pace } from './core/backoff.js';
import { isTemporary, MynahError } from './errors.js';
import type { Clock } from './host.js';
import type { RegisterRequest, RegisterResponse, Refusal, RequestKind, RequestOf, ResponseOf } from './protocol.js';
import type { Socket } from './socket.js';

/** Why the client was stopped and does not reconnect. */
export type Stopped = 'displaced' | 'signed-out' | 'refused' | 'closed';
export type Status = 'idle' | 'connecting' | 'connected' | Stopped;

/** A received frame of any kind. Its fields are not checked. */
export interface Frame {
  readonly type: number;
  readonly data?: unknown;
  readonly seq?: unknown;
  readonly conv?: unknown;
}

export interface ConnectionHooks {
  /** The register request. It is asked for at every connect, since the token may be a new one. */
  credentials(): Promise<RegisterRequest>;
  status(status: Status): void;
  registered(response: RegisterResponse): void;
  frame(frame: Frame): void;
  /** A registered connection was lost or stopped. */
  lost(reason: string): void;
  error(error: MynahError): void;
  /** An attempt to connect, or to get a token, has failed. The next attempt follows by itself. */
  unreachable(error: Error): void;
}

export interface ConnectionPace {
  readonly timeoutMs: number;
  readonly retry: Pace;
}

/** How many times `requestWithRetry` sends a request before it rejects. */
const ATTEMPTS = 4;

export class Connection {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #pace: ConnectionPace;
  readonly #hooks: ConnectionHooks;
  #status: Status = 'idle';
  /** The number of the current connection. Answers that belong to an older one are ignored. */
  #connectionNumber = 0;
  #refusals = 0;
  #cancel = (): void => undefined;
  #inFlight = new Set<(error: MynahError) => void>();
  #waiting = new Set<(error?: MynahError) => void>();

  constructor(socket: Socket, clock: Clock, pace: ConnectionPace, hooks: ConnectionHooks) {
    this.#socket = socket;
    this.#clock = clock;
    this.#pace = pace;
    this.#hooks = hooks;
    socket.on('connect', () => this.#connected());
    socket.on('disconnect', (reason) => this.#disconnected(String(reason)));
    socket.on('message', (raw) => this.#received(raw));
    socket.on('connect_error', (error) => {
      if (this.#status === 'connecting') hooks.unreachable(error instanceof Error ? error : new Error(String(error)));
    });
  }

  get status(): Status {
    return this.#status;
  }

  get isOnline(): boolean {
    return this.#status === 'connected';
  }

  /** Connects, for the first time or again after a stop. After `stop('closed')` it does nothing. */
  open(): void {
    if (this.#status === 'connecting' || this.#status === 'connected' || this.#status === 'closed') return;
    this.#refusals = 0;
    this.#become('connecting');
    this.#socket.connect();
  }

  /** Disconnects, and does not reconnect. */
  stop(status: Stopped): void {
    if (this.#status === 'closed') return;
    const wasOnline = this.isOnline;
    this.#become(status);
    this.#end(new MynahError(status === 'closed' ? 'closed' : 'offline', `This client is ${status}.`));
    for (const settle of [...this.#waiting]) settle(this.#notOnline());
    this.#socket.disconnect();
    if (wasOnline) this.#hooks.lost(status);
  }

  /**
   * Sends a request now. Rejects if there is no registered connection, or if the answer has an error code.
   * `answered` is called in the same turn of the event loop in which the answer came, before any later frame
   * is handled. The promise resolves only after that turn, in which later frames may have been handled.
   */
  request<K extends RequestKind>(kind: K, data: RequestOf<K>, answered?: (answer: ResponseOf<K>) => void): Promise<ResponseOf<K>> {
    if (!this.isOnline || !this.#socket.connected) return Promise.reject(this.#notOnline());
    const number = this.#connectionNumber;
    return new Promise((resolve, reject) => {
      this.#emit(kind, data, (error, answer) => {
        if (!error) {
          answered?.(answer as ResponseOf<K>);
          return resolve(answer as ResponseOf<K>);
        }
        // The answer 401 says that the connection is not registered any more. For a register (kind 1) it does
        // not.
        if (error.code === 401 && kind !== 1 && number === this.#connectionNumber) this.#registerLater(number);
        reject(error);
      });
    });
  }

  /**
   * Sends a request as soon as there is a connection, and repeats it after temporary errors. Use it only for
   * requests that may be sent twice. `answered` is as in `request`.
   */
  async requestWithRetry<K extends RequestKind>(kind: K, data: RequestOf<K>, answered?: (answer: ResponseOf<K>) => void): Promise<ResponseOf<K>> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.online();
        return await this.request(kind, data, answered);
      } catch (error) {
        if (attempt >= ATTEMPTS || !isTemporary(error) || (error as MynahError).code === 'offline') throw error;
        await new Promise<void>((go) => this.#clock.later(backoff(attempt, this.#pace.retry, this.#clock.random()), go));
      }
    }
  }

  /** Resolves when the connection is registered. Rejects after `timeoutMs`, or if the client is stopped. */
  online(): Promise<void> {
    if (this.isOnline) return Promise.resolve();
    if (this.#status !== 'connecting' && this.#status !== 'idle') return Promise.reject(this.#notOnline());
    return new Promise((resolve, reject) => {
      const settle = (error?: MynahError): void => {
        cancel();
        this.#waiting.delete(settle);
        if (error) reject(error);
        else resolve();
      };
      const cancel = this.#clock.later(this.#pace.timeoutMs, () => settle(this.#notOnline()));
      this.#waiting.add(settle);
    });
  }

  #notOnline(): MynahError {
    if (this.#status === 'closed') return new MynahError('closed', 'This client is closed.');
    return new MynahError('offline', `There is no connection to the gateway (${this.#status}).`);
  }

  #become(status: Status): void {
    if (this.#status === status) return;
    this.#status = status;
    this.#hooks.status(status);
  }

  /**
   * Calls `then` once, in the same turn of the event loop in which the answer came, so that later frames stay
   * later.
   */
  #emit(kind: number, data: unknown, then: (error: MynahError | undefined, answer?: unknown) => void): void {
    const settle = (error: MynahError | undefined, answer?: unknown): void => {
      if (!this.#inFlight.delete(fail)) return;
      cancel();
      then(error, answer);
    };
    const fail = (error: MynahError): void => settle(error);
    const cancel = this.#clock.later(this.#pace.timeoutMs, () =>
      fail(new MynahError('timeout', `The gateway did not answer kind ${kind} within ${this.#pace.timeoutMs} ms.`)),
    );
    this.#inFlight.add(fail);
    this.#socket.emit('message', JSON.stringify({ type: kind, data }), (answer: unknown) => settle(refusalOf(answer), answer));
  }

  /** Rejects all requests that were in flight on the connection that has ended. */
  #end(error: MynahError): void {
    this.#connectionNumber++;
    this.#cancel();
    for (const fail of [...this.#inFlight]) fail(error);
  }

  #connected(): void {
    if (this.#status !== 'connecting') {
      // The client was stopped while the socket was connecting.
      if (this.#status !== 'connected') this.#socket.disconnect();
      return;
    }
    this.#connectionNumber++;
    void this.#register(this.#connectionNumber);
  }

  async #register(number: number): Promise<void> {
    try {
      const credentials = await this.#hooks.credentials();
      if (number !== this.#connectionNumber) return;
      this.#emit(1, credentials, (error, answer) => {
        if (number !== this.#connectionNumber) return;
        if (error) this.#refused(number, error);
        else this.#registered(answer as RegisterResponse);
      });
    } catch (thrown) {
      // The application could not supply a token: tries again later.
      if (number !== this.#connectionNumber) return;
      this.#hooks.unreachable(thrown instanceof Error ? thrown : new Error(String(thrown)));
      this.#registerLater(number);
    }
  }

  #registered(response: RegisterResponse): void {
    this.#refusals = 0;
    this.#become('connected');
    this.#hooks.registered(response);
    for (const settle of [...this.#waiting]) settle();
  }

  #refused(number: number, error: MynahError): void {
    if (isTemporary(error) && error.code !== 401) return this.#registerLater(number);
    this.#hooks.error(error);
    this.stop('refused');
  }

  #registerLater(number: number): void {
    this.#cancel();
    const wait = backoff(++this.#refusals, this.#pace.retry, this.#clock.random());
    this.#cancel = this.#clock.later(wait, () => {
      if (number === this.#connectionNumber) void this.#register(number);
    });
  }

  #disconnected(reason: string): void {
    const wasOnline = this.isOnline;
    if (this.#status !== 'connecting' && !wasOnline) return;
    if (reason === 'io server disconnect') return this.stop('signed-out');
    this.#become('connecting');
    this.#end(new MynahError('lost', `The connection was lost: ${reason}.`));
    if (wasOnline) this.#hooks.lost(reason);
  }

  #received(raw: unknown): void {
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
  if (typeof code !== 'number') return new MynahError('protocol', 'The answer of the gateway has no code.');
  return new MynahError(code, error ?? `The gateway answered with code ${code}.`);
}

function frameOf(raw: unknown): Frame | undefined {
  try {
    const frame = (typeof raw === 'string' ? JSON.parse(raw) : raw) as Frame | null;
    return typeof frame === 'object' && frame !== null && typeof frame.type === 'number' ? frame : undefined;
  } catch {
    return undefined;
  }
}
