// Slow or rejected request bodies, and responses that are not read: other clients are not affected, and
// memory is bounded.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually, within } from '../../lib/inbox.js';
import { API_KEY, Program, startGateway } from '../../lib/program.js';

const NGINX = ['/usr/sbin/nginx', '/usr/bin/nginx', '/usr/local/sbin/nginx'].find((path) => existsSync(path));

async function start(t, limits = {}) {
  const gateway = await startGateway({ config: { limits } });
  t.after(() => gateway.close());
  return gateway;
}

/** Makes sockets that are closed at the end of the test. */
function socketsOf(t, gateway) {
  const sockets = [];
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  return (text) => {
    const socket = connect(gateway.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(text);
    sockets.push(socket);
    return socket;
  };
}

const bearer = `Host: x\r\nAuthorization: Bearer ${API_KEY}\r\n`;
const resident = ({ program }) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${program.pid}/status`, 'utf8'))[1]) * 1024;

test('slow request bodies do not delay other calls', async (t) => {
  const gateway = await start(t, { calls_in_flight: 4 });
  const open = socketsOf(t, gateway);
  const slow = Array.from({ length: 20 }, () => open(`POST /v1/messages HTTP/1.1\r\n${bearer}Content-Length: 1000\r\n\r\n{`));
  // The program has received all of them once it has answered a later request.
  await Promise.all(slow.map((socket) => within(new Promise((resolve) => socket.once('connect', resolve)), 'a connection')));
  for (let i = 0; i < 10; i++) {
    await gateway.api.expect(200, 'GET', '/v1/users/u');
    await gateway.api.expect(200, 'POST', '/v1/users/online', { uids: ['u'] });
  }
});

test('unread responses are bounded in bytes, and do not delay other calls', async (t) => {
  const gateway = await start(t, { calls_in_flight: 4 });
  const text = 'x'.repeat(60_000);
  for (let i = 0; i < 16; i++) {
    const messages = Array.from({ length: 10 }, () => ({ type: 6, to: { user: 'u' }, data: { text }, push: false }));
    await gateway.api.expect(200, 'POST', '/v1/messages/batch', { messages });
  }
  const { conversations: [{ conv }] } = await gateway.api.expect(200, 'GET', '/v1/users/u/conversations');
  const before = resident(gateway);
  const open = socketsOf(t, gateway);
  for (let i = 0; i < 60; i++) open(`GET /v1/conversations/${conv}/messages?limit=500 HTTP/1.1\r\n${bearer}\r\n`).pause();
  // Each response has about 10 MB. Calls that exceed limits.call_bytes are answered 503, which is counted.
  await eventually(async () => {
    const { text } = await gateway.api.call('GET', '/metrics');
    return /mynah_limited_total\{limit="call_bytes"\} [1-9]/.test(text);
  }, 'calls beyond limits.call_bytes');
  await gateway.api.expect(200, 'GET', '/v1/users/u');
  const grown = resident(gateway) - before;
  assert.ok(grown < 250_000_000, `${grown} bytes more are resident`);
});

/** nginx with persistent connections to the gateway. It listens on a Unix socket. */
async function nginx(t, gateway) {
  const directory = mkdtempSync(join(tmpdir(), 'mynah-nginx-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const socketPath = join(directory, 'nginx.sock');
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${directory}/${name};`).join(' ');
  writeFileSync(join(directory, 'nginx.conf'), `
    ${process.getuid() === 0 ? 'user root;' : ''}
    daemon off; pid ${directory}/pid; error_log ${directory}/error.log; worker_processes 1;
    events { worker_connections 256; }
    http {
      access_log off; ${temp} client_max_body_size 100m;
      upstream gateway { server 127.0.0.1:${gateway.port}; keepalive 8; }
      server {
        listen unix:${socketPath};
        location / { proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off; }
      }
    }`);
  const program = new Program(NGINX, ['-p', directory, '-c', join(directory, 'nginx.conf'), '-e', join(directory, 'error.log')]);
  t.after(() => program.stop());
  await eventually(() => existsSync(socketPath), 'nginx');
  return socketPath;
}

/**
 * The status of a POST with a body of `bytes` bytes; undefined if the connection broke before there was one.
 */
function post(socketPath, path, bytes, headers = '') {
  const socket = connect(socketPath);
  const status = new Promise((resolve) => {
    let answer = '';
    socket.on('data', (part) => {
      answer += part.toString('latin1');
      const match = /^HTTP\/1\.1 (\d+)/.exec(answer);
      if (match) resolve(Number(match[1]));
    });
    // A proxy may close the connection while the test still writes. What was received before counts.
    socket.on('error', () => resolve(undefined));
    socket.on('close', () => resolve(undefined));
  });
  socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${bytes}\r\n${headers}\r\n`);
  socket.write(Buffer.alloc(bytes, ' '));
  return within(status, 'an answer').finally(() => socket.destroy());
}

test('behind nginx with persistent connections, no response is lost', { skip: NGINX ? false : 'nginx is not installed' }, async (t) => {
  const gateway = await start(t);
  const socketPath = await nginx(t, gateway);
  const counts = {};
  for (const [path, status, key] of [
    ['/socket.io/?EIO=4&transport=polling&sid=aaaaaaaaaaaaaaaaaaaa', 400],
    ['/v1/messages', 401],
    ['/v1/nothing', 404, API_KEY],
    ['/v1/messages', 400, API_KEY],
    ['/nothing', 404],
  ]) {
    for (const bytes of [10, 900_000, 3_000_000]) {
      const answers = await Promise.all(Array.from({ length: 20 }, () => post(socketPath, path, bytes, key ? `Authorization: Bearer ${key}\r\n` : '')));
      for (const answer of answers) if (answer !== status) counts[`${path} ${bytes}: ${answer}`] = (counts[`${path} ${bytes}: ${answer}`] ?? 0) + 1;
    }
  }
  const large = await Promise.all(Array.from({ length: 10 }, () => post(socketPath, '/v1/messages', 20_000_000, `Authorization: Bearer ${API_KEY}\r\n`)));
  assert.deepEqual(large, Array(10).fill(413));
  assert.deepEqual(counts, {});
});
