// Forged and invalid tokens, with every configured algorithm. None of them may be accepted.

import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { after, before, test } from 'node:test';
import { startGateway } from '../../lib/program.js';
import { SECRET, keys, seconds, token } from '../../lib/token.js';
import { REGISTER, visitor } from '../../lib/user.js';

const pairs = Object.fromEntries(['RS256', 'ES256', 'EdDSA'].map((alg) => [alg, keys(alg)]));
const strangers = Object.fromEntries(['RS256', 'ES256', 'EdDSA'].map((alg) => [alg, keys(alg)]));
const sub = 'alice';

let withAll;
let withoutSecret;
let withAudience;

before(async () => {
  const public_key = Object.values(pairs).map(({ pem }) => pem).join('');
  const start = (jwt) => startGateway({ config: { auth: { mode: 'jwt', jwt } } });
  withAll = await start({ secret: SECRET, public_key });
  withoutSecret = await start({ public_key });
  withAudience = await start({ secret: SECRET, audience: ['mynah'], issuer: 'https://login.example' });
});
after(() => Promise.all([withAll, withoutSecret, withAudience].map((gateway) => gateway?.close())));

async function answer(t, gateway, given) {
  const user = await visitor(t, gateway);
  return user.ask(REGISTER, { uid: sub, token: given });
}

const refused = async (t, gateway, given, what) => {
  const { code, error } = await answer(t, gateway, given);
  assert.equal(code, 401, what);
  assert.match(error, /^[A-Z].*\.$/, what);
};

test('each algorithm accepts its own key, and no other key of the same sort', async (t) => {
  assert.equal((await answer(t, withAll, token({ sub }))).code, 0);
  for (const alg of Object.keys(pairs)) {
    assert.equal((await answer(t, withAll, pairs[alg].sign({ sub }))).code, 0, alg);
    await refused(t, withAll, strangers[alg].sign({ sub }), alg);
    await refused(t, withAll, strangers[alg].sign({ sub }, { header: { kid: pairs[alg].kid } }), alg);
  }
});

test('a token without a signature is refused', async (t) => {
  for (const alg of ['none', 'None', 'NONE', 'nOnE', '']) {
    await refused(t, withAll, token({ sub }, { alg, with: 'none' }), alg);
    await refused(t, withAll, token({ sub }, { alg, with: 'HS256' }), alg);
  }
  for (const alg of ['HS256', 'RS256', 'ES256', 'EdDSA']) await refused(t, withAll, token({ sub }, { alg, with: 'none' }), alg);
});

test('HS256 with a public key as the secret is refused', async (t) => {
  for (const { pem } of Object.values(pairs)) {
    const der = createPublicKey(pem).export({ type: 'spki', format: 'der' });
    for (const key of [pem, pem.trim(), pem.replaceAll('\n', ''), der, der.toString('base64')])
      for (const gateway of [withAll, withoutSecret]) await refused(t, gateway, token({ sub }, { key }), 'HS256');
  }
});

test('a token signed with the secret is refused if only public keys are configured', (t) => refused(t, withoutSecret, token({ sub }), 'HS256'));

test('a token that is signed with another algorithm than its header says is refused', async (t) => {
  const names = ['HS256', ...Object.keys(pairs), 'PS256', 'HS512', 'ES384', 'RS512', 'ES256K'];
  for (const real of Object.keys(pairs))
    for (const alg of names)
      if (alg !== real) await refused(t, withAll, token({ sub }, { alg, with: real, key: pairs[real].key }), `${real} as ${alg}`);
  await refused(t, withAll, token({ sub }, { alg: 'PS256', key: pairs.RS256.key }), 'PS256');
  await refused(t, withAll, token({ sub }, { alg: 'HS512' }), 'HS512');
});

test('a key in the header of the token is not used', async (t) => {
  const { key, jwk, pem } = strangers.ES256;
  for (const header of [{ jwk }, { jku: 'http://127.0.0.1:1/jwks' }, { x5u: 'http://127.0.0.1:1/' }, { x5c: [Buffer.from(pem).toString('base64')] }])
    await refused(t, withAll, token({ sub }, { key, alg: 'ES256', header }), Object.keys(header)[0]);
  await refused(t, withAll, token({ sub }, { header: { crit: ['b64'], b64: false } }), 'crit');
});

test('claims that are missing, of a wrong type, or outside their time are refused', async (t) => {
  const now = seconds();
  for (const claims of [
    { sub: undefined }, { sub: '' }, { sub: null }, { sub: 'a\u0000' }, { sub: 'x'.repeat(129) },
    { exp: undefined }, { exp: null }, { exp: `${now + 60}` }, { exp: now - 1 }, { exp: 0 }, { exp: -1 }, { exp: Date.now() + 60_000 },
    { nbf: now + 60 }, { nbf: 'soon' }, { iat: now + 3_600 }, { iat: now + 86_400 * 365 }, { aud: 'another' }, { aud: ['another'] },
    { kinds: 'all' }, { device: 7 },
  ])
    await refused(t, withAll, token({ sub, ...claims }), JSON.stringify(claims));
});

test('audience and issuer are checked', async (t) => {
  const iss = 'https://login.example';
  assert.equal((await answer(t, withAudience, token({ sub, iss, aud: 'mynah' }))).code, 0);
  assert.equal((await answer(t, withAudience, token({ sub, iss, aud: ['x', 'mynah'] }))).code, 0);
  for (const claims of [{}, { iss }, { aud: 'mynah' }, { iss, aud: 'Mynah' }, { iss, aud: [] }, { iss, aud: { mynah: 1 } }, { iss: 'x', aud: 'mynah' }, { iss: [iss], aud: 'mynah' }])
    await refused(t, withAudience, token({ sub, ...claims }), JSON.stringify(claims));
});

test('text that is no token is refused', async (t) => {
  const good = token({ sub });
  const [head, claims, signature] = good.split('.');
  for (const broken of ['', '.', '..', 'a.b.c', `${head}.${claims}`, `${head}.${claims}.`, `${good}.`, `${good}A`, `${good}=`, good.slice(0, -2), `${head}.${Buffer.from(JSON.stringify({ sub: 'bob', exp: seconds() + 60 })).toString('base64url')}.${signature}`, `${head}.${claims}.${signature}.${signature}.${signature}`, 'x'.repeat(9_000), `${'eyJ'.repeat(50_000)}.e30.e30`])
    await refused(t, withAll, broken, broken.slice(0, 80));
  const user = await visitor(t, withAll);
  for (const wrong of [7, {}, [good], true]) assert.equal((await user.ask(REGISTER, { uid: sub, token: wrong })).code, 400);
  assert.equal((await user.ask(REGISTER, { token: good })).code, 0, 'the connection is still open');
});
