// What is promised when a node, Redis or PostgreSQL fails. Each test waits for the promised state and fails
// at the promised bound; SLACK_MS is added because the machine may be busy.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Cluster, NO_CLUSTER } from '../../lib/cluster.js';
import { ack, resume } from '../../lib/delivery.js';
import { eventually, within } from '../../lib/inbox.js';
import { rawSocket } from '../../lib/raw.js';
import { REGISTER, signIn, someone, visitor } from '../../lib/user.js';
import { Webhook } from '../../lib/webhook.js';

const skip = NO_CLUSTER;
const SLACK_MS = 3_000;
const DISPLACED = 12;
const SECRET = 'a-secret';

let hook;
before(async () => (hook = await Webhook.start(SECRET)));
after(() => hook.close());

async function start(t, config = {}) {
  const push = { webhook: { url: encodeURI(hook.url), secret: SECRET }, delay_ms: 300, retry_initial_ms: 200 };
  // The nodes need heartbeats that are slower than the faults.
  const cluster = await Cluster.start({ config: { push, engine: { ping_interval_ms: 60_000 }, ...config } });
  t.after(() => cluster.close());
  return cluster;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A user that sends without a pause until `stop`. Its sends go to `to` in turn. */
function stream(user, to, { everyMs = 20 } = {}) {
  const sends = [];
  let isOver = false;
  const over = (async () => {
    for (let n = 0; !isOver; n++) {
      const uid = to[n % to.length];
      const begun = Date.now();
      const { code, seq, conv, error } = await user.send({ user: uid }, { n });
      sends.push({ n, uid, code, conv, seq, error, ms: Date.now() - begun });
      await pause(everyMs);
    }
  })();
  const stop = async () => {
    isOver = true;
    await over;
    return sends;
  };
  return { sends, stop };
}

/** Waits until the user has received every accepted message of the stream to it, in order and once. */
async function gets(user, sends, ms = SLACK_MS) {
  const due = sends.filter(({ uid, code }) => uid === user.uid && code === 0).map(({ n }) => n);
  const got = () => user.frames.untaken.filter(({ type }) => type === 3).map(({ data }) => data.n);
  await eventually(() => got().length >= due.length, `${user.uid} to receive ${due.length} messages`, ms).catch((error) => {
    const missing = due.filter((n) => !got().includes(n));
    error.message += `; it has ${got().length}; missing: ${missing.slice(0, 20)}`;
    throw error;
  });
  assert.deepEqual(got(), due, 'in order, once, without holes');
}

const online = async ({ api }, uids) => (await api.expect(200, 'POST', '/v1/users/online', { uids })).online;
const status = async ({ url }) => (await fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(3_000) }).catch(() => ({ status: 0 }))).status;

/** Waits until ready has this status, and says how long that took. */
async function readyIs(t, nodes, wanted, ms) {
  const begun = Date.now();
  await eventually(async () => (await Promise.all(nodes.map(status))).every((one) => one === wanted), `ready to be ${wanted}`, ms + SLACK_MS);
  t.diagnostic(`ready was ${wanted} after ${Date.now() - begun} ms (promised: ${ms})`);
}

/** The connections of these users must not have ended. */
function undisturbed(...users) {
  for (const { peer } of users) {
    assert.ok(peer.socket.connected, `${peer.name} is connected`);
    assert.deepEqual(peer.heard.untaken.filter(({ event }) => event === ':disconnect'), []);
  }
}

/** Lists and the login policy are right on all nodes: a device that registers elsewhere displaces. */
async function isRight(t, nodes, users, ms) {
  const begun = Date.now();
  const uids = users.map(({ uid }) => uid);
  await eventually(async () => (await Promise.all(nodes.map((node) => online(node, uids)))).every((list) => list.length === uids.length), 'all users to be online at all nodes', ms + SLACK_MS);
  t.diagnostic(`answers were right after ${Date.now() - begun} ms (promised: ${ms})`);
  for (const [i, user] of users.entries()) {
    const fresh = await signIn(t, nodes[(i + 1) % nodes.length], user.uid, { deviceid: 'elsewhere' });
    assert.equal((await user.next(DISPLACED)).data.deviceid, 'elsewhere');
    assert.equal(await user.peer.closed(), 'io server disconnect');
    await eventually(async () => (await Promise.all(nodes.map(({ api }) => api.user(user.uid)))).every(({ connections }) => connections.length === 1 && connections[0].sid === fresh.registered.sid), 'one connection');
  }
}

test('kill -9 of a node', { skip }, async (t) => {
  const cluster = await start(t);
  const [dead, ...living] = cluster.nodes;
  const [one, two] = await Promise.all(living.map((node) => signIn(t, node, someone('送'))));
  const [there, staying] = await Promise.all(living.map((node) => signIn(t, node, someone('收'))));
  const lost = await signIn(t, dead, someone('断'), { deviceid: 'phone', resume: true });
  const vanished = await signIn(t, dead, someone('走'));
  const writer = await signIn(t, dead, someone('写'));
  const heir = await signIn(t, living[0], someone('承'));
  const away = someone('away');
  const streams = [stream(one, [lost.uid, staying.uid]), stream(two, [there.uid])];
  await eventually(() => streams.every(({ sends }) => sends.length > 10), 'the streams');

  // The node dies while it commits and has jobs.
  for (let n = 0; n < 300; n++) writer.say({ type: 101, data: { type: 3, to: { user: heir.uid }, data: { n } } });
  const { mid } = await dead.api.sendTo(away, { type: 5, data: {} });
  await writer.next(102);
  await cluster.kill(dead);
  const died = Date.now();

  const { conv } = (await heir.frames.take(({ type }) => type === 3, 'the first message of the dead node'));
  const stored = async () => (await living[0].api.history(conv)).messages.length;
  const count = await stored();
  const got = () => heir.frames.untaken.filter(({ type }) => type === 3).map(({ seq }) => seq);
  await eventually(() => got().length === count - 1, 'what it had committed to be delivered', Math.max(0, died + 5_000 - Date.now()) + SLACK_MS);
  assert.deepEqual(got(), Array.from({ length: count - 1 }, (_, i) => i + 2), 'in order, once');
  t.diagnostic(`it had committed ${count} messages; all were delivered within ${Date.now() - died} ms`);

  const named = async (uid) => (await Promise.all(living.map(({ api }) => api.user(uid)))).some(({ connections }) => connections.length > 0);
  await eventually(async () => !(await named(vanished.uid)), 'its connections to disappear', Math.max(0, died + 10_000 - Date.now()) + SLACK_MS);
  t.diagnostic(`its connections were not named any more after ${Date.now() - died} ms`);
  const { user: back, replay } = await resume(t, living[1], lost.uid, { deviceid: 'phone' });
  assert.equal((await hook.next(away)).body.mid, mid);
  t.diagnostic(`its push job continued within ${Date.now() - died} ms`);
  assert.ok(Date.now() - died < 30_000 + SLACK_MS);

  await pause(1_000);
  const [ones, twos] = await Promise.all(streams.map(({ stop }) => stop()));
  for (const send of [...ones, ...twos]) assert.equal(send.code, 0, JSON.stringify(send));
  const slowest = Math.max(...[...ones, ...twos].map(({ ms }) => ms));
  t.diagnostic(`the slowest send of ${ones.length + twos.length} took ${slowest} ms (promised: 10000)`);
  assert.ok(slowest < 10_000 + SLACK_MS);
  await gets(staying, ones);
  await gets(there, twos);
  const theirs = ones.filter(({ uid }) => uid === lost.uid).map(({ n }) => n);
  await eventually(() => replay.length + back.frames.untaken.length >= theirs.length, 'all messages of the client that reconnected');
  assert.deepEqual([...replay, ...back.frames.untaken].map(({ data }) => data.n), theirs);
  undisturbed(one, two, there, staying, heir);
  await eventually(async () => (await online(living[0], [vanished.uid])).length === 0, 'its user to be offline', Math.max(0, died + 25_000 - Date.now()));
  assert.equal(hook.for(vanished.uid).length, 0);
  await cluster.again(dead);
});

test('a node that is stopped for longer than ten seconds', { skip }, async (t) => {
  const cluster = await start(t);
  const [stopped, ...living] = cluster.nodes;
  const client = await signIn(t, stopped, someone('停'), { deviceid: 'phone' });
  const to = await signIn(t, living[0], someone('收'));
  const other = await signIn(t, living[1], someone('送'));
  const uid = someone('搬');
  const moved = await signIn(t, stopped, uid, { deviceid: 'phone' });
  cluster.suspend(stopped);
  const begun = Date.now();
  const flow = stream(other, [to.uid]);
  // It is received while the node is stopped, and must not be handled afterwards.
  client.say({ type: 101, data: { type: 3, to: { user: to.uid }, data: { text: 'too late' } } });
  const late = visitor(t, stopped).then((user) => user.ask(REGISTER, { uid: someone('晚') })).catch((error) => error);
  const moving = await signIn(t, living[0], uid, { deviceid: 'tablet' });
  await eventually(async () => !(await living[0].api.user(client.uid)).connections.length, 'its connections to disappear', 10_000 + SLACK_MS);
  t.diagnostic(`its connections were not named any more after ${Date.now() - begun} ms`);
  await pause(Math.max(0, begun + 13_000 - Date.now()));
  cluster.resume(stopped);
  assert.notEqual(await client.peer.closed(), 'io server disconnect', 'it is closed to reconnect');
  assert.notEqual(await moved.peer.closed(), 'io server disconnect', 'it is closed to reconnect');
  for (const user of [client, moved]) assert.deepEqual(user.frames.untaken.filter(({ type }) => type === DISPLACED || type === 102), []);
  await readyIs(t, [stopped], 200, 15_000);
  const answer = await within(late, 'the client that came while the node was stopped', 20_000);
  if (!(answer instanceof Error)) t.diagnostic(`a register that had waited: ${JSON.stringify(answer)}`);
  const sends = await flow.stop();
  for (const send of sends) assert.equal(send.code, 0, JSON.stringify(send));
  assert.ok(Math.max(...sends.map(({ ms }) => ms)) < 10_000 + SLACK_MS);
  await gets(to, sends);
  const { conversations } = await living[0].api.expect(200, 'GET', `/v1/users/${encodeURIComponent(client.uid)}/conversations`);
  assert.deepEqual(conversations, [], 'nothing was stored of what it received while it was stopped');
  undisturbed(to, moving);

  // It serves as before.
  const again = await signIn(t, stopped, client.uid, { deviceid: 'phone' });
  const sender = await signIn(t, living[0], someone('再'));
  assert.equal((await sender.send({ user: again.uid }, { n: 1 })).code, 0);
  assert.equal((await again.next(3)).data.n, 1);
  assert.equal((await again.send({ user: to.uid }, { n: -1 })).code, 0);
  assert.equal((await to.next(3)).data.n, 0, 'the streamed messages are still untaken');
});

for (const name of ['unavailable and restarted empty', 'flushed', 'restarted at once']) {
  test(`Redis is ${name}`, { skip }, async (t) => {
    const cluster = await start(t);
    const [a, b, c] = cluster.nodes;
    const sender = await signIn(t, a, someone('送'));
    const [near, far, third] = [await signIn(t, a, someone('近'), { deviceid: 'd' }), await signIn(t, b, someone('远'), { deviceid: 'd' }), await signIn(t, c, someone('三'), { deviceid: 'd' })];
    const flow = stream(sender, [near.uid, far.uid, third.uid]);
    const calls = [];
    let isOver = false;
    const backend = (async () => {
      while (!isOver) {
        calls.push((await b.api.call('POST', '/v1/messages', { type: 5, to: { user: someone('nobody') }, data: {} })).status);
        await pause(50);
      }
    })();
    await eventually(() => flow.sends.length > 20, 'the stream');
    const among = [near, far, third];
    if (name === 'flushed') {
      for (let n = 0; n < 3; n++) {
        cluster.redis.flush();
        await pause(700);
      }
    } else if (name === 'restarted at once') {
      await cluster.redis.restart();
    } else {
      await cluster.redis.end();
      const gone = Date.now();
      const before = flow.sends.length;
      await eventually(() => flow.sends.length > before + 20, 'sends without Redis');
      // Recipients on the same node get them at once, and count as online.
      const here = await a.api.sendTo(near.uid, { type: 5, data: { here: true } });
      assert.equal(here.delivered, true);
      await near.next(5);
      const newcomer = await visitor(t, b);
      newcomer.uid = someone('新');
      const { code } = await newcomer.ask(REGISTER, { uid: newcomer.uid, deviceid: 'd' });
      assert.ok([0, 503].includes(code), `a register is answered ${code}`);
      if (code === 0) among.push(newcomer);
      await readyIs(t, cluster.nodes, 503, Math.max(0, gone + 10_000 - Date.now()) + 2_000);
      await cluster.redis.run();
    }
    const returned = Date.now();
    await pause(1_000);
    isOver = true;
    await backend;
    const sends = await flow.stop();
    for (const send of sends) assert.equal(send.code, 0, JSON.stringify(send));
    assert.deepEqual([...new Set(calls)], [200], 'calls of the API');
    for (const user of [near, far, third]) await gets(user, sends, Math.max(0, returned + 5_000 - Date.now()) + SLACK_MS);
    t.diagnostic(`all messages had arrived ${Date.now() - returned} ms after the return (promised: 5000)`);
    await readyIs(t, cluster.nodes, 200, 15_000);
    undisturbed(sender, near, far, third);
    await isRight(t, cluster.nodes, among, Math.max(0, returned + 30_000 - Date.now()));
  });
}

for (const [name, signal] of [['crashes', 'SIGQUIT'], ['is stopped', 'SIGINT']]) {
  test(`PostgreSQL ${name} and starts again`, { skip }, async (t) => {
    const cluster = await start(t, { limits: { calls_in_flight: 0 } });
    const users = await Promise.all(cluster.nodes.map((node) => signIn(t, node, someone('人'), { deviceid: 'd' })));
    const uids = users.map(({ uid }) => uid);
    let n = 0;
    const round = async () => {
      const codes = [];
      for (const [i, user] of users.entries()) {
        const { code } = await user.send({ user: uids[(i + 1) % uids.length] }, { n });
        codes.push(code);
        if (code === 0) users[(i + 1) % uids.length].due = [...(users[(i + 1) % uids.length].due ?? []), n];
        n++;
      }
      return codes;
    };
    assert.deepEqual(await round(), [0, 0, 0]);
    for (let times = 0; times < 2; times++) {
      await cluster.postgres.end(signal);
      const gone = Date.now();
      await readyIs(t, cluster.nodes, 503, 8_000);
      assert.deepEqual(await round(), [503, 503, 503]);
      for (const { api } of cluster.nodes) {
        assert.equal((await api.call('GET', `/v1/users/${encodeURIComponent(uids[0])}/conversations`)).status, 503);
        assert.deepEqual(await api.send({ type: 5, to: { everyone: true }, data: { n } }), { online: 3 }, 'kinds that are not stored work');
        for (const user of users) await user.next(5);
        assert.equal((await api.call('GET', '/health/live')).status, 200);
      }
      await cluster.postgres.run();
      await readyIs(t, cluster.nodes, 200, 10_000);
      t.diagnostic(`PostgreSQL was away for ${Date.now() - gone} ms`);
      assert.deepEqual(await round(), [0, 0, 0]);
    }
    for (const user of users) {
      const got = () => user.frames.untaken.filter(({ type }) => type === 3).map(({ data }) => data.n);
      await eventually(() => got().length === user.due.length, 'all messages');
      assert.deepEqual(got(), user.due);
    }
    undisturbed(...users);
    for (const { program } of cluster.nodes) assert.doesNotMatch(program.output, /panicked/);
  });
}

test('a client that acknowledges on one node is not notified by another, and a vanished one is, once', { skip, todo: 'the notification of the vanished client does not always come' }, async (t) => {
  const cluster = await start(t, { engine: { ping_interval_ms: 300, ping_timeout_ms: 300 } });
  for (const [i, node] of cluster.nodes.entries()) {
    const others = [1, 2].map((ahead) => cluster.nodes[(i + ahead) % cluster.nodes.length]);
    const [reads, older, gone] = ['reads', 'older', 'vanished'].map((name) => someone(name));
    const reader = await signIn(t, node, reads, { deviceid: 'd' });
    const quiet = await signIn(t, node, older);
    const raw = await rawSocket(t, node.url);
    raw.send(`42${JSON.stringify(['message', JSON.stringify({ type: 1, data: { uid: gone } })])}`);
    await raw.heard.take((text) => `${text}`.includes('code\\":0'), 'the answer to the register');
    raw.socket.pause();
    const { results } = await others[i % 2].api.send({ type: 5, to: { users: [reads, older, gone] }, data: { n: i } });
    const { conv, seq } = await reader.next(5);
    await ack(reader, conv, seq);
    await quiet.next(5);
    assert.equal((await hook.next(gone)).body.mid, results[2].mid);
    const later = someone('later');
    await others[1 - (i % 2)].api.sendTo(later, { type: 5, data: {} });
    await hook.next(later);
    assert.deepEqual([reads, older, gone].map((uid) => hook.for(uid).length), [0, 0, 1]);
  }
});
