// The unread counts per user: the gateway's counts equal a recount of the history and the counts of the
// user's devices. Accepted reads are in effect, and accepted recalls have removed the data.

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
      if (recount !== said) fail('unread', `${uid}: the gateway counts ${said} unread in ${conv}; a recount from ${from} gives ${recount}`);
      total += recount;
    }
    count.unread += total;
    if (total !== unread.get(uid)) fail('unread', `${uid}: the gateway counts ${unread.get(uid)} unread in total; a recount gives ${total}`);
    for (const device of devices) {
      if (device.client.unread !== total) fail('unread of a device', `${device.name} (${device.kind}) shows ${device.client.unread} unread, a recount gives ${total}`);
      for (const [conv, seq] of device.reads) {
        count.reads++;
        if (reads.has(conv) && reads.get(conv) < seq) fail('read', `${device.name} has read ${conv} up to ${seq}, but the gateway's read position is ${reads.get(conv)}`);
      }
      for (const mid of device.recalled) {
        count.recalls++;
        if (!mids.get(mid)?.recalled) fail('recall', `${device.name} has recalled ${mid}, but its data is still in the history`, mids.get(mid));
      }
    }
  }
  return count;
}

const counts = (message, uid) => KINDS[message.type].unread && message.from !== uid && !message.recalled;
