// Which messages a device must and may have received, derived from the history alone.

/** [from, to] of each period in which a user was in a conversation; `to` is Infinity if the user still is. */
export function stays(conv, uid) {
  if (!conv.team) return conv.participants.has(uid) ? [[1, Infinity]] : [];
  const found = [];
  let since = conv.team.members.includes(uid) ? 1 : undefined;
  for (const { seq, type, data } of conv.messages) {
    if (data?.uid !== uid || (type !== 16 && type !== 17)) continue;
    if (type === 16) since ??= seq;
    else if (since !== undefined) {
      found.push([since, seq]);
      since = undefined;
    }
  }
  if (since !== undefined) found.push([since, Infinity]);
  return found;
}

/**
 * Whether this device has sent the message by `send`. Then the application gets the answer, but not the
 * message.
 */
export function isOwn(message, device, ledger) {
  const entry = ledger.get(message.data?.n);
  if (entry) return entry.by === device.name;
  return message.recalled === true && device.ownMids.has(message.mid);
}

/**
 * The messages that must (`musts`) and may (`mays`) have been delivered to a device, in the order of `seq`.
 */
export function expectations(conv, device, ledger) {
  const spans = stays(conv, device.uid);
  const musts = [];
  const mays = [];
  for (const message of conv.messages) {
    const span = spans.find(([from, to]) => message.seq >= from && message.seq <= to);
    if (!span || isOwn(message, device, ledger)) continue;
    mays.push(message);
    // Messages from before the device was known may be missing, and so may messages that it had not received
    // when its user left.
    if (message.ts > device.knownAt && span[1] === Infinity) musts.push(message);
  }
  return { musts, mays, spans };
}
