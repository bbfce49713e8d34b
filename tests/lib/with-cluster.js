// Runs a command while every gateway that the tests start is a cluster of three nodes behind a load balancer
// without affinity:
//
//   node tests/lib/with-cluster.js node --test tests/clients/gateway/teams.test.js

import { spawn } from 'node:child_process';
import { FAST, NO_CLUSTER } from './cluster.js';
import { Postgres } from './postgres.js';
import { Redis } from './redis.js';

if (NO_CLUSTER) {
  console.error(NO_CLUSTER);
  process.exit(3);
}
const postgres = await Postgres.start(FAST);
const redis = await Redis.start();
const [command, ...args] = process.argv.slice(2);
const place = [postgres.directory, postgres.port, redis.port].join(':');
const child = spawn(command, args, { stdio: 'inherit', env: { ...process.env, MYNAH_TEST_CLUSTER: place } });
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
const code = await new Promise((resolve) => child.on('close', (code) => resolve(code ?? 1)));
await redis.close();
await postgres.close();
process.exit(code);
