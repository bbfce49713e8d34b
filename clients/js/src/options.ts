// The options of a client. Invariant: this file has every default.

import type { AckPace } from './core/acks.js';
import type { Pace } from './core/backoff.js';
import type { Fetch } from './host.js';
import type { AppKinds } from './kinds.js';
import type { StorageAdapter } from './storage/adapter.js';

/** A token with its time to live, for tokens whose expiry the client cannot read. */
export interface TimedToken {
  readonly token: string;
  readonly ttlMs: number;
}

/**
 * A token, or a function that returns a fresh one. It is called at every connect, and before the token
 * expires.
 */
export type Token = string | (() => string | TimedToken | Promise<string | TimedToken>);

export interface Options {
  /**
   * The user's id. Required without a token. With a token function, it lets the outbox open before the first
   * token.
   */
  uid?: string | number | undefined;
  token?: Token | undefined;
  /** The id of this device. By default it is generated and kept in the storage. */
  deviceid?: string | undefined;
  /**
   * The platform that the backend sees. The login policy "per-platform" allows one connection per platform.
   */
  platform?: string | undefined;
  /** The identity class, which the gateway records and shows. */
  type?: string | undefined;
  /** Where positions, the outbox and the device id are kept. Default: in memory. */
  storage?: StorageAdapter | undefined;
  /** The prefix of every key in the storage. Clients with different names can share a storage. */
  name?: string | undefined;
  /** Options for Socket.IO itself. */
  socket?: Readonly<Record<string, unknown>> | undefined;
  /** The application's own kinds, as in the gateway's configuration. */
  kinds?: AppKinds | undefined;
  /** The largest number of messages in the outbox. */
  outboxSize?: number | undefined;
  /** A request that is not answered within this time has failed. */
  timeoutMs?: number | undefined;
  /** The waits before a retry. */
  retry?: Partial<Pace> | undefined;
  /** How acknowledgements are batched. */
  acks?: Partial<AckPace> | undefined;
  /** How many messages one request for missing messages fetches, 1 to 500. */
  page?: number | undefined;
  /** The `fetch` for `signOut`. Default: that of the host. */
  fetch?: Fetch | undefined;
  /** The URL for `signOut`. Default: `/signout` on the gateway's host. */
  signOutUrl?: string | undefined;
}

export const DEFAULTS = {
  name: 'mynah',
  outboxSize: 1_000,
  timeoutMs: 15_000,
  retry: { firstMs: 500, mostMs: 30_000 },
  acks: { waitMs: 200, most: 50 },
  page: 200,
  /** How many messages may be in flight at the same time, each to another destination. */
  concurrentSends: 32,
  /**
   * The client waits this long before it fetches missing messages: an answer can overtake an earlier push.
   */
  gapMs: 50,
  /** A message of a kind that is not stored is not sent later than this. */
  transientMs: 10_000,
} as const;
