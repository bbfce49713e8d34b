// The kinds of frames. Invariant: the rows equal the table of kinds in docs/PROTOCOL.md; a test compares
// them.

/**
 * The direction of the frames of a kind: `up` is from the client to the gateway, `down` from the gateway to
 * the client.
 */
export type Way = 'up' | 'down';

/** The sort of conversation to which the messages of a kind belong. */
export type Place = 'none' | 'pair' | 'pair_doctor' | 'pair_teammate' | 'pair_doctor_friend' | 'notices' | 'team' | 'of_message';

/** The fixed properties of a kind. */
export interface KindRow {
  readonly name: string;
  readonly way: Way;
  readonly place: Place;
  /** Its messages are stored, get a seq, and are delivered again until the device has acknowledged them. */
  readonly stored: boolean;
  /** Its messages count as unread. */
  readonly unread: boolean;
  /** Clients may send it. */
  readonly clients: boolean;
}

type TransientRow = KindRow & { readonly stored: false };
type StoredRow = KindRow & { readonly stored: true };

const up = (name: string): TransientRow => ({ name, way: 'up', place: 'none', stored: false, unread: false, clients: false });
const down = (name: string): TransientRow => ({ ...up(name), way: 'down' });
const message = (name: string, place: Place, unread: boolean, clients: boolean): StoredRow => ({
  name, way: 'down', place, stored: true, unread, clients,
});

/** Every kind of the gateway itself, by number. */
export const KINDS = {
  1: up('C2S_REGISTER_REQ'),
  2: down('S2C_REGISTER_RES'),
  3: message('S2C_ALONECHAT_PUSH', 'pair', true, true),
  4: message('S2C_SIGNED_PUSH', 'notices', true, false),
  5: message('S2C_SYSTEM_PUSH', 'notices', true, false),
  6: message('S2C_RESERVATION_PUSH', 'notices', true, false),
  7: message('S2C_DOCTORMSG_PUSH', 'pair_doctor', true, true),
  8: message('S2C_TEAMMATECHAT_PUSH', 'pair_teammate', true, true),
  9: message('S2C_DOCTORFRIENDCHAT_PUSH', 'pair_doctor_friend', true, true),
  10: message('S2C_FRIENDAPPLY_PUSH', 'notices', true, false),
  11: message('S2C_SOCIAL_PUSH', 'notices', true, false),
  12: down('S2C_DIFFERENT_CONNECTION'),
  13: message('S2C_REMIND_PUSH', 'notices', true, false),
  14: message('S2C_UNSIGNED_PUSH', 'notices', true, false),
  15: message('S2C_TEAMCHAT_PUSH', 'team', true, true),
  16: message('S2C_TEAMMEMBER_ENTER', 'team', false, false),
  17: message('S2C_TEAMMEMBER_LEAVE', 'team', false, false),
  18: message('S2C_VIDEOCALL_INVITE', 'pair', false, true),
  19: message('S2C_VIDEOCALL_END', 'pair', false, true),
  100: down('S2C_RES'),
  101: up('C2S_SEND_REQ'),
  102: down('S2C_SEND_RES'),
  103: up('C2S_ACK'),
  104: up('C2S_SYNC_REQ'),
  105: down('S2C_SYNC_RES'),
  106: up('C2S_READ_REQ'),
  107: down('S2C_READ_PUSH'),
  108: up('C2S_RECALL_REQ'),
  109: message('S2C_RECALL_PUSH', 'of_message', false, false),
  110: up('C2S_CONVERSATIONS_REQ'),
  111: down('S2C_CONVERSATIONS_RES'),
  112: down('S2C_RESUMED'),
} as const satisfies Record<number, KindRow>;

/** The number of a kind of the gateway itself. */
export type KnownKind = keyof typeof KINDS;

/** The numbers of the kinds by name, without the prefix of the direction: `Kind.ALONECHAT` is 3. */
export const Kind = {
  REGISTER_REQ: 1,
  REGISTER_RES: 2,
  ALONECHAT: 3,
  SIGNED: 4,
  SYSTEM: 5,
  RESERVATION: 6,
  DOCTORMSG: 7,
  TEAMMATECHAT: 8,
  DOCTORFRIENDCHAT: 9,
  FRIENDAPPLY: 10,
  SOCIAL: 11,
  DIFFERENT_CONNECTION: 12,
  REMIND: 13,
  UNSIGNED: 14,
  TEAMCHAT: 15,
  TEAMMEMBER_ENTER: 16,
  TEAMMEMBER_LEAVE: 17,
  VIDEOCALL_INVITE: 18,
  VIDEOCALL_END: 19,
  RES: 100,
  SEND_REQ: 101,
  SEND_RES: 102,
  ACK: 103,
  SYNC_REQ: 104,
  SYNC_RES: 105,
  READ_REQ: 106,
  READ: 107,
  RECALL_REQ: 108,
  RECALL: 109,
  CONVERSATIONS_REQ: 110,
  CONVERSATIONS_RES: 111,
  RESUMED: 112,
} as const satisfies Record<string, KnownKind>;

/**
 * The properties of one of the application's own kinds (1000 to 9999). They must equal the gateway's
 * configuration.
 */
export interface AppKind {
  /** Its messages are stored. Default: true. */
  stored?: boolean;
  /** Its messages count as unread. Default: false. */
  unread?: boolean;
}

export type AppKinds = Readonly<Record<number, AppKind>>;

const known: Readonly<Record<number, KindRow | undefined>> = KINDS;

/** Whether messages of this kind are stored. */
export function isStored(kind: number, own: AppKinds): boolean {
  return known[kind]?.stored ?? own[kind]?.stored ?? true;
}

/** Whether messages of this kind count as unread. */
export function isCounted(kind: number, own: AppKinds): boolean {
  return known[kind]?.unread ?? own[kind]?.unread ?? false;
}
