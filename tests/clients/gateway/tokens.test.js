// Tokens (docs/PROTOCOL.md#tokens), for every client version: where a token may be placed, and what it
// allows.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { call } from '../../lib/api.js';
import { eachGeneration, everyClient, isOld } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { SECRET, seconds, token } from '../../lib/token.js';
import { REGISTER, REGISTERED, someone, visitor } from '../../lib/user.js';

let gateway;
before(async () => (gateway = await startGateway({ config: { auth: { mode: 'jwt', jwt: { secret: SECRET } } } })));
after(() => gateway.close());

for (const client of everyClient) {
  describe(`socket.io-client ${client.version} ${client.transport}`, { concurrency: true }, () => {
    test('accepts a token in the register frame', async (t) => {
      const uid = someone('小明🐦');
      const user = await visitor(t, gateway, client);
      assert.equal((await user.ask(REGISTER, { uid })).code, 401);
      user.say({ type: REGISTER, data: { token: token({ sub: uid }) }, req: 1 });
      const { data } = await user.next(REGISTERED);
      assert.deepEqual([data.code, data.uid], [0, uid]);
      assert.equal((await gateway.api.sendTo(uid, { type: 5, data: { text: '你好' } })).delivered, true);
      assert.equal((await user.next(5)).data.text, '你好');
    });

    test('accepts a token in the query of the handshake', async (t) => {
      const uid = someone('小红');
      const user = await visitor(t, gateway, { ...client, query: { token: token({ sub: uid }) } });
      assert.equal((await user.ask(REGISTER, {})).uid, uid);
      assert.equal((await gateway.api.user(uid)).online, true);
    });

    if (!isOld(client.version))
      test('accepts a token in the auth of the handshake, which has precedence over the query', async (t) => {
        const uid = someone();
        const user = await visitor(t, gateway, { ...client, auth: { token: token({ sub: uid }) }, query: { token: 'bad' } });
        assert.equal((await user.ask(REGISTER, { uid })).uid, uid);
      });

    test('keeps the connection open after an invalid token in the handshake, and answers the register 401', async (t) => {
      const uid = someone();
      const user = await visitor(t, gateway, { ...client, query: { token: token({ sub: uid, exp: seconds() - 1 }) } });
      const refused = await user.ask(REGISTER, { uid });
      assert.equal(refused.code, 401);
      assert.match(refused.error, /expired/);
      assert.equal((await user.ask(101, { type: 3, to: { user: 'bob' }, data: {} })).code, 401);
      assert.equal((await user.ask(REGISTER, { token: token({ sub: uid }) })).code, 0, 'the token in the frame is valid');
    });
  });
}

for (const client of eachGeneration) {
  test(`a client whose token expires is told, and its connection is closed to reconnect: ${client.version} ${client.transport}`, async (t) => {
    const uid = someone();
    const user = await visitor(t, gateway, client);
    assert.equal((await user.ask(REGISTER, { token: token({ sub: uid, exp: seconds() + 3 }) })).code, 0);
    const { data } = await user.next(REGISTERED);
    assert.equal(data.code, 401);
    assert.match(data.error, /expired/);
    assert.match(await user.peer.closed(), /^transport (close|error)$/, 'the client got no disconnect packet, so it reconnects');
    assert.equal((await gateway.api.user(uid)).online, false);
  });

  test(`a token is renewed on the live connection: ${client.version} ${client.transport}`, async (t) => {
    const uid = someone();
    const [user, other] = [await visitor(t, gateway, client), await visitor(t, gateway, client)];
    const exp = seconds() + 3;
    assert.equal((await user.ask(REGISTER, { deviceid: 'd', token: token({ sub: uid, exp }) })).code, 0);
    const renewed = await user.ask(REGISTER, { token: token({ sub: uid }) });
    assert.deepEqual([renewed.code, renewed.deviceid], [0, 'd']);
    // Another user's token with the same expiry shows when the first token has expired.
    assert.equal((await other.ask(REGISTER, { token: token({ sub: `${uid}-other`, exp }) })).code, 0);
    assert.equal((await other.next(REGISTERED)).data.code, 401);
    assert.equal((await gateway.api.sendTo(uid, { type: 5, data: {} })).delivered, true);
    assert.equal((await user.next(5)).type, 5);
  });
}

test('a uid that differs from the sub is refused with 403, and the earlier registration stays', async (t) => {
  const [uid, other] = [someone(), someone()];
  const user = await visitor(t, gateway);
  assert.equal((await user.ask(REGISTER, { token: token({ sub: uid }) })).code, 0);
  const refused = await user.ask(REGISTER, { uid: other, token: token({ sub: uid }) });
  assert.equal(refused.code, 403);
  assert.match(refused.error, /^[A-Z].*\.$/);
  assert.equal((await user.ask(REGISTER, { uid: other })).code, 403, 'also without a token in the frame');
  assert.equal((await gateway.api.sendTo(uid, { type: 5, data: {} })).delivered, true);
  assert.equal((await gateway.api.user(other)).online, false);
  assert.equal((await user.ask(REGISTER, { uid: other, token: token({ sub: other }) })).code, 0);
  assert.equal((await gateway.api.user(uid)).online, false);
});

test('a token may restrict the device, the platform and the kinds', async (t) => {
  const uid = someone();
  const limited = token({ sub: uid, device: 'phone', platform: 'ios', kinds: [3] });
  const user = await visitor(t, gateway);
  assert.equal((await user.ask(REGISTER, { token: limited, deviceid: 'tablet' })).code, 403);
  assert.equal((await user.ask(REGISTER, { token: limited, platform: 'web' })).code, 403);
  assert.equal((await user.ask(REGISTER, { token: limited })).deviceid, 'phone');
  assert.equal((await gateway.api.user(uid)).connections[0].platform, 'ios');
  assert.equal((await user.ask(101, { type: 3, to: { user: 'bob' }, data: {} })).code, 0);
  assert.equal((await user.ask(101, { type: 7, to: { user: 'bob' }, data: {} })).code, 403);
});

test('a user can sign out with its token', async (t) => {
  const uid = someone();
  const user = await visitor(t, gateway);
  await user.ask(REGISTER, { token: token({ sub: uid }) });
  for (const key of [undefined, 'bad', token({ sub: uid }, { key: 'x'.repeat(32) }), token({ sub: uid, exp: seconds() - 1 })]) {
    const { status, headers } = await call(gateway.url, 'POST', '/signout', { key, body: { uid } });
    assert.equal(status, 401);
    assert.match(headers.get('www-authenticate'), /^Bearer/);
  }
  assert.equal((await gateway.api.user(uid)).online, true);
  for (const [body, closed] of [[{ uid: 'somebody else' }, 1], [undefined, 0], [{}, 0]])
    assert.deepEqual((await call(gateway.url, 'POST', '/signout', { key: token({ sub: uid }), body })).body, { closed });
  assert.equal(await user.peer.closed(), 'io server disconnect');
});

test('the log contains neither tokens nor users', async (t) => {
  const loud = await startGateway({ config: { auth: { mode: 'jwt', jwt: { secret: SECRET } }, log: { filter: 'info' } } });
  t.after(() => loud.close());
  const given = token({ sub: 'somebody-secret', exp: seconds() - 1 });
  const user = await visitor(t, loud, { query: { token: given } });
  await user.ask(REGISTER, { token: given });
  await call(loud.url, 'POST', '/signout', { key: given });
  await loud.program.stop();
  assert.ok(!loud.program.output.includes(given.split('.')[1]) && !loud.program.output.includes('somebody-secret'));
  assert.ok(!loud.program.output.includes(SECRET));
  await loud.start();
});

test('in mode jwt, the demo page and its API do not exist', async () => {
  for (const path of ['/', '/app.js', '/open/online']) assert.equal((await call(gateway.url, 'GET', path)).status, 404);
});
