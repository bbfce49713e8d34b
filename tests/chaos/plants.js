// Deliberate faults, to see that the checks detect them: `--plant <name>`. A fault changes frames between
// client and socket, messages between client and application, the history after it was read, or the data
// while the server is down. Each must make the run fail.

import { cpSync, existsSync, rmSync } from 'node:fs';

/** Faults of a client. They change frames (`outgoing`, `incoming`) or the delivered messages (`handed`). */
const CLIENTS = {
  /** Acknowledges a message before its handler has run. */
  'early-ack': () => ({
    incoming: ({ conv, seq }, say) => seq && say(103, { conv, seq }),
  }),
  /** Answers the request for missing messages as if nothing were missing. */
  'no-repair': () => ({
    outgoing(frame, ack, pass) {
      if (frame.type === 104) setImmediate(ack, { code: 0, conv: frame.data.conv, messages: [], head: frame.data.after + 1_000, more: false });
      else pass();
    },
  }),
  /** Answers a send, one in two hundred, that was never sent to the gateway. */
  'early-answer': (chance) => ({
    outgoing(frame, ack, pass) {
      if (frame.type === 101 && chance.isOne(0.005)) setImmediate(ack, { code: 0, cid: frame.data.cid, mid: `never-${chance.next()}`, conv: 'nowhere', seq: 1, ts: Date.now() });
      else pass();
    },
  }),
  /** Repeats a send, one in two hundred, with another cid. */
  'new-cid': (chance) => ({
    outgoing(frame, ack, pass, say) {
      pass();
      if (frame.type === 101 && chance.isOne(0.005)) say(101, { ...frame.data, cid: `${frame.data.cid}x` });
    },
  }),
  /** Delivers a message twice, one in five hundred. */
  twice: (chance) => ({ handed: (message) => (chance.isOne(0.002) ? [message, message] : [message]) }),
  /** Does not deliver a message, one in five hundred. */
  lost: (chance) => ({ handed: (message) => (chance.isOne(0.002) ? [] : [message]) }),
  /** Delivers messages in the wrong order: one is held back until after the next. */
  order: (chance) => {
    let late;
    return {
      handed(message) {
        const kept = late;
        late = undefined;
        if (kept) return [message, kept];
        if (!chance.isOne(0.01)) return [message];
        late = message;
        return [];
      },
    };
  },
  /** Delivers a message of another user. */
  stranger: (chance) => ({
    handed: (message) => (chance.isOne(0.002) ? [message, { ...message, conv: 'of-a-stranger' }] : [message]),
  }),
};

const inOne = (change) => (record) => change([...record.values()].sort((a, b) => b.messages.length - a.messages.length)[0], record);

/** Faults of the history after it was read. */
const RECORDS = {
  'record-lost': inOne((conv) => conv.messages.splice(conv.messages.length >> 1, 1)),
  'record-twice': inOne((conv) => {
    const message = conv.messages.find(({ data }) => data?.n);
    conv.messages.push({ ...message, mid: `${message.mid}x`, seq: conv.messages.length + 1, ts: conv.messages.at(-1).ts });
    conv.head++;
  }),
  'record-time': inOne((conv) => (conv.messages[conv.messages.length >> 1].ts -= 60_000)),
  'record-text': inOne((conv) => {
    const message = conv.messages.find(({ data }) => data?.n);
    message.data = { ...message.data, text: '别的' };
  }),
  'record-unread': inOne((conv) => {
    for (const message of conv.messages) message.type = 16;
  }),
};

/** Faults of the data directory while the server is down after a kill. */
const DATA = {
  /**
   * Restores the data of the previous kill, as if the messages since had been answered before they were
   * durable.
   */
  'data-lost'(directory) {
    const before = `${directory}-before`;
    if (existsSync(before)) {
      rmSync(directory, { recursive: true });
      cpSync(before, directory, { recursive: true });
    } else cpSync(directory, before, { recursive: true });
  },
};

/** A fault of the notifications, only with `--cluster`; `notified.js` makes it. */
const NOTIFIED = ['notified-late'];

export const PLANTS = [...Object.keys(CLIENTS), ...Object.keys(RECORDS), ...Object.keys(DATA), ...NOTIFIED];

export function plantInData(name, directory) {
  DATA[name]?.(directory);
}

export function plantFor(name, chance) {
  return CLIENTS[name]?.(chance);
}

export function plantInRecord(name, record) {
  RECORDS[name]?.(record);
}
