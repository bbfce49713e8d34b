// What a client can be told, and what is assumed otherwise. Invariant: every default stands here.

import type { AckPace } from './core/acks.js';
import type { Pace } from './core/backoff.js';
import type { Fetch } from './host.js';
import type { AppKinds } from './kinds.js';
import type { StorageAdapter } from './storage/adapter.js';

/** A token with the time that it is good for, for tokens in which that cannot be read. */
export interface TimedToken {
  readonly token: string;
  readonly ttlMs: number;
}

/** A token, or what gets a fresh one: it is asked at every connect, and before the token of a live connection expires. */
export type Token = string | (() => string | TimedToken | Promise<string | TimedToken>);

export interface Options {
  /** Who this is. Needed without a token; with one that has to be fetched it lets the outbox open without it. */
  uid?: string | number | undefined;
  token?: Token | undefined;
  /** Which of the user's devices this is. Made and kept in the storage when absent. */
  deviceid?: string | undefined;
  /** Shown to the backend; with the login policy "per-platform" each platform may be connected once. */
  platform?: string | undefined;
  /** The identity class, which the gateway records and shows. */
  type?: string | undefined;
  /** Where positions, the outbox and the device id are kept. In memory unless said. */
  storage?: StorageAdapter | undefined;
  /** The first part of every key in the storage: clients with different names share a storage without meeting. */
  name?: string | undefined;
  /** Options for Socket.IO itself. */
  socket?: Readonly<Record<string, unknown>> | undefined;
  /** What the gateway's configuration says of the application's own kinds. */
  kinds?: AppKinds | undefined;
  /** Messages that may wait in the outbox. */
  outboxSize?: number | undefined;
  /** A question that is not answered in this time has failed. */
  timeoutMs?: number | undefined;
  /** Waits before something is tried again. */
  retry?: Partial<Pace> | undefined;
  /** How acknowledgements are put together. */
  acks?: Partial<AckPace> | undefined;
  /** Messages fetched at a time when some are missing, 1 to 500. */
  page?: number | undefined;
  /** Instead of the host's own. */
  fetch?: Fetch | undefined;
  /** Instead of `/signout` on the gateway's host. */
  signOutUrl?: string | undefined;
}

export const DEFAULTS = {
  name: 'mynah',
  outboxSize: 1_000,
  timeoutMs: 15_000,
  retry: { firstMs: 500, mostMs: 30_000 },
  acks: { waitMs: 200, most: 50 },
  page: 200,
  /** Messages under way to different destinations at once. */
  abreast: 32,
  /** A gap may close by itself for so long: an answer can come before a push that was sent earlier. */
  gapMs: 50,
  /** A message of the moment is not worth sending later than this. */
  transientMs: 10_000,
} as const;
