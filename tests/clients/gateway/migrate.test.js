// `mynah migrate`: a store of a data directory is copied into PostgreSQL, and clients notice nothing.

import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { call } from '../../lib/api.js';
import { ack, read, recall, resume } from '../../lib/delivery.js';
import { within } from '../../lib/inbox.js';
import { NO_POSTGRES, Postgres } from '../../lib/postgres.js';
import { freshDirectory, GATEWAY, Program, startGateway, toml } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';

const skip = NO_POSTGRES;
const DEVICE = '手机';

let postgres;
before(async () => {
  if (!skip) postgres = await Postgres.start();
});
after(() => postgres?.close());

function mynah(t, ...args) {
  const program = new Program(GATEWAY, args, { cwd: freshDirectory() });
  t.after(() => program.signal('SIGKILL'));
  return program;
}

async function run(t, code, ...args) {
  const program = mynah(t, ...args);
  const end = await within(program.exited, args.join(' '), 60_000);
  assert.equal(end.code, code, program.output);
  assert.doesNotMatch(program.output, /password-of-the-tests/);
  return program.output;
}

/** What users and the backend see of a gateway. */
async function seen(t, gateway, users, convs) {
  const all = {};
  for (const uid of users) {
    all[uid] = await gateway.api.expect(200, 'GET', `/v1/users/${encodeURIComponent(uid)}/conversations`);
    const { user, replay, registered } = await resume(t, gateway, uid, { deviceid: DEVICE });
    all[`${uid} missed`] = [replay.map((frame) => ({ ...frame })), registered.conversations, registered.epoch, registered.unread];
    user.peer.close();
  }
  for (const conv of convs) all[conv] = await gateway.api.history(conv);
  return all;
}

test('a store is moved to PostgreSQL with everything in it', { skip }, async (t) => {
  const gateway = await startGateway({ embedded: true, config: { login: { policy: 'multi' } } });
  const [a, b, c] = [someone('甲'), someone('乙'), someone('丙')];
  const ming = await signIn(t, gateway, a, { deviceid: DEVICE });
  const hong = await signIn(t, gateway, b, { deviceid: DEVICE });
  await signIn(t, gateway, c, { deviceid: DEVICE });
  const text = 'a\\b\tc\nd\re "f" \\N \\. 🐦';
  const sent = [];
  for (let n = 1; n <= 8; n++) sent.push(await ming.send({ user: b }, { n, text }, { cid: `c${n}` }));
  const { conv } = sent[0];
  await ack(hong, conv, 3);
  await read(hong, conv, 2);
  await recall(ming, sent[4].mid);
  const team = someone('队');
  const { conv: room } = await gateway.api.team(team, [a, b, c]);
  for (let n = 1; n <= 4; n++) await ming.send({ team }, { n });
  await gateway.api.expect(200, 'DELETE', `/v1/teams/${encodeURIComponent(team)}/members/${encodeURIComponent(c)}`);
  const { conv: notices } = await gateway.api.sendTo(c, { type: 5, data: { text } });
  const convs = [conv, room, notices];
  const expected = await seen(t, gateway, [a, b, c], convs);
  const key = /^mynah_[0-9a-f]{64}$/m.exec(await run(t, 0, 'api-key', 'add', 'reader', '--scopes', 'read', '--config', gateway.file))[0];

  const database = postgres.database();
  const url = postgres.url(database);
  const to = ['migrate', '--from', gateway.data, '--to', url];
  assert.match(await run(t, 1, ...to), /in use by another process/);
  await gateway.program.stop();
  assert.match(await run(t, 1, 'migrate', '--from', freshDirectory(), '--to', url), /there is no store in/);

  assert.match(await run(t, 0, ...to), /15 messages of .* were copied and compared/);
  assert.match(await run(t, 0, ...to), /were copied and compared/, 'again');
  // As if it had been interrupted among the messages.
  postgres.sql("INSERT INTO mynah.meta SELECT 'migration', value FROM mynah.meta WHERE key = 'epoch'; DELETE FROM mynah.meta WHERE key = 'migrated'; DELETE FROM mynah.messages WHERE id > 7", database);
  assert.match(await run(t, 0, ...to), /15 messages of .* were copied and compared/);
  assert.ok(existsSync(join(gateway.data, 'moved-to-postgresql')));
  assert.match(await run(t, 1, '--listen', '127.0.0.1:0', '--data', gateway.data), /was moved to PostgreSQL: set store\.url/);

  const moved = await startGateway({ config: { login: { policy: 'multi' }, store: { url } } });
  t.after(() => moved.close());
  assert.deepEqual(await seen(t, moved, [a, b, c], convs), expected);
  assert.equal((await call(moved.url, 'GET', `/v1/users/${encodeURIComponent(a)}`, { key })).status, 200, 'the API key');
  const again = await signIn(t, moved, a, { deviceid: DEVICE });
  const repeated = await again.send({ user: b }, { n: 3, text }, { cid: 'c3' });
  assert.deepEqual([repeated.seq, repeated.mid, repeated.duplicate], [3, sent[2].mid, true], 'a repeated send is recognised');
  assert.equal((await again.send({ user: b }, { n: 9 })).seq, 10);
  assert.equal((await again.send({ team }, { n: 5 })).code, 0);

  assert.match(await run(t, 1, ...to), /in use|differ|rows/, 'not over a database that is used');
});

test('a store is copied into an empty database only, or into its own unfinished copy', { skip }, async (t) => {
  const stores = [];
  for (const n of [1, 2]) {
    const gateway = await startGateway({ embedded: true });
    await gateway.api.sendTo(someone(), { type: 5, data: { n } });
    await gateway.program.stop();
    stores.push(gateway.data);
  }
  const used = postgres.database();
  const gateway = await startGateway({ config: { store: { url: postgres.url(used) } } });
  await gateway.api.sendTo(someone(), { type: 5, data: {} });
  await gateway.close();
  assert.match(await run(t, 1, 'migrate', '--from', stores[0], '--to', postgres.url(used)), /is not empty/);

  const target = postgres.database();
  await run(t, 0, 'migrate', '--from', stores[0], '--to', postgres.url(target));
  postgres.sql("INSERT INTO mynah.meta SELECT 'migration', value FROM mynah.meta WHERE key = 'epoch'; DELETE FROM mynah.meta WHERE key = 'migrated'; DELETE FROM mynah.messages", target);
  assert.match(await run(t, 1, 'migrate', '--from', stores[1], '--to', postgres.url(target)), /has a part of another store/);
  const refused = await run(t, 1, 'migrate', '--from', stores[0]);
  assert.match(refused, /--to or store\.url/);
  const file = join(freshDirectory(), 'mynah.toml');
  writeFileSync(file, toml({ server: { listen: '127.0.0.1:0' }, store: { url: postgres.url(target) } }));
  assert.match(await run(t, 1, '--config', file), /only a part of a store: run `mynah migrate` again/);
  await run(t, 0, 'migrate', '--from', stores[0], '--to', postgres.url(target));

  // A copy that is not equal is noticed.
  postgres.sql("UPDATE mynah.messages SET data = '{}'", target);
  assert.match(await run(t, 1, 'migrate', '--from', stores[0], '--to', postgres.url(target)), /the messages of conversation [0-9a-f-]+ differ/);
});
