// The public interface of the package. Invariant: anything that is not exported here may change at any time.

import { Client } from './client.js';
import type { Options } from './options.js';
import type { SocketFactory } from './socket.js';

/**
 * Makes a client of the gateway at `url`. `io` comes from socket.io-client: the default export of 2.x, or
 * `io` of 3.x and 4.x. The client begins to connect at once, and reconnects until it is closed.
 */
export function connect(io: SocketFactory, url: string, options: Options): Client {
  return new Client(io, url, options);
}

export type { Client, ReceiptOf } from './client.js';
export { MynahError, type ErrorCode, type LocalCode } from './errors.js';
export type { Events, Recall } from './events.js';
export type { Fetch } from './host.js';
export { Kind, KINDS, type AppKind, type AppKinds, type KindRow, type KnownKind, type Place, type Way } from './kinds.js';
export type { Status } from './connection.js';
export type { Options, TimedToken, Token } from './options.js';
export type { Delivery, Failed, Pending, Receipt, Sent } from './outbound.js';
export type * from './protocol.js';
export type { SocketFactory } from './socket.js';
export { itemStorage, memoryStorage, type ItemStore, type StorageAdapter } from './storage/adapter.js';
export { indexedDbStorage, type IndexedDb } from './storage/indexeddb.js';
