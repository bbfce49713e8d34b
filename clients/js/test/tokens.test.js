// Tokens, against the real gateway: fetched at every connect, expired, renewed, refused, and used to sign
// out.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../../../tests/lib/inbox.js';
import { startGateway } from '../../../tests/lib/program.js';
import { SECRET, seconds, token } from '../../../tests/lib/token.js';
import { Device, device, someone, texts, versions } from './lib/device.js';

let gateway;
before(async () => {
  gateway = await startGateway({ config: { auth: { mode: 'jwt', jwt: { secret: SECRET } } } });
});
after(() => gateway?.close());

for (const version of versions) {
  test(`${version}: a token is renewed before it expires, and the connection stays open`, async (t) => {
    const [uid, peer] = [someone('爱丽丝'), someone()];
    const tokens = [];
    // The first token is valid for four seconds, later ones for ten minutes.
    const fresh = async () => tokens[tokens.push(token({ sub: uid, exp: seconds() + (tokens.length ? 600 : 4) })) - 1];
    const alice = await device(t, gateway, uid, { version, token: fresh });
    const end = seconds() + 4;
    const [before] = (await gateway.api.user(uid)).connections;
    // By then the gateway would have closed the connection because of the expired first token.
    await eventually(() => seconds() > end + 2, 'the end of the first token');
    await gateway.api.send({ type: 3, from: peer, to: { user: uid }, data: { text: '还在吗' } });
    assert.deepEqual(texts([await alice.message()]), ['还在吗']);
    const [after] = (await gateway.api.user(uid)).connections;
    assert.deepEqual([after.sid, after.since, tokens.length], [before.sid, before.since, 2]);
    assert.deepEqual(alice.told.untaken.filter(({ event }) => ['connected', 'disconnected', 'error'].includes(event)), []);
    assert.equal((await alice.client.send({ user: peer }, 3, { text: '在' })).seq, 2);
  });

  test(`${version}: the connection is closed when its token cannot be renewed, and nothing is missed after a reconnect with a new one`, async (t) => {
    const [uid, peer] = [someone('爱丽丝'), someone()];
    let fetched = 0;
    // The first token is valid for two seconds. Then the function fails, and later it returns a longer-lived
    // token.
    let isOut = false;
    const fresh = async () => {
      if (isOut) throw new Error('the backend is down');
      return token({ sub: uid, exp: seconds() + (fetched++ ? 600 : 2) });
    };
    const alice = await device(t, gateway, uid, { version, token: fresh });
    isOut = true;
    await alice.hear('disconnected');
    isOut = false;
    await gateway.api.send({ type: 3, from: peer, to: { user: uid }, data: { text: '还在吗' } });
    assert.deepEqual(texts([await alice.message()]), ['还在吗']);
    assert.equal(fetched, 2);
    assert.equal((await alice.client.send({ user: peer }, 3, { text: '在' })).seq, 2);
  });

  test(`${version}: the uid comes from the token, and the token is used to sign out`, async (t) => {
    const uid = someone('鲍勃');
    const bob = await device(t, gateway, undefined, { version, token: token({ sub: uid }) });
    assert.equal(bob.client.uid, uid);
    await bob.client.signOut();
    assert.equal((await gateway.api.user(uid)).online, false);
  });
}

test('a client whose token is refused stops, and reports the reason', async (t) => {
  const uid = someone();
  const mallory = new Device(t, gateway.url, { uid, token: token({ sub: uid }, { key: 'x'.repeat(32) }) });
  assert.equal((await mallory.hear('error')).code, 401);
  assert.equal(mallory.client.status, 'refused');
});
