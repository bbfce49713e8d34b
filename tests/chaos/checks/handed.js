// The messages that were delivered to the applications: all that they must receive, once, in order, without
// gaps, and no others.

import { expectations } from './expected.js';

export function checkHanded({ record, world, ledger }, fail) {
  const count = { handed: 0, due: 0, repeats: 0, acks: 0, 'acks ahead': 0 };
  for (const device of world.devices) {
    count.repeats += device.counts.repeats;
    const got = byConversation(device.log);
    for (const conv of got.keys()) if (!record.has(conv)) fail('stranger', `${device.name} received a message of ${conv}, which does not exist`, got.get(conv)[0]);
    for (const conv of record.values()) {
      const handed = got.get(conv.conv) ?? [];
      count.handed += handed.length;
      if (device.knownAt === undefined) continue;
      const { musts, mays, spans } = expectations(conv, device, ledger);
      count.due += musts.length;
      checkOne({ device, conv, handed, musts, mays, spans }, fail);
      checkEarly({ device, conv, musts }, fail);
    }
    count.acks += device.told;
    count['acks ahead'] += device.early.length;
  }
  return count;
}

function byConversation(log) {
  const found = new Map();
  for (const one of log) {
    if (!found.has(one.conv)) found.set(one.conv, []);
    found.get(one.conv).push(one);
  }
  return found;
}

function checkOne({ device, conv, handed, musts, mays, spans }, fail) {
  const where = `${device.name} (${device.kind}), ${conv.kind} ${conv.conv}`;
  const may = new Map(mays.map((message) => [message.seq, message]));
  const seen = new Set();
  let last = 0;
  for (const one of handed) {
    const message = may.get(one.seq);
    if (!message || message.mid !== one.mid) {
      fail('not theirs', `${where}: seq ${one.seq} was delivered, but is not visible to this device or is another message`, { one, message });
      continue;
    }
    if (seen.has(one.seq)) fail('duplicate', `${where}: seq ${one.seq} was delivered twice`, one);
    else if (one.seq < last) fail('order', `${where}: seq ${one.seq} was delivered after ${last}`, one);
    seen.add(one.seq);
    last = Math.max(last, one.seq);
    const isSame = one.type === message.type && (one.recalled ? message.recalled : message.recalled || (one.n === message.data?.n && one.text === message.data?.text));
    if (!isSame) fail('content', `${where}: seq ${one.seq} differs from the history`, { one, message });
  }
  const missed = musts.filter(({ seq }) => !seen.has(seq));
  if (missed.length > 0) fail('missing', `${where}: ${missed.length} messages were not delivered, the first with seq ${missed[0].seq}`, missed.slice(0, 5));
  // There must be no gap between the first and the last delivered message. But for each time that the user
  // left a team meanwhile there may be one: messages that had not been received by then cannot be read any
  // more.
  const from = handed.length > 0 ? Math.min(...handed.map(({ seq }) => seq)) : Infinity;
  const holes = mays.filter(({ seq }, i) => seq > from && seq < last && !seen.has(seq) && seen.has(mays[i - 1]?.seq)).length;
  const leavings = spans.filter(([, to]) => to !== Infinity).length;
  if (holes > leavings) fail('gap', `${where}: ${holes} gaps in the delivered messages`, { handed: handed.map(({ seq }) => seq), mays: mays.map(({ seq }) => seq) });
}

/** No message was acknowledged or read before its handler had finished and its position was written. */
function checkEarly({ device, conv, musts }, fail) {
  for (const { type, conv: id, seq, from } of device.early) {
    if (id !== conv.conv) continue;
    const passed = musts.filter((message) => message.seq > from && message.seq <= seq);
    if (passed.length > 0) fail('early', `${device.name}: kind ${type} was sent for ${id} up to ${seq}, but only messages up to ${from} had been handled`, passed[0]);
  }
}
