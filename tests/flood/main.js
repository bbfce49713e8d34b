// The command that scripts/flood starts. It runs one flood after another against its own server, while two
// clients write to each other. Then it waits until the server has released everything that the floods used.

import { Worker } from 'node:worker_threads';
import { API_KEY, startGateway } from '../lib/program.js';
import { FLOODS } from './floods.js';
import { LIMITS } from './limits.js';
import { Watch, descriptors, rss } from './watch.js';

const DEFAULTS = {
  seconds: 2, // seconds of each flood
  rounds: 1, // how many times all floods run
  scale: 800, // sockets in floods that depend on the number of sockets
  peak: 256, // the most MiB that the server may use at any time
  after: 112, // the most MiB that it may use when the floods are over; up to 24 of them are SQLite's caches
  only: '', // run only this flood
};
/**
 * The time in which the server must release everything: its own timeouts, plus a reserve for a busy machine.
 */
const QUIET_MS = 60_000;
/** How many more descriptors may be open at the end, for SQLite and a metrics request. */
const SPARE_DESCRIPTORS = 12;

const options = { ...DEFAULTS };
for (let i = 2; i < process.argv.length; i += 2) {
  const [name, value] = [process.argv[i].replace(/^--/, ''), process.argv[i + 1]];
  if (!(name in DEFAULTS) || value === undefined) {
    console.error(`scripts/flood: ${process.argv[i]} is not a known option with a value; the options are --${Object.keys(DEFAULTS).join(' --')}`);
    process.exit(2);
  }
  options[name] = typeof DEFAULTS[name] === 'number' ? Number(value) : value;
}
if (options.only && !(options.only in FLOODS)) {
  console.error(`scripts/flood: unknown flood ${options.only}; the floods are ${Object.keys(FLOODS).join(', ')}`);
  process.exit(2);
}

const gateway = await startGateway({
  config: {
    server: { header_timeout_ms: 2_000 },
    engine: { ping_interval_ms: 2_000, ping_timeout_ms: 15_000, connect_timeout_ms: 2_000 },
    store: { durability: 'process' },
    limits: LIMITS,
    kinds: [{ number: 1001, name: 'FLOOD', conversation: 'none', stored: false, unread: false, push: false, clients: true }],
  },
});
const { pid } = gateway.program;
const failures = [];
const metric = async (name) => {
  // A kept-alive connection may be closed just when it is used again.
  let text;
  for (let tries = 0; !text && tries < 5; tries += 1) text = await fetch(`${gateway.url}/metrics`).then((answer) => answer.text(), () => '');
  return Number(new RegExp(`^${name} (\\d+)`, 'm').exec(text)?.[1]);
};

const pair = new Worker(new URL('pair.js', import.meta.url), { workerData: { port: gateway.port } });
const told = () => new Promise((resolve, reject) => pair.once('message', resolve).once('error', reject));
await told();
const before = { mib: rss(pid), fds: descriptors(pid) };
console.log(`before: ${before.mib} MiB, ${before.fds} descriptors`);

const watch = new Watch(pid);
const kept = [];
for (let round = 0; round < options.rounds; round += 1) {
  for (const [name, flood] of Object.entries(FLOODS)) {
    if (options.only && options.only !== name) continue;
    const end = Date.now() + options.seconds * 1_000;
    const { wrong = [], ...counts } = await flood({
      port: gateway.port,
      url: gateway.url,
      key: API_KEY,
      scale: options.scale,
      over: () => Date.now() > end,
      metric,
      keep: (...sockets) => kept.push(...sockets),
    });
    const most = watch.most();
    console.log(`${name.padEnd(12)} ${Object.entries(counts).map(([what, value]) => `${what} ${value}`).join(', ')}; at most ${most.mib} MiB, ${most.fds} descriptors`);
    failures.push(...wrong.map((what) => `${name}: ${what}`));
    if (most.mib > options.peak) failures.push(`${name}: the server took ${most.mib} MiB, more than ${options.peak}`);
  }
}

// The floods are over. The server itself has to close the connections that were left open.
const end = Date.now() + QUIET_MS;
let left, sessions, online;
do {
  await new Promise((resolve) => setTimeout(resolve, 200));
  left = kept.filter((socket) => !socket.destroyed).length;
  [sessions, online] = [await metric('mynah_sessions'), await metric('mynah_users_online')];
} while ((left > 0 || sessions !== 2 || online !== 2 || descriptors(pid) > before.fds + SPARE_DESCRIPTORS || rss(pid) > options.after) && Date.now() < end);
const after = { mib: rss(pid), fds: descriptors(pid) };
console.log(`after: ${after.mib} MiB, ${after.fds} descriptors, ${sessions} sessions, ${online} users`);
if (left > 0) failures.push(`${left} half-open connections were never closed`);
if (after.fds > before.fds + SPARE_DESCRIPTORS) failures.push(`${after.fds} descriptors are open; before the floods there were ${before.fds}`);
if (after.mib > options.after) failures.push(`the server keeps ${after.mib} MiB, more than ${options.after}`);
if (sessions !== 2 || online !== 2) failures.push(`${sessions} sessions and ${online} users are left, not 2`);

pair.postMessage('stop');
const { failures: lost, counts } = await told();
await pair.terminate();
watch.stop();
console.log(`the pair: ${Object.entries(counts).map(([what, value]) => `${what} ${value}`).join(', ')}`);
failures.push(...lost.map((what) => `the pair: ${what}`));
kept.forEach((socket) => socket.destroy());
await gateway.close().catch((error) => failures.push(error.message));
const said = /^.*(panicked|ERROR).*$/m.exec(gateway.program.output);
if (said) failures.push(`the server printed: ${said[0]}`);

console.log(failures.length === 0 ? 'ok' : `---- FAILED\n${failures.join('\n')}`);
process.exit(failures.length === 0 ? 0 : 1);
