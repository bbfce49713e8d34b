// Web pages of other sites: host names of their own that lead to the gateway (DNS rebinding), and forged
// sign-outs.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call } from '../../lib/api.js';
import { startGateway } from '../../lib/program.js';
import { exchange } from '../../lib/raw.js';
import { SECRET, token } from '../../lib/token.js';
import { signIn, someone } from '../../lib/user.js';

const OURS = 'https://chat.example.com';
const FOREIGN = 'https://evil.example';

async function started(t, config) {
  const gateway = await startGateway({ config });
  t.after(() => gateway.close());
  return gateway;
}

/** The status of a request with the header `Host: host`. */
async function statusOf(gateway, path, host) {
  const answer = await exchange(gateway.port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]), answer };
}

const POLL = '/socket.io/?EIO=4&transport=polling';

test('in open mode, requests with an unknown Host header are refused, except where a key is needed', async (t) => {
  const gateway = await started(t);
  for (const host of ['evil.example', `evil.example:${gateway.port}`, 'localhost.evil.example', '127.0.0.1.evil.example']) {
    for (const path of ['/', '/open/online', '/metrics', POLL]) {
      const { status, answer } = await statusOf(gateway, path, host);
      assert.equal(status, 403, `${path} of ${host}`);
      assert.match(answer, /server\.hosts/);
    }
    assert.equal((await statusOf(gateway, '/health/live', host)).status, 200);
  }
  for (const host of ['localhost', `localhost:${gateway.port}`, '127.0.0.1', `[::1]:${gateway.port}`, '192.168.7.7', 'mynah']) {
    for (const path of ['/', POLL]) assert.equal((await statusOf(gateway, path, host)).status, 200, `${path} of ${host}`);
  }
  const metrics = (await call(gateway.url, 'GET', '/metrics')).text;
  assert.match(metrics, /mynah_connections_refused_total\{reason="host"\} 16/);
});

test('a WebSocket upgrade with an unknown Host header is refused too', async (t) => {
  const gateway = await started(t);
  const head = (host) =>
    `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: ${host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://evil.example\r\n\r\n';
  assert.match(await exchange(gateway.port, head('evil.example')), /^HTTP\/1\.1 403/);
});

test('names in server.hosts are accepted, and in mode jwt every name is', async (t) => {
  const named = await started(t, { server: { hosts: ['chat.example.com'] } });
  assert.equal((await statusOf(named, POLL, 'chat.example.com')).status, 200);
  assert.equal((await statusOf(named, POLL, 'evil.example')).status, 403);
  const any = await started(t, { server: { hosts: ['*'] } });
  assert.equal((await statusOf(any, POLL, 'evil.example')).status, 200);
  const tokens = await started(t, { auth: { mode: 'jwt', jwt: { secret: SECRET } } });
  assert.equal((await statusOf(tokens, POLL, 'chat.example.com')).status, 200);
});

/** The preflight request of a browser before a page of `origin` may send JSON to /signout. */
const preflight = (gateway, origin) =>
  call(gateway.url, 'OPTIONS', '/signout', {
    headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' },
  });

test('pages of configured origins may sign their user out, and pages of other origins may not', async (t) => {
  for (const auth of [{}, { mode: 'jwt', jwt: { secret: SECRET } }]) {
    const gateway = await started(t, { server: { cors_origins: [OURS] }, auth });
    const uid = someone();
    const given = auth.mode && { token: token({ sub: uid }) };
    const signOut = (origin) => call(gateway.url, 'POST', '/signout', { key: given?.token, headers: origin ? { origin } : {}, body: { uid } });
    const user = await signIn(t, gateway, uid, given);

    const allowed = await preflight(gateway, OURS);
    assert.equal(allowed.status, 204);
    assert.equal(allowed.headers.get('access-control-allow-origin'), OURS);
    assert.match(allowed.headers.get('access-control-allow-methods'), /POST/);
    assert.match(allowed.headers.get('access-control-allow-headers'), /authorization,content-type/);
    assert.equal((await preflight(gateway, FOREIGN)).headers.get('access-control-allow-origin'), null);

    const refused = await signOut(FOREIGN);
    assert.equal(refused.status, 403);
    assert.match(refused.body.detail, /cors_origins/);
    assert.equal(refused.headers.get('access-control-allow-origin'), null);
    assert.equal((await gateway.api.user(uid)).online, true);

    const done = await signOut(OURS);
    assert.deepEqual(done.body, { closed: 1 });
    assert.equal(done.headers.get('access-control-allow-origin'), OURS);
    assert.equal(await user.peer.closed(), 'io server disconnect');
    // A page of a configured origin may read the reason of a refusal.
    const wrong = await call(gateway.url, 'POST', '/signout', { headers: { origin: OURS }, body: 'nonsense' });
    assert.ok(wrong.status >= 400 && wrong.headers.get('access-control-allow-origin') === OURS);
    assert.equal((await signOut(gateway.url)).status, 200, 'a page of the gateway itself');
    assert.equal((await signOut(undefined)).status, 200, 'a program');
  }
});

test('a sign-out that a browser sends without a preflight request is refused', async (t) => {
  const gateway = await started(t);
  const uid = someone();
  await signIn(t, gateway, uid);
  for (const type of ['text/plain', 'text/plain;charset=UTF-8', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', undefined]) {
    const headers = type ? { 'content-type': type } : {};
    const body = Buffer.from(JSON.stringify({ uid }));
    const answer = await fetch(`${gateway.url}/signout`, { method: 'POST', headers: { ...headers, origin: FOREIGN }, body: type ? body : new Blob([body]) });
    assert.equal(answer.status, 415, type);
  }
  assert.equal((await gateway.api.user(uid)).online, true);
});
