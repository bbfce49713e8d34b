// The issuer's key set over HTTP: a key is chosen by `kid`, the set is fetched again for a new `kid`, and
// kept while the issuer is down.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { eventually } from '../../lib/inbox.js';
import { startGateway } from '../../lib/program.js';
import { keys } from '../../lib/token.js';
import { REGISTER, someone, visitor } from '../../lib/user.js';

/** An issuer whose answer the test sets. */
async function issuer(t) {
  const made = { keys: [], status: 200, asked: 0 };
  const server = createServer((_request, response) => {
    made.asked++;
    response.writeHead(made.status, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: made.keys.map(({ jwk }) => jwk) }));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  made.url = `http://127.0.0.1:${server.address().port}/.well-known/jwks.json`;
  return made;
}

const start = async (t, jwt) => {
  const gateway = await startGateway({ config: { auth: { mode: 'jwt', jwt } } });
  t.after(() => gateway.close());
  return gateway;
};

const ask = async (t, gateway, token) => (await visitor(t, gateway)).ask(REGISTER, { token });

test('keys are chosen by kid, and the set is fetched again when a token names a new kid', async (t) => {
  const source = await issuer(t);
  const old = ['RS256', 'ES256', 'EdDSA'].map((alg) => keys(alg));
  source.keys = old;
  const gateway = await start(t, { jwks_url: source.url, jwks_cooldown_ms: 100 });
  for (const pair of old) assert.equal((await ask(t, gateway, pair.sign({ sub: someone() }))).code, 0, pair.alg);
  const [rs, es] = old;
  assert.equal((await ask(t, gateway, rs.sign({ sub: 'a' }, { header: { kid: es.kid } }))).code, 401);
  const asked = source.asked;
  const fresh = keys('ES256');
  source.keys = [fresh];
  await eventually(async () => (await ask(t, gateway, fresh.sign({ sub: someone() }))).code === 0, 'the new key');
  assert.ok(source.asked > asked);
  assert.equal((await ask(t, gateway, rs.sign({ sub: 'a' }))).code, 401, 'removed keys are not accepted any more');
});

test('tokens with invented kids do not cause many requests to the issuer', async (t) => {
  const source = await issuer(t);
  const [known, stranger] = [keys('EdDSA'), keys('EdDSA')];
  source.keys = [known];
  const gateway = await start(t, { jwks_url: source.url, jwks_cooldown_ms: 3_600_000 });
  assert.equal((await ask(t, gateway, known.sign({ sub: 'a' }))).code, 0);
  const user = await visitor(t, gateway);
  for (let i = 0; i < 50; i++) assert.equal((await user.ask(REGISTER, { token: stranger.sign({ sub: 'a' }, { header: { kid: `forged-${i}` } }) })).code, 401);
  assert.equal(source.asked, 1);
});

test('the last valid set is kept while the issuer is down; registers are answered 503 if there was never one', async (t) => {
  const source = await issuer(t);
  const pair = keys('EdDSA');
  source.keys = [pair];
  source.status = 500;
  const gateway = await start(t, { jwks_url: source.url, jwks_cooldown_ms: 100 });
  const early = await ask(t, gateway, pair.sign({ sub: 'a' }));
  assert.equal(early.code, 503);
  assert.match(early.error, /try again later/);
  source.status = 200;
  await eventually(async () => (await ask(t, gateway, pair.sign({ sub: someone() }))).code === 0, 'the keys');
  source.status = 500;
  const asked = source.asked;
  await eventually(async () => {
    assert.equal((await ask(t, gateway, keys('EdDSA').sign({ sub: 'a' }))).code, 401);
    return source.asked > asked;
  }, 'a failed fetch');
  assert.equal((await ask(t, gateway, pair.sign({ sub: someone() }))).code, 0);
});
