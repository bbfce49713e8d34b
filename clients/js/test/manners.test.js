// The special cases that the README describes, against the model of the gateway and in simulated time.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client } from '../dist/esm/client.js';
import { memoryStorage } from '../dist/esm/index.js';
import { chance } from './lib/chance.js';
import { Gateway } from './lib/gateway.js';
import { Time } from './lib/time.js';
import { network } from './lib/wire.js';

function world(seed = 1) {
  const dice = chance(seed);
  const time = new Time(dice.next);
  const gateway = new Gateway(dice, { resume: 100, listed: 100 });
  const net = network(gateway, time, dice);
  const start = async (options = {}, listen = true) => {
    const client = new Client(net.io, 'http://model', { uid: 'me', storage: memoryStorage(), ...options }, time);
    const told = [];
    for (const event of ['error', 'epoch', 'displaced', 'signedOut', 'status', 'failed', 'sent', 'recall', 'read', 'unread']) client.on(event, (value) => void told.push([event, value]));
    const messages = [];
    if (listen) client.on('message', (message) => void messages.push(message));
    await time.pass(1_000, () => client.status === 'connected');
    return { client, messages, told, of: (event) => told.filter(([name]) => name === event).map(([, value]) => value) };
  };
  return { gateway, time, net, start };
}
const seqs = (messages) => messages.map(({ seq }) => seq);

test('a handler that throws is reported as an error, and its message counts as delivered', async () => {
  const { gateway, time, start } = world();
  const { client, messages, of } = await start();
  client.on('message', ({ seq }) => {
    if (seq === 1) throw new Error('at once');
    if (seq === 2) return Promise.reject(new Error('later'));
  });
  for (let i = 0; i < 3; i++) gateway.write('bob', { user: 'me' }, {});
  await time.pass(1_000);
  assert.deepEqual(seqs(messages), [1, 2, 3]);
  assert.deepEqual(of('error').map(({ code, cause }) => [code, cause.message]), [['handler', 'at once'], ['handler', 'later']]);
});

test('messages wait until there is a handler', async () => {
  const { gateway, time, start } = world();
  const { client } = await start({}, false);
  gateway.write('bob', { user: 'me' }, {});
  await time.pass(1_000);
  assert.equal(gateway.convs.get('pair bob me').reads.size, 0);
  const late = [];
  client.on('message', (message) => void late.push(message));
  await time.pass(1_000);
  assert.deepEqual(seqs(late), [1]);
});

test('a slow handler delays its own conversation only', async () => {
  const { gateway, time, start } = world();
  const { client } = await start({}, false);
  const done = [];
  client.on('message', async ({ from, seq }) => {
    if (from === 'slow') await new Promise((resolve) => time.later(10_000, resolve));
    done.push(`${from} ${seq}`);
  });
  for (const from of ['slow', 'quick', 'slow', 'quick']) gateway.write(from, { user: 'me' }, {});
  await time.pass(5_000);
  assert.deepEqual(done, ['quick 1', 'quick 2']);
  await time.pass(20_000);
  assert.deepEqual(done.slice(2), ['slow 1', 'slow 2']);
});

test('an answer that overtakes an earlier push does not skip a message', async () => {
  const { gateway, time, start } = world();
  for (let i = 0; i < 3; i++) gateway.write('bob', { user: 'me' }, {});
  gateway.convs.get('pair bob me').reads.set('me', 3);
  const { client, messages } = await start();
  // The cursor of the device is 3. The answer to the register did not name the conversation, since nothing in
  // it is unread.
  const conv = gateway.convs.get('pair bob me');
  assert.deepEqual(seqs(messages), []);
  const take = gateway.take.bind(gateway);
  const [connection] = gateway.connections;
  const { down } = connection;
  connection.down = (frame) => void time.later(500, () => down(frame));
  gateway.take = (from, frame, answer) => {
    if (frame.type === 101) gateway.write('bob', { user: 'me' }, { text: 'earlier' });
    take(from, frame, answer);
  };
  assert.ok(await time.pass(5_000, () => client.status === 'connected'));
  const sent = client.send({ user: 'bob' }, 3, {});
  await time.pass(5_000);
  assert.deepEqual([(await sent).seq, seqs(messages)], [5, [4]]);
  assert.equal(conv.messages.length, 5);
});

test('after a change of the epoch, positions are dropped and the application gets the event epoch', async () => {
  const { gateway, time, net, start } = world();
  const storage = memoryStorage();
  const first = await start({ storage });
  for (let i = 0; i < 3; i++) gateway.write('bob', { user: 'me' }, {});
  await time.pass(1_000);
  assert.deepEqual(seqs(first.messages), [1, 2, 3]);
  gateway.replace('epoch-2');
  net.cut();
  await time.pass(1_000, () => first.client.status === 'connected');
  gateway.write('bob', { user: 'me' }, { new: true });
  await time.pass(1_000);
  assert.deepEqual(seqs(first.messages), [1, 2, 3, 1]);
  assert.deepEqual(first.of('epoch'), [{ previous: 'epoch-1', current: 'epoch-2' }]);
  await first.client.close();
  gateway.replace('epoch-3');
  const second = await start({ storage });
  gateway.write('bob', { user: 'me' }, {});
  await time.pass(1_000);
  assert.deepEqual([seqs(second.messages), second.of('epoch')], [[1], [{ previous: 'epoch-2', current: 'epoch-3' }]]);
});

test('after a rollback of the gateway under the same epoch, its new messages are delivered', async () => {
  for (const restarted of [false, true]) {
    const { gateway, time, net, start } = world();
    const storage = memoryStorage();
    let device = await start({ storage });
    for (let i = 0; i < 10; i++) gateway.write('bob', { user: 'me' }, { old: i });
    await time.pass(3_000);
    const [conv] = gateway.convs.values();
    if (restarted) await device.client.close();
    gateway.rollBack(conv, 5);
    net.cut();
    if (restarted) device = await start({ storage });
    await time.pass(3_000, () => device.client.status === 'connected');
    device.messages.length = 0;
    for (let i = 0; i < 7; i++) gateway.write('bob', { user: 'me' }, { new: i });
    await time.pass(5_000);
    assert.deepEqual(device.messages.map(({ data }) => data.new), [0, 1, 2, 3, 4, 5, 6], `restarted: ${restarted}`);
    assert.deepEqual(device.of('epoch'), [{ previous: 'epoch-1', current: 'epoch-1' }]);
    await time.pass(3_000);
    assert.deepEqual(gateway.behind('me'), [], 'everything is acknowledged');
    await device.client.close();
  }
});

test('a position beyond the head in the answer to a register is dropped', async () => {
  const { gateway, time, net, start } = world();
  const { client, messages, of } = await start();
  for (let i = 0; i < 10; i++) gateway.write('bob', { user: 'me' }, {});
  await time.pass(3_000);
  const [conv] = gateway.convs.values();
  gateway.rollBack(conv, 3);
  net.cut();
  // These are written before the device reconnects, so that the answer to its register names the
  // conversation.
  for (let i = 0; i < 2; i++) gateway.write('bob', { user: 'me' }, { new: true });
  await time.pass(3_000, () => client.status === 'connected');
  await time.pass(3_000);
  assert.deepEqual([seqs(messages).slice(10), of('epoch').length], [[4, 5], 1]);
});

test('a refused register is an error and stops the client; after 503 and 429 the register is retried', async () => {
  const { gateway, time, start } = world();
  const take = gateway.take.bind(gateway);
  const answers = [{ code: 503, error: 'busy' }, { code: 429, error: 'busy' }, { code: 401, error: 'Your token has expired.' }];
  gateway.take = (connection, frame, answer) => (frame.type === 1 && answers.length > 0 ? answer(answers.shift()) : take(connection, frame, answer));
  const { client, of } = await start();
  await time.pass(10_000);
  assert.deepEqual(of('error').map(({ code, message }) => [code, message]), [[401, 'Your token has expired.']]);
  assert.deepEqual(of('status'), ['connecting', 'refused']);
  await assert.rejects(client.history('x'), { code: 'offline' });
  client.connect();
  assert.ok(await time.pass(5_000, () => client.status === 'connected'), 'it reconnects when connect() is called');
});

test('the token function is called at every connect', async () => {
  const { gateway, time, net, start } = world();
  const take = gateway.take.bind(gateway);
  const seen = [];
  gateway.take = (connection, frame, answer) => {
    if (frame.type === 1) seen.push(frame.data.token);
    take(connection, frame, answer);
  };
  let n = 0;
  const { client } = await start({ token: async () => `token-${++n}` });
  net.cut();
  assert.ok(await time.pass(5_000, () => seen.length === 2 && client.status === 'connected'));
  assert.deepEqual(seen, ['token-1', 'token-2']);
});

test('a token function that fails is called again, also if the uid comes from the token', async () => {
  const { time, net, start } = world();
  const sub = `e30.${Buffer.from('{"sub":"me"}').toString('base64url')}.x`;
  const answers = [Error('no network'), sub, Error('no network'), sub];
  const token = () => {
    const answer = answers.shift() ?? sub;
    if (answer instanceof Error) throw answer;
    return answer;
  };
  const { client, of } = await start({ uid: undefined, token });
  const sent = client.send({ user: 'bob' }, 3, {});
  assert.ok(await time.pass(10_000, () => client.status === 'connected'));
  assert.deepEqual([client.uid, answers.length], ['me', 0]);
  net.cut();
  answers.push(Error('no network'));
  await time.pass(10_000);
  assert.deepEqual([client.status, answers.length, of('error'), (await sent).seq], ['connected', 0, [], 1]);
});

test('a client that waits for its first token can be closed', async () => {
  const { time, start } = world();
  const { client } = await start({ uid: undefined, token: () => Promise.reject(new Error('no network')) });
  const sent = client.send({ user: 'bob' }, 3, {}).catch(({ code }) => code);
  await client.close();
  await time.pass(60_000);
  assert.deepEqual([client.status, await sent], ['closed', 'closed']);
});

test('without a uid and without a token that has one, the client does not connect', async () => {
  const { start } = world();
  const { client, of } = await start({ uid: undefined, token: 'opaque' });
  assert.deepEqual([client.status, of('error').map(({ code }) => code)], ['refused', [401]]);
  await assert.rejects(client.send({ user: 'bob' }, 3, {}), { code: 401 });
});

test('a displaced client gets the event displaced, not signedOut, and does not reconnect by itself', async () => {
  const { gateway, time, start } = world();
  const { client, of } = await start();
  [...gateway.connections][0].down({ type: 12, data: { reason: 'replaced', deviceid: 'other', platform: null, ts: 1 } });
  await time.pass(60_000);
  assert.deepEqual([client.status, of('displaced').length, of('signedOut').length, gateway.connections.size], ['displaced', 1, 0, 0]);
});

test('a send to a full outbox is refused, and the messages in the outbox stay', async () => {
  const { time, start, net } = world();
  const { client, of } = await start({ outboxSize: 2, uid: 'me' });
  net.forget();
  const sends = [1, 2, 3].map((n) => client.send({ user: 'bob' }, 3, { n }).catch(({ code }) => code));
  await time.pass(100);
  assert.equal(await sends[2], 'full');
  assert.deepEqual(client.pending.map(({ data }) => data.n), [1, 2]);
  await client.close();
  assert.deepEqual(await Promise.all(sends), ['closed', 'closed', 'full']);
  assert.deepEqual(of('failed'), [], 'closing the client is not a failure of its messages');
});

test('a message of a kind that is not stored is not saved: it is sent in time, or refused', async () => {
  const { gateway, time, start, net } = world();
  const storage = new Map();
  const { client } = await start({ kinds: { 1000: { stored: false } }, storage: memoryStorage(storage) });
  net.forget();
  const typing = client.send({ user: 'bob' }, 1000, { typing: true }).catch(({ code }) => code);
  await time.pass(30_000);
  assert.ok(['offline', 'timeout'].includes(await typing), await typing);
  assert.ok(![...storage.keys()].some((key) => key.includes(':out')));
  assert.equal(gateway.convs.size, 0);
});

test('a recipient that is not an object is refused with an explanation, and nothing enters the outbox', async () => {
  const { start } = world();
  const { client } = await start();
  for (const to of ['bob', null, undefined, 5]) {
    await assert.rejects(client.send(to, 3, {}), { name: 'MynahError', code: 400, message: /^"to" must be/ });
  }
  assert.equal(client.pending.length, 0);
});

test('changes of the data after the call of send have no effect', async () => {
  const { gateway, time, start } = world();
  const { client } = await start();
  const data = { text: 'before' };
  const sent = client.send({ user: 'bob' }, 3, data);
  data.text = 'after';
  assert.ok(await time.pass(1_000, () => client.pending.length === 0));
  assert.equal((await sent).seq, 1);
  assert.deepEqual(gateway.convs.get('pair bob me').messages[0].data, { text: 'before' });
});

test('markRead inside a handler does not wait for that handler, and is sent after it has finished', async () => {
  const { gateway, time, start } = world();
  const storage = new Map();
  const { client } = await start({ storage: memoryStorage(storage) }, false);
  const written = [];
  gateway.acknowledged = (connection, conv, seq) => written.push([seq, Number(storage.get(`mynah:me:at:${conv.id}`)?.split(' ')[0])]);
  client.on('message', ({ conv, seq }) => client.markRead(conv, seq));
  gateway.write('bob', { user: 'me' }, {});
  assert.ok(await time.pass(5_000, () => gateway.convs.get('pair bob me').reads.get('me') === 1));
  assert.ok(written.length > 0 && written.every(([seq, at]) => seq <= at));
  assert.ok(await time.pass(1_000, () => client.unread === 0));
});

test('all messages of a team until the user left it are delivered, even if they exceed the queue or one replay', async () => {
  const { gateway, time, start } = world();
  const done = [];
  const storage = memoryStorage();
  gateway.join('t', 'me');
  gateway.join('t', 'bob');
  const first = await start({ storage });
  await time.pass(1_000);
  await first.client.close();
  for (let i = 0; i < 2_500; i++) gateway.write('bob', { team: 't' }, { i });
  gateway.leave('t', 'me');
  gateway.write('bob', { team: 't' }, { i: 'later' });
  const { client } = await start({ storage }, false);
  // The handler is so slow that the whole replay arrives before the first message is handled.
  client.on('message', async ({ seq, type }) => {
    if (done.length === 0) await new Promise((resolve) => time.later(5_000, resolve));
    done.push([seq, type]);
  });
  await time.pass(60_000);
  assert.deepEqual(done.map(([seq]) => seq), Array.from({ length: 2_501 }, (_, i) => 3 + i));
  assert.deepEqual([done.at(-1)[1], client.unread], [17, 0]);
  assert.equal(gateway.registers.filter(({ resume }) => resume).length <= 6, true, 'the number of resumes is bounded');
});

test('a user who is removed while older messages are still being fetched receives all of them', async () => {
  const { gateway, time, start } = world();
  const storage = memoryStorage();
  gateway.join('t', 'me');
  gateway.join('t', 'bob');
  const first = await start({ storage });
  await time.pass(1_000);
  await first.client.close();
  // One replay has at most 100 messages.
  for (let i = 0; i < 250; i++) gateway.write('bob', { team: 't' }, { i });
  const { client, messages } = await start({ storage });
  await time.pass(100, () => messages.length >= 100);
  gateway.leave('t', 'me');
  await time.pass(60_000);
  assert.deepEqual(seqs(messages), Array.from({ length: 251 }, (_, i) => 3 + i));
  assert.equal(client.unread, 0);
});

test('a gap because of other members who left at the same time is skipped without another resume', async () => {
  const { gateway, time, start } = world();
  for (const uid of ['me', 'bob', 'eve']) gateway.join('t', uid);
  const { messages } = await start();
  const registers = gateway.registers.length;
  gateway.write('bob', { team: 't' }, {});
  const conv = gateway.conv('team t');
  gateway.teams.get('t').delete('me');
  gateway.leave('t', 'eve');
  gateway.leave('t', 'me');
  await time.pass(10_000);
  assert.deepEqual(messages.map(({ type }) => type), [15, 17]);
  assert.deepEqual([conv.messages.length, gateway.registers.length], [messages.at(-1).seq, registers]);
});

test('a count from the list of conversations does not replace a later read, even if both came in one turn', async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const { gateway, time, start } = world(seed);
    const { client } = await start();
    gateway.write('bob', { user: 'me' }, {});
    await time.pass(1_000, () => client.unread === 1);
    const take = gateway.take.bind(gateway);
    gateway.take = (connection, frame, answer) => {
      take(connection, frame, answer);
      // Another device of the user reads the conversation right after this answer.
      if (frame.type === 110) connection.down({ type: 107, data: { conv: 'pair bob me', seq: 1, by: 'me' } });
    };
    const page = client.conversations().next();
    await time.pass(1_000);
    await page;
    assert.equal(client.unread, 0, `seed ${seed}`);
  }
});
