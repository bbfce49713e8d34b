// The application is restarted: a new client with the same storage. Handled messages are not delivered again,
// no message is missing, and unsent messages are sent.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { memoryStorage } from 'mynah-client';
import { eventually } from '../../../tests/lib/inbox.js';
import { GATEWAY, Program, startGateway } from '../../../tests/lib/program.js';
import { Device, device, someone, texts, versions } from './lib/device.js';

let gateway;
before(async () => {
  gateway = await startGateway({ config: { limits: { resume_messages: 20 }, login: { policy: 'multi' } } });
});
after(() => gateway?.close());

const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const write = async (to, count, from = '写者') => {
  for (let i = 0; i < count; i++) await gateway.api.sendTo(to, { type: 3, from, data: { text: `${i}` } });
};

test('unread messages count once if there are more conversations than the answer to a register lists', async (t) => {
  const uid = someone();
  const storage = memoryStorage();
  await (await device(t, gateway, uid, { storage })).close();
  const count = 250;
  const messages = Array.from({ length: count }, (_, n) => ({ type: 3, from: `友-${n}`, to: { user: uid }, data: { n } }));
  await gateway.api.expect(200, 'POST', '/v1/messages/batch', { messages });
  const back = await device(t, gateway, uid, { storage });
  assert.equal(back.client.unread, count);
  await back.messages.takeMany(count);
  assert.equal(back.client.unread, count);
  for await (const { conv } of back.client.conversations()) await back.client.markRead(conv);
  await eventually(() => back.client.unread === 0, `0 unread, not ${back.client.unread}`);
  assert.equal((await gateway.api.user(uid)).unread, 0);
});

for (const version of versions) {
  test(`${version}: handled messages are not delivered again, missed ones are`, async (t) => {
    const uid = someone();
    const storage = memoryStorage();
    const first = await device(t, gateway, uid, { version, storage });
    await write(uid, 5);
    assert.deepEqual((await first.messages.takeMany(5)).map(({ seq }) => seq), numbers(1, 5));
    await first.close();
    await write(uid, 3);
    const second = await device(t, gateway, uid, { version, storage });
    assert.equal(second.client.deviceid, first.client.deviceid);
    assert.deepEqual((await second.messages.takeMany(3)).map(({ seq }) => seq), numbers(6, 8));
    await second.close();
    const third = await device(t, gateway, uid, { version, storage });
    await write(uid, 1);
    assert.equal((await third.message()).seq, 9, 'no other message was delivered before');
  });

  test(`${version}: more messages than a replay contains are all delivered`, async (t) => {
    const uid = someone();
    const storage = memoryStorage();
    await (await device(t, gateway, uid, { version, storage })).close();
    const team = someone('队');
    const { conv } = await gateway.api.team(team, [uid, 'w']);
    await write(uid, 70);
    for (let i = 0; i < 30; i++) await gateway.api.send({ type: 15, to: { team }, from: 'w', data: { n: i } });
    await write(uid, 5, '他人');
    const back = await device(t, gateway, uid, { version, storage, page: 7 });
    const heard = await back.messages.takeMany(105);
    for (const other of new Set(heard.map((message) => message.conv))) {
      const seqs = heard.filter((message) => message.conv === other).map(({ seq }) => seq);
      assert.deepEqual(seqs, numbers(1, other === conv ? 30 : seqs.length));
    }
    assert.equal(back.client.unread, 105);
  });

  test(`${version}: messages that were written offline are sent by the next run`, async (t) => {
    const [uid, peer] = [someone(), someone()];
    const storage = memoryStorage();
    const bob = await device(t, gateway, peer, { version });
    const first = await device(t, gateway, uid, { version, storage });
    await gateway.program.kill();
    await first.hear('disconnected');
    const sends = ['一', '二', '三'].map((text, i) => first.client.send({ user: peer }, 3, { text }, { id: `row-${i}` }).catch(({ code }) => code));
    await eventually(() => first.client.pending.length === 3, 'three messages in the outbox');
    await first.close();
    assert.deepEqual(await Promise.all(sends), ['closed', 'closed', 'closed']);
    await gateway.start();
    const second = await device(t, gateway, uid, { version, storage });
    const sent = [await second.hear('sent'), await second.hear('sent'), await second.hear('sent')];
    assert.deepEqual(sent.map(({ id, receipt }) => [id, receipt.seq]), [['row-0', 1], ['row-1', 2], ['row-2', 3]]);
    assert.deepEqual(texts(await bob.messages.takeMany(3)), ['一', '二', '三']);
    await eventually(() => second.client.pending.length === 0, 'an empty outbox');
  });
}

test('when a backup is restored while the application runs, all later messages are delivered and the outbox is sent', async (t) => {
  const own = await startGateway();
  t.after(() => own.close());
  const [uid, peer] = [someone(), someone()];
  const bob = await device(t, own, uid, { storage: memoryStorage() });
  const write = (text) => own.api.sendTo(uid, { type: 3, from: peer, data: { text } });
  const run = async (...args) => {
    const program = new Program(GATEWAY, [...args, '--config', own.file], { cwd: own.directory });
    assert.equal((await program.exited).code, 0, program.output);
  };
  const backup = `${own.directory}/backup.db`;
  for (let i = 1; i <= 5; i++) await write(`before ${i}`);
  await bob.messages.takeMany(5);
  await run('backup', backup);
  for (let i = 1; i <= 5; i++) await write(`lost ${i}`);
  await bob.messages.takeMany(5);
  await own.program.stop();
  await bob.hear('disconnected');
  const waiting = bob.client.send({ user: peer }, 3, { text: 'from the outbox' });
  await run('restore', backup);
  await own.start();
  assert.ok((await bob.hear('epoch')).current);
  const { conv } = await waiting;
  for (let i = 1; i <= 7; i++) await write(`after ${i}`);
  const heard = [];
  while (heard.at(-1) !== 'after 7') heard.push((await bob.message()).data.text);
  // Messages that were not acknowledged yet in the backup are delivered again before them.
  assert.deepEqual(heard.filter((text) => !text.startsWith('before')), [1, 2, 3, 4, 5, 6, 7].map((i) => `after ${i}`));
  assert.deepEqual(
    (await own.api.history(conv)).messages.map(({ data }) => data.text.split(' ')[0]),
    [...Array(5).fill('before'), 'from', ...Array(7).fill('after')],
  );
});

test('messages of more conversations than the answer to a register lists are all delivered', async (t) => {
  const uid = someone();
  const storage = memoryStorage();
  await (await device(t, gateway, uid, { storage })).close();
  const senders = Array.from({ length: 230 }, (_, i) => `${i}-${uid}`);
  const messages = senders.flatMap((from) => [1, 2].map((n) => ({ type: 3, from, to: { user: uid }, data: { n } })));
  const { results } = await gateway.api.expect(200, 'POST', '/v1/messages/batch', { messages });
  assert.ok(results.every(({ code }) => code === undefined));
  const back = new Device(t, gateway.url, { uid, storage });
  const { more, conversations } = await back.hear('connected');
  assert.deepEqual([more, conversations.length], [true, 200]);
  const heard = await back.messages.takeMany(460);
  for (const from of senders) assert.deepEqual(heard.filter((message) => message.from === from).map(({ seq }) => seq), [1, 2]);
  assert.equal(back.client.unread, 460);
});

test('after a crash between a send and its answer, the message is stored once and the next run gets the event sent', async (t) => {
  const [uid, peer] = [someone(), someone()];
  const kept = new Map();
  // The content of the storage when the second message was saved but not answered.
  let crashed;
  const storage = { ...memoryStorage(kept), set: (key, value) => void (kept.set(key, value), value.includes('row-2') && (crashed = new Map(kept))) };
  const first = await device(t, gateway, uid, { storage });
  await first.client.send({ user: peer }, 3, { n: 1 });
  const { mid, seq } = await first.client.send({ user: peer }, 3, { n: 2 }, { id: 'row-2' });
  await first.close();
  const second = await device(t, gateway, uid, { storage: memoryStorage(crashed) });
  const { id, receipt } = await second.hear('sent');
  assert.deepEqual([id, receipt.mid, receipt.seq], ['row-2', mid, seq]);
  assert.equal((await second.client.send({ user: peer }, 3, { n: 3 })).seq, 3);
  assert.deepEqual(second.all, []);
});

test('a message whose handler had not finished is delivered again', async (t) => {
  const uid = someone();
  const kept = new Map();
  const first = new Device(t, gateway.url, { uid, storage: memoryStorage(kept), handle: ({ seq }) => (seq === 2 ? new Promise(() => {}) : undefined) });
  await first.connected();
  await write(uid, 3);
  await first.message();
  await first.close();
  const second = await device(t, gateway, uid, { storage: memoryStorage(kept) });
  assert.deepEqual((await second.messages.takeMany(2)).map(({ seq }) => seq), [2, 3]);
});
