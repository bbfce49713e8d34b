// Several devices, reads, recalls, the list of conversations, displacement and signing out.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { memoryStorage } from 'mynah-client';
import { eventually } from '../../../tests/lib/inbox.js';
import { startGateway } from '../../../tests/lib/program.js';
import { device, someone, versions } from './lib/device.js';

let gateway;
let single;
before(async () => {
  gateway = await startGateway({ config: { login: { policy: 'multi' } } });
  single = await startGateway();
});
after(async () => {
  await gateway?.close();
  await single?.close();
});

for (const version of versions) {
  test(`${version}: a read is sent to the peer and to the user's devices, and lowers unread on every device`, async (t) => {
    const [uid, peer] = [someone(), someone()];
    const [phone, laptop, other] = await Promise.all([device(t, gateway, uid, { version }), device(t, gateway, uid, { version }), device(t, gateway, peer, { version })]);
    for (let i = 0; i < 3; i++) await other.client.send({ user: uid }, 3, { i });
    const { conv } = (await Promise.all([phone, laptop].map((one) => one.messages.takeMany(3))))[0][0];
    await eventually(() => phone.client.unread === 3 && laptop.client.unread === 3, 'three unread');
    await phone.client.markRead(conv, 2);
    assert.deepEqual(await other.hear('read'), { conv, seq: 2, by: uid });
    assert.deepEqual(await laptop.hear('read'), { conv, seq: 2, by: uid });
    await eventually(() => phone.client.unread === 1 && laptop.client.unread === 1, 'one unread');
    await phone.client.markRead(conv);
    await eventually(() => phone.client.unread === 0 && laptop.client.unread === 0, 'none unread');
    const again = await device(t, gateway, uid, { version, storage: phone.storage, deviceid: 'third' });
    assert.equal(again.client.unread, 0);
  });

  test(`${version}: a message can be recalled`, async (t) => {
    const [alice, bob] = await Promise.all([device(t, gateway, someone(), { version }), device(t, gateway, someone(), { version })]);
    const { mid, conv } = await alice.client.send({ user: bob.client.uid }, 3, { text: '错' });
    assert.equal((await bob.message()).mid, mid);
    const { seq } = await alice.client.recall(mid);
    for (const one of [bob, alice]) {
      const message = await one.message(({ type }) => type === 109);
      assert.deepEqual([message.data, message.seq, message.conv], [{ mid }, seq, conv]);
      const recall = await one.hear('recall');
      assert.deepEqual([recall.mid, recall.by, recall.conv], [mid, alice.client.uid, conv]);
    }
    await assert.rejects(alice.client.recall(mid), { code: 409 });
    await assert.rejects(bob.client.recall(mid), { code: 403 });
    const { messages } = await bob.client.history(conv);
    assert.deepEqual(messages.map((message) => [message.seq, message.recalled ?? false, message.data]), [[2, false, { mid }], [1, true, null]]);
  });
}

test('a message that was recalled before its delivery comes without data, and is not unread', async (t) => {
  const [uid, storage] = [someone(), memoryStorage()];
  const alice = await device(t, gateway, someone());
  const bob = await device(t, gateway, uid, { storage });
  const { mid } = await alice.client.send({ user: uid }, 3, { n: 1 });
  await bob.message();
  await alice.client.send({ user: uid }, 3, { n: 2 });
  await bob.message();
  await eventually(() => bob.client.unread === 2, 'two unread');
  await alice.client.recall(mid);
  await eventually(() => bob.client.unread === 1, 'one unread');
  await bob.close();
  const second = await alice.client.send({ user: uid }, 3, { n: 3 });
  await alice.client.recall(second.mid);
  const back = await device(t, gateway, uid, { storage });
  const [gone, recall] = [await back.message(({ seq }) => seq === second.seq), await back.message(({ type }) => type === 109 )];
  assert.deepEqual([gone.recalled, gone.data, recall.data], [true, null, { mid: second.mid }]);
  assert.equal(back.client.unread, 1);
});

test('conversations() reads all pages, and history() reads a part of a conversation', async (t) => {
  const alice = await device(t, gateway, someone());
  const peers = Array.from({ length: 7 }, (_, i) => someone(`友${i}`));
  for (const peer of peers) await alice.client.send({ user: peer }, 3, { peer });
  const rows = [];
  for await (const row of alice.client.conversations({ limit: 3 })) rows.push(row);
  assert.deepEqual(rows.map(({ peer }) => peer), [...peers].reverse());
  assert.deepEqual(rows.map(({ last }) => last.data.peer), [...peers].reverse());
  const { conv } = rows[0];
  for (let i = 2; i <= 9; i++) await alice.client.send({ user: peers[6] }, 3, { i });
  const forward = await alice.client.history(conv, { after: 2, limit: 3 });
  const back = await alice.client.history(conv, { before: 6, limit: 2 });
  assert.deepEqual([forward.messages.map(({ seq }) => seq), forward.head, forward.more], [[3, 4, 5], 9, true]);
  assert.deepEqual([back.messages.map(({ seq }) => seq), back.more], [[5, 4], true]);
  const bob = await device(t, gateway, someone());
  await assert.rejects(bob.client.history(conv), { code: 403 });
  await assert.rejects(alice.client.markRead('0'.repeat(32)), { code: 404 });
});

test('a new device receives later messages only', async (t) => {
  const uid = someone();
  const first = await device(t, gateway, uid);
  await gateway.api.sendTo(uid, { type: 3, from: 'w', data: {} });
  assert.equal((await first.message()).seq, 1);
  const second = await device(t, gateway, uid);
  assert.equal(second.client.unread, 1);
  await gateway.api.sendTo(uid, { type: 3, from: 'w', data: {} });
  assert.equal((await second.message()).seq, 2);
});

test('a member receives the messages of a team between joining and leaving', async (t) => {
  const [uid, team] = [someone(), someone('队')];
  await gateway.api.team(team, ['w']);
  for (let i = 0; i < 4; i++) await gateway.api.send({ type: 15, to: { team }, from: 'w', data: { i } });
  const late = await device(t, gateway, uid);
  await gateway.api.team(team, ['w', uid]);
  assert.deepEqual([(await late.message()).type], [16]);
  const { seq } = await late.client.send({ team }, 15, { text: '到' });
  await gateway.api.send({ type: 15, to: { team }, from: 'w', data: {} });
  assert.equal((await late.message()).seq, seq + 1);
  assert.equal(late.client.unread, 1);
  await gateway.api.team(team, ['w']);
  assert.equal((await late.message()).type, 17);
  assert.equal(late.client.unread, 0, 'messages that cannot be read any more are not unread');
  await assert.rejects(late.client.send({ team }, 15, {}), { code: 403 });
});

test('after a team was deleted, each device gets a kind 17, and its messages are not unread any more', async (t) => {
  const [uid, team] = [someone(), someone('队')];
  const { conv } = await gateway.api.team(team, [uid, 'w']);
  const [here, other] = [await device(t, gateway, uid), await device(t, gateway, uid)];
  for (let i = 0; i < 3; i++) await gateway.api.send({ type: 15, to: { team }, from: 'w', data: { i } });
  for (const { client, message } of [here, other].map((it) => ({ client: it.client, message: () => it.message() }))) {
    for (let i = 0; i < 3; i++) await message();
    assert.equal(client.unread, 3);
  }
  await gateway.api.expect(204, 'DELETE', `/v1/teams/${encodeURIComponent(team)}`);
  for (const each of [here, other]) {
    const told = await each.message();
    assert.deepEqual([told.type, told.conv, told.data], [17, conv, { team, uid }]);
    assert.equal(each.client.unread, 0);
    await each.client.markRead(conv);
  }
});

test('a user who was removed from a team while offline receives its remaining messages, and none of them is unread', async (t) => {
  const [uid, storage] = [someone(), memoryStorage()];
  const [left, deleted] = [someone('队'), someone('队')];
  for (const team of [left, deleted]) await gateway.api.team(team, [uid, 'w']);
  const first = await device(t, gateway, uid, { storage });
  for (const team of [left, deleted]) for (let i = 0; i < 2; i++) await gateway.api.send({ type: 15, to: { team }, from: 'w', data: { i } });
  for (let i = 0; i < 4; i++) await first.message();
  assert.equal(first.client.unread, 4);
  await first.close();
  for (const team of [left, deleted]) await gateway.api.send({ type: 15, to: { team }, from: 'w', data: { i: 2 } });
  await gateway.api.team(left, ['w']);
  await gateway.api.expect(204, 'DELETE', `/v1/teams/${encodeURIComponent(deleted)}`);

  const back = await device(t, gateway, uid, { storage });
  const came = (team) => back.all.filter(({ data }) => data.team === team || (team === left && data.i !== undefined)).map(({ type }) => type);
  await eventually(() => back.all.length === 3, 'the remaining messages of both teams');
  assert.deepEqual([came(left), came(deleted)], [[15, 17], [17]]);
  assert.equal(back.client.unread, 0);
  await back.close();
  const again = await device(t, gateway, uid, { storage });
  await gateway.api.sendTo(uid, { type: 5, data: {} });
  assert.equal((await again.message()).type, 5, 'none of these messages is delivered again');
});

test('a displaced device gets the event displaced, and does not reconnect until connect() is called', async (t) => {
  const uid = someone();
  const first = await device(t, single, uid);
  const second = await device(t, single, uid);
  const { reason, deviceid } = await first.hear('displaced');
  assert.deepEqual([reason, deviceid], ['replaced', second.client.deviceid]);
  assert.equal(first.client.status, 'displaced');
  await single.api.sendTo(uid, { type: 3, from: 'w', data: {} });
  await second.message();
  await assert.rejects(first.client.history('x'), { code: 'offline' });
  first.client.connect();
  await second.hear('displaced');
  assert.equal((await first.message()).seq, 1, 'the message that was sent meanwhile');
});

test('a second connection of the same device is not a displacement', async (t) => {
  const uid = someone();
  const storage = memoryStorage();
  const first = await device(t, single, uid, { storage, socket: { reconnection: false } });
  const second = await device(t, single, uid, { storage });
  await first.hear('disconnected');
  assert.equal(first.client.status, 'connecting');
  await single.api.sendTo(uid, { type: 3, from: 'w', data: {} });
  await second.message();
});

test('a user can be signed out by itself and by the backend', async (t) => {
  const uid = someone();
  const [phone, laptop] = [await device(t, gateway, uid), await device(t, gateway, uid)];
  await phone.client.signOut();
  await laptop.hear('signedOut');
  assert.deepEqual([phone.client.status, laptop.client.status], ['closed', 'signed-out']);
  await assert.rejects(phone.client.send({ user: 'x' }, 3, {}), { code: 'closed' });
  laptop.client.connect();
  await laptop.connected();
  await gateway.api.expect(200, 'POST', `/v1/users/${encodeURIComponent(uid)}/signout`);
  await laptop.hear('signedOut');
});
