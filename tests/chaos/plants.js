// Faults on purpose, to see that the checks find them: `--plant <name>`. The clients are changed on their way to the socket or to
// the application, the record after it was read, the data while the server is down. Each must make the run fail.

import { cpSync, existsSync, rmSync } from 'node:fs';

/** For one client: what is done to frames (`outgoing`, `incoming`) and to what the application was handed (`handed`). */
const CLIENTS = {
  /** Acknowledges what comes before the handler has run. */
  'early-ack': () => ({
    incoming: ({ conv, seq }, say) => seq && say(103, { conv, seq }),
  }),
  /** Takes a gap for closed instead of fetching what is missing. */
  'no-repair': () => ({
    outgoing(frame, ack, pass) {
      if (frame.type === 104) setImmediate(ack, { code: 0, conv: frame.data.conv, messages: [], head: frame.data.after + 1_000, more: false });
      else pass();
    },
  }),
  /** Says that a message is kept that never went out, one in two hundred. */
  'early-answer': (chance) => ({
    outgoing(frame, ack, pass) {
      if (frame.type === 101 && chance.isOne(0.005)) setImmediate(ack, { code: 0, cid: frame.data.cid, mid: `never-${chance.next()}`, conv: 'nowhere', seq: 1, ts: Date.now() });
      else pass();
    },
  }),
  /** Sends a message again under another cid, one in two hundred. */
  'new-cid': (chance) => ({
    outgoing(frame, ack, pass, say) {
      pass();
      if (frame.type === 101 && chance.isOne(0.005)) say(101, { ...frame.data, cid: `${frame.data.cid}x` });
    },
  }),
  /** Hands a message over twice, one in five hundred. */
  twice: (chance) => ({ handed: (message) => (chance.isOne(0.002) ? [message, message] : [message]) }),
  /** Forgets to hand a message over, one in five hundred. */
  lost: (chance) => ({ handed: (message) => (chance.isOne(0.002) ? [] : [message]) }),
  /** Hands messages over in the wrong order: one is kept back until the next. */
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
  /** Hands over a message that is another user's. */
  stranger: (chance) => ({
    handed: (message) => (chance.isOne(0.002) ? [message, { ...message, conv: 'of-a-stranger' }] : [message]),
  }),
};

const inOne = (change) => (record) => change([...record.values()].sort((a, b) => b.messages.length - a.messages.length)[0], record);

/** For the record, once it was read. */
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

/** For the data directory, while the server is down after a kill. */
const DATA = {
  /** What was written since the kill before is gone, as if it had been answered before it was durable. */
  'data-lost'(directory) {
    const before = `${directory}-before`;
    if (existsSync(before)) {
      rmSync(directory, { recursive: true });
      cpSync(before, directory, { recursive: true });
    } else cpSync(directory, before, { recursive: true });
  },
};

export const PLANTS = [...Object.keys(CLIENTS), ...Object.keys(RECORDS), ...Object.keys(DATA)];

export function plantInData(name, directory) {
  DATA[name]?.(directory);
}

export function plantFor(name, chance) {
  return CLIENTS[name]?.(chance);
}

export function plantInRecord(name, record) {
  RECORDS[name]?.(record);
}
