// Registering with `resume`: the response, the replay, kind 112, and then new messages.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ack, inOrder, listed, quiet, range, read, resume, resumeHere, seqs, sync, written } from '../../lib/delivery.js';
import { everyClient } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { REGISTER, signIn, someone, visitor } from '../../lib/user.js';

const KINDS = [
  { number: 1000, name: 'ORDER', conversation: 'pair', stored: true, unread: true, push: false, clients: true },
  { number: 1001, name: 'TYPING', conversation: 'none', stored: false, unread: false, push: false, clients: true },
];

let gateway;
let few;
before(async () => {
  [gateway, few] = await Promise.all([
    startGateway({ config: { login: { policy: 'multi' }, kinds: KINDS } }),
    startGateway({ config: { login: { policy: 'multi' }, limits: { resume_messages: 5 } } }),
  ]);
});
after(() => Promise.all([gateway, few].map((one) => one.close())));

/** A device that has registered and is offline now. */
async function known(t, server, uid, deviceid = 'd') {
  const user = await signIn(t, server, uid, { deviceid });
  user.peer.close();
}

const history = async (server, conv) => (await server.api.history(conv)).messages;

describe('every client', { concurrency: 5 }, () => {
  for (const client of everyClient) {
    const format = client.transport === 'upgrade' ? 'object' : 'string';
    test(`socket.io-client ${client.version} ${client.transport} receives the messages that it missed`, async (t) => {
      const [a, b, c] = [someone('甲'), someone('乙'), someone('丙')];
      const team = someone('队');
      const ming = await signIn(t, gateway, a, { client, deviceid: 'd' });
      const hong = await signIn(t, gateway, b, { client, deviceid: '手机' });
      hong.peer.close();
      const chat = [];
      for (const [n, type] of [3, 18, 19, 3, 1000].entries()) chat.push(await ming.send({ user: b }, { n, 文: '你不在 🌙' }, { type, cid: `c${n}` }));
      assert.equal((await ming.send({ user: b }, { 文: '正在输入' }, { type: 1001 })).code, 0);
      for (const type of [5, 13]) await gateway.api.sendTo(b, { type, data: { 文: '通知 🔔', type } });
      const { conv: theirs } = await gateway.api.team(team, [a, b]);
      await ming.send({ team }, { 文: '大家' });
      await gateway.api.expect(200, 'POST', `/v1/teams/${encodeURIComponent(team)}/members`, { uids: [c] });

      const { user, registered, replay, resumed } = await resume(t, gateway, b, { client, deviceid: '手机', format });
      const convs = inOrder(replay);
      const notices = [...convs.keys()].find((conv) => conv !== chat[0].conv && conv !== theirs);
      assert.deepEqual(new Set(convs.keys()), new Set([chat[0].conv, notices, theirs]));
      for (const [conv, messages] of convs) assert.deepEqual(messages.map((frame) => ({ ...frame })), await history(gateway, conv), 'the replayed messages equal the stored ones');
      assert.deepEqual([...convs.values()].map(({ length }) => length).sort(), [2, 2, 5]);
      for (const { raw } of replay) assert.equal(typeof raw, format);
      assert.deepEqual(resumed, { sent: 9, complete: true });
      assert.equal(registered.unread, 6);
      assert.equal(registered.more, false);
      assert.deepEqual(registered.conversations, [
        { conv: theirs, head: 2, cursor: 0, read: 0, unread: 1 },
        { conv: notices, head: 2, cursor: 0, read: 0, unread: 2 },
        { conv: chat[0].conv, head: 5, cursor: 0, read: 0, unread: 3 },
      ]);

      const live = await ming.send({ user: b }, { 文: '你来了 ☀️' });
      assert.equal((await user.next(3)).mid, live.mid);
      await quiet(gateway, user);
      await ack(user, live.conv, 4);
      await ack(user, theirs, 2);
      await user.peer.upgraded;
      user.peer.close();

      const again = await resume(t, gateway, b, { client, deviceid: '手机', format });
      const left = inOrder(again.replay);
      assert.deepEqual(seqs(left.get(live.conv)), [5, 6], 'the replay begins after the acknowledged position');
      assert.deepEqual(seqs(left.get(notices)), [1, 2], 'messages that were not acknowledged are replayed again');
      assert.equal(left.has(theirs), false);
      assert.equal(again.registered.epoch, registered.epoch);
      for (const [conv, messages] of left) await ack(again.user, conv, messages.at(-1).seq);
      const last = await resume(t, gateway, b, { client, deviceid: '手机', format });
      assert.deepEqual([last.replay, last.resumed], [[], { sent: 0, complete: true }]);
    });
  }
});

test('a new device starts at the heads', async (t) => {
  const [a, b] = [someone(), someone()];
  const conv = await written(gateway, a, b, 7);
  const { user, registered, replay, resumed } = await resume(t, gateway, b, { deviceid: '新' });
  assert.deepEqual([replay, resumed], [[], { sent: 0, complete: true }]);
  assert.deepEqual([registered.unread, registered.conversations], [7, [{ conv, head: 7, cursor: 7, read: 0, unread: 7 }]]);
  assert.equal((await sync(user, conv, { after: 0 })).messages.length, 7);
  user.peer.close();
  await written(gateway, a, b, 2);
  const other = await written(gateway, someone(), b, 1);
  const back = inOrder((await resume(t, gateway, b, { deviceid: '新' })).replay);
  assert.deepEqual([seqs(back.get(conv)), seqs(back.get(other))], [[8, 9], [1]]);
});

test('a device is known by a register without resume', async (t) => {
  const [a, b] = [someone(), someone()];
  const conv = await written(gateway, a, b, 3);
  await known(t, gateway, b);
  await written(gateway, a, b, 2);
  const { replay, registered } = await resume(t, gateway, b, { deviceid: 'd' });
  assert.deepEqual(seqs(replay), [4, 5]);
  assert.deepEqual(registered.conversations, [{ conv, head: 5, cursor: 3, read: 0, unread: 5 }]);
});

test('after a resume without a deviceid, the device is the deviceid of the response', async (t) => {
  const [a, b] = [someone(), someone()];
  await written(gateway, a, b, 2);
  const { user, registered, replay } = await resume(t, gateway, b);
  assert.deepEqual(replay, []);
  user.peer.close();
  await written(gateway, a, b, 3);
  const back = await resume(t, gateway, b, { deviceid: registered.deviceid });
  assert.equal(back.registered.deviceid, registered.deviceid);
  assert.deepEqual(seqs(back.replay), [3, 4, 5]);
  assert.deepEqual((await resume(t, gateway, b)).replay, [], 'without a deviceid it is a new device each time');
});

test('the same deviceid of another uid is another device', async (t) => {
  const [a, b, c] = [someone(), someone(), someone()];
  await known(t, gateway, b, '同一台');
  await written(gateway, a, b, 3);
  const conv = await written(gateway, a, c, 2);
  const other = await resume(t, gateway, c, { deviceid: '同一台' });
  assert.deepEqual([other.replay, other.registered.conversations.map((row) => row.conv)], [[], [conv]]);
  await quiet(gateway, other.user);
  assert.deepEqual((await resume(t, gateway, b, { deviceid: '同一台' })).replay.map(({ seq }) => seq), [1, 2, 3]);
});

test('every device has its own cursors', async (t) => {
  const [a, b] = [someone(), someone()];
  const devices = ['手机', '平板', '电脑'];
  const users = await Promise.all(devices.map((deviceid) => signIn(t, gateway, b, { deviceid })));
  const conv = await written(gateway, a, b, 9);
  for (const [i, user] of users.entries()) await ack(user, conv, 3 * i);
  for (const user of users) user.peer.close();
  const back = await Promise.all(devices.map((deviceid) => resume(t, gateway, b, { deviceid })));
  assert.deepEqual(back.map(({ replay }) => seqs(replay)), [range(1, 9), range(4, 9), range(7, 9)]);
  assert.deepEqual(back.map(({ registered }) => registered.conversations[0].cursor), [0, 3, 6]);
});

for (const [policy, login] of [['single', {}], ['per-platform', { policy: 'per-platform' }]]) {
  test(`devices have their own cursors under the policy ${policy}`, async (t) => {
    const server = await startGateway({ config: { login } });
    t.after(() => server.close());
    const [a, b] = [someone(), someone()];
    const phone = await signIn(t, server, b, { deviceid: '手机', platform: 'ios' });
    const conv = await written(server, a, b, 2);
    await ack(phone, conv, 1);
    const desk = await signIn(t, server, b, { deviceid: '电脑', platform: 'web' });
    if (policy === 'single') assert.equal(await phone.peer.closed(), 'io server disconnect');
    await written(server, a, b, 2);
    await desk.frames.takeMany(2, ({ type }) => type === 3);
    await ack(desk, conv, 3);
    const back = await resume(t, server, b, { deviceid: '手机', platform: 'ios' });
    assert.deepEqual(seqs(back.replay), [2, 3, 4]);
    if (policy === 'single') assert.equal(await desk.peer.closed(), 'io server disconnect');
    else assert.equal((await server.api.user(b)).connections.length, 2);
    assert.deepEqual(seqs((await resume(t, server, b, { deviceid: '电脑', platform: 'web' })).replay), [4]);
  });
}

test('a user\'s own messages are not replayed to the sending device, and are replayed to the others with their cid', async (t) => {
  const [a, b] = [someone(), someone()];
  const phone = await signIn(t, gateway, a, { deviceid: '手机' });
  await known(t, gateway, a, '平板');
  const { conv } = await phone.send({ user: b }, { n: 1 }, { cid: '一' });
  await phone.send({ user: b }, { n: 2 });
  phone.peer.close();
  const pad = await resume(t, gateway, a, { deviceid: '平板' });
  assert.deepEqual(pad.replay.map(({ seq, from, cid, data }) => [seq, from, cid, data.n]), [[1, a, '一', 1], [2, a, undefined, 2]]);
  assert.deepEqual([pad.registered.unread, pad.registered.conversations.map(({ unread }) => unread)], [0, [0]], 'not acknowledged, but read');
  const back = await resume(t, gateway, a, { deviceid: '手机' });
  assert.deepEqual([back.replay, back.registered.conversations], [[], []]);

  // The device has not acknowledged the message in between, so its own message does not move its cursor.
  await written(gateway, b, a, 1);
  await back.user.send({ user: b }, { n: 4 }, { cid: '四' });
  const again = await resume(t, gateway, a, { deviceid: '手机' });
  assert.deepEqual(again.replay.map(({ seq, cid }) => [seq, cid]), [[3, undefined], [4, '四']]);
  assert.equal((await listed(again.user, conv)).cursor, 2);
});

test('a replay that reaches the limit is marked as incomplete, and the other messages can be fetched', async (t) => {
  const [a, b] = [someone(), someone()];
  await known(t, few, b);
  const older = await written(few, a, b, 4);
  const newer = await written(few, someone(), b, 4);
  const { user, registered, replay, resumed } = await resume(t, few, b, { deviceid: 'd' });
  assert.deepEqual(resumed, { sent: 5, complete: false });
  assert.deepEqual(registered.conversations.map(({ conv, head, cursor }) => [conv, head, cursor]), [[newer, 4, 0], [older, 4, 0]]);
  const got = inOrder(replay);
  const rest = new Map();
  for (const { conv, head } of registered.conversations) {
    const last = got.get(conv)?.at(-1).seq ?? 0;
    assert.deepEqual(seqs(got.get(conv) ?? []), range(1, last).slice(0, last), 'the replay begins after the cursor');
    rest.set(conv, head > last ? seqs((await sync(user, conv, { after: last })).messages) : []);
    assert.equal(last + rest.get(conv).length, head);
  }
  const live = await few.api.sendTo(b, { type: 3, from: a, data: { text: '新' } });
  assert.equal((await user.next(3)).seq, live.seq);
  for (const [conv, messages] of got) await ack(user, conv, messages.at(-1).seq);
  const next = await resume(t, few, b, { deviceid: 'd' });
  assert.deepEqual(next.resumed, { sent: 4, complete: true });
  const both = new Map([...inOrder(next.replay)].map(([conv, messages]) => [conv, seqs(messages)]));
  rest.get(older).push(5);
  for (const [conv, missing] of rest) assert.deepEqual(both.get(conv) ?? [], missing);
});

test('a replay of exactly the limit is complete', async (t) => {
  const [a, b] = [someone(), someone()];
  await known(t, few, b);
  const conv = await written(few, a, b, 5);
  assert.deepEqual((await resume(t, few, b, { deviceid: 'd' })).resumed, { sent: 5, complete: true });
  await written(few, a, b, 1);
  const { replay, resumed, user } = await resume(t, few, b, { deviceid: 'd' });
  assert.deepEqual([seqs(replay), resumed], [[1, 2, 3, 4, 5], { sent: 5, complete: false }]);
  await ack(user, conv, 5);
  assert.deepEqual((await resume(t, few, b, { deviceid: 'd' })).resumed, { sent: 1, complete: true });
});

test('with a limit of 0 nothing is replayed, and the replay is marked as incomplete', async (t) => {
  const server = await startGateway({ config: { limits: { resume_messages: 0 } } });
  t.after(() => server.close());
  const [a, b] = [someone(), someone()];
  await known(t, server, b);
  assert.deepEqual((await resume(t, server, b, { deviceid: 'd' })).resumed, { sent: 0, complete: true });
  const conv = await written(server, a, b, 2);
  const { user, registered, resumed } = await resume(t, server, b, { deviceid: 'd' });
  assert.deepEqual(resumed, { sent: 0, complete: false });
  assert.deepEqual(registered.conversations, [{ conv, head: 2, cursor: 0, read: 0, unread: 2 }]);
  assert.equal((await sync(user, conv, { after: 0 })).messages.length, 2);
});

test('a second resume on the same connection replays the messages that are still not acknowledged', async (t) => {
  const [a, b] = [someone(), someone()];
  await known(t, gateway, b);
  const conv = await written(gateway, a, b, 4);
  const { user } = await resume(t, gateway, b, { deviceid: 'd' });
  await ack(user, conv, 2);
  assert.deepEqual(seqs((await resumeHere(user, b, { deviceid: 'd' })).replay), [3, 4]);
  assert.equal((await user.ask(REGISTER, { uid: b, deviceid: 'd' })).code, 0);
  await quiet(gateway, user);
});

test('the replay consists of frames, also if the register had a callback', async (t) => {
  const [a, b] = [someone(), someone()];
  await known(t, gateway, b);
  await written(gateway, a, b, 3);
  const user = await signIn(t, gateway, b, { deviceid: 'd', resume: true });
  assert.deepEqual(user.registered.conversations.map(({ head, cursor }) => [head, cursor]), [[3, 0]]);
  const frames = await user.frames.takeMany(4);
  assert.deepEqual(frames.map(({ type, seq }) => [type, seq ?? null]), [[3, 1], [3, 2], [3, 3], [112, null]]);
  assert.deepEqual(frames[3].data, { sent: 3, complete: true });
});

test('a register as another uid with resume replays the messages of that uid', async (t) => {
  const [a, b, c] = [someone(), someone(), someone()];
  for (const uid of [b, c]) await known(t, gateway, uid);
  await written(gateway, a, b, 2);
  await written(gateway, a, c, 3);
  const { user, replay } = await resume(t, gateway, b, { deviceid: 'd' });
  assert.equal(replay.length, 2);
  const moved = await resumeHere(user, c, { deviceid: 'd' });
  assert.deepEqual(seqs(moved.replay), [1, 2, 3]);
  await written(gateway, a, b, 1);
  await quiet(gateway, user);
});

test('after many interrupted connections, the last one receives all messages', async (t) => {
  const [a, b] = [someone(), someone()];
  await known(t, gateway, b);
  await written(gateway, a, b, 50);
  const broken = [];
  for (let n = 0; n < 12; n++) {
    const user = await visitor(t, gateway);
    user.say({ type: REGISTER, data: { uid: b, deviceid: 'd', resume: true } });
    broken.push(user);
  }
  const { replay } = await resume(t, gateway, b, { deviceid: 'd' });
  assert.deepEqual(seqs(replay), range(1, 50));
  assert.equal((await gateway.api.user(b)).connections.length, 1);
  for (const { frames } of broken) {
    const heard = frames.untaken.filter(({ type }) => type === 3);
    assert.deepEqual(seqs(heard), seqs(replay).slice(0, heard.length), 'the interrupted replays had the beginning');
  }
});

test('cursors survive a restart of the server; after kill -9 some messages may be delivered again', async (t) => {
  const server = await startGateway({ config: { login: { policy: 'multi' } } });
  t.after(() => server.close());
  const [a, b] = [someone(), someone()];
  const devices = ['手机', '平板'];
  let users = await Promise.all(devices.map((deviceid) => signIn(t, server, b, { deviceid })));
  const { epoch } = users[0].registered;
  const conv = await written(server, a, b, 10);
  await ack(users[0], conv, 4);
  await ack(users[1], conv, 7);
  assert.deepEqual((await server.program.stop()).code, 0);
  await server.start();
  const back = await Promise.all(devices.map((deviceid) => resume(t, server, b, { deviceid })));
  assert.deepEqual(back.map(({ replay }) => seqs(replay)), [range(5, 10), range(8, 10)]);
  for (const { registered } of back) assert.equal(registered.epoch, epoch);

  users = back.map(({ user }) => user);
  for (const user of users) await ack(user, conv, 9);
  await server.program.kill();
  await server.start();
  for (const deviceid of devices) {
    const { replay, registered } = await resume(t, server, b, { deviceid });
    const [first] = seqs(replay);
    assert.ok(first <= 10, 'messages that were not acknowledged are replayed');
    assert.ok(first > (deviceid === '手机' ? 4 : 7), 'a restored position is kept');
    assert.deepEqual(seqs(replay), range(first, 10));
    assert.deepEqual([registered.epoch, registered.conversations[0].cursor], [epoch, first - 1]);
  }
});

test('a device that registered before kill -9 misses nothing, even if it has been inactive since', async (t) => {
  const server = await startGateway();
  t.after(() => server.close());
  const [a, b] = [someone(), someone()];
  await known(t, server, b);
  const conv = await written(server, a, b, 3);
  await server.program.kill();
  await server.start();
  await written(server, a, b, 2);
  const { replay } = await resume(t, server, b, { deviceid: 'd' });
  assert.deepEqual([replay[0].conv, seqs(replay)], [conv, [1, 2, 3, 4, 5]]);
});

test('a read on another device does not shorten the replay of this device or its list of conversations', async (t) => {
  const [a, b] = [someone(), someone()];
  await known(t, gateway, b, '平板');
  const phone = await signIn(t, gateway, b, { deviceid: '手机' });
  const conv = await written(gateway, a, b, 3);
  await read(phone, conv, 3);
  const { registered, replay } = await resume(t, gateway, b, { deviceid: '平板' });
  assert.deepEqual([registered.unread, registered.conversations], [0, [{ conv, head: 3, cursor: 0, read: 3, unread: 0 }]]);
  assert.deepEqual(seqs(replay), [1, 2, 3]);
});

test('beyond devices_per_user, the device that was inactive for the longest time is forgotten', async (t) => {
  const server = await startGateway({ config: { login: { policy: 'multi', max_devices: 3 }, limits: { devices_per_user: 3 } } });
  t.after(() => server.close());
  const [a, b] = [someone(), someone()];
  for (const deviceid of ['一', '二', '三']) await known(t, server, b, deviceid);
  await written(server, a, b, 2);
  assert.deepEqual((await resume(t, server, b, { deviceid: '四' })).replay, []);
  for (const [deviceid, expected] of [['三', [1, 2]], ['二', [1, 2]], ['一', []]]) {
    assert.deepEqual(seqs((await resume(t, server, b, { deviceid })).replay), expected, deviceid);
  }
});

test('a device that is forgotten while it is connected continues to work', async (t) => {
  const server = await startGateway({ config: { login: { policy: 'multi', max_devices: 2 }, limits: { devices_per_user: 2 } } });
  t.after(() => server.close());
  const [a, b] = [someone(), someone()];
  const user = await signIn(t, server, b, { deviceid: '一直在' });
  for (const deviceid of ['二', '三', '四']) await known(t, server, b, deviceid);
  const conv = await written(server, a, b, 2);
  assert.deepEqual(seqs(await user.frames.takeMany(2, ({ type }) => type === 3)), [1, 2]);
  await ack(user, conv, 1);
  await read(user, conv, 2);
  const { head, read: position, unread } = await listed(user, conv);
  assert.deepEqual([head, position, unread], [2, 2, 0]);
  assert.equal((await user.send({ user: a }, { text: '还好' })).seq, 3);
  user.peer.close();
  await written(server, a, b, 1);
  for (const seq of seqs((await resume(t, server, b, { deviceid: '一直在' })).replay)) assert.ok(seq <= 4);
});
