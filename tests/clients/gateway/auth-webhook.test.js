// auth.mode = "webhook": the backend decides about every register.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { call } from '../../lib/api.js';
import { eventually } from '../../lib/inbox.js';
import { eachGeneration, isOld } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { REGISTER, REGISTERED, someone, visitor } from '../../lib/user.js';
import { Webhook } from '../../lib/webhook.js';

const secret = 's3cret';
const start = (webhook) => startGateway({ config: { auth: { mode: 'webhook', webhook } } });

let hook;
let gateway;
before(async () => {
  hook = await Webhook.start(secret);
  // Each test uses its own users. Their token says how the backend answers.
  hook.answer = ({ token }) => JSON.parse(token ?? '[401, {"error":"Give a token."}]');
  gateway = await start({ url: encodeURI(hook.url), secret });
});
after(async () => {
  await gateway?.close();
  hook?.close();
});

/** A token that makes the backend answer in this way. */
const saying = (...answer) => JSON.stringify(answer);

for (const client of eachGeneration) {
  test(`the backend is asked, and its answer is applied: ${client.version} ${client.transport}`, async (t) => {
    const [uid, real] = [someone('小明🐦'), someone('alias')];
    const token = saying(200, { uid: real, deviceid: 'phone', platform: 'ios', kinds: [3] });
    const user = await visitor(t, gateway, client);
    const answer = await user.ask(REGISTER, { uid, deviceid: 'd', platform: 'web', type: 'doctor', token });
    assert.deepEqual([answer.code, answer.uid, answer.deviceid], [0, real, 'phone']);
    const { body } = await hook.next(uid);
    assert.deepEqual(body, { uid, deviceid: 'd', platform: 'web', type: 'doctor', token, address: '127.0.0.1', sid: answer.sid });
    assert.equal((await gateway.api.user(real)).connections[0].platform, 'ios');
    assert.equal((await user.ask(101, { type: 7, to: { user: 'bob' }, data: {} })).code, 403);
    assert.equal((await user.ask(101, { type: 3, to: { user: 'bob' }, data: {} })).code, 0);
  });

  test(`the token of the handshake is passed to the backend: ${client.version} ${client.transport}`, async (t) => {
    const uid = someone();
    const where = isOld(client.version) ? 'query' : 'auth';
    const user = await visitor(t, gateway, { ...client, [where]: { token: saying(200, {}) } });
    assert.equal((await user.ask(REGISTER, { uid })).uid, uid);
  });
}

test('the error text of the backend is passed to the client, and the earlier registration stays', async (t) => {
  const uid = someone();
  const user = await visitor(t, gateway);
  assert.deepEqual(await user.ask(REGISTER, { uid }), { code: 401, error: 'Give a token.' });
  assert.equal((await user.ask(REGISTER, { uid, token: saying(200) })).code, 0);
  assert.deepEqual(await user.ask(REGISTER, { uid: 'x', token: saying(403, { detail: 'Not you.' }) }), { code: 403, error: 'Not you.' });
  assert.match((await user.ask(REGISTER, { uid: 'x', token: saying(403) })).error, /refused the register/);
  for (const answer of [saying(500), saying(404), saying(204), saying(302), saying(200, 'ok'), saying(200, { uid: '' }), saying(200, { kinds: 'all' })])
    assert.equal((await user.ask(REGISTER, { uid, token: answer })).code, 503, answer);
  assert.equal((await gateway.api.sendTo(uid, { type: 5, data: {} })).delivered, true);
  assert.equal((await user.ask(REGISTER, { token: saying(200) })).code, 400, 'neither the frame nor the backend names the uid');
});

test('an authentication by the backend expires and is renewed', async (t) => {
  const uid = someone();
  const [user, other] = [await visitor(t, gateway), await visitor(t, gateway)];
  assert.equal((await user.ask(REGISTER, { uid, token: saying(200, { ttl_ms: 1_500 }) })).code, 0);
  assert.equal((await user.ask(REGISTER, { uid, token: saying(200, { ttl_ms: 600_000 }) })).code, 0);
  const expires_at = Date.now() + 1_500;
  assert.equal((await other.ask(REGISTER, { uid: `${uid}-other`, token: saying(200, { expires_at }) })).code, 0);
  assert.equal((await other.next(REGISTERED)).data.code, 401);
  assert.match(await other.peer.closed(), /^transport (close|error)$/);
  assert.equal((await gateway.api.sendTo(uid, { type: 5, data: {} })).delivered, true);
});

test('while the backend is asked, later frames of that connection wait, and those of other connections do not', async (t) => {
  const slow = await Webhook.start(secret);
  t.after(() => slow.close());
  slow.answer = ({ uid }) => (uid === 'waits' ? 'hang' : 200);
  const held = await start({ url: encodeURI(slow.url), secret, timeout_ms: 60_000 });
  t.after(() => held.close());
  const [waiting, quick] = [await visitor(t, held), await visitor(t, held)];
  const [registered, sent] = [waiting.ask(REGISTER, { uid: 'waits' }), waiting.ask(101, { type: 3, to: { user: 'bob' }, data: {} })];
  const order = [];
  for (const [name, answer] of [['register', registered], ['send', sent]]) answer.then(() => order.push(name), () => {});
  await eventually(() => slow.hanging === 1, 'the question');
  assert.equal((await quick.ask(REGISTER, { uid: 'quick' })).code, 0);
  assert.deepEqual(order, []);
  waiting.peer.close();
  await Promise.allSettled([registered, sent]);
});

test('a client that disconnected while the backend was asked displaces nobody', async (t) => {
  for (const login of [{ policy: 'single' }, { policy: 'per-platform' }, { policy: 'multi' }]) {
    const slow = await Webhook.start(secret);
    t.after(() => slow.close());
    let [asked, decide] = [false, () => {}];
    const decided = new Promise((resolve) => (decide = resolve));
    slow.answer = ({ platform }) => {
      if (platform !== 'old') return [200, { platform: 'ios' }];
      asked = true;
      return decided.then(() => [200, { platform: 'ios' }]);
    };
    const held = await startGateway({ config: { login, auth: { mode: 'webhook', webhook: { url: encodeURI(slow.url), secret, timeout_ms: 60_000 } } } });
    t.after(() => held.close());
    const gone = await visitor(t, held);
    gone.say({ type: REGISTER, data: { uid: 'alice', deviceid: 'phone', platform: 'old' } });
    await eventually(() => asked, 'the question');
    gone.peer.close();
    // The same device connects again before the first register is answered.
    const user = await visitor(t, held);
    assert.equal((await user.ask(REGISTER, { uid: 'alice', deviceid: 'phone' })).code, 0);
    decide();
    await eventually(async () => /mynah_connections 1\n/.test((await call(held.url, 'GET', '/metrics')).text), 'the other connection to end');
    assert.equal((await held.api.sendTo('alice', { type: 5, data: {} })).delivered, true);
    assert.equal((await user.next(5)).type, 5);
    await user.hearsNothing();
  }
});

test('a register is answered 503 soon if the backend hangs or cannot be reached', async (t) => {
  const dead = await Webhook.start(secret);
  dead.answer = () => 'hang';
  const held = await start({ url: encodeURI(dead.url), secret, timeout_ms: 500, concurrency: 2 });
  t.after(() => held.close());
  const users = await Promise.all(Array.from({ length: 20 }, () => visitor(t, held)));
  const answers = await Promise.all(users.map((user, i) => user.ask(REGISTER, { uid: `u${i}` })));
  for (const { code, error } of answers) {
    assert.equal(code, 503);
    assert.match(error, /backend.*try again later/);
  }
  // Most waited for one of the two requests in flight, and were refused without a request of their own.
  assert.ok(dead.hanging < users.length, `the backend got ${dead.hanging} requests`);
  dead.close();
  for (const user of users.slice(0, 3)) assert.equal((await user.ask(REGISTER, { uid: 'u' })).code, 503);
  assert.equal((await users[0].ask(101, { type: 3, to: { user: 'bob' }, data: {} })).code, 401, 'the connection is still open');
});

test('POST /signout is refused: only the backend signs users out', async () => {
  const answer = await call(gateway.url, 'POST', '/signout', { key: 'any', body: { uid: 'alice' } });
  assert.equal(answer.status, 403);
  assert.match(answer.body.detail, /\/v1\/users/);
});
