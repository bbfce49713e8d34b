// Runs a command while every gateway that the tests start keeps its record in PostgreSQL:
//
//   node tests/lib/with-postgres.js node --test tests/clients/gateway/teams.test.js

import { spawn } from 'node:child_process';
import { NO_POSTGRES, Postgres } from './postgres.js';

if (NO_POSTGRES) {
  console.error(NO_POSTGRES);
  process.exit(3);
}
// What is lost if the machine fails is of no use afterwards.
const postgres = await Postgres.start({ settings: ['fsync=off', 'full_page_writes=off'] });
const [command, ...args] = process.argv.slice(2);
const env = { ...process.env, MYNAH_TEST_POSTGRES: `${postgres.directory}:${postgres.port}` };
const child = spawn(command, args, { stdio: 'inherit', env });
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
const code = await new Promise((resolve) => child.on('close', (code) => resolve(code ?? 1)));
await postgres.close();
process.exit(code);
