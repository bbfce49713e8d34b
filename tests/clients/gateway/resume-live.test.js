// Replays while other clients send, and slow readers of replays: a live message never overtakes a missed one,
// and a slow reader costs the server little memory.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { ACK, RESUMED, ack, quiet, range, resume, seqs, slowReader, sync, written } from '../../lib/delivery.js';
import { eventually } from '../../lib/inbox.js';
import { everyClient, versions } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { REGISTER, REGISTERED, signIn, someone, visitor } from '../../lib/user.js';

let gateway;
before(async () => {
  const limits = { resume_messages: 1_000, frames_per_second: 0, frames_burst: 0 };
  // The raw readers do not answer heartbeats.
  gateway = await startGateway({ config: { login: { policy: 'multi' }, engine: { ping_interval_ms: 600_000 }, limits } });
});
after(() => gateway.close());

async function known(t, uid, deviceid = 'd') {
  const user = await signIn(t, gateway, uid, { deviceid });
  user.peer.close();
}

describe('messages arrive during a replay', { concurrency: 3 }, () => {
  for (const client of everyClient) {
    test(`while socket.io-client ${client.version} ${client.transport} resumes`, async (t) => {
      const [a, b] = [someone('甲'), someone('乙')];
      const team = someone('队');
      const ming = await signIn(t, gateway, a, { deviceid: 'd' });
      await known(t, b);
      await gateway.api.team(team, [a, b]);
      const missed = 60;
      const conv = await written(gateway, a, b, missed);
      const messages = range(1, missed).map((n) => ({ type: 15, to: { team }, from: a, data: { n } }));
      await gateway.api.expect(200, 'POST', '/v1/messages/batch', { messages: [...messages, ...messages.map(({ data }) => ({ type: 5, to: { user: b }, data }))] });

      let running = true;
      const heads = new Map();
      const note = ({ conv: where, seq }) => heads.set(where, Math.max(seq, heads.get(where) ?? 0));
      let answered = 0;
      const writers = [
        async () => note(await ming.send({ user: b }, { 从: '客户端 🌧️' })),
        async () => note(await ming.send({ team }, { 从: '客户端' })),
        async () => note(await gateway.api.sendTo(b, { type: 5, data: { 从: '后台' } })),
        async () => note(await gateway.api.sendTo(b, { type: 3, from: a, data: { 从: '后台' } })),
      ].map(async (write) => {
        for (; running; answered++) await write();
      });
      await eventually(() => answered >= 8, 'the first messages of the load');

      const user = await visitor(t, gateway, client);
      user.say({ type: REGISTER, data: { uid: b, deviceid: 'd', resume: true } });
      assert.equal((await user.frames.take()).type, REGISTERED);
      const heard = [];
      let done;
      while (!done) {
        const frame = await user.frames.take(() => true, 'kind 112');
        if (frame.type === RESUMED) done = frame.data;
        else heard.push(frame);
      }
      assert.equal(done.complete, true);
      assert.ok(done.sent >= 3 * missed && done.sent <= heard.length, `${JSON.stringify(done)} of ${heard.length}`);
      const target = answered + 20;
      await eventually(() => answered >= target, 'more rain');
      running = false;
      await Promise.all(writers);
      const got = (where) => heard.filter((frame) => frame.conv === where);
      const behind = () => [...heads].some(([where, head]) => !got(where).some(({ seq }) => seq === head));
      while (behind()) heard.push(await user.frames.take(() => true, 'the rest'));
      assert.equal(heads.size, 3);
      assert.ok(heads.get(conv) > missed + 2);
      for (const [where, head] of heads) {
        // Messages are delivered at least once. Duplicates have the same mid.
        const once = [...new Map(got(where).map((frame) => [frame.mid, frame])).values()];
        assert.deepEqual(seqs(once), range(1, head), 'the messages are in order and without gaps');
      }
    });
  }
});

test('a replay of several megabytes continues across an upgrade of the transport', async (t) => {
  for (const version of versions) {
    const [a, b] = [someone(), someone()];
    await known(t, b);
    await written(gateway, a, b, 200, (n) => ({ n, text: '升级 ⬆️'.repeat(2_000) }));
    const { replay, resumed, user } = await resume(t, gateway, b, { client: { version, transport: 'upgrade' }, deviceid: 'd' });
    assert.deepEqual([seqs(replay), resumed], [range(1, 200), { sent: 200, complete: true }], version);
    await user.peer.upgraded;
  }
});

test('a long replay of one conversation does not delay the others for ever', async (t) => {
  const [a, b] = [someone(), someone()];
  await known(t, b);
  await written(gateway, a, b, 1_000);
  const { user, resumed } = await resume(t, gateway, b, { deviceid: 'd' });
  assert.deepEqual(resumed, { sent: 1_000, complete: true });
  const { mid } = await gateway.api.sendTo(b, { type: 5, data: { text: '新' } });
  assert.equal((await user.next(5)).mid, mid);
});

test('acknowledgements during the replay are applied', async (t) => {
  const [a, b] = [someone(), someone()];
  await known(t, b);
  const conv = await written(gateway, a, b, 300);
  const user = await visitor(t, gateway, { version: '1.4.5', transport: 'polling' });
  user.say({ type: REGISTER, data: { uid: b, deviceid: 'd', resume: true } });
  for (const n of range(1, 300)) {
    assert.equal((await user.next(3)).seq, n);
    if (n % 10 === 0) user.say({ type: ACK, data: { conv, seq: n } });
  }
  assert.deepEqual((await user.next(RESUMED)).data, { sent: 300, complete: true });
  await user.settled();
  assert.deepEqual((await resume(t, gateway, b, { deviceid: 'd' })).replay, []);
});

test('requests during the replay are answered', async (t) => {
  const [a, b] = [someone(), someone()];
  await known(t, b);
  const conv = await written(gateway, a, b, 500);
  const user = await visitor(t, gateway);
  user.say({ type: REGISTER, data: { uid: b, deviceid: 'd', resume: true } });
  const [{ code, seq }, { head }] = await Promise.all([user.send({ user: a }, { text: '我在' }, { cid: '我' }), sync(user, conv, { after: 400, limit: 1 })]);
  assert.deepEqual([code, seq], [0, 501]);
  assert.ok(head === 500 || head === 501);
  const frames = [];
  for (;;) {
    const frame = await user.frames.take(() => true, 'kind 112');
    if (frame.type === RESUMED) break;
    if (frame.type === 3) frames.push(frame);
  }
  const others = frames.filter(({ from }) => from === a);
  assert.deepEqual(seqs(others), range(1, 500));
  for (const own of frames.filter(({ from }) => from === b)) assert.deepEqual([own.seq, own.cid], [501, '我'], 'the user\'s own messages are replayed with their cid');
});

/** The resident memory of the server, in MiB. */
const memory = () => Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${gateway.program.pid}/status`, 'utf8'))[1]) / 1024;

describe('slow readers', () => {
  const COUNT = 500;
  const BYTES = 60_000;
  const READERS = 4;

  test('500 messages of 60 KB to readers that stop reading: nothing is lost, and memory is bounded', async (t) => {
    const [a, b] = [someone('写'), someone('慢')];
    for (const n of range(1, READERS)) await known(t, b, `d${n}`);
    const text = 'x'.repeat(BYTES);
    const conv = await written(gateway, a, b, COUNT, (n) => ({ n, text }));
    const [ming, hong] = [await signIn(t, gateway, someone('旁'), { deviceid: 'd' }), await signIn(t, gateway, someone('人'), { deviceid: 'd' })];
    const chat = async (count) => {
      for (const n of range(1, count)) {
        assert.equal((await ming.send({ user: hong.uid }, { n })).code, 0);
        await hong.next(3);
      }
    };
    await chat(20);
    const before = memory();
    const readers = await Promise.all(range(1, READERS).map((n) => slowReader(t, gateway, b, `d${n}`)));
    await chat(100);
    const grown = memory() - before;
    const all = (READERS * COUNT * BYTES) / 1024 / 1024;
    assert.ok(grown < all / 2, `${READERS} readers that do not read use ${grown.toFixed(0)} MiB for replays of ${all.toFixed(0)} MiB`);
    assert.equal((await gateway.api.user(b)).connections.length, READERS, 'no connection is closed because of its replay');
    t.diagnostic(`${grown.toFixed(1)} MiB for ${READERS} readers of ${all.toFixed(0)} MiB`);

    for (const raw of readers) raw.socket.resume();
    for (const raw of readers) {
      for (const n of range(1, COUNT)) {
        const { seq, data } = await raw.next();
        assert.deepEqual([seq, data.n, data.text.length], [n, n, BYTES]);
      }
      assert.deepEqual((await raw.next()).data, { sent: COUNT, complete: true });
      raw.say({ type: ACK, data: { conv, seq: COUNT } });
      raw.socket.close();
    }
  });

  test('a reader whose queue overflows is closed to reconnect, and then receives everything', async (t) => {
    const [a, b] = [someone('写'), someone('慢')];
    await known(t, b);
    const text = 'x'.repeat(BYTES);
    const conv = await written(gateway, a, b, 100, (n) => ({ n, text }));
    const raw = await slowReader(t, gateway, b, 'd');
    // Live messages wait behind the replay until the queue is full.
    let head = 100;
    for (let delivered = true; delivered && head < 1_000; ) ({ delivered, seq: head } = await gateway.api.sendTo(b, { type: 3, from: a, data: { n: head + 1, text } }));
    assert.ok(head < 1_000, 'the connection was not closed');
    raw.socket.resume();
    await raw.closed();
    const first = [];
    for (const one of raw.heard.untaken) {
      assert.equal(one.startsWith('41'), false, 'there is no disconnect packet');
      if (one.startsWith('42')) first.push(JSON.parse(JSON.parse(one.slice(2))[1]));
    }
    const before = seqs(first.filter((frame) => frame.conv === conv));
    assert.deepEqual(before, range(1, before.length).slice(0, before.length), 'the received messages have no gap');
    const { user, replay, resumed } = await resume(t, gateway, b, { deviceid: 'd' });
    assert.deepEqual([seqs(replay), resumed], [range(1, head), { sent: head, complete: true }]);
    await ack(user, conv, head);
    await quiet(gateway, user);
  });
});

test('a client that reconnects by itself resumes at its acknowledged position', async (t) => {
  const server = await startGateway();
  t.after(() => server.close());
  for (const version of ['1.7.4', '2.5.0', '4.8.4']) {
    const [a, b] = [someone(), someone()];
    const user = await signIn(t, server, b, { client: { version, transport: 'websocket', reconnection: true }, deviceid: 'd' });
    const conv = await written(server, a, b, 5);
    await user.frames.takeMany(5, ({ type }) => type === 3);
    await ack(user, conv, 5);
    await server.program.stop();
    assert.match(await user.peer.closed(), /transport (close|error)/);
    await server.start();
    await written(server, a, b, 3);
    await user.peer.hear(':connect', 'the reconnect of the client');
    user.say({ type: REGISTER, data: { uid: b, deviceid: 'd', resume: true } });
    assert.equal((await user.next(REGISTERED)).data.code, 0);
    assert.deepEqual(seqs(await user.frames.takeMany(3, ({ type }) => type === 3)), [6, 7, 8]);
    assert.deepEqual((await user.next(RESUMED)).data, { sent: 3, complete: true });
    user.peer.close();
  }
});
