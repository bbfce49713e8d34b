// What is asked of a Socket.IO client, so that any from 2.x to 4.x fits. Invariant: structure only; no version's types are named.

/** A socket of any version. */
export interface SocketLike {
  readonly connected: boolean;
  on(event: string, handler: (...args: never[]) => void): unknown;
  emit(event: string, ...args: never[]): unknown;
  connect(): unknown;
  disconnect(): unknown;
}

/** `io` of socket.io-client: the default export of 2.x, `io` of 3.x and 4.x. Its options are its own. */
export type SocketFactory = (url: string, options: never) => unknown;

/** A socket as we use it. */
export interface Wire {
  readonly connected: boolean;
  on(event: string, handler: (argument: unknown) => void): unknown;
  emit(event: string, ...args: unknown[]): unknown;
  connect(): unknown;
  disconnect(): unknown;
}

/** Makes a socket that waits to be told to connect. */
export function makeSocket(io: SocketFactory, url: string, options: Readonly<Record<string, unknown>>): Wire {
  return io(url, { forceNew: true, ...options, autoConnect: false } as never) as Wire;
}
