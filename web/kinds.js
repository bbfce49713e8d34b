// The kinds that this page knows: their names in the list of frames, and what the page does with them.

export const KINDS = {
  1: 'C2S_REGISTER_REQ',
  2: 'S2C_REGISTER_RES',
  3: 'S2C_ALONECHAT_PUSH',
  4: 'S2C_SIGNED_PUSH',
  5: 'S2C_SYSTEM_PUSH',
  6: 'S2C_RESERVATION_PUSH',
  7: 'S2C_DOCTORMSG_PUSH',
  8: 'S2C_TEAMMATECHAT_PUSH',
  9: 'S2C_DOCTORFRIENDCHAT_PUSH',
  10: 'S2C_FRIENDAPPLY_PUSH',
  11: 'S2C_SOCIAL_PUSH',
  12: 'S2C_DIFFERENT_CONNECTION',
  13: 'S2C_REMIND_PUSH',
  14: 'S2C_UNSIGNED_PUSH',
  15: 'S2C_TEAMCHAT_PUSH',
  16: 'S2C_TEAMMEMBER_ENTER',
  17: 'S2C_TEAMMEMBER_LEAVE',
  18: 'S2C_VIDEOCALL_INVITE',
  19: 'S2C_VIDEOCALL_END',
  100: 'S2C_RES',
  101: 'C2S_SEND_REQ',
  102: 'S2C_SEND_RES',
  103: 'C2S_ACK',
  104: 'C2S_SYNC_REQ',
  105: 'S2C_SYNC_RES',
  106: 'C2S_READ_REQ',
  107: 'S2C_READ_PUSH',
  108: 'C2S_RECALL_REQ',
  109: 'S2C_RECALL_PUSH',
  110: 'C2S_CONVERSATIONS_REQ',
  111: 'S2C_CONVERSATIONS_RES',
  112: 'S2C_RESUMED',
};

export const REGISTER = 1;
export const REGISTERED = 2;
export const ALONE_CHAT = 3;
export const DISPLACED = 12;
export const TEAM_CHAT = 15;
export const TEAM_ENTER = 16;
export const TEAM_LEAVE = 17;
export const SEND = 101;
export const SENT = 102;
export const ACK = 103;
export const SYNC = 104;
export const READ = 106;
export const READ_PUSH = 107;
export const RECALLED = 109;
export const LIST = 110;
/** The first of the application's own kinds. */
export const APPLICATION = 1000;

/**
 * The special pair conversations, by their `kind` in the list of conversations: the kind to send, and the
 * label.
 */
export const PAIRS = {
  pair_doctor: { type: 7, label: 'doctor' },
  pair_teammate: { type: 8, label: 'teammate' },
  pair_doctor_friend: { type: 9, label: 'doctor friend' },
};
/** Kinds that count as unread. */
export const COUNTED = new Set([3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15]);
export const NOTICE_KINDS = new Set([4, 5, 6, 10, 11, 13, 14]);

export const nameOf = (kind) => KINDS[kind] ?? (kind >= 1000 ? `application kind ${kind}` : `kind ${kind}`);
