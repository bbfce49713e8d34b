// Kind 101: a user sends messages to another user.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { everyClient } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { SEND, SENT, signIn, someone, visitor } from '../../lib/user.js';

let gateway;
before(async () => (gateway = await startGateway()));
after(() => gateway.close());

for (const client of everyClient) {
  describe(`socket.io-client ${client.version} ${client.transport}`, { concurrency: true }, () => {
    test('sends and receives frames as strings and as objects', async (t) => {
      const [a, b] = [someone('小明'), someone('小红🌸')];
      const ming = await signIn(t, gateway, a, { client });
      const hong = await signIn(t, gateway, b, { client, format: 'object' });

      ming.say({ type: SEND, req: '第一', data: { type: 3, to: { user: b }, cid: '本地-1', data: { text: '你好 👋', list: [1, null, '二'] } } });
      const sent = await ming.next(SENT);
      assert.equal(typeof sent.raw, 'string');
      assert.equal(sent.req, '第一');
      const { code, cid, mid, conv, seq, ts } = sent.data;
      assert.deepEqual([code, cid, seq], [0, '本地-1', 1]);

      const push = await hong.next(3);
      assert.equal(typeof push.raw, 'object');
      assert.deepEqual({ ...push }, { type: 3, data: { text: '你好 👋', list: [1, null, '二'] }, mid, cid, conv, seq, from: a, ts });

      const answer = await hong.ask(SEND, { type: 3, to: { user: a }, data: { text: '收到 🎉' } }, { asObject: true });
      assert.deepEqual([answer.code, answer.conv, answer.seq], [0, conv, 2]);
      assert.ok(answer.ts >= ts && answer.mid > mid);
      const back = await ming.next(3);
      assert.deepEqual([typeof back.raw, back.data.text, back.from, back.mid], ['string', '收到 🎉', b, answer.mid]);
      await Promise.all([ming.hearsNothing(), hong.hearsNothing()]);
    });

    test('keeps the order of a burst, without gaps in seq', async (t) => {
      const [a, b] = [someone(), someone()];
      const ming = await signIn(t, gateway, a, { client });
      const hong = await signIn(t, gateway, b, { client });
      const count = 100;
      const answers = await Promise.all(Array.from({ length: count }, (_, i) => ming.send({ user: b }, { n: i, text: `第${i}条` })));
      const heard = await hong.frames.takeMany(count, (frame) => frame.type === 3, 'a chat message');
      assert.deepEqual(heard.map((frame) => frame.data.n), Array.from({ length: count }, (_, i) => i));
      assert.deepEqual(heard.map((frame) => frame.seq), Array.from({ length: count }, (_, i) => i + 1));
      assert.deepEqual(heard.map((frame) => frame.mid), answers.map((answer) => answer.mid));
    });
  });
}

test('the digits of numbers in data are kept', async (t) => {
  const [a, b] = [someone(), someone()];
  const ming = await signIn(t, gateway, a);
  const hong = await signIn(t, gateway, b);
  const data = '{"big":9223372036854775807,"huge":123456789012345678901234567890,"decimal":0.1000000000000000055511151231257827,"exp":1E400,"text":"\\u4f60\\ud83d\\ude00"}';
  ming.say(`{"type":101,"data":{"type":3,"to":{"user":${JSON.stringify(b)}},"data":${data}}}`);
  const { raw, data: parsed } = await hong.next(3);
  for (const part of ['9223372036854775807', '123456789012345678901234567890', '0.1000000000000000055511151231257827']) assert.ok(raw.includes(part), raw);
  assert.match(raw, /"exp":\s*1[eE]\+?400/);
  assert.equal(parsed.text, '你😀');
  const { data: { code, conv } } = await ming.next(SENT);
  assert.equal(code, 0);
  const { text } = await gateway.api.call('GET', `/v1/conversations/${conv}/messages?limit=1`);
  assert.ok(text.includes('123456789012345678901234567890') && text.includes('9223372036854775807'), text);
});

test('two sends with the same cid are one message', async (t) => {
  const [a, b, c] = [someone(), someone(), someone()];
  const ming = await signIn(t, gateway, a);
  const hong = await signIn(t, gateway, b);
  const first = await ming.send({ user: b }, { text: '一' }, { cid: '同一个' });
  assert.equal(first.duplicate, undefined);
  const again = await ming.send({ user: b }, { text: '不同的内容' }, { cid: '同一个' });
  assert.deepEqual({ ...again }, { ...first, duplicate: true });
  assert.equal((await hong.next(3)).data.text, '一');
  await hong.hearsNothing();
  // With another sender or another conversation, it is another message.
  assert.equal((await hong.send({ user: a }, { text: '二' }, { cid: '同一个' })).duplicate, undefined);
  assert.equal((await ming.send({ user: c }, { text: '三' }, { cid: '同一个' })).duplicate, undefined);
  assert.equal((await gateway.api.history(first.conv)).messages.length, 2);

  const race = await Promise.all(Array.from({ length: 30 }, () => ming.send({ user: b }, { text: '抢' }, { cid: '抢' })));
  assert.equal(new Set(race.map((answer) => answer.mid)).size, 1);
  assert.equal(race.filter((answer) => !answer.duplicate).length, 1);
});

test('from is the registered user, whatever the frame says', async (t) => {
  const [a, b] = [someone(), someone()];
  const ming = await signIn(t, gateway, a);
  const hong = await signIn(t, gateway, b);
  ming.say({ type: SEND, from: 'god', data: { type: 3, from: 'god', to: { user: b }, data: { from: 'god' } } });
  assert.equal((await hong.next(3)).from, a);
});

test('a user may write to itself', async (t) => {
  const uid = someone();
  const user = await signIn(t, gateway, uid);
  const answer = await user.send({ user: uid }, { text: '备忘' });
  assert.deepEqual([answer.code, answer.seq], [0, 1]);
  assert.equal((await user.send({ user: uid }, { text: '再记' })).seq, 2);
  assert.equal((await gateway.api.user(uid)).unread, 0);
  assert.equal((await gateway.api.history(answer.conv)).messages.length, 2);
});

test('clients may send certain kinds, each of which has its own conversation', async (t) => {
  const [a, b] = [someone(), someone()];
  const ming = await signIn(t, gateway, a);
  const hong = await signIn(t, gateway, b);
  const convs = {};
  for (const type of [3, 7, 8, 9, 18, 19]) {
    const answer = await ming.send({ user: b }, { 种类: type }, { type });
    assert.equal(answer.code, 0, `kind ${type}`);
    convs[type] = answer.conv;
    assert.deepEqual((await hong.next(type)).data, { 种类: type });
  }
  assert.equal(convs[3], convs[18]);
  assert.equal(convs[3], convs[19]);
  assert.equal(new Set(Object.values(convs)).size, 4);
  for (const type of [1, 2, 4, 5, 6, 10, 11, 12, 13, 14, 16, 17]) assert.equal((await ming.send({ user: b }, {}, { type })).code, 403, `kind ${type}`);
  for (const type of [20, 99, 998, 1000, 9999, 10_000, 0, 65_535]) assert.equal((await ming.send({ user: b }, {}, { type })).code, 404, `kind ${type}`);
  await hong.hearsNothing();
});

const wrong = [
  ['no to', { type: 3, data: {} }],
  ['a string as to', { type: 3, to: 'bob', data: {} }],
  ['an empty to', { type: 3, to: {}, data: {} }],
  ['a list as user', { type: 3, to: { user: ['bob'] }, data: {} }],
  ['an empty user', { type: 3, to: { user: '' }, data: {} }],
  ['a user of 129 bytes', { type: 3, to: { user: 'x'.repeat(129) }, data: {} }],
  ['two recipients', { type: 3, to: { user: 'bob', team: 't' }, data: {} }],
  ['many users', { type: 3, to: { users: ['bob'] }, data: {} }],
  ['everyone', { type: 3, to: { everyone: true }, data: {} }],
  ['a pair kind to a team', { type: 3, to: { team: 't' }, data: {} }],
  ['a team kind to a user', { type: 15, to: { user: 'bob' }, data: {} }],
  ['no type', { to: { user: 'bob' }, data: {} }],
  ['a string as type', { type: '3', to: { user: 'bob' }, data: {} }],
  ['a fraction as type', { type: 3.5, to: { user: 'bob' }, data: {} }],
  ['a negative type', { type: -3, to: { user: 'bob' }, data: {} }],
  ['no data', { type: 3, to: { user: 'bob' } }],
  ['a number as cid', { type: 3, to: { user: 'bob' }, cid: 7, data: {} }],
  ['a cid of 65 bytes', { type: 3, to: { user: 'bob' }, cid: 'x'.repeat(65), data: {} }],
  ['a cid of 22 characters in 66 bytes', { type: 3, to: { user: 'bob' }, cid: '字'.repeat(22), data: {} }],
];

for (const [name, data] of wrong) {
  test(`101 with ${name} is refused`, async (t) => {
    const user = await signIn(t, gateway, someone());
    const answer = await user.ask(SEND, data);
    assert.ok([400, 403, 404].includes(answer.code), JSON.stringify(answer));
    if (!/team|many|everyone|negative/.test(name)) assert.equal(answer.code, 400);
    assert.equal(typeof answer.error, 'string');
    assert.equal((await user.send({ user: someone() }, { text: '还好' })).code, 0);
  });
}

test('the data of a message has at most 65,536 bytes of JSON', async (t) => {
  const [a, b] = [someone(), someone()];
  const ming = await signIn(t, gateway, a);
  const hong = await signIn(t, gateway, b);
  const data = (bytes) => ({ t: 'x'.repeat(bytes - '{"t":""}'.length) });
  assert.equal((await ming.send({ user: b }, data(65_536))).code, 0);
  assert.deepEqual((await hong.next(3)).data, data(65_536));
  assert.equal((await ming.send({ user: b }, data(65_537))).code, 413);
  const nested = (depth) => `{"n":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`;
  for (const [depth, code] of [[128, 0], [129, 400], [10_000, 400]]) {
    ming.say(`{"type":101,"req":1,"data":{"type":3,"to":{"user":${JSON.stringify(b)}},"data":${nested(depth)}}}`);
    assert.equal((await ming.next(SENT)).data.code, code, `${depth} levels`);
  }
});

test('a client that is not registered is refused, by frame and by callback', async (t) => {
  const user = await visitor(t, gateway);
  user.say({ type: SEND, req: 'r', data: { type: 3, to: { user: 'x' }, cid: '我的', data: {} } });
  const frame = await user.next(SENT);
  assert.deepEqual([frame.req, frame.data.code], ['r', 401]);
});
