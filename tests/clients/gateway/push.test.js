// Push notifications to users who are offline, by webhook (docs/PROTOCOL.md#9-push-webhook).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../../lib/inbox.js';
import { startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';
import { Webhook } from '../../lib/webhook.js';

const SECRET = 'a-secret-of-the-tests-密';
let gateway;
let hook;
const answers = new Map();
before(async () => {
  hook = await Webhook.start(SECRET);
  hook.answer = ({ uid }) => (answers.has(uid) ? answers.get(uid)() : 200);
  const push = { webhook: { url: encodeURI(hook.url), secret: SECRET, timeout_ms: 400 }, retry_initial_ms: 50, retry_max_ms: 200 };
  gateway = await startGateway({ config: { push } });
});
after(async () => {
  hook.close();
  await gateway.close();
});

test('a user who is offline is notified, with all fields of a notification', async () => {
  const [uid, from] = [someone('不在'), someone('寄')];
  const data = { text: '你不在的时候 📵', n: 12345678901 };
  await gateway.api.sendTo(uid, { type: 3, from, data: { text: 'eins' }, push: false });
  const { mid, conv, seq } = await gateway.api.sendTo(uid, { type: 3, from, data });
  const { body } = await hook.next(uid);
  assert.ok(Math.abs(body.ts - Date.now()) < 60_000);
  assert.deepEqual({ ...body, ts: 0 }, { uid, kind: 3, mid, conv, seq, from, unread: 2, data, ts: 0 });
});

test('only kinds with push cause a notification, and the backend can override that', async () => {
  const uid = someone('种类');
  const pushing = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14];
  for (const type of pushing) await gateway.api.sendTo(uid, { type, data: { n: type } });
  // Nobody is notified of a call (18) that has already ended (19), so its notification is awaited first.
  await gateway.api.sendTo(uid, { type: 18, data: { n: 18 } });
  await hook.next(uid, 18);
  await gateway.api.sendTo(uid, { type: 19, data: { n: 19 } });
  await gateway.api.sendTo(uid, { type: 5, data: { text: 'silent' }, push: false });
  const forced = await gateway.api.sendTo(uid, { type: 19, data: { text: 'forced' }, push: true });
  const kinds = [];
  for (let i = 0; i < pushing.length + 1; i++) kinds.push((await hook.next(uid)).body.kind);
  assert.deepEqual(kinds.sort((a, b) => a - b), [...pushing, 19]);
  assert.equal(hook.for(uid).find(({ body }) => body.kind === 19).body.mid, forced.mid);
});

test('a connected user is not notified; a team message notifies offline members, but not the sender', async (t) => {
  const [here, a, b] = [someone('在'), someone('不在甲'), someone('不在乙')];
  const user = await signIn(t, gateway, here);
  await gateway.api.sendTo(here, { type: 5, data: { text: '在线的' } });
  await user.next(5);
  const team = someone('team');
  await gateway.api.team(team, [here, a, b]);
  assert.equal((await user.send({ team }, { text: '开会 🕘' })).code, 0);
  for (const uid of [a, b]) {
    const { body } = await hook.next(uid);
    assert.deepEqual([body.kind, body.from, body.data], [15, here, { text: '开会 🕘' }]);
  }
  await gateway.api.send({ type: 15, to: { team }, from: a, data: { text: '代发' } });
  assert.equal((await hook.next(b)).body.data.text, '代发');
  assert.equal(hook.for(here).length, 0);
  assert.equal(hook.for(a).length, 1, 'the sender is not notified');
});

test('a refused notification is retried until the webhook accepts it', async () => {
  const uid = someone('重试');
  let tries = 0;
  answers.set(uid, () => [500, 302, 404, 200][tries++] ?? 200);
  const { mid } = await gateway.api.sendTo(uid, { type: 5, data: { text: '再来' } });
  for (let i = 0; i < 4; i++) assert.equal((await hook.next(uid)).body.mid, mid);
  const times = hook.for(uid).map(({ at }) => at);
  assert.ok(times[1] - times[0] >= 20, 'there is a wait before the retry');
});

test('a webhook that hangs for one user does not delay notifications for others', async (t) => {
  const [stuck, other, here] = [someone('挂起'), someone('别人'), someone('在线')];
  let hang = true;
  answers.set(stuck, () => (hang ? 'hang' : 200));
  const user = await signIn(t, gateway, here);
  for (let i = 0; i < 20; i++) await gateway.api.sendTo(stuck, { type: 5, data: { n: i } });
  await eventually(() => hook.for(stuck).length >= 1, 'a notification that hangs');
  await gateway.api.sendTo(here, { type: 5, data: { text: '照常' } });
  assert.equal((await user.next(5)).data.text, '照常');
  await gateway.api.sendTo(other, { type: 5, data: { text: '不受影响' } });
  assert.equal((await hook.next(other)).body.data.text, '不受影响');
  hang = false;
  // Each of the twenty notifications arrives in the end; some were sent more than once.
  await eventually(() => new Set(hook.for(stuck).filter(({ status }) => status === 200).map(({ body }) => body.mid)).size === 20, 'all notifications to arrive');
});

test('ttl_ms ends the retries, and the message stays stored', async () => {
  const [uid, later] = [someone('过期'), someone('之后')];
  answers.set(uid, () => 503);
  const { conv } = await gateway.api.sendTo(uid, { type: 5, data: { text: '很快过期' }, ttl_ms: 300 });
  await hook.next(uid);
  const dead = async () => {
    const { text } = await gateway.api.call('GET', '/metrics');
    return text.split('\n').some((line) => /dead|expired/.test(line) && !line.startsWith('#') && / [1-9]\d*$/.test(line));
  };
  await eventually(dead, 'the metrics to count an expired job');
  const count = hook.for(uid).length;
  await gateway.api.sendTo(later, { type: 5, data: { text: '别的' } });
  await hook.next(later);
  assert.equal(hook.for(uid).length, count);
  assert.equal((await gateway.api.history(conv)).messages.length, 1);
});

test('notifications survive a crash of the gateway', async () => {
  const uid = someone('崩溃');
  let open = false;
  answers.set(uid, () => (open ? 200 : 503));
  const mids = [];
  for (let i = 0; i < 30; i++) mids.push((await gateway.api.sendTo(uid, { type: 5, data: { n: i } })).mid);
  await gateway.program.kill();
  await gateway.start();
  open = true;
  await eventually(() => new Set(hook.for(uid).filter(({ status }) => status === 200).map(({ body }) => body.mid)).size === 30, 'all notifications to arrive');
  assert.deepEqual(new Set(hook.for(uid).filter(({ status }) => status === 200).map(({ body }) => body.mid)), new Set(mids));
});
