// The history: every acknowledged message is in it once, as it was sent; refused ones are not; seq has no
// gaps, and times never decrease.

export function checkRecord({ record, ledger, world }, fail) {
  const seen = new Map();
  const mids = new Set();
  const count = { conversations: 0, messages: 0, kept: 0, refused: 0 };
  for (const { conv, messages, head, kind } of record.values()) {
    count.conversations++;
    let ts = 0;
    messages.forEach((message, i) => {
      count.messages++;
      if (message.seq !== i + 1) fail('seq', `${conv}: message number ${i + 1} has seq ${message.seq}`, message);
      if (message.ts < ts) fail('ts', `${conv}: ts decreases from ${ts}`, message);
      ts = message.ts;
      if (mids.has(message.mid)) fail('mid', `${conv}: mid ${message.mid} exists twice`, message);
      mids.add(message.mid);
      const n = message.data?.n;
      if (n !== undefined) seen.set(n, [...(seen.get(n) ?? []), message]);
    });
    if (head !== messages.length) fail('head', `${conv}: the head is ${head}, but there are ${messages.length} messages (${kind})`);
  }
  const byMid = new Map([...record.values()].flatMap(({ messages }) => messages.map((message) => [message.mid, message])));
  for (const entry of ledger.entries) {
    const found = seen.get(entry.n) ?? [];
    if (entry.state === 'kept') checkKept(entry, found, byMid, fail);
    if (entry.state === 'kept') count.kept += entry.receipts.length;
    if (entry.state === 'vanished' && found.length > 0) fail('vanished', `message ${entry.n} was never saved by the client, but is in the history`, found);
    if (entry.state === 'refused') {
      count.refused++;
      if (found.length > 0) fail('refused', `message ${entry.n} was refused (${entry.code}) but is in the history`, { entry, found });
    }
  }
  checkOrder({ ledger, world }, fail);
  return count;
}

function checkKept(entry, found, byMid, fail) {
  for (const receipt of entry.receipts) {
    const message = byMid.get(receipt.mid);
    if (!message) {
      fail('lost', `message ${entry.n} of ${entry.by} was acknowledged, but is not in the history`, entry);
      continue;
    }
    const isSame = message.conv === receipt.conv && message.seq === receipt.seq && (receipt.ts ?? message.ts) === message.ts;
    if (!isSame) fail('answer', `message ${entry.n}: the answer differs from the history`, { receipt, message });
    if (message.from !== (entry.uid ?? (message.from === 'system' ? 'system' : undefined))) fail('from', `message ${entry.n} is not from ${entry.uid}`, message);
    if (message.type !== entry.kind) fail('kind', `message ${entry.n} is not of kind ${entry.kind}`, message);
    if (!message.recalled && JSON.stringify(sorted(message.data)) !== JSON.stringify(sorted(entry.data))) fail('data', `message ${entry.n} is not what was sent`, { entry, message });
  }
  const standing = entry.receipts.filter(({ mid }) => byMid.get(mid)?.data?.n === entry.n).length;
  if (found.length > standing) fail('twice', `message ${entry.n} is in the history ${found.length} times`, found);
}

const sorted = (data) => Object.entries(data ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));

/** The messages from one device to one destination are in the order of the sends. */
function checkOrder({ ledger }, fail) {
  const lanes = new Map();
  for (const entry of ledger.in('kept')) {
    if (entry.by === 'backend') continue;
    const lane = `${entry.by} ${JSON.stringify(entry.to)} ${entry.receipts[0].conv}`;
    lanes.set(lane, [...(lanes.get(lane) ?? []), entry]);
  }
  for (const [lane, entries] of lanes) {
    entries.sort((a, b) => a.rank - b.rank);
    entries.forEach((entry, i) => {
      if (i > 0 && entry.receipts[0].seq < entries[i - 1].receipts[0].seq) fail('order of sends', `${lane}: ${entries[i - 1].n} was sent before ${entry.n}, but is stored after it`, [entries[i - 1], entry]);
    });
  }
}
