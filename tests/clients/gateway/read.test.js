// Kinds 106 and 107: read positions, who is told of them, and unread counts.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { READ_PUSH, ack, list, listed, quiet, range, read, recall, resume, seqs, written } from '../../lib/delivery.js';
import { eachGeneration } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';

const MEMBERS = 3;
let gateway;
before(async () => {
  gateway = await startGateway({ config: { login: { policy: 'multi' }, limits: { read_receipt_members: MEMBERS } } });
});
after(() => gateway.close());

/** Reads the unread counts from every source: the total, and the count of this conversation. */
async function unread(user, conv) {
  const { unread: total } = await gateway.api.user(user.uid);
  const rows = (await list(user, { limit: 500 })).conversations;
  assert.equal(rows.reduce((sum, row) => sum + row.unread, 0), total, 'the total is the sum of the conversations');
  const { conversations } = await gateway.api.expect(200, 'GET', `/v1/users/${encodeURIComponent(user.uid)}/conversations?limit=500`);
  assert.deepEqual(conversations.map((row) => [row.conv, row.head, row.read, row.unread]), rows.map((row) => [row.conv, row.head, row.read, row.unread]));
  return [total, rows.find((row) => row.conv === conv)?.unread];
}

const told = async (user, expected) => {
  const frame = await user.next(READ_PUSH);
  assert.deepEqual(frame.data, expected);
  assert.equal(typeof frame.ts, 'number');
  for (const key of ['mid', 'conv', 'seq']) assert.equal(key in frame, false, `kind 107 is not stored and has no ${key}`);
};

describe('every client version', { concurrency: true }, () => {
  for (const client of eachGeneration) {
    test(`socket.io-client ${client.version} ${client.transport}: the peer and the user's own devices get kind 107`, async (t) => {
      const [a, b] = [someone('写'), someone('读')];
      const ming = await signIn(t, gateway, a, { client, deviceid: 'd' });
      const phone = await signIn(t, gateway, b, { client, deviceid: '手机' });
      const pad = await signIn(t, gateway, b, { deviceid: '平板', format: 'object' });
      const stranger = await signIn(t, gateway, someone('路人'), { client });
      const conv = await written(gateway, a, b, 5);
      for (const user of [ming, phone, pad]) await user.frames.takeMany(5, ({ type }) => type === 3);
      assert.deepEqual(await unread(phone, conv), [5, 5]);
      assert.deepEqual(await unread(ming, conv), [0, 0], 'a user\'s own messages are not unread');

      await read(phone, conv, 3);
      for (const user of [ming, pad]) await told(user, { conv, seq: 3, by: b });
      assert.deepEqual(await unread(phone, conv), [2, 2]);
      assert.deepEqual(await unread(pad, conv), [2, 2], 'the read position belongs to the user, not to the device');
      const [mine, other] = [await listed(phone, conv), await listed(pad, conv)];
      assert.deepEqual([mine.read, mine.cursor, other.read, other.cursor], [3, 3, 3, 0], 'a read also acknowledges, on this device only');

      await read(phone, conv, 1_000_000);
      for (const user of [ming, pad]) await told(user, { conv, seq: 5, by: b });
      assert.deepEqual(await unread(phone, conv), [0, 0]);
      await written(gateway, a, b, 1);
      for (const user of [ming, phone, pad]) await user.next(3);
      assert.deepEqual(await unread(phone, conv), [1, 1], 'a read beyond the head counted up to the head only');
      await read(pad, conv, 2);
      assert.deepEqual(await unread(phone, conv), [1, 1], 'never backwards');
      assert.equal((await listed(phone, conv)).read, 5);
      await read(ming, conv, 6);
      for (const user of [phone, pad]) await told(user, { conv, seq: 6, by: a });
      const [row, { head, messages }] = [await listed(phone, conv), await gateway.api.history(conv)];
      assert.deepEqual([row.head, head, messages.length], [6, 6, 6], 'a read is not a message');
      await quiet(gateway, ming, phone, pad, stranger);
    });
  }
});

test('the response to a register has the unread counts', async (t) => {
  const [a, b] = [someone(), someone()];
  const conv = await written(gateway, a, b, 4);
  await gateway.api.sendTo(b, { type: 5, data: { text: '通知' } });
  assert.equal((await signIn(t, gateway, b, { deviceid: '一' })).registered.unread, 5);
  const { user, registered } = await resume(t, gateway, b, { deviceid: '二' });
  assert.equal(registered.unread, 5);
  assert.deepEqual(registered.conversations.map((row) => [row.conv === conv, row.head, row.cursor, row.read, row.unread]), [[false, 1, 1, 0, 1], [true, 4, 4, 0, 4]]);
  await read(user, conv, 3);
  const again = await resume(t, gateway, b, { deviceid: '三' });
  assert.equal(again.registered.unread, 2);
  assert.deepEqual(again.registered.conversations.map((row) => row.unread), [1, 1]);
  await read(user, conv, 4);
  assert.deepEqual((await resume(t, gateway, b, { deviceid: '四' })).registered.conversations.map((row) => row.unread), [1], 'conversations without unread or unacknowledged messages are not listed');
});

test('kinds 16 to 19, the user\'s own messages and recalled messages are not unread', async (t) => {
  const team = someone('队');
  const [a, b, c] = [someone('甲'), someone('乙'), someone('丙')];
  const ming = await signIn(t, gateway, a, { deviceid: 'd' });
  const hong = await signIn(t, gateway, b, { deviceid: 'd' });
  const { conv: theirs } = await gateway.api.team(team, [a, b]);
  const sent = [];
  for (const type of [3, 18, 19, 3, 18]) sent.push(await ming.send({ user: b }, { type }, { type }));
  const [{ conv }] = sent;
  assert.deepEqual(await unread(hong, conv), [2, 2]);
  await hong.send({ user: a }, { text: '我的' });
  assert.deepEqual(await unread(hong, conv), [2, 2]);
  assert.deepEqual(await unread(ming, conv), [1, 1]);

  await ming.send({ team }, { text: '一' });
  await gateway.api.expect(200, 'POST', `/v1/teams/${encodeURIComponent(team)}/members`, { uids: [c] });
  await gateway.api.expect(200, 'DELETE', `/v1/teams/${encodeURIComponent(team)}/members/${encodeURIComponent(c)}`);
  assert.deepEqual(await unread(hong, theirs), [3, 1]);

  await recall(ming, sent[0].mid);
  assert.deepEqual(await unread(hong, conv), [2, 1], 'neither the recalled message nor kind 109 is unread');
  await recall(ming, sent[1].mid);
  assert.deepEqual(await unread(hong, conv), [2, 1], 'the recall of a message that was not unread changes nothing');
  await read(hong, conv, 4);
  assert.deepEqual(await unread(hong, conv), [1, 0]);
  await recall(ming, sent[3].mid);
  assert.deepEqual(await unread(hong, conv), [1, 0], 'the recall of a message that was read changes nothing');
  await ming.send({ user: b }, { text: '再' });
  assert.deepEqual(await unread(hong, conv), [2, 1]);
  const after = await ming.send({ user: b }, { text: '再一' });
  await recall(ming, after.mid);
  assert.deepEqual(await unread(hong, conv), [2, 1]);
  await read(hong, conv, 1_000);
  await read(hong, theirs, 1_000);
  assert.deepEqual(await unread(hong, conv), [0, 0]);
});

test('a send does not move the read position of the sender', async (t) => {
  const [a, b] = [someone(), someone()];
  const user = await signIn(t, gateway, b, { deviceid: 'd' });
  const conv = await written(gateway, a, b, 2);
  await user.send({ user: a }, { text: '回' });
  const row = await listed(user, conv);
  assert.deepEqual([row.read, row.unread], [0, 2]);
});

test('teams with up to limits.read_receipt_members members get kind 107, larger ones do not', async (t) => {
  for (const [count, tells] of [[MEMBERS, true], [MEMBERS + 1, false]]) {
    const team = someone('队');
    const uids = Array.from({ length: count }, () => someone('员'));
    const members = await Promise.all(uids.map((uid) => signIn(t, gateway, uid, { deviceid: 'd' })));
    const [reader, ...others] = members;
    const pad = await signIn(t, gateway, reader.uid, { deviceid: '平板' });
    const stranger = await signIn(t, gateway, someone('路人'));
    const { conv } = await gateway.api.team(team, uids);
    await others[0].send({ team }, { text: '请阅 📄' });
    for (const user of [reader, pad, ...others.slice(1)]) await user.next(15);
    await read(reader, conv, 1);
    await told(pad, { conv, seq: 1, by: reader.uid });
    if (tells) for (const user of others) await told(user, { conv, seq: 1, by: reader.uid });
    await quiet(gateway, ...members, pad, stranger);
    assert.equal((await gateway.api.user(reader.uid)).unread, 0);
  }
});

test('a team that shrinks to the limit gets kind 107', async (t) => {
  const team = someone('队');
  const uids = Array.from({ length: MEMBERS + 1 }, () => someone('员'));
  const [reader, other, , last] = await Promise.all(uids.map((uid) => signIn(t, gateway, uid, { deviceid: 'd' })));
  const { conv } = await gateway.api.team(team, uids);
  await other.send({ team }, { text: '一' });
  for (const user of [reader, last]) await user.next(15);
  await gateway.api.expect(200, 'DELETE', `/v1/teams/${encodeURIComponent(team)}/members/${encodeURIComponent(last.uid)}`);
  for (const user of [reader, other, last]) await user.next(17);
  await read(reader, conv, 2);
  await told(other, { conv, seq: 2, by: reader.uid });
  await quiet(gateway, reader, other, last);
});

test('a read of the notices is sent to the user\'s own devices only', async (t) => {
  const [a, b] = [someone('寄'), someone('收')];
  const sender = await signIn(t, gateway, a, { deviceid: 'd' });
  const [phone, pad] = [await signIn(t, gateway, b, { deviceid: '手机' }), await signIn(t, gateway, b, { deviceid: '平板' })];
  const { conv } = await gateway.api.sendTo(b, { type: 10, from: a, data: { text: '加好友' } });
  for (const user of [phone, pad]) await user.next(10);
  await read(phone, conv, 1);
  await told(pad, { conv, seq: 1, by: b });
  await quiet(gateway, sender, phone, pad);
  assert.deepEqual(await unread(phone, conv), [0, 0]);
});

test('each of the four pair conversations of two users has its own read position', async (t) => {
  const [a, b] = [someone(), someone()];
  const [ming, hong] = [await signIn(t, gateway, a), await signIn(t, gateway, b, { deviceid: 'd' })];
  const convs = [];
  for (const type of [3, 7, 8, 9]) convs.push((await ming.send({ user: b }, { type }, { type })).conv);
  await read(hong, convs[1], 1);
  await told(ming, { conv: convs[1], seq: 1, by: b });
  const rows = new Map((await list(hong)).conversations.map((row) => [row.conv, row.unread]));
  assert.deepEqual(convs.map((conv) => rows.get(conv)), [1, 0, 1, 1]);
});

test('messages to oneself are never unread', async (t) => {
  const uid = someone();
  const [phone, pad] = [await signIn(t, gateway, uid, { deviceid: '手机' }), await signIn(t, gateway, uid, { deviceid: '平板' })];
  const { conv } = await phone.send({ user: uid }, { text: '备忘 📌' });
  await pad.next(3);
  assert.deepEqual(await unread(pad, conv), [0, 0]);
  await read(pad, conv, 1);
  await told(phone, { conv, seq: 1, by: uid });
  await quiet(gateway, phone, pad);
});

test('read messages are not replayed to the device that read them, but to the user\'s other devices', async (t) => {
  const [a, b] = [someone(), someone()];
  const users = [await signIn(t, gateway, b, { deviceid: '手机' }), await signIn(t, gateway, b, { deviceid: '平板' })];
  const conv = await written(gateway, a, b, 6);
  await ack(users[0], conv, 1);
  await read(users[0], conv, 4);
  for (const user of users) user.peer.close();
  assert.deepEqual(seqs((await resume(t, gateway, b, { deviceid: '手机' })).replay), [5, 6]);
  assert.deepEqual(seqs((await resume(t, gateway, b, { deviceid: '平板' })).replay), [1, 2, 3, 4, 5, 6]);
});

test('a user who was offline does not get kind 107 later; the list of conversations has the read positions', async (t) => {
  const [a, b] = [someone(), someone()];
  const ming = await signIn(t, gateway, a, { deviceid: 'd' });
  await signIn(t, gateway, b, { deviceid: '平板' }).then(({ peer }) => peer.close());
  const phone = await signIn(t, gateway, b, { deviceid: '手机' });
  const { conv } = await ming.send({ user: b }, { text: '一' });
  ming.peer.close();
  await read(phone, conv, 1);
  for (const [uid, deviceid] of [[a, 'd'], [b, '平板']]) {
    const { user, replay } = await resume(t, gateway, uid, { deviceid });
    assert.deepEqual(replay.filter(({ type }) => type !== 3), []);
    await quiet(gateway, user);
  }
});

test('a read survives kill -9 once it was answered', async (t) => {
  const server = await startGateway();
  t.after(() => server.close());
  const [a, b] = [someone(), someone()];
  const user = await signIn(t, server, b, { deviceid: 'd' });
  const conv = await written(server, a, b, 5);
  await read(user, conv, 3);
  await server.program.kill();
  await server.start();
  assert.equal((await server.api.user(b)).unread, 2);
  const { registered, replay } = await resume(t, server, b, { deviceid: 'd' });
  const [{ cursor, ...row }] = registered.conversations;
  assert.deepEqual([registered.unread, row], [2, { conv, head: 5, read: 3, unread: 2 }]);
  // The cursor may have been lost. Then the messages are delivered again.
  assert.ok(cursor <= 3);
  assert.deepEqual(seqs(replay), range(cursor + 1, 5));
});
