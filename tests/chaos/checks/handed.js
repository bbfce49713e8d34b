// What the applications were handed: everything that was theirs, once, in order, without gaps, and nothing else.

import { expectations } from './expected.js';

export function checkHanded({ record, world, ledger }, fail) {
  const count = { handed: 0, due: 0, repeats: 0, acks: 0, 'acks ahead': 0 };
  for (const device of world.devices) {
    count.repeats += device.counts.repeats;
    const got = byConversation(device.log);
    for (const conv of got.keys()) if (!record.has(conv)) fail('stranger', `${device.name} was handed a message of ${conv}, which is nobody's`, got.get(conv)[0]);
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
      fail('not theirs', `${where}: handed seq ${one.seq}, which is not for it, or not that message`, { one, message });
      continue;
    }
    if (seen.has(one.seq)) fail('duplicate', `${where}: seq ${one.seq} was handed over twice`, one);
    else if (one.seq < last) fail('order', `${where}: seq ${one.seq} was handed over after ${last}`, one);
    seen.add(one.seq);
    last = Math.max(last, one.seq);
    const isSame = one.type === message.type && (one.recalled ? message.recalled : message.recalled || (one.n === message.data?.n && one.text === message.data?.text));
    if (!isSame) fail('content', `${where}: seq ${one.seq} is not what the record has`, { one, message });
  }
  const missed = musts.filter(({ seq }) => !seen.has(seq));
  if (missed.length > 0) fail('missing', `${where}: ${missed.length} messages were never handed over, the first with seq ${missed[0].seq}`, missed.slice(0, 5));
  // Between the first and the last that were handed over nothing is left out; but of a team that its user left meanwhile there may
  // be one hole for each time: what had not come by then is closed to it.
  const from = handed.length > 0 ? Math.min(...handed.map(({ seq }) => seq)) : Infinity;
  const holes = mays.filter(({ seq }, i) => seq > from && seq < last && !seen.has(seq) && seen.has(mays[i - 1]?.seq)).length;
  const leavings = spans.filter(([, to]) => to !== Infinity).length;
  if (holes > leavings) fail('gap', `${where}: ${holes} gaps in what was handed over`, { handed: handed.map(({ seq }) => seq), mays: mays.map(({ seq }) => seq) });
}

/** Nothing was acknowledged, or told as read, before the application had finished with it and that was written down. */
function checkEarly({ device, conv, musts }, fail) {
  for (const { type, conv: id, seq, from } of device.early) {
    if (id !== conv.conv) continue;
    const passed = musts.filter((message) => message.seq > from && message.seq <= seq);
    if (passed.length > 0) fail('early', `${device.name}: kind ${type} told of ${id} up to ${seq} when it had been handed over up to ${from}`, passed[0]);
  }
}
