// Nodes that cannot be part of a cluster: each ends with an error that names the key and says what to change,
// and shows no secret. Redis alone never prevents a start.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Cluster, CLUSTER_SECRET, NO_CLUSTER } from '../../lib/cluster.js';
import { eventually, within } from '../../lib/inbox.js';
import { API_KEY, freshDirectory, GATEWAY, Program, startGateway, toml } from '../../lib/program.js';
import { Redis } from '../../lib/redis.js';
import { signIn, someone } from '../../lib/user.js';

const skip = NO_CLUSTER;
const START_MS = 30_000;
const PASSWORD = 'password-of-redis-0123456789';
const KIND = { number: 1001, name: 'ORDER', conversation: 'notices' };

let cluster;
before(async () => {
  if (skip) return;
  cluster = await Cluster.start({ nodes: 2, config: { kinds: [KIND], login: { policy: 'multi' } } });
});
after(() => cluster?.close());

/** Runs one more node with changed sections. */
function node(t, more = {}, without = []) {
  const whole = cluster.whole(more);
  for (const key of without) delete whole.cluster[key];
  const directory = freshDirectory();
  const file = join(directory, 'mynah.toml');
  writeFileSync(file, toml({ ...whole, server: { listen: '127.0.0.1:0', ...whole.server }, store: { path: join(directory, 'data'), ...whole.store }, auth: { api_keys: [API_KEY] } }));
  const program = new Program(GATEWAY, ['--config', file], { cwd: directory });
  t.after(() => program.signal('SIGKILL'));
  return program;
}

const showsNoSecret = (output) => assert.doesNotMatch(output, new RegExp([CLUSTER_SECRET, PASSWORD, 'another-secret', 'password-of-the-tests'].join('|')));

async function ends(t, why, more, without) {
  const program = node(t, more, without);
  const { code } = await within(program.exited, `the end of a start that must match ${why}\n${program.output}`, START_MS);
  assert.equal(code, 1, program.output);
  assert.match(program.output, why);
  showsNoSecret(program.output);
}

test('a node whose configuration cannot be right does not start', { skip }, async (t) => {
  await ends(t, /cluster\.secret/, {}, ['secret']);
  await ends(t, /cluster\.secret.*at least/, { cluster: { secret: 'short' } });
  await ends(t, /cluster\.redis_url/, { cluster: { redis_url: 'http://127.0.0.1:1' } });
  await ends(t, /cluster\.advertise/, { cluster: { advertise: '0.0.0.0:3001' } });
  await ends(t, /cluster\.advertise/, { cluster: { advertise: '[::]:3001' } });
  await ends(t, /cluster\.advertise/, { cluster: { advertise: 'http://nowhere' } });
  await ends(t, /cluster\.advertise/, { cluster: { advertise: 'host' } });
  await ends(t, /cluster\.advertise/, { server: { listen: '0.0.0.0:0' } });
  await ends(t, /cluster\.name/, { cluster: { name: '' } });
});

test('a node with another secret does not start', { skip }, (t) => ends(t, /cluster\.secret/, { cluster: { secret: 'another-secret-0123456789abcdef' } }));

test('a node with the address of a live node does not start', { skip }, async (t) => {
  await ends(t, /127\.0\.0\.1:\d+.*cluster\.advertise/, { cluster: { advertise: `127.0.0.1:${cluster.nodes[0].port}` } });
});

test('a node whose configuration differs from that of the others names the key', { skip }, async (t) => {
  await ends(t, /login\.policy/, { login: { policy: 'single' } });
  await ends(t, /login\.max_devices/, { login: { policy: 'multi', max_devices: 3 } });
  await ends(t, /kinds/, { kinds: [{ ...KIND, name: 'OTHER' }] });
  await ends(t, /kinds/, { kinds: [KIND, { ...KIND, number: 1002, name: 'OTHER' }] });
  await ends(t, /teams\.history_for_new_members/, { teams: { history_for_new_members: true } });
});

test('the others have noticed nothing', { skip }, async (t) => {
  for (const { program } of cluster.nodes) {
    assert.doesNotMatch(program.output, /panicked/);
    showsNoSecret(program.output);
  }
  const [one, other] = await Promise.all(cluster.nodes.map((gateway) => signIn(t, gateway, someone())));
  assert.equal((await one.send({ user: other.uid }, { n: 1 })).code, 0);
  assert.equal((await other.next(3)).data.n, 1);
});

/** A node alone with this Redis. It starts, is not ready, and says why. */
async function unready(t, why, redis_url) {
  const database = cluster.postgres.database();
  const config = { store: { url: cluster.postgres.url(database) }, cluster: { redis_url, secret: CLUSTER_SECRET } };
  const gateway = await startGateway({ config });
  t.after(() => gateway.program.kill());
  const ready = await eventually(async () => {
    const answer = await gateway.api.call('GET', '/health/ready');
    return answer.status === 503 && answer;
  }, 'the node not to be ready', 20_000);
  await eventually(() => why.test(gateway.program.output), `${why} in the log`, 20_000);
  showsNoSecret(gateway.program.output + ready.text);
  // It serves what it can.
  const alone = await signIn(t, gateway, someone());
  assert.equal((await alone.send({ user: alone.uid }, {})).code, 0);
}

test('Redis that is missing, refuses the password or needs one does not prevent a start', { skip }, async (t) => {
  const locked = await Redis.start({ password: PASSWORD });
  t.after(() => locked.close());
  await unready(t, /redis/i, 'redis://127.0.0.1:1');
  await unready(t, /password|NOAUTH|cluster\.redis_url/i, locked.url.replace(PASSWORD, 'another-secret'));
  await unready(t, /password|NOAUTH|cluster\.redis_url/i, `redis://127.0.0.1:${locked.port}`);
});

test('Redis with a password, keys of another program and a limit of memory serves a cluster', { skip }, async (t) => {
  const redis = await Redis.start({ password: PASSWORD, settings: ['--maxmemory', '3mb', '--maxmemory-policy', 'allkeys-lru'] });
  t.after(() => redis.close());
  for (const key of ['mynah', 'mynah:x', `user:1`]) redis.ask('SET', key, 'of another program');
  const own = await Cluster.start({ nodes: 2, postgres: cluster.postgres, redis });
  t.after(() => own.close());
  const users = await Promise.all(own.nodes.map((gateway) => signIn(t, gateway, someone())));
  for (let n = 0; n < 50; n++) {
    // Keys are evicted all the time.
    for (let i = 0; i < 3; i++) redis.ask('SET', `filler:${n}:${i}`, 'x'.repeat(100_000));
    assert.equal((await users[0].send({ user: users[1].uid }, { n })).code, 0);
  }
  for (let n = 0; n < 50; n++) assert.equal((await users[1].next(3)).data.n, n);
  for (const { program } of own.nodes) showsNoSecret(program.output);
});

test('a node with a clock an hour off serves as the others do', { skip }, async (t) => {
  const { Clock, noClock } = await import('../../lib/clock.js');
  if (noClock) return t.skip(noClock);
  const directory = freshDirectory();
  const clock = new Clock(directory);
  clock.set(3_600);
  const gateway = await startGateway({ config: cluster.whole(), directory, env: clock.env });
  t.after(() => gateway.close());
  await eventually(async () => (await gateway.api.call('GET', '/health/ready')).status === 200, 'the node to be ready');
  const [here, there] = [await signIn(t, gateway, someone()), await signIn(t, cluster.nodes[0], someone())];
  for (let n = 0; n < 5; n++) {
    assert.equal((await here.send({ user: there.uid }, { n })).code, 0);
    assert.equal((await there.next(3)).data.n, n);
    assert.equal((await there.send({ user: here.uid }, { n })).code, 0);
    assert.equal((await here.next(3)).data.n, n);
  }
  assert.equal((await gateway.api.user(there.uid)).online, true);
});
