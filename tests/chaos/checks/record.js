// The record: whatever was answered is in it once, as it was sent; what was not is not; numbers have no gaps and times never decrease.

export function checkRecord({ record, ledger, world }, fail) {
  const seen = new Map();
  const mids = new Set();
  const count = { conversations: 0, messages: 0, kept: 0, refused: 0 };
  for (const { conv, messages, head, kind } of record.values()) {
    count.conversations++;
    let ts = 0;
    messages.forEach((message, i) => {
      count.messages++;
      if (message.seq !== i + 1) fail('seq', `${conv}: place ${i + 1} has seq ${message.seq}`, message);
      if (message.ts < ts) fail('ts', `${conv}: ts goes back from ${ts}`, message);
      ts = message.ts;
      if (mids.has(message.mid)) fail('mid', `${conv}: mid ${message.mid} is there twice`, message);
      mids.add(message.mid);
      const n = message.data?.n;
      if (n !== undefined) seen.set(n, [...(seen.get(n) ?? []), message]);
    });
    if (head !== messages.length) fail('head', `${conv}: the head is ${head}, the record has ${messages.length} (${kind})`);
  }
  const byMid = new Map([...record.values()].flatMap(({ messages }) => messages.map((message) => [message.mid, message])));
  for (const entry of ledger.entries) {
    const found = seen.get(entry.n) ?? [];
    if (entry.state === 'kept') checkKept(entry, found, byMid, fail);
    if (entry.state === 'kept') count.kept += entry.receipts.length;
    if (entry.state === 'vanished' && found.length > 0) fail('vanished', `message ${entry.n} was never written down and is in the record`, found);
    if (entry.state === 'refused') {
      count.refused++;
      if (found.length > 0) fail('refused', `message ${entry.n} was refused (${entry.code}) and is in the record`, { entry, found });
    }
  }
  checkOrder({ ledger, world }, fail);
  return count;
}

function checkKept(entry, found, byMid, fail) {
  for (const receipt of entry.receipts) {
    const message = byMid.get(receipt.mid);
    if (!message) {
      fail('lost', `message ${entry.n} of ${entry.by} was answered and is not in the record`, entry);
      continue;
    }
    const isSame = message.conv === receipt.conv && message.seq === receipt.seq && (receipt.ts ?? message.ts) === message.ts;
    if (!isSame) fail('answer', `message ${entry.n}: the answer and the record differ`, { receipt, message });
    if (message.from !== (entry.uid ?? (message.from === 'system' ? 'system' : undefined))) fail('from', `message ${entry.n} is not from ${entry.uid}`, message);
    if (message.type !== entry.kind) fail('kind', `message ${entry.n} is not of kind ${entry.kind}`, message);
    if (!message.recalled && JSON.stringify(sorted(message.data)) !== JSON.stringify(sorted(entry.data))) fail('data', `message ${entry.n} is not what was sent`, { entry, message });
  }
  const standing = entry.receipts.filter(({ mid }) => byMid.get(mid)?.data?.n === entry.n).length;
  if (found.length > standing) fail('twice', `message ${entry.n} is in the record ${found.length} times`, found);
}

const sorted = (data) => Object.entries(data ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));

/** What one device sent to one destination stands in the order of the calls. */
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
      if (i > 0 && entry.receipts[0].seq < entries[i - 1].receipts[0].seq) fail('order of sends', `${lane}: ${entries[i - 1].n} was sent before ${entry.n} and stands after it`, [entries[i - 1], entry]);
    });
  }
}
