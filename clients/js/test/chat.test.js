// A chat through the real gateway, with each version of socket.io-client.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { MynahError } from 'mynah-client';
import { startGateway } from '../../../tests/lib/program.js';
import { device, someone, texts, versions } from './lib/device.js';

let gateway;
before(async () => {
  gateway = await startGateway({
    config: {
      login: { policy: 'multi' },
      kinds: [
        { number: 1000, name: 'APP_TYPING', conversation: 'none', stored: false, unread: false, push: false, clients: true },
        { number: 1001, name: 'APP_ORDER', conversation: 'pair', stored: true, unread: true, push: false, clients: true },
      ],
    },
  });
});
after(() => gateway?.close());

for (const version of versions) {
  test(`${version}: two users chat, and each receives the messages of the other in order`, async (t) => {
    const [alice, bob] = await Promise.all([device(t, gateway, someone('爱丽丝'), { version }), device(t, gateway, someone('鲍勃'), { version })]);
    const { client } = alice;
    const receipts = await Promise.all(['一', '二 🐦', '三'].map((text) => client.send({ user: bob.client.uid }, 3, { text })));
    assert.deepEqual(receipts.map(({ seq }) => seq), [1, 2, 3]);
    const heard = await bob.messages.takeMany(3);
    assert.deepEqual(texts(heard), ['一', '二 🐦', '三']);
    assert.deepEqual(heard.map(({ mid }) => mid), receipts.map(({ mid }) => mid));
    assert.equal(bob.client.unread, 3);
    await bob.client.send({ user: client.uid }, 3, { text: '你好' });
    assert.equal((await alice.message()).seq, 4);
    assert.deepEqual(texts(alice.all), ['你好'], 'a device does not receive its own messages');
  });
}

test('a send that the gateway refuses rejects, and the next message is sent', async (t) => {
  const alice = await device(t, gateway, someone());
  const peer = { user: someone() };
  const refused = (to, kind, data, code) => assert.rejects(alice.client.send(to, kind, data), (error) => error instanceof MynahError && error.code === code && error.message.length > 5);
  await refused(peer, 3, { text: 'x'.repeat(70_000) }, 413);
  await refused(peer, 4, {}, 403);
  await refused({ team: 'nobody' }, 15, {}, 403).catch(() => refused({ team: 'nobody' }, 15, {}, 404));
  await refused(peer, 1999, {}, 404);
  await refused(peer, 3, undefined, 400);
  await refused(peer, 3, () => {}, 400);
  assert.equal((await alice.client.send(peer, 3, { text: '好' })).seq, 1);
  assert.deepEqual(alice.client.pending, []);
  assert.equal((await alice.hear('failed')).error.code, 413);
});

test('data is any JSON value', async (t) => {
  const [alice, bob] = [await device(t, gateway, someone(), { kinds: { 1000: { stored: false } } }), await device(t, gateway, someone())];
  const values = [null, true, 0, '', '你好', [], [1, [null, '二']], {}, { a: { b: 1 } }];
  for (const value of values) await alice.client.send({ user: bob.client.uid }, 3, value);
  const heard = await bob.messages.takeMany(values.length);
  assert.deepEqual(heard.map(({ data, recalled }) => [data, recalled]), values.map((value) => [value, undefined]));
  const { messages } = await bob.client.history(heard[0].conv, { after: 0 });
  assert.deepEqual(messages.map(({ data }) => data), values);
  await alice.client.send({ user: bob.client.uid }, 1000, '…');
  assert.equal((await bob.hear('event')).data, '…');
});

test('a message of a kind that is not stored reaches connected users', async (t) => {
  const [alice, bob] = [await device(t, gateway, someone(), { kinds: { 1000: { stored: false } } }), await device(t, gateway, someone())];
  const receipt = await alice.client.send({ user: bob.client.uid }, 1000, { typing: true });
  assert.equal(receipt.delivered, true);
  assert.equal(receipt.mid, undefined);
  const event = await bob.hear('event');
  assert.deepEqual([event.type, event.data, event.from], [1000, { typing: true }, alice.client.uid]);
  assert.equal((await alice.client.send({ user: someone() }, 1000, {})).delivered, false);
  assert.equal((await alice.client.send({ user: bob.client.uid }, 1001, { n: 1 })).seq, 1);
  assert.equal((await bob.message()).type, 1001);
});

test('two sends with the same id are one message', async (t) => {
  const alice = await device(t, gateway, someone());
  const to = { user: someone() };
  const [one, same] = await Promise.all([alice.client.send(to, 3, { n: 1 }, { id: 'row-1' }), alice.client.send(to, 3, { n: 1 }, { id: 'row-1' })]);
  assert.equal(one.mid, same.mid);
  const later = await alice.client.send(to, 3, { n: 1 }, { id: 'row-1' });
  assert.deepEqual([later.mid, later.duplicate], [one.mid, true]);
});

test('the other device of a user receives the messages that this device sends', async (t) => {
  const uid = someone();
  const [phone, laptop] = [await device(t, gateway, uid), await device(t, gateway, uid)];
  const receipt = await phone.client.send({ user: someone() }, 3, { text: '嗨' });
  const message = await laptop.message();
  assert.deepEqual([message.mid, message.from], [receipt.mid, uid]);
  assert.equal(laptop.client.unread, 0, 'a message of the user itself is not unread');
});
