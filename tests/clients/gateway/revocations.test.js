// Revoked tokens: they are signed and not expired, but are not accepted any more.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eachGeneration } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { SECRET, seconds, token } from '../../lib/token.js';
import { REGISTER, someone, visitor } from '../../lib/user.js';

const jwt = { mode: 'jwt', jwt: { secret: SECRET } };

let gateway;
before(async () => (gateway = await startGateway({ config: { auth: jwt, login: { policy: 'multi' } } })));
after(() => gateway.close());

const revoke = (what, server = gateway) => server.api.expect(200, 'POST', '/v1/revocations', what);

async function enter(t, data, { client, server = gateway } = {}) {
  const user = await visitor(t, server, { ...client, reconnection: true });
  return { user, answer: await user.ask(REGISTER, data) };
}

async function codeOf(t, data, server) {
  const { user, answer } = await enter(t, data, { server });
  user.peer.close();
  return answer.code;
}

for (const client of eachGeneration) {
  test(`a revoked user is disconnected for good and cannot register again: ${client.version} ${client.transport}`, async (t) => {
    const uid = someone('小明');
    const old = token({ sub: uid, iat: seconds() - 100 });
    const { user, answer } = await enter(t, { token: old }, { client });
    assert.equal(answer.code, 0);
    assert.deepEqual(await revoke({ uid }), { closed: 1 });
    assert.equal(await user.peer.closed(), 'io server disconnect');
    assert.equal(user.peer.willReconnect, false);
    assert.equal(await codeOf(t, { token: old }), 401);
    assert.equal(await codeOf(t, { token: token({ sub: uid }) }), 401, 'a token without iat');
    assert.equal((await gateway.api.user(uid)).online, false);
  });
}

test('tokens that were issued later are accepted, and their connections stay open', async (t) => {
  const uid = someone();
  const [old, fresh] = [token({ sub: uid, iat: seconds() - 100 }), token({ sub: uid, iat: seconds() - 10 })];
  const [one, other] = [await enter(t, { token: old, deviceid: 'a' }), await enter(t, { token: fresh, deviceid: 'b' })];
  assert.deepEqual([one.answer.code, other.answer.code], [0, 0]);
  assert.deepEqual(await revoke({ uid, issued_until: (seconds() - 50) * 1_000 }), { closed: 1 });
  await one.user.peer.closed();
  assert.deepEqual((await gateway.api.user(uid)).connections.map(({ deviceid }) => deviceid), ['b']);
  assert.equal(await codeOf(t, { token: fresh, deviceid: 'c' }), 0);
});

test('a single device or a single token can be revoked', async (t) => {
  const uid = someone();
  const iat = seconds() - 10;
  const [phone, laptop] = [token({ sub: uid, iat, jti: someone('t') }), token({ sub: uid, iat, jti: someone('t') })];
  const jti = JSON.parse(Buffer.from(laptop.split('.')[1], 'base64url')).jti;
  await enter(t, { token: phone, deviceid: 'phone' });
  await enter(t, { token: laptop, deviceid: 'laptop' });
  assert.deepEqual(await revoke({ uid, deviceid: 'phone' }), { closed: 1 });
  assert.equal(await codeOf(t, { token: phone, deviceid: 'phone' }), 401);
  assert.deepEqual((await gateway.api.user(uid)).connections.map(({ deviceid }) => deviceid), ['laptop']);
  assert.deepEqual(await revoke({ jti }), { closed: 1 });
  assert.equal(await codeOf(t, { token: laptop, deviceid: 'laptop' }), 401);
  assert.equal(await codeOf(t, { token: phone, deviceid: 'tablet' }), 0);
});

test('a revoked token displaces no connection, and signs nobody out', async (t) => {
  const server = await startGateway({ config: { auth: jwt } });
  t.after(() => server.close());
  const uid = someone();
  const [stolen, own] = ['stolen', 'own'].map((jti) => token({ sub: uid, jti }));
  await revoke({ jti: 'stolen' }, server);
  await enter(t, { token: own, deviceid: 'a' }, { server });
  assert.equal(await codeOf(t, { token: stolen, deviceid: 'b' }, server), 401);
  const answer = await fetch(`${server.url}/signout`, { method: 'POST', headers: { authorization: `Bearer ${stolen}` } });
  assert.equal(answer.status, 401);
  assert.deepEqual((await server.api.user(uid)).connections.map(({ deviceid }) => deviceid), ['a']);
});

test('revocations survive kill -9', async (t) => {
  const server = await startGateway({ config: { auth: jwt } });
  t.after(() => server.close());
  const uid = someone();
  const old = token({ sub: uid, iat: seconds() - 10, jti: 'x' });
  await revoke({ jti: 'x', until: Date.now() + 600_000 }, server);
  await server.program.kill();
  await server.start();
  assert.equal(await codeOf(t, { token: old }, server), 401);
  assert.equal(await codeOf(t, { token: token({ sub: uid }) }, server), 0);
});

test('a displaced device cannot register again, if login.revoke_displaced is set', async (t) => {
  const server = await startGateway({ config: { auth: jwt, login: { revoke_displaced: true } } });
  t.after(() => server.close());
  const uid = someone();
  const iat = seconds() - 10;
  const [first, second] = ['first', 'second'].map((jti) => token({ sub: uid, iat, jti }));
  const displaced = await enter(t, { token: first, deviceid: 'a' }, { server });
  await enter(t, { token: second, deviceid: 'b' }, { server });
  assert.equal(await displaced.user.peer.closed(), 'io server disconnect');
  assert.equal(await codeOf(t, { token: first, deviceid: 'a' }, server), 401);
  assert.equal(await codeOf(t, { token: first, deviceid: 'c' }, server), 401);
  assert.deepEqual((await server.api.user(uid)).connections.map(({ deviceid }) => deviceid), ['b']);
});

test('an invalid revocation is refused with an explanation', async (t) => {
  for (const [body, part] of [
    [{}, 'Name a'],
    [{ deviceid: 'a' }, 'Name a'],
    [{ uid: 'a', jti: 'b' }, 'Name a'],
    [{ jti: '' }, '"jti"'],
    [{ jti: 'x'.repeat(257) }, '"jti"'],
    [{ uid: 'a', deviceid: '' }, '"deviceid"'],
    [{ uid: 'a', until: 5 }, '"until"'],
    [{ uid: 'a', issued_until: Date.now() + 600_000 }, '"issued_until"'],
  ]) {
    const { detail } = await gateway.api.expect(400, 'POST', '/v1/revocations', body);
    assert.ok(detail.includes(part), `${JSON.stringify(body)}: ${detail}`);
  }
  const open = await startGateway();
  t.after(() => open.close());
  await open.api.expect(409, 'POST', '/v1/revocations', { uid: 'a' });
});

test('the number of revocations is limited', async (t) => {
  const server = await startGateway({ config: { auth: jwt, limits: { revocations: 2 } } });
  t.after(() => server.close());
  for (const jti of ['a', 'b']) await revoke({ jti }, server);
  const { detail } = await server.api.expect(413, 'POST', '/v1/revocations', { jti: 'c' });
  assert.match(detail, /limits\.revocations/);
});

test('revocations of displaced devices do not count towards the limit of the operator\'s revocations', async (t) => {
  const server = await startGateway({ config: { auth: jwt, login: { revoke_displaced: true }, limits: { revocations: 2 } } });
  t.after(() => server.close());
  const uid = someone();
  for (let n = 0; n < 6; n++) await enter(t, { token: token({ sub: uid, jti: `displaced ${n}` }), deviceid: `d${n}` }, { server });
  for (const jti of ['a', 'b']) await revoke({ jti }, server);
  await server.api.expect(413, 'POST', '/v1/revocations', { jti: 'c' });
  await revoke({ jti: 'a' }, server);
  await server.program.kill();
  await server.start();
  await server.api.expect(413, 'POST', '/v1/revocations', { jti: 'c' });
  await revoke({ jti: 'b' }, server);
  assert.equal(await codeOf(t, { token: token({ sub: uid, jti: 'displaced 0' }) }, server), 401);
});
