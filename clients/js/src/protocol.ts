// What goes over the wire, kind by kind: types and nothing else. Invariant: this says what the gateway's contract says.

import type { KINDS, KnownKind } from './kinds.js';

export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json | undefined;
}

/**
 * The application's own payloads by number of kind. Empty here; an application adds to it:
 * `declare module 'mynah-client' { interface Payloads { 3: { text: string } } }`
 */
export interface Payloads {}

/** Payloads that the gateway writes itself. */
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

/** What may be sent as a kind: what the application declared for it, else whatever JSON can say. */
export type Sendable<K extends number> = K extends keyof Payloads ? Payloads[K] : object | string | number | boolean | null;

/** The gateway's kinds that are kept in the record. */
export type StoredKind = { [K in KnownKind]: (typeof KINDS)[K]['stored'] extends true ? K : never }[KnownKind];

/** Kinds of the application's own that it declared payloads for. */
export type OwnKind = Exclude<Extract<keyof Payloads, number>, KnownKind>;

interface Envelope<K extends number> {
  readonly type: K;
  /** The message's id: unique, and sorts by time. */
  readonly mid: string;
  /** The conversation. */
  readonly conv: string;
  /** 1, 2, 3 ... inside the conversation. */
  readonly seq: number;
  /** The sender; absent where there is none. */
  readonly from?: string;
  /** The sender's own id for the message, where it gave one. */
  readonly cid?: string;
  /** The server's time in milliseconds since 1970. */
  readonly ts: number;
}

/** A stored message. */
export interface StandingMessage<K extends number> extends Envelope<K> {
  readonly recalled?: false;
  readonly data: PayloadOf<K>;
}

/** A stored message that its sender took back before this device got it. */
export interface RecalledMessage<K extends number> extends Envelope<K> {
  readonly recalled: true;
  readonly data: null;
}

export type MessageOf<K extends number> = K extends number ? StandingMessage<K> | RecalledMessage<K> : never;

/** Every message that can come, told apart by `type`. */
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

/** Who a message is for. */
export type To = { readonly user: string } | { readonly team: string };

/** The start of a response: 0, or an HTTP-like number with one sentence. */
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

/** A conversation in the answer to a register: something in it is unread, or not acknowledged by this device. */
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

/** What became of a message that was sent. Kinds that are not stored have `delivered` instead of `mid`, `conv` and `seq`. */
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

/** The answer to a position beyond the head says what the gateway has. */
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

/** Kind 107: somebody has read up to here. */
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

/** Kind 12: another device took this connection's place. */
export interface Displaced {
  readonly reason: string;
  readonly deviceid: string;
  readonly platform: string | null;
  readonly ts: number;
}

/** Kind 112: the replay is over. */
export interface Resumed {
  readonly sent: number;
  readonly complete: boolean;
}

/** What a client may ask: the request, its answer, and the kind in which the answer comes without a callback. */
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

/** Frames that come by themselves, by kind. */
export interface Pushes {
  12: Displaced;
  107: ReadMark;
  112: Resumed;
}
