// Calls to servers whose certificates no public authority has signed, and what the log says about
// certificates that are not trusted.

import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { test } from 'node:test';
import { Inbox, within } from '../../lib/inbox.js';
import { certify, freshDirectory, GATEWAY, Program, startGateway } from '../../lib/program.js';
import { keys } from '../../lib/token.js';
import { visitor } from '../../lib/user.js';

/** A server with a new certificate for 127.0.0.1, which answers every request with `answer`. */
async function secured(t, answer = '{}') {
  const directory = freshDirectory();
  certify(directory);
  const [cert, key] = ['cert.pem', 'key.pem'].map((name) => join(directory, name));
  const got = new Inbox('requests');
  const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, async (request, response) => {
    got.push(Buffer.concat(await request.toArray()).toString());
    response.end(answer);
  });
  await new Promise((listening) => server.listen(0, '0.0.0.0', listening));
  t.after(() => {
    server.closeAllConnections();
    server.close();
    rmSync(directory, { recursive: true, force: true });
  });
  return { cert, got, url: (host) => `https://${host}:${server.address().port}/` };
}

async function started(t, options) {
  const gateway = await startGateway(options);
  t.after(() => gateway.close());
  return gateway;
}

const push = (url) => ({ push: { webhook: { url, secret: 's' } } });
const notice = { type: 6, data: {} };

test('a webhook with a certificate of a private authority is called if outbound.ca_file has that authority', async (t) => {
  const receiver = await secured(t);
  for (const options of [
    { config: { ...push(receiver.url('127.0.0.1')), outbound: { ca_file: receiver.cert } } },
    { config: push(receiver.url('localhost')), env: { SSL_CERT_FILE: receiver.cert } },
  ]) {
    const gateway = await started(t, options);
    await gateway.api.sendTo('bob', notice);
    assert.match(await receiver.got.take(() => true, 'a notification'), /"uid":"bob"/);
  }
});

test('the log says why a certificate was not accepted', async (t) => {
  const receiver = await secured(t);
  for (const [host, outbound, why] of [
    ['127.0.0.1', {}, /its certificate is not accepted: unknown issuer/],
    ['127.0.0.2', { ca_file: receiver.cert }, /its certificate is not accepted: it was issued for another name/],
  ]) {
    const gateway = await started(t, { config: { ...push(receiver.url(host)), outbound } });
    await gateway.api.sendTo('bob', notice);
    await gateway.program.printed(why);
  }
  assert.deepEqual(receiver.got.untaken, []);
});

test('a key set is fetched from a server with a certificate of a private authority', async (t) => {
  const issuer = keys('EdDSA');
  const server = await secured(t, JSON.stringify({ keys: [issuer.jwk] }));
  const auth = { mode: 'jwt', jwt: { jwks_url: server.url('127.0.0.1') } };
  const gateway = await started(t, { config: { auth, outbound: { ca_file: server.cert } } });
  const user = await visitor(t, gateway);
  assert.equal((await user.ask(1, { token: issuer.sign({ sub: 'alice' }) })).code, 0);
  const untrusted = await started(t, { config: { auth } });
  await untrusted.program.printed(/key set could not be fetched[^\n]*unknown issuer/);
});

test('check-config refuses a file without certificates, and so does the start', async (t) => {
  const gateway = await started(t, { config: push('https://127.0.0.1:9/') });
  for (const name of ['MYNAH_OUTBOUND__CA_FILE', 'SSL_CERT_FILE']) {
    const checked = new Program(GATEWAY, ['check-config', '--config', gateway.file], { cwd: gateway.directory, env: { [name]: 'missing.pem' } });
    assert.equal((await within(checked.exited, 'check-config to end')).code, 2);
    assert.match(checked.output, /push\.webhook cannot be used: outbound\.ca_file \(or SSL_CERT_FILE\) missing\.pem cannot be used/);
  }
});

test('http URLs of other machines cause a warning at the start and in check-config', async (t) => {
  const url = 'http://push.invalid:8080/?key=hush';
  const gateway = await started(t, { config: push(url) });
  await gateway.program.printed(/WARN[^\n]*push\.webhook\.url is an http URL of another machine/);
  const checked = new Program(GATEWAY, ['check-config', '--config', gateway.file], { cwd: gateway.directory });
  assert.equal((await within(checked.exited, 'check-config to end')).code, 0);
  assert.match(checked.output, /warning: push\.webhook\.url is an http URL of another machine/);
  assert.ok(!checked.output.includes('hush') && !gateway.program.output.includes('hush'));
  const near = await started(t, { config: push('http://127.0.0.1:9/') });
  assert.doesNotMatch(near.program.output, /of another machine/);
});
