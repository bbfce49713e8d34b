// The HTTP API, as other parts of the backend use it (docs/PROTOCOL.md#8-http-api).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { call } from '../../lib/api.js';
import { eachGeneration } from '../../lib/peer.js';
import { API_KEY, startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';

let gateway;
before(async () => (gateway = await startGateway()));
after(() => gateway.close());

test('all paths under /v1 need the key; the API description and the health checks do not', async () => {
  for (const [method, path] of [
    ['POST', '/v1/messages'],
    ['POST', '/v1/messages/batch'],
    ['GET', '/v1/users/u'],
    ['POST', '/v1/users/online'],
    ['POST', '/v1/users/u/signout'],
    ['PUT', '/v1/teams/t'],
    ['GET', '/v1/teams/t'],
    ['DELETE', '/v1/teams/t'],
    ['POST', '/v1/teams/t/members'],
    ['DELETE', '/v1/teams/t/members/u'],
    ['GET', '/v1/conversations/c/messages'],
    ['GET', '/v1/users/u/conversations'],
  ]) {
    for (const headers of [{}, { authorization: 'Bearer wrong' }, { authorization: `Basic ${API_KEY}` }, { authorization: `Bearer ${API_KEY}x` }, { authorization: 'Bearer ' }]) {
      const answer = await call(gateway.url, method, path, { headers, body: method === 'GET' ? undefined : {} });
      assert.equal(answer.status, 401, `${method} ${path} ${JSON.stringify(headers)}`);
      assert.match(answer.headers.get('content-type'), /problem\+json/);
    }
  }
  for (const path of ['/health/live', '/health/ready', '/metrics', '/v1/openapi.json']) assert.equal((await call(gateway.url, 'GET', path)).status, 200, path);
});

test('the description names every call and is valid OpenAPI 3', async () => {
  const { body } = await call(gateway.url, 'GET', '/v1/openapi.json');
  assert.match(body.openapi, /^3\./);
  const calls = Object.entries(body.paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`));
  for (const wanted of [
    'POST /v1/messages',
    'POST /v1/messages/batch',
    'GET /v1/users/{uid}',
    'POST /v1/users/online',
    'POST /v1/users/{uid}/signout',
    'PUT /v1/teams/{team}',
    'GET /v1/teams/{team}',
    'DELETE /v1/teams/{team}',
    'POST /v1/teams/{team}/members',
    'DELETE /v1/teams/{team}/members/{uid}',
    'GET /v1/conversations/{conv}/messages',
    'GET /v1/users/{uid}/conversations',
  ]) {
    assert.ok(calls.includes(wanted), `${wanted} is not in the description`);
  }
});

test('the metrics are Prometheus text and count', async (t) => {
  await signIn(t, gateway, someone());
  const { text, headers } = await call(gateway.url, 'GET', '/metrics');
  assert.match(headers.get('content-type'), /text\/(plain|openmetrics)|openmetrics-text/);
  assert.match(text, /^# TYPE \S+ (counter|gauge|histogram)$/m);
  assert.match(text, /^mynah_\S+ [1-9]/m);
});

test('unknown paths are answered 404', async () => {
  for (const path of ['/nothing', '/v1', '/v2/messages', '/v1/nothing', '/socket.iox/', '/engine.io/', '/index.php', '/../etc/passwd', '/%2e%2e/%2e%2e/etc/passwd', '/health', '/你好']) {
    assert.equal((await gateway.api.call('GET', encodeURI(path))).status, 404, path);
  }
  const wrongMethod = await gateway.api.call('PATCH', '/v1/messages', {});
  assert.equal(wrongMethod.status, 405);
});

test('a user that was never seen is offline', async () => {
  const uid = someone('没来过 /?#');
  assert.deepEqual(await gateway.api.user(uid), { uid, online: false, connections: [], unread: 0 });
});

test('the answer to a send says whether a connection was reached, as the callback of sendTo did', async (t) => {
  const [here, away] = [someone('在'), someone('不在')];
  const user = await signIn(t, gateway, here);
  const answer = await gateway.api.send({ type: 6, to: { users: [here, away, here] }, data: { text: '预约 📅' } });
  assert.deepEqual([answer.online, answer.offline], [1, 1]);
  const rows = new Map(answer.results.map((row) => [row.uid, row]));
  assert.equal(rows.get(here).delivered, true);
  assert.equal(rows.get(away).delivered, false);
  for (const row of rows.values()) assert.ok(row.mid && row.conv && row.seq === 1, JSON.stringify(row));
  assert.equal((await user.next(6)).data.text, '预约 📅');
  await user.hearsNothing('a user who is named twice receives the message once');
});

test('a message to everyone reaches all connected users, and is not stored', async (t) => {
  const users = await Promise.all(eachGeneration.map((client) => signIn(t, gateway, someone(), { client })));
  const answer = await gateway.api.send({ type: 5, to: { everyone: true }, data: { text: '全体注意 📢' } });
  assert.deepEqual(Object.keys(answer), ['online']);
  assert.ok(answer.online >= users.length);
  for (const user of users) {
    const frame = await user.next(5);
    assert.equal(frame.data.text, '全体注意 📢');
    for (const key of ['mid', 'conv', 'seq']) assert.equal(key in frame, false, key);
    assert.equal((await gateway.api.user(user.uid)).unread, 0);
  }
});

test('the API returns which users are online', async (t) => {
  const uids = Array.from({ length: 6 }, () => someone('在线'));
  await Promise.all(uids.slice(0, 3).map((uid) => signIn(t, gateway, uid)));
  const { online } = await gateway.api.expect(200, 'POST', '/v1/users/online', { uids });
  assert.deepEqual([...online].sort(), uids.slice(0, 3).sort());
  const many = Array.from({ length: 10_001 }, (_, i) => `u${i}`);
  await gateway.api.expect(413, 'POST', '/v1/users/online', { uids: many });
  await gateway.api.expect(200, 'POST', '/v1/users/online', { uids: many.slice(1) });
});

test('the results of a batch are in the order of its messages, each with its own result', async (t) => {
  const uid = someone('批');
  const user = await signIn(t, gateway, uid);
  const messages = Array.from({ length: 50 }, (_, i) => ({ type: 5, to: { user: uid }, data: { n: i } }));
  messages[7] = { type: 77, to: { user: uid }, data: { n: 7 } };
  messages[9] = { type: 12, to: { user: uid }, data: { n: 9 } };
  messages[11] = { type: 15, to: { team: someone('没有') }, data: { n: 11 } };
  messages[13] = 'nonsense';
  const { results } = await gateway.api.expect(200, 'POST', '/v1/messages/batch', { messages });
  assert.equal(results.length, 50);
  assert.deepEqual([results[7].code, results[9].code, results[11].code, results[13].code], [404, 400, 404, 400]);
  assert.ok(results[7].error && results[13].error);
  const good = results.filter((result) => !result.code);
  assert.deepEqual(good.map((result) => result.results[0].seq), Array.from({ length: 46 }, (_, i) => i + 1));
  const heard = await user.frames.takeMany(46, (frame) => frame.type === 5);
  assert.deepEqual(heard.map((frame) => frame.data), messages.filter((_, i) => ![7, 9, 11, 13].includes(i)).map(({ data }) => data));
  const many = Array.from({ length: 1_001 }, () => ({ type: 5, to: { user: uid }, data: { n: 0 } }));
  await gateway.api.expect(413, 'POST', '/v1/messages/batch', { messages: many });
  await gateway.api.expect(200, 'POST', '/v1/messages/batch', { messages: many.slice(1) });
  assert.equal((await gateway.api.user(uid)).unread, 1_046);
});

test('a cid identifies a message per sender and conversation', async () => {
  const uid = someone();
  const message = { type: 3, from: '店', data: { text: '一' }, cid: '订单-1' };
  const first = await gateway.api.sendTo(uid, message);
  const again = await gateway.api.sendTo(uid, { ...message, data: { text: '二' } });
  assert.deepEqual([again.mid, again.seq], [first.mid, first.seq]);
  assert.notEqual((await gateway.api.sendTo(uid, { ...message, from: '另一家店' })).mid, first.mid);
  const { messages } = await gateway.api.history(first.conv);
  assert.deepEqual(messages.map(({ data, cid }) => [data.text, cid]), [['一', '订单-1']]);
});

test('the history can be read forwards and backwards in pages', async () => {
  const uid = someone();
  let conv;
  for (let start = 0; start < 60; start += 20) {
    const messages = Array.from({ length: 20 }, (_, i) => ({ type: 5, to: { user: uid }, data: { n: start + i + 1, 文: '记录 📖' } }));
    const { results } = await gateway.api.expect(200, 'POST', '/v1/messages/batch', { messages });
    conv = results[0].results[0].conv;
  }
  const numbers = ({ messages }) => messages.map(({ data, seq }) => (assert.equal(data.n, seq), seq));
  const range = (from, to) => Array.from({ length: Math.abs(to - from) + 1 }, (_, i) => from + (to > from ? i : -i));
  assert.deepEqual(numbers(await gateway.api.history(conv, 'after=0&limit=25')), range(1, 25));
  assert.deepEqual(numbers(await gateway.api.history(conv, 'after=50&limit=25')), range(51, 60));
  assert.deepEqual(numbers(await gateway.api.history(conv, 'before=50&limit=5')), range(49, 45));
  assert.deepEqual(numbers(await gateway.api.history(conv, 'after=60')), []);
  assert.equal((await gateway.api.history(conv, 'after=0&limit=500')).messages.length, 60);
  for (const query of ['limit=0', 'limit=501', 'limit=-1', 'limit=x', 'after=x', 'after=-1', 'before=1.5', 'after=1&before=2']) {
    await gateway.api.expect(400, 'GET', `/v1/conversations/${conv}/messages?${query}`);
  }
  for (const unknown of ['nothing', '000000000000', `${conv}x`]) {
    const { status } = await gateway.api.call('GET', `/v1/conversations/${unknown}/messages`);
    assert.ok([400, 404].includes(status), `${unknown}: ${status}`);
  }
});

test('a user\'s conversations are listed, newest first, with unread counts', async (t) => {
  const [uid, a, b] = [someone('我'), someone('甲'), someone('乙')];
  await gateway.api.sendTo(uid, { type: 3, from: a, data: { text: '一' } });
  await gateway.api.sendTo(uid, { type: 3, from: b, data: { text: '二' } });
  await gateway.api.sendTo(uid, { type: 3, from: b, data: { text: '三' } });
  const { conversations } = await gateway.api.expect(200, 'GET', `/v1/users/${encodeURIComponent(uid)}/conversations`);
  assert.deepEqual(
    conversations.map(({ kind, peer, head, unread, last }) => [kind, peer, head, unread, last.data.text]),
    [['pair', b, 2, 2, '三'], ['pair', a, 1, 1, '一']],
  );
  assert.equal((await gateway.api.user(uid)).unread, 3);
  assert.equal((await signIn(t, gateway, uid)).registered.unread, 3);
});

const wrong = [
  ['an empty body', ''],
  ['no JSON', '{"type":'],
  ['a list', '[]'],
  ['null', 'null'],
  ['a string', '"你好"'],
  ['no type', { to: { user: 'u' }, data: {} }],
  ['a string as type', { type: '5', to: { user: 'u' }, data: {} }],
  ['a fraction as type', { type: 5.5, to: { user: 'u' }, data: {} }],
  ['no recipient', { type: 5, data: {} }],
  ['an empty recipient', { type: 5, to: {}, data: {} }],
  ['a string as recipient', { type: 5, to: 'u', data: {} }],
  ['two recipients', { type: 5, to: { user: 'u', team: 't' }, data: {} }],
  ['a list as user', { type: 5, to: { user: ['u'] }, data: {} }],
  ['a string as users', { type: 5, to: { users: 'u' }, data: {} }],
  ['an empty uid', { type: 5, to: { user: '' }, data: {} }],
  ['a control character', { type: 5, to: { user: 'a\nb' }, data: {} }],
  ['everyone: false', { type: 5, to: { everyone: false }, data: {} }],
  ['a notice to a team', { type: 5, to: { team: 't' }, data: {} }],
  ['a team kind to a user', { type: 15, to: { user: 'u' }, data: {} }],
  ['no data', { type: 5, to: { user: 'u' } }],
  ['a number as from', { type: 5, to: { user: 'u' }, from: 1.5, data: {} }],
  ['a number as cid', { type: 5, to: { user: 'u' }, cid: 7, data: {} }],
  ['a cid of 65 bytes', { type: 5, to: { user: 'u' }, cid: 'x'.repeat(65), data: {} }],
  ['a string as push', { type: 5, to: { user: 'u' }, push: 'yes', data: {} }],
  ['a string as ttl_ms', { type: 5, to: { user: 'u' }, ttl_ms: '60', data: {} }],
  ['a negative ttl_ms', { type: 5, to: { user: 'u' }, ttl_ms: -1, data: {} }],
];

for (const [name, body] of wrong) {
  test(`a message with ${name} is answered 400`, () => gateway.api.expect(400, 'POST', '/v1/messages', body));
}

test('a call beyond a limit is answered 413', async () => {
  await gateway.api.expect(413, 'POST', '/v1/messages', { type: 5, to: { users: Array.from({ length: 10_001 }, (_, i) => `u${i}`) }, data: {} });
  await gateway.api.expect(413, 'POST', '/v1/messages', { type: 5, to: { user: 'u' }, data: { text: 'x'.repeat(65_535) } });
});

test('a call can name ten thousand users', async (t) => {
  const uid = someone();
  const user = await signIn(t, gateway, uid);
  const users = Array.from({ length: 9_999 }, (_, i) => `many-${process.pid}-${i}`);
  const answer = await gateway.api.send({ type: 5, to: { users: [...users, uid] }, data: { text: '群发' } });
  assert.deepEqual([answer.online, answer.offline, answer.results.length], [1, 9_999, 10_000]);
  assert.equal((await user.next(5)).data.text, '群发');
});
