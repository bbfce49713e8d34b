// The API and its answers for users who are connected to different nodes: counts, sign-out, revocations, API
// keys, teams, and limits.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { call } from '../../lib/api.js';
import { API_KEY, GATEWAY, Program } from '../../lib/program.js';
import { Cluster, NO_CLUSTER } from '../../lib/cluster.js';
import { READ, READ_PUSH, RECALL, RECALLED, refused } from '../../lib/delivery.js';
import { eventually, within } from '../../lib/inbox.js';
import { SECRET, token } from '../../lib/token.js';
import { REGISTER, signIn, someone, visitor } from '../../lib/user.js';

const skip = NO_CLUSTER;
const RATE = 40;
const LARGE = 60;
let cluster;
before(async () => {
  if (skip) return;
  const limits = { user_messages_per_second: RATE, user_messages_burst: RATE };
  cluster = await Cluster.start({ config: { auth: { mode: 'jwt', jwt: { secret: SECRET } }, login: { policy: 'multi' }, limits } });
});
after(() => cluster?.close());

let turn = 0;
/** A registered device on one of the nodes. */
async function enter(t, uid, { node = cluster.nodes[turn++ % cluster.nodes.length], jti, ...data } = {}) {
  return signIn(t, node, uid, { ...data, token: token({ sub: uid, iat: Math.floor(Date.now() / 1000), ...(jti && { jti }) }) });
}

/** One user on each node. */
const oneOnEach = (t) => Promise.all(cluster.nodes.map((node, i) => enter(t, someone(`人${i}`), { node })));

test('every node counts the users of all nodes', { skip }, async (t) => {
  const users = await oneOnEach(t);
  const uids = users.map(({ uid }) => uid);
  const away = [someone('away'), someone('away')];
  const team = someone('队');
  await cluster.api.team(team, [...uids, away[0]]);
  for (const user of users) await user.frames.takeMany(0);
  for (const [n, { api }] of cluster.nodes.entries()) {
    const sent = await api.send({ type: 5, to: { users: [...uids, ...away] }, data: { n } });
    assert.deepEqual(sent.results.map(({ delivered }) => delivered), [true, true, true, false, false]);
    assert.deepEqual([sent.online, sent.offline], [3, 2]);
    const inTeam = await api.send({ type: 15, to: { team }, from: uids[0], data: { n } });
    assert.deepEqual([inTeam.online, inTeam.offline], [3, 1]);
    assert.deepEqual(await api.send({ type: 5, to: { everyone: true }, data: { all: n } }), { online: 3 });
    const { online } = await api.expect(200, 'POST', '/v1/users/online', { uids: [away[0], ...uids, away[1]] });
    assert.deepEqual(online, uids);
    for (const user of users) {
      assert.equal((await user.frames.take(({ type, data }) => type === 5 && data.n === n, 'a notice')).data.n, n);
      assert.equal((await user.frames.take(({ type }) => type === 15, 'a message to the team')).data.n, n);
      assert.equal((await user.frames.take(({ type, data }) => type === 5 && data.all === n, 'a message to everyone')).data.all, n);
      const { online: is, connections } = await api.user(user.uid);
      assert.deepEqual([is, connections.map(({ sid }) => sid)], [true, [user.registered.sid]]);
    }
  }
  // A batch, and messages to a user on all of its devices.
  const phone = users[0];
  const desk = await enter(t, phone.uid, { node: cluster.nodes[1], deviceid: 'desk' });
  const { results } = await cluster.nodes[2].api.expect(200, 'POST', '/v1/messages/batch', { messages: [1, 2, 3].map((n) => ({ type: 5, to: { user: phone.uid }, data: { n } })) });
  assert.deepEqual(results.map(({ results: [one] }) => one.delivered), [true, true, true]);
  for (const device of [phone, desk]) for (const n of [1, 2, 3]) assert.equal((await device.next(5)).data.n, n);
});

test('a large team is counted once per user, wherever its members are', { skip }, async (t) => {
  const members = Array.from({ length: LARGE }, () => someone('员'));
  const there = members.filter((_, i) => i % 2);
  const users = await Promise.all(there.map((uid) => enter(t, uid)));
  // A second device of the same user on another node does not count again.
  const more = await enter(t, there[0], { deviceid: 'second' });
  const team = someone('大队');
  await cluster.api.team(team, members);
  for (const [n, { api }] of cluster.nodes.entries()) {
    const sent = await api.send({ type: 15, to: { team }, from: there[1], data: { n } });
    assert.deepEqual([sent.online, sent.offline], [there.length, LARGE - there.length]);
    for (const user of [...users, more]) assert.equal((await user.frames.take(({ type }) => type === 15, 'the message')).data.n, n);
  }
});

test('a sign-out reaches all nodes, and counts the connections of all', { skip }, async (t) => {
  for (const { api } of cluster.nodes) {
    const uid = someone('退');
    const devices = await Promise.all(cluster.nodes.map((node, i) => enter(t, uid, { node, deviceid: `d${i}` })));
    assert.deepEqual(await api.expect(200, 'POST', `/v1/users/${encodeURIComponent(uid)}/signout`), { closed: 3 });
    for (const other of cluster.nodes) assert.equal((await other.api.user(uid)).online, false);
    for (const { peer } of devices) assert.equal(await peer.closed(), 'io server disconnect');
  }
});

test('a revocation closes connections of all nodes, and is in force everywhere when it is answered', { skip }, async (t) => {
  for (const { api } of cluster.nodes) {
    const uid = someone('撤');
    const [phone, desk, tv] = await Promise.all(cluster.nodes.map((node, i) => enter(t, uid, { node, deviceid: `d${i}`, jti: `${uid}-${i % 2}` })));
    assert.deepEqual(await api.expect(200, 'POST', '/v1/revocations', { jti: `${uid}-0` }), { closed: 2 });
    for (const { peer } of [phone, tv]) assert.equal(await peer.closed(), 'io server disconnect');
    const revoked = token({ sub: uid, jti: `${uid}-0` });
    for (const node of cluster.nodes) assert.equal((await (await visitor(t, node)).ask(REGISTER, { token: revoked })).code, 401);
    assert.deepEqual(await api.expect(200, 'POST', '/v1/revocations', { uid }), { closed: 1 });
    assert.equal(await desk.peer.closed(), 'io server disconnect');
  }
});

test('API keys change on all nodes within two seconds', { skip }, async () => {
  const [first] = cluster.nodes;
  const apiKey = async (...args) => {
    const program = new Program(GATEWAY, ['--config', first.file, 'api-key', ...args], { cwd: first.directory });
    const { code } = await within(program.exited, `api-key ${args}`);
    assert.equal(code, 0, program.output);
    return /^mynah_[0-9a-f]{64}$/m.exec(program.output)?.[0];
  };
  const everywhere = (key, status) =>
    eventually(async () => (await Promise.all(cluster.nodes.map(({ url }) => call(url, 'GET', '/v1/users/u', { key })))).every((answer) => answer.status === status), `${status} everywhere`, 4_000);
  const key = await apiKey('add', 'all', '--scopes', 'read');
  await everywhere(key, 200);
  const next = await apiKey('rotate', 'all');
  await everywhere(key, 401);
  await everywhere(next, 200);
  await apiKey('remove', 'all', '--force');
  await everywhere(next, 401);
});

test('a change of a team is in force on all nodes when it is answered', { skip }, async (t) => {
  const users = await oneOnEach(t);
  const [boss, ...others] = users;
  const team = someone('组');
  await cluster.nodes[2].api.team(team, [boss.uid]);
  for (const [i, { api }] of cluster.nodes.entries()) {
    for (const user of others) {
      await refused(user, 403, 101, { type: 15, to: { team }, data: {} });
      await api.expect(200, 'POST', `/v1/teams/${encodeURIComponent(team)}/members`, { uids: [user.uid] });
      assert.equal((await user.send({ team }, { i })).code, 0, 'a new member sends');
      await api.expect(200, 'DELETE', `/v1/teams/${encodeURIComponent(team)}/members/${encodeURIComponent(user.uid)}`);
      await refused(user, 403, 101, { type: 15, to: { team }, data: {} });
    }
  }
  await cluster.nodes[0].api.expect(204, 'DELETE', `/v1/teams/${encodeURIComponent(team)}`);
  for (const { api } of cluster.nodes) assert.equal((await api.call('GET', `/v1/teams/${encodeURIComponent(team)}`)).status, 404);
});

test('reads, recalls and own messages reach the devices on other nodes', { skip }, async (t) => {
  const [alice, bob] = [someone('爱丽丝'), someone('鲍勃')];
  const [phone, desk] = await Promise.all([0, 1].map((i) => enter(t, alice, { node: cluster.nodes[i], deviceid: `d${i}` })));
  const other = await enter(t, bob, { node: cluster.nodes[2] });
  const { conv, seq, mid } = await phone.send({ user: bob }, { text: '你好' });
  for (const user of [desk, other]) assert.equal((await user.next(3)).mid, mid);
  assert.equal((await other.ask(READ, { conv, seq })).code, 0);
  for (const user of [phone, desk]) assert.equal((await user.next(READ_PUSH)).data.seq, seq);
  assert.equal((await desk.ask(RECALL, { mid })).code, 0);
  for (const user of [phone, desk, other]) assert.equal((await user.next(RECALLED)).data.mid, mid);
  for (const user of [phone, desk, other]) await user.hearsNothing();
});

/**
 * Runs `act` on every node without a pause for `ms`. Returns how many calls returned true after the first
 * second.
 */
async function pressed(ms, act) {
  const begun = Date.now();
  let accepted = 0;
  const lane = async (node, i) => {
    while (Date.now() - begun < ms) {
      const good = await act(node, i);
      if (good && Date.now() - begun > 1_500) accepted++;
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
  };
  await Promise.all(cluster.nodes.map(lane));
  return accepted;
}

test('the limit of a user counts the messages on all nodes together', { skip }, async (t) => {
  const uid = someone('多');
  const devices = await Promise.all(cluster.nodes.map((node, i) => enter(t, uid, { node, deviceid: `d${i}` })));
  const to = { user: someone('收') };
  const codes = new Set();
  const ms = 6_500;
  const accepted = await pressed(ms, async (_, i) => {
    const { code } = await devices[i].send(to, { i });
    codes.add(code);
    return code === 0;
  });
  const allowed = (RATE * (ms - 1_500)) / 1_000;
  t.diagnostic(`${accepted} messages in 5 s; the limit allows ${allowed}`);
  assert.deepEqual([...codes].sort(), [0, 429]);
  assert.ok(accepted < allowed * 1.6, `${accepted} messages were accepted, and not ${allowed}`);
  assert.ok(accepted > allowed * 0.4, `${accepted} messages were accepted, and not ${allowed}`);
});

test('the limit of an API key counts the calls on all nodes together', { skip }, async (t) => {
  const own = await Cluster.start({ config: { limits: { calls_per_second: RATE, calls_burst: RATE } }, postgres: cluster.postgres, redis: cluster.redis });
  t.after(() => own.close());
  const ms = 6_500;
  const [mine, theirs] = [cluster.nodes, own.nodes];
  assert.equal(mine.length, theirs.length);
  const statuses = new Set();
  const accepted = await pressed(ms, async (_, i) => {
    const { status } = await call(theirs[i].url, 'GET', '/v1/users/u', { key: API_KEY });
    statuses.add(status);
    return status === 200;
  });
  const allowed = (RATE * (ms - 1_500)) / 1_000;
  t.diagnostic(`${accepted} calls in 5 s; the limit allows ${allowed}`);
  assert.deepEqual([...statuses].sort(), [200, 429]);
  assert.ok(accepted < allowed * 1.6, `${accepted} calls were accepted, and not ${allowed}`);
  assert.ok(accepted > allowed * 0.4, `${accepted} calls were accepted, and not ${allowed}`);
});
