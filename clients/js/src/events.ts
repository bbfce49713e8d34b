// What a client tells the application. Types only. Invariant: 'message', 'recall' and 'sent' wait for their handlers; the rest do not.

import type { MynahError } from './errors.js';
import type { Status } from './link.js';
import type { Failed, Sent } from './outbound.js';
import type { Displaced, Message, ReadMark, RegisterResponse, TransientEvent } from './protocol.js';

/** A message was taken back. */
export interface Recall {
  readonly conv: string;
  /** The message that was taken back. */
  readonly mid: string;
  /** Who took it back. */
  readonly by: string | undefined;
  /** The number of the message that tells of it. */
  readonly seq: number;
  readonly ts: number;
}

export interface Events {
  /** A stored message, once and in order per conversation; the next one of its conversation waits for the handler. */
  message: Message;
  /** A push of a kind that is not stored. */
  event: TransientEvent;
  /** A user has read a conversation up to here: the other party, a member, or this user on another device. */
  read: ReadMark;
  recall: Recall;
  /** The gateway has a message of the outbox, also one of a former run. It is forgotten after the handler. */
  sent: Sent;
  /** The gateway refused a message of the outbox, also one of a former run. */
  failed: Failed;
  /** The number of unread messages, when it changed. */
  unread: number;
  /** The gateway has another history: positions were dropped. Of one conversation only if both are the same: it was rolled back unnoticed. */
  epoch: { readonly previous: string; readonly current: string };
  /** Another device took this one's place; it stays away until `connect` is called. */
  displaced: Displaced;
  /** The user was signed out; this client stays away until `connect` is called. */
  signedOut: undefined;
  status: Status;
  /** Registered: live messages come from here on. */
  connected: RegisterResponse;
  disconnected: { readonly reason: string };
  /** An attempt to connect failed, or to get or renew a token; further ones follow. */
  unreachable: Error;
  error: MynahError;
}
