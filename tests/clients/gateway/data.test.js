// The `data` of a message is any JSON value, and is kept byte for byte everywhere.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { LIST, LISTED, SYNC, SYNCED, recall, sync } from '../../lib/delivery.js';
import { eventually } from '../../lib/inbox.js';
import { everyClient } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { SENT, signIn, someone } from '../../lib/user.js';
import { Webhook } from '../../lib/webhook.js';

const TYPING = 1000;
const SECRET = 'a-secret-of-the-tests';
const VALUES = [
  'null', 'true', 'false', '0', '-0.0', '1E400', '123456789012345678901234567890', '0.1000000000000000055511151231257827',
  '""', '"text"', '"你好 👋"', String.raw`"\u4f60\ud83d\ude00 \/ \n \u0000 \ud800"`, '[]', '[ 1 , [ ] ,\t"二" , null ]',
  '{}', '{ "b" : [1,2] , "a":\r\n {"a":1}  }', '{"_placeholder":true,"num":0}',
];

let gateway;
let hook;
before(async () => {
  hook = await Webhook.start(SECRET);
  gateway = await startGateway({
    config: {
      login: { policy: 'multi' },
      kinds: [{ number: TYPING, name: 'APP_TYPING', conversation: 'none', clients: true }],
      push: { webhook: { url: encodeURI(hook.url), secret: SECRET } },
    },
  });
});
after(async () => {
  hook.close();
  await gateway.close();
});

const has = (text, data) => assert.ok(text.includes(`"data":${data},"`), `${data} is not in ${text}`);
const send = (to, data, type = 3) => `{"type":101,"req":1,"data":{"type":${type},"to":{"user":${JSON.stringify(to)}},"data":${data}}}`;

describe('every client', { concurrency: 4 }, () => {
  for (const client of everyClient) {
    test(`socket.io-client ${client.version} ${client.transport} sends and receives any JSON value`, async (t) => {
      const [a, b] = [someone('写'), someone('读')];
      const ming = await signIn(t, gateway, a, { client });
      const hong = await signIn(t, gateway, b, { client, deviceid: 'd' });
      const pad = await signIn(t, gateway, b, { client, deviceid: 'e', format: 'object' });
      for (const data of VALUES) {
        ming.say(send(b, data));
        assert.equal((await ming.next(SENT)).data.code, 0, data);
        const pushed = await hong.next(3);
        has(pushed.raw, data);
        assert.equal('recalled' in pushed, false);
        assert.deepEqual((await pad.next(3)).data, JSON.parse(data));
        ming.say(send(b, data, TYPING));
        assert.equal((await ming.next(SENT)).data.code, 0, data);
        has((await hong.next(TYPING)).raw, data);
      }
      const answer = await ming.send({ user: b }, ['an', 'array'], { asObject: true });
      assert.equal(answer.code, 0);
      assert.deepEqual((await pad.next(3)).data, ['an', 'array']);
    });
  }
});

test('the history, a replay, `last` and the webhook have the bytes that were sent', async (t) => {
  const uid = someone('不在');
  const known = await signIn(t, gateway, uid, { deviceid: 'phone' });
  known.peer.close();
  await eventually(async () => !(await gateway.api.user(uid)).online, 'the end of the connection');
  const from = someone('寄');
  const sent = new Map();
  for (const data of VALUES) {
    const body = `{"type":3,"to":{"user":${JSON.stringify(uid)}},"from":${JSON.stringify(from)},"data":${data}}`;
    const { status, body: answer } = await gateway.api.call('POST', '/v1/messages', body);
    assert.equal(status, 200, data);
    const { mid, conv, seq } = answer.results[0];
    sent.set(mid, data);
    has((await gateway.api.call('GET', `/v1/conversations/${conv}/messages?after=${seq - 1}&limit=1`)).text, data);
    has((await gateway.api.call('GET', `/v1/users/${encodeURIComponent(uid)}/conversations`)).text, data);
  }
  for (const _ of VALUES) {
    const { bytes, body } = await hook.next(uid);
    has(bytes.toString(), sent.get(body.mid));
  }
  const batch = `{"messages":[${VALUES.map((data) => `{"type":3,"to":{"user":${JSON.stringify(uid)}},"push":false,"data":${data}}`)}]}`;
  const { body: { results } } = await gateway.api.call('POST', '/v1/messages/batch', batch);
  assert.deepEqual(results.map(({ offline }) => offline), VALUES.map(() => 1));

  const user = await signIn(t, gateway, uid, { deviceid: 'phone', resume: true });
  const replayed = await user.frames.takeMany(2 * VALUES.length, ({ type }) => type === 3, 'a replayed message');
  for (const [index, { raw }] of replayed.entries()) has(raw, VALUES[index % VALUES.length]);
  const { conv, seq } = replayed.at(-1);
  user.say({ type: SYNC, data: { conv, after: seq - 1 } });
  has((await user.next(SYNCED)).raw, VALUES.at(-1));
  user.say({ type: LIST, data: {} });
  has((await user.next(LISTED)).raw, VALUES.at(-1));
});

test('a message without data is refused, and null as data does not mark a recalled message', async (t) => {
  const [a, b] = [someone(), someone()];
  const ming = await signIn(t, gateway, a);
  const { code, error } = await ming.ask(101, { type: 3, to: { user: b } });
  assert.equal(code, 400);
  assert.match(error, /data/);
  await gateway.api.expect(400, 'POST', '/v1/messages', { type: 3, to: { user: b } });
  const none = await ming.send({ user: b }, null);
  const taken = await ming.send({ user: b }, null);
  await recall(ming, taken.mid);
  const { messages } = await sync(ming, none.conv, { after: 0 });
  assert.deepEqual(messages.slice(0, 2).map(({ data, recalled }) => [data, recalled]), [[null, undefined], [null, true]]);
});
