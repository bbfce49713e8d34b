// A full disk: requests that write are refused with 503, all others are served, and writing works again as
// soon as there is space. The tests need MYNAH_TEST_SMALL_DISK, a directory on a file system of a few MiB,
// which scripts/test provides if it may.

import assert from 'node:assert/strict';
import { chownSync, mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually } from '../../lib/inbox.js';
import { NO_POSTGRES, nobody, Postgres } from '../../lib/postgres.js';
import { startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';

const disk = process.env.MYNAH_TEST_SMALL_DISK;

/** Uses all space on the disk, to the last byte. */
function fill(path) {
  for (let size = 1 << 20; size >= 1; size = size >> 4) {
    try {
      for (;;) writeFileSync(path, Buffer.alloc(size, 1), { flag: 'a' });
    } catch (error) {
      assert.equal(error.code, 'ENOSPC');
    }
  }
  assert.equal(statfsSync(disk).bavail, 0);
}

test('on a full disk, only requests that write are refused', { skip: !disk && 'MYNAH_TEST_SMALL_DISK is not set' }, async (t) => {
  const directory = mkdtempSync(join(disk, 'gateway-'));
  const gateway = await startGateway({ directory, embedded: true });
  t.after(() => gateway.close());
  const uid = someone('满');
  const user = await signIn(t, gateway, uid);
  const { conv } = await gateway.api.sendTo(uid, { type: 5, data: { text: '还有地方' } });
  await user.next(5);

  const ballast = join(disk, 'ballast');
  fill(ballast);
  const wide = { type: 5, to: { user: uid }, data: { text: '写不下 💾'.repeat(3_000) } };
  // The database may have some free pages left.
  let kept = 1;
  const refused = await eventually(async () => {
    const answer = await gateway.api.call('POST', '/v1/messages', wide);
    if (answer.status === 200) kept++;
    return answer.status !== 200 && answer;
  }, 'a refusal');
  assert.equal(refused.status, 503);
  assert.match(refused.headers.get('retry-after'), /^\d+$/);
  assert.match(refused.body.detail, /\w/);
  assert.equal((await user.send({ user: uid }, wide.data)).code, 503);
  assert.equal((await gateway.api.history(conv)).messages.length, kept);
  assert.equal((await gateway.api.user(uid)).online, true);
  assert.equal((await signIn(t, gateway, someone('新来的'))).registered.code, 0);
  assert.equal((await gateway.api.send({ type: 5, to: { everyone: true }, data: { text: '不用存的' } })).online, 2);
  assert.equal((await gateway.api.call('GET', '/health/live')).status, 200);

  rmSync(ballast);
  const again = await eventually(async () => {
    const answer = await gateway.api.call('POST', '/v1/messages', wide);
    return answer.status === 200 && answer;
  }, 'a successful send');
  assert.equal(again.body.results[0].seq, kept + 1, 'no seq was skipped');
  await eventually(async () => (await gateway.api.call('GET', '/health/ready')).status === 200, 'readiness');
});

test('after a crash on a full disk, the server starts, reads, refuses to write, and recovers by itself', { skip: !disk && 'MYNAH_TEST_SMALL_DISK is not set' }, async (t) => {
  const directory = mkdtempSync(join(disk, 'gateway-'));
  const gateway = await startGateway({ directory, embedded: true });
  t.after(() => gateway.close());
  const uid = someone('满');
  const { conv } = await gateway.api.sendTo(uid, { type: 5, data: { text: '还有地方' } });
  const { epoch } = (await signIn(t, gateway, uid, { deviceid: '手机', resume: true })).registered;
  const wide = { type: 5, to: { user: uid }, data: { text: '写不下 💾'.repeat(3_000) } };
  const ballast = join(disk, 'ballast');
  t.after(() => rmSync(ballast, { force: true }));
  fill(ballast);
  await eventually(async () => (await gateway.api.call('POST', '/v1/messages', wide)).status === 503, 'a refusal');
  const { head } = await gateway.api.history(conv);
  await gateway.program.kill();
  fill(ballast);

  await gateway.start();
  assert.equal((await gateway.api.history(conv)).head, head, 'no acknowledged message is lost');
  assert.equal((await gateway.api.expect(200, 'GET', `/v1/users/${encodeURIComponent(uid)}/conversations`)).conversations.length, 1);
  const user = await signIn(t, gateway, uid, { deviceid: '手机' });
  assert.equal(user.registered.epoch, epoch);
  await eventually(async () => (await user.send({ user: someone() }, wide.data)).code === 503, 'a refusal after the start');
  assert.equal((await gateway.api.call('GET', '/health/ready')).status, 503);

  rmSync(ballast);
  await eventually(async () => (await gateway.api.call('GET', '/health/ready')).status === 200, 'readiness without a write');
  assert.equal((await user.send({ user: someone() }, wide.data)).code, 0);
});

test('if PostgreSQL\'s disk is full, only requests that write are refused', { skip: (!disk && 'MYNAH_TEST_SMALL_DISK is not set') || NO_POSTGRES }, async (t) => {
  const postgres = await Postgres.start();
  t.after(() => postgres.close());
  // Only the database is on the small disk, because PostgreSQL's own files are larger.
  const place = join(disk, 'postgres');
  mkdirSync(place);
  t.after(() => rmSync(place, { recursive: true, force: true }));
  if (nobody.uid) chownSync(place, nobody.uid, nobody.gid);
  postgres.sql(`CREATE TABLESPACE small LOCATION '${place}'`);
  const database = postgres.database('TABLESPACE small');
  const gateway = await startGateway({ config: { store: { url: postgres.url(database) } } });
  t.after(() => gateway.close());
  const uid = someone('满');
  const user = await signIn(t, gateway, uid);
  const { conv } = await gateway.api.sendTo(uid, { type: 5, data: { text: '还有地方' } });
  await user.next(5);

  const ballast = join(disk, 'ballast');
  t.after(() => rmSync(ballast, { force: true }));
  fill(ballast);
  // Random texts, which PostgreSQL cannot compress.
  const wide = () => ({ type: 5, to: { user: uid }, data: { text: Array.from({ length: 3_000 }, () => Math.random().toString(36)).join('') } });
  let kept = 1;
  await eventually(async () => {
    const { status } = await gateway.api.call('POST', '/v1/messages', wide());
    if (status === 200) kept++;
    return status === 503;
  }, 'a refusal');
  assert.equal((await gateway.api.call('GET', '/health/ready')).status, 503);
  assert.equal((await gateway.api.history(conv)).messages.length, kept, 'reads continue');
  assert.equal((await gateway.api.send({ type: 5, to: { everyone: true }, data: { text: '不用存的' } })).online, 1);
  assert.match(gateway.program.output, /PostgreSQL's disk is full; make room/);

  rmSync(ballast);
  await eventually(async () => (await gateway.api.call('GET', '/health/ready')).status === 200, 'readiness without a write', 10_000);
  const { results } = await gateway.api.send(wide());
  assert.equal(results[0].seq, kept + 1, 'no seq was skipped');
});
