// Clients that connect over TLS, and certificates that are renewed while they are connected.

import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { after, before, test } from 'node:test';
import { eventually } from '../../lib/inbox.js';
import { everyClient } from '../../lib/peer.js';
import { certify, freshDirectory, startGateway } from '../../lib/program.js';
import { exchange } from '../../lib/raw.js';
import { signIn, someone } from '../../lib/user.js';

/** A gateway with a certificate. Its API has a separate address without TLS. */
async function secured() {
  const files = freshDirectory();
  certify(files);
  const tls = { cert_file: join(files, 'cert.pem'), key_file: join(files, 'key.pem'), admin: false };
  const gateway = await startGateway({ config: { server: { tls, admin_listen: '127.0.0.1:0' } } });
  const close = async () => {
    await gateway.close();
    rmSync(files, { recursive: true });
  };
  return { gateway, close, tls, certificate: () => readFileSync(tls.cert_file) };
}

let server;
before(async () => (server = await secured()));
after(() => server.close());

for (const client of everyClient) {
  test(`two users chat over TLS: ${client.version} ${client.transport}`, async (t) => {
    const { gateway } = server;
    const [one, other] = [someone('安全'), someone('🔒')];
    const more = { client: { ...client, ca: server.certificate() } };
    const alice = await signIn(t, gateway, one, more);
    const bob = await signIn(t, gateway, other, more);
    await alice.peer.upgraded;
    const text = '密'.repeat(10_000);
    for (let n = 0; n < 20; n++) {
      assert.equal((await alice.send({ user: other }, { n, text })).code, 0);
      assert.deepEqual((await bob.next(3)).data, { n, text });
    }
    assert.equal((await gateway.api.user(one)).connections[0].transport, client.transport === 'polling' ? 'polling' : 'websocket');
    await gateway.api.call('POST', `/v1/users/${encodeURIComponent(one)}/signout`);
    assert.match(await alice.peer.closed(), /io server disconnect/);
  });
}

test('plain HTTP on the TLS port is answered with an explanation', async () => {
  const answer = await exchange(server.gateway.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.match(answer, /^HTTP\/1\.1 400 [^]*https:\/\//);
});

/** Does a TLS handshake. Returns the negotiated version and protocol, or the error. */
function shake(options) {
  return new Promise((resolve) => {
    const socket = tlsConnect({ port: server.gateway.port, host: '127.0.0.1', ca: server.certificate(), ...options }, () => {
      resolve({ version: socket.getProtocol(), alpn: socket.alpnProtocol, serial: socket.getPeerCertificate().serialNumber });
      socket.destroy();
    });
    socket.on('error', (error) => resolve({ error: error.code }));
  });
}

test('TLS 1.2 and 1.3 are accepted, older versions are not, and HTTP/1.1 is negotiated', async () => {
  for (const version of ['TLSv1.2', 'TLSv1.3']) {
    const { version: spoken, alpn } = await shake({ minVersion: version, maxVersion: version, ALPNProtocols: ['h2', 'http/1.1'] });
    assert.deepEqual([spoken, alpn], [version, 'http/1.1']);
  }
  assert.ok((await shake({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' })).error);
  assert.ok((await shake({ ALPNProtocols: ['h2'] })).error);
});

test('a renewed certificate is used without a restart, and an invalid one is ignored', async (t) => {
  const { gateway, tls } = server;
  const uid = someone('续期');
  const user = await signIn(t, gateway, uid, { client: { ca: server.certificate() } });
  const before = (await shake({})).serial;

  writeFileSync(tls.key_file, 'this is no key\n');
  await gateway.program.printed(/certificate stays in use[^\n]*server\.tls\.key_file/);
  assert.equal((await shake({})).serial, before);

  certify(join(tls.cert_file, '..'));
  const serial = await eventually(async () => (await shake({})).serial, 'the new certificate');
  assert.notEqual(serial, before);
  assert.equal((await user.ask(103, {})).code, 400, 'the earlier connection is still open');
  const metrics = (await gateway.api.call('GET', '/metrics')).text;
  assert.match(metrics, /^mynah_tls_reload_failures_total 1$/m);
  assert.match(metrics, /^mynah_tls_certificate_expiry_seconds [1-9]\d{8,}$/m);
});
