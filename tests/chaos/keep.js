// Keeps the evidence of a failed run: the history, the sends, the delivered messages, and the server's log
// and data.

import { cpSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export function keep({ directory, failures, state, plan, counts }) {
  const { record, rows, ledger, world, gateway, options } = state;
  const write = (name, value) => writeFileSync(join(directory, name), typeof value === 'string' ? value : JSON.stringify(value, undefined, 1));
  write('failures.json', failures);
  write('run.json', { options, plan, counts });
  write('record.json', [...record.values()].map((conv) => ({ ...conv, participants: [...conv.participants] })));
  write('rows.json', Object.fromEntries(rows));
  write('sends.json', ledger.entries);
  write('handed.json', world.devices.map(({ name, kind, log, knownAt, early, ends, counts: own }) => ({ name, kind, knownAt, counts: own, ends, early, log })));
  keepServer(directory, gateway);
}

/** Keeps the log, and the data if it was on a separate disk. */
export function keepServer(directory, gateway) {
  writeFileSync(join(directory, 'server.log'), gateway.output);
  const data = join(directory, 'data');
  if (gateway.data && !existsSync(data)) cpSync(gateway.data, data, { recursive: true });
}
