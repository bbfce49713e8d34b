// The sends: none is left open, none both refused and kept; those that were refused for good are listed by their code.

export function checkSends({ ledger, world }, fail) {
  for (const entry of ledger.in('open')) fail('unresolved', `message ${entry.n} of ${entry.by} to ${JSON.stringify(entry.to)} never came to an end`, entry);
  for (const { what, ...rest } of ledger.broken) fail('contradiction', what, rest);
  const refused = {};
  for (const { code, by } of ledger.in('refused')) {
    const where = `${code} ${by === 'backend' ? 'API' : 'send'}`;
    refused[where] = (refused[where] ?? 0) + 1;
    // A member that was removed meanwhile may not send; nothing else is a reason.
    if (code !== 403) fail('refusal', `a send was refused with ${code}`, ledger.in('refused').find((entry) => entry.code === code));
  }
  let lateReads = 0;
  for (const device of world.devices) {
    for (const [what, times] of device.errors) {
      // A read that was noted while its message was handled, of a team that was left before it could be told.
      if (what.startsWith('403:')) lateReads += times;
      else fail('complaint', `${device.name} (${device.kind}): ${what}`);
    }
  }
  return { sends: ledger.entries.length, kept: ledger.in('kept').length, vanished: ledger.in('vanished').length, refused, 'reads too late': lateReads };
}
