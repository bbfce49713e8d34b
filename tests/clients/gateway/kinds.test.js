// Every kind that the backend may send, to every client version, and the application's own kinds
// (docs/PROTOCOL.md#5-kinds).

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { everyClient } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';

const APPLICATION = [
  { number: 1000, name: 'ORDER', conversation: 'pair', stored: true, unread: true, push: false, clients: true },
  { number: 1001, name: 'TYPING', conversation: 'none', stored: false, unread: false, push: false, clients: true },
  { number: 1002, name: 'BOARD', conversation: 'team', stored: true, unread: false, push: false, clients: true },
  { number: 1003, name: 'ALERT', conversation: 'notices', stored: true, unread: true, push: false, clients: false },
];

let gateway;
before(async () => (gateway = await startGateway({ config: { kinds: APPLICATION } })));
after(() => gateway.close());

/** kind -> the `kind` of its conversation in frames of kind 111. */
const PAIRS = { 3: 'pair', 18: 'pair', 19: 'pair', 7: 'pair_doctor', 8: 'pair_teammate', 9: 'pair_doctor_friend' };
const NOTICES = [4, 5, 6, 10, 11, 13, 14];
const COUNTED = new Set([3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14]);

for (const client of everyClient) {
  test(`socket.io-client ${client.version} ${client.transport} receives every kind that the backend sends`, { concurrency: true }, async (t) => {
    const [uid, from] = [someone('收件人'), someone('寄件人')];
    const user = await signIn(t, gateway, uid, { client });
    const convs = new Map();
    let unread = 0;
    for (const type of [...Object.keys(PAIRS).map(Number), ...NOTICES]) {
      const data = { text: `种类 ${type} 😀`, type };
      const result = await gateway.api.sendTo(uid, { type, from, data });
      const { delivered, mid, conv, seq } = result;
      assert.equal(delivered, true);
      const frame = await user.next(type);
      assert.deepEqual({ ...frame, ts: 0 }, { type, data, mid, conv, seq, from, ts: 0 });
      const name = PAIRS[type] ?? 'notices';
      if (convs.has(name)) assert.equal(conv, convs.get(name), `kind ${type}`);
      convs.set(name, conv);
      if (COUNTED.has(type)) unread++;
      assert.equal((await gateway.api.user(uid)).unread, unread, `kind ${type}`);
    }
    assert.equal(new Set(convs.values()).size, 5);
    const { messages } = await gateway.api.history(convs.get('notices'));
    assert.deepEqual(messages.map(({ type, seq }) => [type, seq]), NOTICES.map((type, i) => [type, i + 1]));
    const listed = await gateway.api.expect(200, 'GET', `/v1/users/${encodeURIComponent(uid)}/conversations`);
    assert.deepEqual(new Map(listed.conversations.map(({ kind, conv }) => [kind, conv])), convs);
    await user.hearsNothing();
  });
}

test('pair kinds without a sender come from the system user; notices have no sender', async (t) => {
  const uid = someone();
  const user = await signIn(t, gateway, uid);
  await gateway.api.sendTo(uid, { type: 3, data: { text: 'sendTo(uid, json)' } });
  assert.equal((await user.next(3)).from, 'system');
  await gateway.api.sendTo(uid, { type: 5, data: { text: '系统通知' } });
  assert.equal('from' in (await user.next(5)), false);
});

test('the sender\'s own devices receive what the backend sends in its name, but not notices', async (t) => {
  const [a, b] = [someone('甲'), someone('乙')];
  const [sender, other] = [await signIn(t, gateway, a), await signIn(t, gateway, b)];
  const { mid } = await gateway.api.sendTo(b, { type: 3, from: a, data: { text: '代发' } });
  assert.equal((await sender.next(3)).mid, mid);
  assert.equal((await other.next(3)).mid, mid);
  await gateway.api.sendTo(b, { type: 10, from: a, data: { text: '好友申请' } });
  assert.equal((await other.next(10)).from, a);
  await sender.hearsNothing();
});

test('kinds that the backend may not send are answered 400, unknown kinds 404', async () => {
  for (const type of [1, 2, 12, 16, 17, 100, 101, 102, 109, 112, 500, 999]) await gateway.api.expect(400, 'POST', '/v1/messages', { type, to: { user: 'u' }, data: {} });
  for (const type of [20, 99, 1004, 9999, 10_000, 70_000]) await gateway.api.expect(404, 'POST', '/v1/messages', { type, to: { user: 'u' }, data: {} });
});

describe('application kinds', () => {
  test('an application kind in a pair conversation is stored', async (t) => {
    const [a, b] = [someone(), someone()];
    const [ming, hong] = [await signIn(t, gateway, a), await signIn(t, gateway, b)];
    const answer = await ming.send({ user: b }, { 菜: '宫保鸡丁 🌶️' }, { type: 1000 });
    assert.deepEqual([answer.code, answer.seq], [0, 1]);
    const frame = await hong.next(1000);
    assert.deepEqual([frame.mid, frame.from, frame.data], [answer.mid, a, { 菜: '宫保鸡丁 🌶️' }]);
    assert.equal((await gateway.api.user(b)).unread, 1);
  });

  test('an application kind that is not stored can be sent to users, a team and everyone', async (t) => {
    const [a, b] = [someone(), someone()];
    const [ming, hong] = [await signIn(t, gateway, a), await signIn(t, gateway, b)];
    const answer = await ming.send({ user: b }, { text: '正在输入…' }, { type: 1001, cid: 'c' });
    assert.deepEqual({ ...answer, ts: 0 }, { code: 0, cid: 'c', ts: 0, delivered: true });
    const frame = await hong.next(1001);
    assert.deepEqual(Object.keys(frame).sort(), ['data', 'from', 'ts', 'type']);
    assert.equal((await ming.send({ user: someone() }, { text: '' }, { type: 1001 })).delivered, false);

    const result = await gateway.api.sendTo(b, { type: 1001, data: { n: 1 } });
    assert.deepEqual(result, { uid: b, delivered: true });
    await hong.next(1001);
    const team = someone('team');
    await gateway.api.team(team, [a, b]);
    assert.deepEqual(await gateway.api.send({ type: 1001, to: { team }, from: a, data: { n: 2 } }), { online: 2, offline: 0 });
    assert.equal((await hong.next(1001)).data.n, 2);
    assert.equal((await ming.next(1001)).data.n, 2);
    assert.ok((await gateway.api.send({ type: 1001, to: { everyone: true }, data: { text: '全体' } })).online >= 2);
    assert.equal((await hong.next(1001)).data.text, '全体');
    assert.equal((await gateway.api.user(b)).unread, 0);
  });

  test('an application kind can be a team kind or a notice', async (t) => {
    const [a, b] = [someone(), someone()];
    const [ming, hong] = [await signIn(t, gateway, a), await signIn(t, gateway, b)];
    const team = someone('板');
    const { conv } = await gateway.api.team(team, [a, b]);
    const answer = await ming.send({ team }, { text: '画板' }, { type: 1002 });
    assert.deepEqual([answer.code, answer.conv], [0, conv]);
    assert.equal((await hong.next(1002)).conv, conv);
    assert.equal((await ming.send({ user: b }, {}, { type: 1003 })).code, 403);
    await gateway.api.sendTo(b, { type: 1003, data: { text: '警报' } });
    assert.equal((await hong.next(1003)).data.text, '警报');
  });
});
