// Tokens against the program: fetched at every connect, expired and renewed, refused, and used to sign out.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startGateway } from '../../../tests/lib/program.js';
import { SECRET, seconds, token } from '../../../tests/lib/token.js';
import { Device, device, someone, texts, versions } from './lib/device.js';

let gateway;
before(async () => {
  gateway = await startGateway({ config: { auth: { mode: 'jwt', jwt: { secret: SECRET } } } });
});
after(() => gateway?.close());

for (const version of versions) {
  test(`${version}: a token that expires is replaced, and nothing is missed`, async (t) => {
    const [uid, peer] = [someone('爱丽丝'), someone()];
    let fetched = 0;
    // Good for a moment, and then for long.
    const fresh = async () => token({ sub: uid, exp: seconds() + (fetched++ ? 600 : 2) });
    const alice = await device(t, gateway, uid, { version, token: fresh });
    await alice.hear('disconnected');
    await gateway.api.send({ type: 3, from: peer, to: { user: uid }, data: { text: '还在吗' } });
    assert.deepEqual(texts([await alice.message()]), ['还在吗']);
    assert.equal(fetched, 2);
    assert.equal((await alice.client.send({ user: peer }, 3, { text: '在' })).seq, 2);
  });

  test(`${version}: who the user is stands in the token, and it signs out`, async (t) => {
    const uid = someone('鲍勃');
    const bob = await device(t, gateway, undefined, { version, token: token({ sub: uid }) });
    assert.equal(bob.client.uid, uid);
    await bob.client.signOut();
    assert.equal((await gateway.api.user(uid)).online, false);
  });
}

test('a token that is refused stops the client, with the reason', async (t) => {
  const uid = someone();
  const mallory = new Device(t, gateway.url, { uid, token: token({ sub: uid }, { key: 'x'.repeat(32) }) });
  assert.equal((await mallory.hear('error')).code, 401);
  assert.equal(mallory.client.status, 'refused');
});
