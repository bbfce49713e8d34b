// The types of the events. Invariant: 'message', 'recall', 'sent' and 'failed' wait for their handlers; the
// others do not.

import type { MynahError } from './errors.js';
import type { Status } from './connection.js';
import type { Failed, Sent } from './outbound.js';
import type { Displaced, Message, ReadMark, RegisterResponse, TransientEvent } from './protocol.js';

/** A message was recalled. */
export interface Recall {
  readonly conv: string;
  /** The mid of the recalled message. */
  readonly mid: string;
  /** The uid of the user who recalled it. */
  readonly by: string | undefined;
  /** The seq of the recall, which is itself a message (kind 109). */
  readonly seq: number;
  readonly ts: number;
}

export interface Events {
  /**
   * A stored message, once and in seq order per conversation. The next message of the conversation waits for
   * the handler.
   */
  message: Message;
  /** A push of a kind that is not stored. */
  event: TransientEvent;
  /** A user has read a conversation up to here: the peer, a team member, or this user on another device. */
  read: ReadMark;
  recall: Recall;
  /**
   * The gateway has stored a message of the outbox, perhaps one of an earlier run. It is removed after the
   * handler.
   */
  sent: Sent;
  /** The gateway refused a message of the outbox, perhaps one of an earlier run. */
  failed: Failed;
  /** The number of unread messages has changed. */
  unread: number;
  /**
   * The gateway has another history, and this device has dropped its positions. If both values are the same,
   * the gateway was rolled back without a new epoch, and only the position in one conversation was dropped.
   */
  epoch: { readonly previous: string; readonly current: string };
  /**
   * The login of another device displaced this one. The client does not reconnect until `connect` is called.
   */
  displaced: Displaced;
  /** The user was signed out. The client does not reconnect until `connect` is called. */
  signedOut: undefined;
  status: Status;
  /** The connection is registered, and receives live messages from now on. */
  connected: RegisterResponse;
  disconnected: { readonly reason: string };
  /** An attempt to connect, or to get or renew a token, has failed. The client tries again by itself. */
  unreachable: Error;
  error: MynahError;
}
