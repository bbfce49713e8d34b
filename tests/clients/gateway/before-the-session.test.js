// What happens before a session is open: addresses behind proxies, origins, limits of connections, and a
// separate address for the API.

import assert from 'node:assert/strict';
import { createServer, connect as tcpConnect } from 'node:net';
import { test } from 'node:test';
import WebSocket from 'ws';
import { call } from '../../lib/api.js';
import { eventually, within } from '../../lib/inbox.js';
import { eachGeneration } from '../../lib/peer.js';
import { API_KEY, startGateway } from '../../lib/program.js';
import { exchange } from '../../lib/raw.js';
import { signIn, someone } from '../../lib/user.js';

async function start(t, config) {
  const gateway = await startGateway({ config });
  t.after(() => gateway.close());
  return gateway;
}

/**
 * A TCP proxy on 127.0.0.2, which sends `header` first. `rewrite` may change the beginning of a client's
 * data.
 */
async function proxy(t, gateway, { header = '', rewrite = (head) => head } = {}) {
  const sockets = new Set();
  const server = createServer((client) => {
    const upstream = tcpConnect({ port: gateway.port, host: '127.0.0.1', localAddress: '127.0.0.2' });
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
    upstream.write(header);
    client.on('data', (bytes) => upstream.write(rewrite(bytes.toString('latin1')), 'latin1'));
    upstream.pipe(client);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { ...gateway, url: `http://127.0.0.1:${server.address().port}` };
}

const addressOf = async (gateway, uid) => (await gateway.api.user(uid)).connections[0].address;
/** Adds the header that an HTTP proxy adds to each request, after the headers of the client. */
const forwardedFor = (address) => (head) => head.replace(/^((?:GET|POST) [^]*?\r\n)/, `$1X-Forwarded-For: 10.9.9.9, ${address}\r\n`);
const v2 = (address) => Buffer.concat([Buffer.from('\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c', 'latin1'), Buffer.from([...address.split('.').map(Number), 127, 0, 0, 1, 18, 52, 0, 80])]);

for (const client of eachGeneration) {
  test(`behind a trusted proxy, each client has its own address: ${client.version} ${client.transport}`, async (t) => {
    const gateway = await start(t, { server: { trusted_proxies: ['127.0.0.2'] } });
    const uid = someone('代理');
    await signIn(t, await proxy(t, gateway, { rewrite: forwardedFor('198.51.100.7') }), uid, { client });
    assert.equal(await addressOf(gateway, uid), '198.51.100.7');
    // A client that is not a trusted proxy cannot choose its address.
    const liar = someone('骗子');
    await signIn(t, gateway, liar, { client: { ...client, headers: { 'X-Forwarded-For': '203.0.113.1' } } });
    assert.equal(await addressOf(gateway, liar), '127.0.0.1');
  });

  test(`behind a proxy with the PROXY protocol, each client has its own address: ${client.version} ${client.transport}`, async (t) => {
    const gateway = await start(t, { server: { trusted_proxies: ['127.0.0.2'], proxy_protocol: true, admin_listen: '127.0.0.1:0' } });
    const uid = someone('代理');
    await signIn(t, await proxy(t, gateway, { header: v2('198.51.100.8') }), uid, { client });
    assert.equal(await addressOf(gateway, uid), '198.51.100.8');
    assert.equal(await exchange(gateway.port, [v2('203.0.113.1'), 'GET / HTTP/1.1\r\nHost: x\r\n\r\n']), '', 'the header is not accepted from other addresses');
    assert.equal(await exchange(gateway.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'), '', 'a connection without the header is closed');
  });
}

test('web pages of origins that are not configured get 403 on both transports, and programs can connect', async (t) => {
  const gateway = await start(t, { server: { cors_origins: ['https://*.example.com'] } });
  const upgrade = (origin) =>
    new Promise((resolve) => {
      const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`, { origin });
      t.after(() => socket.terminate());
      socket.on('open', () => resolve(101));
      socket.on('unexpected-response', (_, response) => resolve(response.statusCode));
      socket.on('error', () => {});
    });
  const poll = async (origin) => (await call(gateway.url, 'GET', '/socket.io/?EIO=4&transport=polling', { headers: origin ? { origin } : {} })).status;
  for (const [origin, websocket, polling] of [
    ['https://chat.example.com', 101, 200],
    [gateway.url, 101, 200],
    [undefined, 101, 200],
    ['https://example.com', 403, 403],
    ['https://chat.example.com.evil.example', 403, 403],
    ['null', 403, 403],
  ]) {
    assert.deepEqual([await upgrade(origin), await poll(origin)], [websocket, polling], origin);
  }
});

test('a connection beyond the limit of an address is refused with 429, and accepted after another one was closed', async (t) => {
  const gateway = await start(t, { limits: { connections_per_address: 3 } });
  const inside = [];
  for (let n = 0; n < 3; n++) inside.push(await signIn(t, gateway, someone()));
  const knock = () => call(gateway.url, 'GET', '/socket.io/?EIO=4&transport=polling');
  const refused = await knock();
  assert.equal(refused.status, 429);
  assert.ok(Number(refused.headers.get('retry-after')) > 0);
  assert.match((await gateway.api.call('GET', '/metrics')).text, /^mynah_connections_refused_total\{reason="address"\} 1$/m);
  inside.pop().peer.close();
  await eventually(async () => (await knock()).status === 200, 'room');
});

test('with server.admin_listen, the API is only at its own address', async (t) => {
  const gateway = await start(t, { server: { admin_listen: '127.0.0.1:0' } });
  const uid = someone('后台');
  await signIn(t, gateway, uid);
  assert.notEqual(gateway.api.url, gateway.url);
  assert.equal((await gateway.api.user(uid)).online, true);
  for (const path of ['/v1/users/x', '/v1/openapi.json', '/metrics'])
    assert.equal((await call(gateway.url, 'GET', path, { key: API_KEY })).status, 404, path);
  assert.equal((await call(gateway.url, 'GET', '/health/ready')).status, 200);
  assert.equal((await call(gateway.api.url, 'GET', '/socket.io/?EIO=4&transport=polling')).status, 404);
});

test('thousands of half-open connections use little memory and do not delay other clients', async (t) => {
  const gateway = await start(t, {});
  const resident = async () => Number(/^mynah_memory_resident_bytes (\d+)$/m.exec((await gateway.api.call('GET', '/metrics')).text)[1]);
  const before = await resident();
  const sockets = [];
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  for (let n = 0; n < 3_000; n++) {
    const socket = tcpConnect(gateway.port, '127.0.0.1');
    sockets.push(socket);
    socket.on('error', () => {});
    await within(new Promise((resolve) => socket.once('connect', resolve)), 'a connection');
    if (n % 2) socket.write('GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nX-Slow: ');
  }
  const uid = someone('慢');
  const user = await signIn(t, gateway, uid);
  assert.equal((await user.ask(103, {})).code, 400);
  // With 20 KiB for each, this would be 60 MB.
  const grown = (await resident()) - before;
  assert.ok(grown < 20_000_000, `${grown} bytes`);
});
