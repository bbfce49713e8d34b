// The types of the frames, kind by kind. Invariant: they agree with docs/PROTOCOL.md.

import type { KINDS, KnownKind } from './kinds.js';

export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json | undefined;
}

/**
 * The application's own payload types, by number of kind. An application adds to this empty interface:
 * `declare module 'mynah-client' { interface Payloads { 3: { text: string } } }`
 */
export interface Payloads {}

/** The payload types of messages that the gateway writes itself. */
export interface GatewayPayloads {
  16: MemberChange;
  17: MemberChange;
  109: { readonly mid: string };
}

export interface MemberChange {
  readonly team: string;
  readonly uid: string;
}

export type PayloadOf<K extends number> = K extends keyof GatewayPayloads
  ? GatewayPayloads[K]
  : K extends keyof Payloads
    ? Payloads[K]
    : Json;

/** The data that may be sent as a kind: the declared payload type, or else any JSON value. */
export type Sendable<K extends number> = K extends keyof Payloads ? Payloads[K] : object | string | number | boolean | null;

/** The gateway's own kinds whose messages are stored. */
export type StoredKind = { [K in KnownKind]: (typeof KINDS)[K]['stored'] extends true ? K : never }[KnownKind];

/** The application's own kinds for which it has declared payload types. */
export type OwnKind = Exclude<Extract<keyof Payloads, number>, KnownKind>;

interface Envelope<K extends number> {
  readonly type: K;
  /** The message's id. It is unique, and greater than that of every message stored before. */
  readonly mid: string;
  /** The id of the conversation. */
  readonly conv: string;
  /** The message's number inside the conversation: 1, 2, 3 ... */
  readonly seq: number;
  /** The sender's uid; absent if there is no sender. */
  readonly from?: string;
  /** The sender's own id for the message, if it gave one. */
  readonly cid?: string;
  /** The server's time in milliseconds since 1970. */
  readonly ts: number;
}

/** A stored message that was not recalled. */
export interface StandingMessage<K extends number> extends Envelope<K> {
  readonly recalled?: false;
  readonly data: PayloadOf<K>;
}

/** A stored message that was recalled before this device received it. */
export interface RecalledMessage<K extends number> extends Envelope<K> {
  readonly recalled: true;
  readonly data: null;
}

export type MessageOf<K extends number> = K extends number ? StandingMessage<K> | RecalledMessage<K> : never;

/** Every message that can be received, as a union over `type`. */
export type Message = MessageOf<StoredKind | OwnKind>;

/** A push of a kind that is not stored. */
export interface EventOf<K extends number> {
  readonly type: K;
  readonly data: PayloadOf<K>;
  readonly from?: string;
  readonly ts: number;
}

type Each<K extends number> = K extends number ? EventOf<K> : never;
export type TransientEvent = [OwnKind] extends [never] ? EventOf<number> : Each<OwnKind>;

/** The recipient of a message. */
export type To = { readonly user: string } | { readonly team: string };

/** The part that every response has: code 0, or an error code and one sentence. */
export interface Refusal {
  readonly code: number;
  readonly error?: string;
}

export interface RegisterRequest {
  readonly uid?: string;
  readonly token?: string;
  readonly deviceid: string;
  readonly platform?: string;
  readonly type?: string;
  readonly resume?: true;
  readonly format: 'object';
}

/**
 * A conversation in the answer to a register. It has messages that are unread or that this device has not
 * acknowledged.
 */
export interface Standing {
  readonly conv: string;
  readonly head: number;
  readonly cursor: number;
  readonly read: number;
  readonly unread: number;
}

export interface RegisterResponse {
  readonly code: 0;
  readonly uid: string;
  readonly deviceid: string;
  readonly sid: string;
  readonly epoch: string;
  readonly ts: number;
  readonly unread: number;
  readonly conversations?: readonly Standing[];
  readonly more?: boolean;
}

export interface SendRequest {
  readonly type: number;
  readonly to: To;
  readonly cid: string;
  readonly data: Json;
}

/** The answer to a send. Kinds that are not stored have `delivered` instead of `mid`, `conv` and `seq`. */
export interface SendResponse {
  readonly code: 0;
  readonly cid: string;
  readonly mid?: string;
  readonly conv?: string;
  readonly seq?: number;
  readonly ts: number;
  readonly duplicate?: boolean;
  readonly delivered?: boolean;
}

export interface AckRequest {
  readonly conv: string;
  readonly seq: number;
}

/**
 * The answer to an acknowledgement or a read. It has `head` and `epoch` if the position was beyond the head.
 */
export interface AckResponse {
  readonly code: 0;
  readonly head?: number;
  readonly epoch?: string;
}

export interface SyncRequest {
  readonly conv: string;
  readonly after?: number;
  readonly before?: number;
  readonly limit?: number;
}

export interface SyncResponse {
  readonly code: 0;
  readonly conv: string;
  readonly messages: readonly Message[];
  readonly head: number;
  readonly more: boolean;
}

/** Kind 107: a user has read the conversation up to `seq`. */
export interface ReadMark {
  readonly conv: string;
  readonly seq: number;
  readonly by: string;
}

export interface RecallResponse {
  readonly code: 0;
  readonly mid: string;
  readonly conv: string;
  readonly seq: number;
  readonly ts: number;
}

export type ConversationKind = 'pair' | 'pair_doctor' | 'pair_teammate' | 'pair_doctor_friend' | 'notices' | 'team';

/** A row of the list of conversations. */
export interface Conversation extends Standing {
  readonly kind: ConversationKind;
  readonly peer?: string;
  readonly team?: string;
  readonly last: Message | null;
}

export interface ConversationsResponse {
  readonly code: 0;
  readonly conversations: readonly Conversation[];
  readonly next: string | null;
}

/** Kind 12: the login of another device displaced this connection. */
export interface Displaced {
  readonly reason: string;
  readonly deviceid: string;
  readonly platform: string | null;
  readonly ts: number;
}

/** Kind 112: the replay has ended. */
export interface Resumed {
  readonly sent: number;
  readonly complete: boolean;
}

/**
 * The requests of a client: the request, the response, and the kind of the response frame without a callback.
 */
export interface Requests {
  1: { request: RegisterRequest; response: RegisterResponse; answer: 2 };
  101: { request: SendRequest; response: SendResponse; answer: 102 };
  103: { request: AckRequest; response: AckResponse; answer: 100 };
  104: { request: SyncRequest; response: SyncResponse; answer: 105 };
  106: { request: AckRequest; response: AckResponse; answer: 100 };
  108: { request: { readonly mid: string }; response: RecallResponse; answer: 100 };
  110: { request: { readonly after?: string; readonly limit?: number }; response: ConversationsResponse; answer: 111 };
}

export type RequestKind = keyof Requests;
export type RequestOf<K extends RequestKind> = Requests[K]['request'];
export type ResponseOf<K extends RequestKind> = Requests[K]['response'];

/** Frames that the gateway sends without a request, by kind. */
export interface Pushes {
  12: Displaced;
  107: ReadMark;
  112: Resumed;
}
