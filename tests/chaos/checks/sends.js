// The sends: none is left open, and none is both refused and kept. The refused ones are counted by code.

export function checkSends({ ledger, world }, fail) {
  for (const entry of ledger.in('open')) fail('unresolved', `message ${entry.n} of ${entry.by} to ${JSON.stringify(entry.to)} was never answered`, entry);
  for (const { what, ...rest } of ledger.broken) fail('contradiction', what, rest);
  const refused = {};
  for (const { code, by } of ledger.in('refused')) {
    const where = `${code} ${by === 'backend' ? 'API' : 'send'}`;
    refused[where] = (refused[where] ?? 0) + 1;
    // A member who was removed meanwhile may not send. Nothing else may be refused.
    if (code !== 403) fail('refusal', `a send was refused with ${code}`, ledger.in('refused').find((entry) => entry.code === code));
  }
  let lateReads = 0;
  for (const device of world.devices) {
    for (const [what, times] of device.errors) {
      // A read of a team can be refused: the user may have left the team before the read was sent.
      if (what.startsWith('403:')) lateReads += times;
      else fail('complaint', `${device.name} (${device.kind}): ${what}`);
    }
  }
  return { sends: ledger.entries.length, kept: ledger.in('kept').length, vanished: ledger.in('vanished').length, refused, 'reads too late': lateReads };
}
