// Kind 103: a device acknowledges a conversation up to a seq. The cursor of the server is read from kind 111.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ACK, ack, list, listed, quiet, resume, seqs, written } from '../../lib/delivery.js';
import { eachGeneration } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { REGISTER, signIn, someone } from '../../lib/user.js';

let gateway;
before(async () => (gateway = await startGateway({ config: { login: { policy: 'multi' } } })));
after(() => gateway.close());

const cursor = async (user, conv) => (await listed(user, conv)).cursor;

describe('every client version', { concurrency: true }, () => {
  for (const client of eachGeneration) {
    test(`socket.io-client ${client.version} ${client.transport} moves only the cursor of its own device`, async (t) => {
      const [a, b] = [someone('甲'), someone('乙')];
      const [phone, pad] = [await signIn(t, gateway, b, { client, deviceid: '手机' }), await signIn(t, gateway, b, { deviceid: '平板' })];
      const conv = await written(gateway, a, b, 5);
      assert.equal(await cursor(phone, conv), 0);
      await ack(phone, conv, 3);
      assert.deepEqual([await cursor(phone, conv), await cursor(pad, conv)], [3, 0]);
      await ack(phone, conv, 2);
      assert.equal(await cursor(phone, conv), 3, 'never backwards');
      await ack(phone, conv, 0);
      assert.equal(await cursor(phone, conv), 3);
      await ack(phone, conv, 3);
      assert.equal(await cursor(phone, conv), 3);
      const beyond = await ack(phone, conv, 1_000_000);
      assert.deepEqual(beyond, { code: 0, head: 5, epoch: phone.registered.epoch }, 'the answer has the head and the epoch');
      assert.deepEqual(await ack(phone, conv, 5), { code: 0 });
      assert.equal(await cursor(phone, conv), 5, 'an ack beyond the head counts as the head');
      await written(gateway, a, b, 1);
      assert.equal(await cursor(phone, conv), 5, 'later messages are not acknowledged');
      const { head, read, unread } = await listed(phone, conv);
      assert.deepEqual([head, read, unread], [6, 0, 6], 'an ack does not mark as read');
      assert.equal((await gateway.api.user(b)).unread, 6);
    });
  }
});

test('nobody else is told of an ack', async (t) => {
  const [a, b] = [someone(), someone()];
  const ming = await signIn(t, gateway, a, { deviceid: 'd' });
  const [phone, pad] = [await signIn(t, gateway, b, { deviceid: '手机' }), await signIn(t, gateway, b, { deviceid: '平板' })];
  const { conv } = await ming.send({ user: b }, { text: '在吗' });
  for (const user of [phone, pad]) await user.next(3);
  await ack(phone, conv, 1);
  phone.say({ type: ACK, data: { conv, seq: 1 } });
  await quiet(gateway, ming, phone, pad);
});

test('a send moves the cursor of the sending device, if the device had acknowledged everything before', async (t) => {
  const [a, b] = [someone(), someone()];
  const ming = await signIn(t, gateway, a, { deviceid: 'd' });
  const [phone, pad] = [await signIn(t, gateway, b, { deviceid: '手机' }), await signIn(t, gateway, b, { deviceid: '平板' })];
  const { conv } = await phone.send({ user: a }, { n: 1 });
  await phone.send({ user: a }, { n: 2 });
  assert.deepEqual([await cursor(phone, conv), await cursor(pad, conv), await cursor(ming, conv)], [2, 0, 0]);
  await ming.send({ user: b }, { n: 3 });
  assert.equal(await cursor(ming, conv), 0, 'the device had not acknowledged 1 and 2');
  await phone.send({ user: a }, { n: 4 });
  assert.equal(await cursor(phone, conv), 2, 'the device had not acknowledged 3');
  await ack(phone, conv, 4);
  await phone.send({ user: a }, { n: 5 });
  assert.equal(await cursor(phone, conv), 5);
  const again = await phone.send({ user: a }, { n: 6 }, { cid: '又' });
  await ming.send({ user: b }, { n: 7 });
  assert.equal((await phone.send({ user: a }, { n: 6 }, { cid: '又' })).duplicate, true);
  assert.deepEqual([again.seq, await cursor(phone, conv)], [6, 6], 'a duplicate does not move the cursor beyond later messages');
});

test('messages that the backend sends in a user\'s name move no cursor of that user\'s devices', async (t) => {
  const [a, b] = [someone(), someone()];
  const phone = await signIn(t, gateway, a, { deviceid: '手机' });
  const conv = await written(gateway, a, b, 1);
  assert.equal(await cursor(phone, conv), 0);
});

test('devices of different users with the same deviceid have separate cursors', async (t) => {
  const [a, b] = [someone(), someone()];
  const [ming, hong] = [await signIn(t, gateway, a, { deviceid: '同名' }), await signIn(t, gateway, b, { deviceid: '同名' })];
  const conv = await written(gateway, someone(), a, 3);
  const other = await written(gateway, a, b, 3);
  await ack(ming, conv, 3);
  await ack(hong, other, 2);
  assert.deepEqual([await cursor(ming, conv), await cursor(ming, other), await cursor(hong, other)], [3, 0, 2]);
});

test('a connection that registers as another uid acknowledges for that uid', async (t) => {
  const [a, b] = [someone(), someone()];
  const user = await signIn(t, gateway, a, { deviceid: 'd' });
  const conv = await written(gateway, a, b, 3);
  await ack(user, conv, 1);
  assert.equal((await user.ask(REGISTER, { uid: b, deviceid: 'd' })).code, 0);
  // The device is new for the other uid, so its cursor starts at the head.
  assert.equal(await cursor(user, conv), 3);
  await written(gateway, a, b, 2);
  await ack(user, conv, 4);
  assert.equal(await cursor(user, conv), 4);
  assert.equal((await user.ask(REGISTER, { uid: a, deviceid: 'd' })).code, 0);
  assert.equal(await cursor(user, conv), 1);
});

test('a connection without a deviceid may acknowledge, but its cursor is not kept', async (t) => {
  const [a, b] = [someone(), someone()];
  const user = await signIn(t, gateway, b);
  const conv = await written(gateway, a, b, 3);
  await ack(user, conv, 2);
  const { cursor: noted, head } = await listed(user, conv);
  assert.ok(noted <= head);
  assert.equal((await list(user)).conversations.length, 1);
});

test('many acks in a burst end at the highest seq', async (t) => {
  const [a, b] = [someone(), someone()];
  const user = await signIn(t, gateway, b, { deviceid: 'd' });
  const conv = await written(gateway, a, b, 400);
  await user.frames.takeMany(400, ({ type }) => type === 3);
  // Every second ack goes backwards, as if answers had overtaken each other in the client.
  for (let n = 1; n <= 400; n += 2) for (const seq of [n + 1, n]) user.say({ type: ACK, data: { conv, seq } });
  await user.settled();
  assert.equal(await cursor(user, conv), 400);
  user.peer.close();
  await written(gateway, a, b, 1);
  assert.deepEqual(seqs((await resume(t, gateway, b, { deviceid: 'd' })).replay), [401]);
});
