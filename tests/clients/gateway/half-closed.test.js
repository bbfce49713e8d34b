// Clients that close their sending direction after their last request, as some programs and old proxies do,
// get their responses. Requests of every form can follow each other on one connection.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { eventually, within } from '../../lib/inbox.js';
import { API_KEY, startGateway } from '../../lib/program.js';
import { someone } from '../../lib/user.js';

let gateway;
before(async () => (gateway = await startGateway()));
after(() => gateway.close());

/**
 * Sends requests and closes the sending direction. Resolves with everything that is received until the server
 * closes.
 */
function halfClosed(requests) {
  const socket = connect({ port: gateway.port, host: '127.0.0.1', allowHalfOpen: true });
  let answer = '';
  const done = new Promise((resolve, reject) => {
    socket.on('data', (bytes) => (answer += bytes));
    socket.on('end', () => resolve(answer));
    socket.on('error', reject);
  });
  socket.end(requests);
  return within(done, 'the end of a connection').finally(() => socket.destroy());
}

const statuses = (answer) => [...answer.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => Number(status));
const bearer = `Host: x\r\nAuthorization: Bearer ${API_KEY}\r\n`;
const chunks = (body, trailers = '') => `${Buffer.byteLength(body).toString(16)};x="<>"\r\n${body}\r\n0\r\n${trailers}\r\n`;

async function session() {
  const text = await (await fetch(`${gateway.url}/socket.io/?EIO=4&transport=polling`)).text();
  return `/socket.io/?EIO=4&transport=polling&sid=${JSON.parse(text.slice(1)).sid}`;
}

test('an API client that has closed its sending direction gets its response', async () => {
  const uid = someone('x');
  const message = JSON.stringify({ type: 6, to: { user: uid }, data: { text: 'x'.repeat(50_000) } });
  const length = `Content-Length: ${message.length}\r\n`;
  for (const request of [
    `POST /v1/messages HTTP/1.1\r\n${bearer}${length}\r\n${message}`,
    `POST /v1/messages HTTP/1.0\r\n${bearer}${length}\r\n${message}`,
    `POST /v1/messages HTTP/1.1\r\n${bearer}Connection: close\r\n${length}\r\n${message}`,
    `POST /v1/messages HTTP/1.1\r\n${bearer}Transfer-Encoding: chunked\r\n\r\n${chunks(message)}`,
  ]) {
    assert.match(await halfClosed(request), /^HTTP\/1\.[01] 200 [\s\S]*"seq":\d+/, request.slice(0, 200));
  }
  const { conversations: [{ conv, head }] } = await gateway.api.expect(200, 'GET', `/v1/users/${uid}/conversations`);
  assert.equal(head, 4);
  // This response is larger than the buffers of a socket.
  const page = await halfClosed(`GET /v1/conversations/${conv}/messages?limit=500 HTTP/1.1\r\n${bearer}\r\n`);
  assert.equal(JSON.parse(page.slice(page.indexOf('\r\n\r\n') + 4)).messages.length, 4);
});

test('a polling client that has closed its sending direction gets its response', async () => {
  const path = await session();
  const register = `42["message",${JSON.stringify(JSON.stringify({ type: 1, data: { uid: someone('y') } }))}]`;
  const post = (body) => `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  for (const body of ['40', register]) assert.match(await halfClosed(post(body)), /^HTTP\/1\.1 200 [\s\S]*ok$/);
  const get = `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
  assert.match(await halfClosed(get), /^HTTP\/1\.1 200 [\s\S]*40\{"sid"/);
});

test('a client that closes the connection while its GET waits is detected', async (t) => {
  const path = await session();
  const uid = someone('z');
  const register = `42["message",${JSON.stringify(JSON.stringify({ type: 1, data: { uid } }))}]`;
  await (await fetch(gateway.url + path, { method: 'POST', body: `40\x1e${register}` })).text();
  await eventually(async () => (await (await fetch(gateway.url + path)).text()).includes('\\"code\\":0'), 'the response');
  assert.equal((await gateway.api.user(uid)).online, true);
  const socket = connect(gateway.port, '127.0.0.1');
  t.after(() => socket.destroy());
  socket.on('error', () => {});
  await new Promise((resolve) => socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`, resolve));
  socket.destroy();
  await eventually(async () => !(await gateway.api.user(uid)).online, 'its end');
});

test('a query may contain quotes and angle brackets after a request of any form', async () => {
  const path = `${await session()}&user={"name":"<a>"}`;
  const post = (headers, body) => `POST ${path} HTTP/1.1\r\nHost: x\r\n${headers}\r\n${body}`;
  const requests = [
    post('Content-Length: 2\r\n', '40'),
    post('Transfer-Encoding: chunked\r\n', chunks('42["x","<1>"]')),
    post('Transfer-Encoding: chunked\r\n', chunks('42["x","<2>"]', 'X-Trailer: "<>"\r\n')),
    post('Content-Length: 11\r\nExpect: 100-continue\r\n', '42["x","3"]'),
    `GET ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n`,
    `GET /health/live?x="<>" HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`,
    `GET /v1/users/u?x="<>" HTTP/1.1\r\n${bearer}\r\n`,
  ];
  const answer = await halfClosed(requests.join(''));
  assert.deepEqual(statuses(answer).filter((status) => status !== 100), requests.map(() => 200), answer);
});
