// The part of socket.io-client that is used, so that any version from 2.x to 4.x fits. Invariant: the types
// are structural; no types of a version are imported.

/** A socket of any version. */
export interface SocketLike {
  readonly connected: boolean;
  on(event: string, handler: (...args: never[]) => void): unknown;
  emit(event: string, ...args: never[]): unknown;
  connect(): unknown;
  disconnect(): unknown;
}

/** `io` of socket.io-client: the default export of 2.x, or `io` of 3.x and 4.x. */
export type SocketFactory = (url: string, options: never) => unknown;

/** The socket as this package uses it. */
export interface Socket {
  readonly connected: boolean;
  on(event: string, handler: (argument: unknown) => void): unknown;
  emit(event: string, ...args: unknown[]): unknown;
  connect(): unknown;
  disconnect(): unknown;
}

/** Makes a socket that does not connect before `connect` is called. */
export function makeSocket(io: SocketFactory, url: string, options: Readonly<Record<string, unknown>>): Socket {
  return io(url, { forceNew: true, ...options, autoConnect: false } as never) as Socket;
}
