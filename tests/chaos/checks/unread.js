// Unread per user: what the gateway says is what a recount of the record gives, and what the user's devices say. Reads that were
// answered hold, and messages whose recall was answered are recalled.

import { KINDS } from '../../../clients/js/dist/esm/index.js';
import { stays } from './expected.js';

export function checkUnread({ record, rows, unread, world }, fail) {
  const count = { users: 0, unread: 0, reads: 0, recalls: 0 };
  const mids = new Map([...record.values()].flatMap(({ messages }) => messages.map((message) => [message.mid, message])));
  for (const { uid, devices } of world.users) {
    count.users++;
    let total = 0;
    const reads = new Map();
    for (const { conv, read, unread: said } of rows.get(uid)) {
      reads.set(conv, read);
      const from = Math.max(read + 1, stays(record.get(conv), uid).at(-1)?.[0] ?? Infinity);
      const recount = record.get(conv).messages.filter((message) => message.seq >= from && counts(message, uid)).length;
      if (recount !== said) fail('unread', `${uid}: ${said} unread in ${conv}, a recount from ${from} gives ${recount}`);
      total += recount;
    }
    count.unread += total;
    if (total !== unread.get(uid)) fail('unread', `${uid}: ${unread.get(uid)} unread in all, a recount gives ${total}`);
    for (const device of devices) {
      if (device.client.unread !== total) fail('unread of a device', `${device.name} (${device.kind}) shows ${device.client.unread} unread, a recount gives ${total}`);
      for (const [conv, seq] of device.reads) {
        count.reads++;
        if (reads.has(conv) && reads.get(conv) < seq) fail('read', `${device.name} was answered that ${conv} is read up to ${seq}, the gateway says ${reads.get(conv)}`);
      }
      for (const mid of device.recalled) {
        count.recalls++;
        if (!mids.get(mid)?.recalled) fail('recall', `${device.name} was answered that ${mid} is taken back, the record has it`, mids.get(mid));
      }
    }
  }
  return count;
}

const counts = (message, uid) => KINDS[message.type].unread && message.from !== uid && !message.recalled;
