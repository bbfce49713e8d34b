// Sessions through any node: who is answered what for a sid that is made up, closed, or of a dead node; the
// internal door; and the client's address.

import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { Cluster, NO_CLUSTER } from '../../lib/cluster.js';
import { call } from '../../lib/api.js';
import { eventually, within } from '../../lib/inbox.js';
import { everyClient } from '../../lib/peer.js';
import { exchange } from '../../lib/raw.js';
import { signIn, someone } from '../../lib/user.js';

const skip = NO_CLUSTER;
const UNKNOWN = { code: 1, message: 'Session ID unknown' };
/** The answer is promised within a second. A busy machine may take longer. */
const SOON_MS = 5_000;

let cluster;
before(async () => {
  if (!skip) cluster = await Cluster.start({ config: { server: { trusted_proxies: ['127.0.0.1'] } } });
});
after(() => cluster?.close());

/** Opens a polling session on a node. Returns its sid. */
async function session(node, { eio = 4, headers } = {}) {
  const text = await (await fetch(`${node.url}/socket.io/?EIO=${eio}&transport=polling`, { headers })).text();
  return JSON.parse(/\{.*\}/.exec(text)[0]).sid;
}

const path = (sid, { eio = 4, transport = 'polling' } = {}) => `/socket.io/?EIO=${eio}&transport=${transport}&sid=${sid}`;

/** Every request with this sid to this node must be answered at once that the session is unknown. */
async function isUnknown(node, sid, why) {
  const begun = performance.now();
  for (const eio of [3, 4]) {
    for (const more of [{}, { method: 'POST', body: '40' }]) {
      const answer = await within(fetch(node.url + path(sid, { eio }), more), `${why}: an answer`, SOON_MS);
      assert.equal(answer.status, 400, why);
      assert.deepEqual(await answer.json(), UNKNOWN, why);
    }
  }
  const upgrade = `GET ${path(sid, { transport: 'websocket' })} HTTP/1.1\r\nHost: 127.0.0.1:${node.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
  assert.match(await within(exchange(node.port, upgrade, /\r\n\r\n/), `${why}: an upgrade`, SOON_MS), /^HTTP\/1\.1 400 /, why);
  return Math.round((performance.now() - begun) / 5);
}

test('a session is the same through every node, for every client', { skip }, async (t) => {
  for (const client of everyClient) {
    const user = await signIn(t, cluster, someone('处处'), { client });
    await user.peer.upgraded;
    for (let n = 0; n < 6; n++) await cluster.api.sendTo(user.uid, { type: 5, data: { n, text: '你好 🐦' } });
    for (let n = 0; n < 6; n++) assert.equal((await user.next(5)).data.n, n, `${client.version} ${client.transport}`);
    assert.equal((await user.send({ user: user.uid }, { text: 'é\u2028🔥' })).code, 0);
  }
  const counts = cluster.nodes.map(({ port }) => cluster.proxy.counts.get(port));
  assert.ok(counts.every((count) => count > 30), `requests for each node: ${counts}`);
});

test('a sid that is made up or closed is unknown at every node', { skip }, async (t) => {
  const real = await session(cluster.nodes[0]);
  const closed = await session(cluster.nodes[1]);
  assert.equal((await fetch(cluster.nodes[2].url + path(closed), { method: 'POST', body: '1' })).status, 200);
  const sids = { 'made up': 'AAAAAAAAAAAAAAAAAAAA', 'of a node, made up': `${real.slice(0, -6)}AAAAAA`, short: 'x', long: 'x'.repeat(2_000), closed };
  for (const [why, sid] of Object.entries(sids)) for (const node of cluster.nodes) await isUnknown(node, sid, `a sid that is ${why}`);
  // The session from which one was derived goes on.
  const poll = await fetch(cluster.nodes[1].url + path(real), { method: 'POST', body: '40' });
  assert.equal(poll.status, 200);
  t.diagnostic(`sids: ${real}`);
});

test('an overlapping poll through another node ends the session, as on one node', { skip }, async () => {
  const sid = await session(cluster.nodes[0]);
  const first = fetch(cluster.nodes[1].url + path(sid));
  const second = await eventually(async () => {
    const answer = await Promise.race([fetch(cluster.nodes[2].url + path(sid)), first.then(() => undefined)]);
    return answer?.status === 400 || answer === undefined;
  }, 'the second poll');
  assert.ok(second);
  await isUnknown(cluster.nodes[1], sid, 'the ended session');
});

test('without the secret there is nothing below /internal/', { skip }, async () => {
  const bare = ({ status, text, headers }) => ({ status, text, type: headers.get('content-type') });
  for (const node of cluster.nodes) {
    for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS']) {
      const nothing = bare(await call(node.url, method, '/nothing/at-all'));
      assert.equal(nothing.status, 404);
      for (const where of ['/internal/', '/internal/session', '/internal/socket.io/', '/internal/v1/users/u', '/internal/socket.io/?EIO=4&transport=polling', '/internal/health/ready']) {
        for (const headers of [{}, { authorization: 'Bearer x' }, { authorization: `Bearer ${'0'.repeat(64)}`, 'x-mynah-token': '0'.repeat(64) }]) {
          assert.deepEqual(bare(await call(node.url, method, where, { headers })), nothing, `${method} ${where}`);
        }
      }
    }
    const upgrade = `GET /internal/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:${node.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
    assert.match(await exchange(node.port, upgrade, /\r\n\r\n/), /^HTTP\/1\.1 404 /);
  }
});

test('the address of a connection is that of its client, whichever node answers', { skip }, async (t) => {
  const headers = { 'x-forwarded-for': '203.0.113.7' };
  const users = [];
  for (const transport of ['polling', 'websocket', 'upgrade']) {
    const user = await signIn(t, cluster, someone('地址'), { client: { transport, headers } });
    await user.peer.upgraded;
    users.push(user);
  }
  for (const { uid } of users) {
    for (const { api } of cluster.nodes) assert.deepEqual((await api.user(uid)).connections.map(({ address }) => address), ['203.0.113.7']);
  }
});

test('the session of a node that cannot be reached, or whose address leads to another node, is unknown', { skip }, async (t) => {
  const others = new Set();
  const wrong = createServer((socket) => {
    others.add(socket);
    const onward = connect(cluster.nodes[1].port, '127.0.0.1');
    for (const [one, other] of [[socket, onward], [onward, socket]]) one.pipe(other).on('error', () => one.destroy()) && one.on('close', () => other.destroy());
  });
  await new Promise((resolve) => wrong.listen(0, '127.0.0.1', resolve));
  t.after(() => (wrong.close(), [...others].forEach((socket) => socket.destroy())));
  const node = await cluster.add({ cluster: { advertise: `127.0.0.1:${wrong.address().port}` } });
  await cluster.ready();
  const sid = await session(node);
  await isUnknown(cluster.nodes[0], sid, 'an address that leads to another node');
  assert.ok(others.size > 0, 'it was asked');
  wrong.close();
  for (const socket of others) socket.destroy();
  await isUnknown(cluster.nodes[0], sid, 'an address that leads nowhere');
  assert.equal((await fetch(node.url + path(sid), { method: 'POST', body: '40' })).status, 200, 'it goes on there');
  await cluster.drain(node);
  cluster.nodes.pop();
});

test('the sid of a dead node is unknown at once, before and after the others know', { skip }, async (t) => {
  const [dead, ...living] = cluster.nodes;
  const sid = await session(dead);
  await cluster.kill(dead);
  const first = [];
  for (const node of living) first.push(await isUnknown(node, sid, 'a dead node, just now'));
  await eventually(async () => (await Promise.all(living.map(({ api }) => api.call('GET', '/health/ready')))).every(({ status }) => status === 200), 'the others');
  await cluster.again(dead);
  for (const node of cluster.nodes) await isUnknown(node, sid, 'a node that has started again');
  t.diagnostic(`each answer took ${first} ms`);
});
