// Replays that are interrupted: the client reads slowly, and something happens meanwhile.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RESUMED, ack, quiet, range, resume, seqs, slowReader, written } from '../../lib/delivery.js';
import { eventually } from '../../lib/inbox.js';
import { startGateway } from '../../lib/program.js';
import { REGISTER, REGISTERED, signIn, someone } from '../../lib/user.js';

const COUNT = 300;
const text = 'x'.repeat(60_000);

let gateway;
before(async () => (gateway = await startGateway({ config: { engine: { ping_interval_ms: 600_000 } } })));
after(() => gateway.close());

/** A client that has stopped reading at the beginning of a replay, which is larger than all buffers. */
async function scene(t, server = gateway) {
  const [a, b] = [someone('写'), someone('慢')];
  const user = await signIn(t, server, b, { deviceid: '手机' });
  user.peer.close();
  const conv = await written(server, a, b, COUNT, (n) => ({ n, text }));
  return { a, b, conv, raw: await slowReader(t, server, b, '手机') };
}

/** Checks the beginning of the replay, and returns the frames after it. */
function afterReplay(frames, conv) {
  const end = frames.findIndex((frame) => frame.conv !== conv);
  const replayed = seqs(end < 0 ? frames : frames.slice(0, end));
  assert.deepEqual(replayed, range(1, replayed.length).slice(0, replayed.length), 'the received part has no gap');
  assert.ok(replayed.length < COUNT, 'the replay was interrupted');
  return end < 0 ? [] : frames.slice(end);
}

test('after a displacement by another device, kind 12 is the last frame', async (t) => {
  const { a, b, conv, raw } = await scene(t);
  const other = await resume(t, gateway, b, { deviceid: '新手机' });
  assert.deepEqual(other.replay, []);
  await written(gateway, a, b, 1);
  raw.socket.resume();
  const { frames, away } = await raw.toTheEnd();
  const rest = afterReplay(frames, conv);
  assert.deepEqual(rest.map(({ type, data }) => [type, data.reason, data.deviceid]), [[12, 'replaced', '新手机']]);
  assert.ok(away);
  assert.equal((await other.user.next(3)).seq, COUNT + 1);
});

test('when the same device connects again, the stale connection is closed, and the new one receives everything', async (t) => {
  const { b, conv, raw } = await scene(t);
  const again = await resume(t, gateway, b, { deviceid: '手机' });
  assert.deepEqual(seqs(again.replay), range(1, COUNT));
  raw.socket.resume();
  const { frames, away } = await raw.toTheEnd();
  assert.deepEqual([afterReplay(frames, conv), away], [[], false]);
  await ack(again.user, conv, COUNT);
  await quiet(gateway, again.user);
});

test('after a sign-out, no frame follows the replay, and the connection is disconnected for good', async (t) => {
  const { b, conv, raw } = await scene(t);
  assert.deepEqual(await gateway.api.expect(200, 'POST', `/v1/users/${encodeURIComponent(b)}/signout`), { closed: 1 });
  raw.socket.resume();
  const { frames, away } = await raw.toTheEnd();
  assert.deepEqual([afterReplay(frames, conv), away], [[], true]);
  assert.equal((await resume(t, gateway, b, { deviceid: '手机' })).replay.length, COUNT);
});

test('after a register as another uid, no more frames of the first uid arrive', async (t) => {
  const { a, b, conv, raw } = await scene(t);
  const c = someone('丙');
  await signIn(t, gateway, c, { deviceid: 'd' }).then(({ peer }) => peer.close());
  const other = await written(gateway, a, c, 2);
  raw.say({ type: REGISTER, data: { uid: c, deviceid: 'd', resume: true } });
  // The client reads again only after the server has handled the register.
  await eventually(async () => (await gateway.api.user(c)).online, 'the other uid to be online');
  assert.equal((await gateway.api.user(b)).online, false);
  await written(gateway, a, b, 1);
  raw.socket.resume();
  const frames = [];
  while (frames.at(-1)?.type !== RESUMED) frames.push(await raw.next());
  const rest = afterReplay(frames, conv);
  assert.deepEqual(rest.map(({ type, conv: where, seq }) => [type, where, seq]), [[REGISTERED, undefined, undefined], [3, other, 1], [3, other, 2], [RESUMED, undefined, undefined]]);
  assert.deepEqual(rest.at(-1).data, { sent: 2, complete: true });
});

test('after a second register with resume, there is one replay from the acknowledged position and one kind 112', async (t) => {
  const { conv, raw, b } = await scene(t);
  raw.say({ type: 103, data: { conv, seq: 2 } });
  raw.say({ type: REGISTER, data: { uid: b, deviceid: '手机', resume: true } });
  raw.say({ type: 999, req: '问', data: {} });
  raw.socket.resume();
  const frames = [];
  while (frames.at(-1)?.type !== RESUMED) frames.push(await raw.next());
  const rest = afterReplay(frames, conv).filter(({ type }) => type !== 100);
  assert.equal(rest[0].type, REGISTERED);
  assert.deepEqual(rest[0].data.conversations, [{ conv, head: COUNT, cursor: 2, read: 0, unread: COUNT }]);
  assert.deepEqual(seqs(rest.slice(1, -1)), range(3, COUNT));
  assert.deepEqual(rest.at(-1).data, { sent: COUNT - 2, complete: true });
});

test('after the removal from a team, the last message of that team is the user\'s own kind 17', async (t) => {
  const team = someone('队');
  const uid = someone('慢');
  const other = someone('甲');
  await signIn(t, gateway, uid, { deviceid: '手机' }).then(({ peer }) => peer.close());
  const { conv } = await gateway.api.team(team, [uid, other]);
  for (let start = 1; start <= COUNT; start += 100) {
    const messages = range(start, start + 99).map((n) => ({ type: 15, to: { team }, data: { n, text } }));
    await gateway.api.expect(200, 'POST', '/v1/messages/batch', { messages });
  }
  // This device connects later, since 18 MB at once may be more than its queue can hold.
  const stays = await signIn(t, gateway, other, { deviceid: 'd' });
  const raw = await slowReader(t, gateway, uid, '手机');
  await gateway.api.expect(200, 'DELETE', `/v1/teams/${encodeURIComponent(team)}/members/${encodeURIComponent(uid)}`);
  await stays.send({ team }, { text: '他走了' });
  const marker = await gateway.api.sendTo(uid, { type: 5, data: { text: '记号' } });
  raw.socket.resume();
  const frames = [];
  while (frames.at(-1)?.mid !== marker.mid) frames.push(await raw.next());
  const theirs = frames.filter((frame) => frame.conv === conv);
  assert.deepEqual([theirs.at(-1).type, theirs.at(-1).seq], [17, COUNT + 1]);
  // If the user was removed before the first page was read, there is none of it.
  assert.deepEqual(seqs(theirs.slice(0, -1)), range(1, theirs.length).slice(0, theirs.length - 1));
  const { data } = frames.find(({ type }) => type === RESUMED);
  assert.equal(data.sent, theirs.length - 1);
});

test('a stop of the server does not wait for the reader, and the reader misses nothing', async (t) => {
  const server = await startGateway({ config: { engine: { ping_interval_ms: 600_000 } } });
  t.after(() => server.close());
  const { b, conv, raw } = await scene(t, server);
  assert.equal((await server.program.stop()).code, 0);
  raw.socket.resume();
  const { frames, away } = await raw.toTheEnd();
  assert.deepEqual([afterReplay(frames, conv), away], [[], false]);
  await server.start();
  assert.deepEqual(seqs((await resume(t, server, b, { deviceid: '手机' })).replay), range(1, COUNT));
});
