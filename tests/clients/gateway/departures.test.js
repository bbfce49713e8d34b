// Teams that a user has left, and deleted teams: what the user's devices receive if they were offline at that
// time.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ACK, READ, SYNC, ack, inOrder, list, range, read, recall, refused, resume, seqs, sync } from '../../lib/delivery.js';
import { GATEWAY, Program, startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';

let gateway;
let few;
before(async () => {
  [gateway, few] = await Promise.all([
    startGateway({ config: { login: { policy: 'multi' } } }),
    startGateway({ config: { login: { policy: 'multi' }, limits: { resume_messages: 5 } } }),
  ]);
});
after(() => Promise.all([gateway, few].map((one) => one.close())));

/** A device that has registered and is offline now. */
async function known(t, server, uid, deviceid = 'd') {
  const user = await signIn(t, server, uid, { deviceid });
  user.peer.close();
}

const teamPath = (team, more = '') => `/v1/teams/${encodeURIComponent(team)}${more}`;

test('each device of a user who was removed from a team while offline receives the messages until then, and the user\'s own 17', async (t) => {
  const [a, b, c] = [someone('甲'), someone('乙'), someone('丙')];
  const team = someone('队');
  const ming = await signIn(t, gateway, a, { deviceid: 'd' });
  const wei = await signIn(t, gateway, c, { deviceid: 'd' });
  for (const deviceid of ['d', 'e']) await known(t, gateway, b, deviceid);
  const { conv } = await gateway.api.team(team, [a, b]);
  for (const n of [1, 2]) await ming.send({ team }, { n });
  await gateway.api.expect(200, 'DELETE', teamPath(team, `/members/${encodeURIComponent(b)}`));
  await ming.send({ team }, { n: '不给乙' });

  for (const deviceid of ['d', 'e']) {
    const { user, registered, replay, resumed } = await resume(t, gateway, b, { deviceid });
    assert.deepEqual(replay.map(({ type, seq }) => [type, seq]), [[15, 1], [15, 2], [17, 3]]);
    assert.deepEqual(replay[2].data, { team, uid: b });
    assert.deepEqual(resumed, { sent: 3, complete: true });
    assert.equal(registered.unread, 0);
    assert.deepEqual(registered.conversations, [{ conv, head: 3, cursor: 0, read: 3, unread: 0 }]);
    assert.deepEqual((await list(user)).conversations, []);
    await refused(user, 403, SYNC, { conv, after: 0 });
    // The device has received a part of the conversation.
    await ack(user, conv, 1);
    user.peer.close();
    const again = await resume(t, gateway, b, { deviceid });
    assert.deepEqual(seqs(again.replay), [2, 3]);
    await (deviceid === 'd' ? ack : read)(again.user, conv, 3);
    await refused(again.user, 403, ACK, { conv, seq: 3 });
    again.user.peer.close();
    const last = await resume(t, gateway, b, { deviceid });
    assert.deepEqual([last.replay, last.registered.conversations], [[], []]);
    last.user.peer.close();
  }
  for (const type of [ACK, READ]) await refused(wei, 403, type, { conv, seq: 1 });

  // A user who joins again is a new member.
  await gateway.api.expect(200, 'POST', teamPath(team, '/members'), { uids: [b] });
  const { replay } = await resume(t, gateway, b, { deviceid: 'd' });
  assert.deepEqual(replay.map(({ type, seq }) => [type, seq]), [[16, 5]]);
});

test('a replay has all messages of a team that the user left, even if they exceed the limit of a replay', async (t) => {
  const [a, b] = [someone('甲'), someone('乙')];
  const [left, other] = [someone('队'), someone('队')];
  const ming = await signIn(t, few, a, { deviceid: 'd' });
  await known(t, few, b);
  const { conv } = await few.api.team(left, [a, b]);
  const { conv: stays } = await few.api.team(other, [a, b]);
  for (const n of range(1, 20)) await ming.send({ team: left }, { n });
  for (const n of range(1, 8)) await ming.send({ team: other }, { n });
  await few.api.expect(200, 'DELETE', teamPath(left, `/members/${encodeURIComponent(b)}`));
  await ming.send({ team: left }, { n: '不给乙' });

  const { user, replay, resumed } = await resume(t, few, b, { deviceid: 'd' });
  const convs = inOrder(replay);
  assert.deepEqual([seqs(convs.get(conv)), seqs(convs.get(stays))], [range(1, 21), range(1, 5)]);
  // The other messages of the other conversation are fetched.
  assert.deepEqual(resumed, { sent: 26, complete: false });
  assert.deepEqual(seqs((await sync(user, stays, { after: 5 })).messages), [6, 7, 8]);
  await ack(user, stays, 8);
  await ack(user, conv, 9);
  const again = await resume(t, few, b, { deviceid: 'd' });
  assert.deepEqual([seqs(again.replay), again.resumed.complete], [range(10, 21), true]);
});

test('if a user was removed twice while offline, only the last membership counts, and joining again ends it', async (t) => {
  const [a, b] = [someone('甲'), someone('乙')];
  const team = someone('队');
  const ming = await signIn(t, gateway, a, { deviceid: 'd' });
  await known(t, gateway, b);
  await gateway.api.team(team, [a, b]);
  const member = teamPath(team, `/members/${encodeURIComponent(b)}`);
  for (const round of [1, 2]) {
    await ming.send({ team }, { round });
    await gateway.api.expect(200, 'DELETE', member);
    await ming.send({ team }, { round: '不给乙' });
    await gateway.api.expect(200, 'POST', teamPath(team, '/members'), { uids: [b] });
  }
  // The seqs 1 to 4 and 5 to 8 are: a message, 17, a message, 16.
  const { user, replay } = await resume(t, gateway, b, { deviceid: 'd' });
  assert.deepEqual(replay.map(({ type, seq }) => [type, seq]), [[16, 8]]);
  user.peer.close();
  await ming.send({ team }, { round: 3 });
  await gateway.api.expect(200, 'DELETE', member);
  const last = await resume(t, gateway, b, { deviceid: 'd' });
  assert.deepEqual(last.replay.map(({ type, seq }) => [type, seq]), [[16, 8], [15, 9], [17, 10]]);
});

test('a member of a team that is deleted while the member is offline gets its own 17 and no texts', async (t) => {
  const [a, b] = [someone('甲'), someone('乙')];
  const team = someone('队');
  const ming = await signIn(t, gateway, a, { deviceid: 'd' });
  for (const deviceid of ['d', 'e']) await known(t, gateway, b, deviceid);
  const { conv } = await gateway.api.team(team, [a, b]);
  for (const n of [1, 2]) await ming.send({ team }, { n });
  await gateway.api.expect(204, 'DELETE', teamPath(team));
  // A later team with the same name is another team.
  await gateway.api.team(team, [a]);
  for (const deviceid of ['d', 'e']) {
    const { user, registered, replay, resumed } = await resume(t, gateway, b, { deviceid });
    assert.deepEqual(replay.map(({ type, conv: where, data }) => ({ type, conv: where, data })), [{ type: 17, conv, data: { team, uid: b } }]);
    const { seq } = replay[0];
    assert.deepEqual(resumed, { sent: 1, complete: true });
    assert.equal(registered.unread, 0);
    assert.deepEqual(registered.conversations, [{ conv, head: seq, cursor: seq - 1, read: seq, unread: 0 }]);
    await ack(user, conv, seq);
    user.peer.close();
    const again = await resume(t, gateway, b, { deviceid });
    assert.deepEqual([again.replay, again.registered.conversations], [[], []]);
    again.user.peer.close();
  }
});

test('the messages of a team that the user left survive kill -9, a backup and a restore', async (t) => {
  const server = await startGateway({ embedded: true, config: { login: { policy: 'multi' } } });
  t.after(() => server.close());
  const [a, b] = [someone('甲'), someone('乙')];
  const team = someone('队');
  const ming = await signIn(t, server, a, { deviceid: 'd' });
  for (const deviceid of ['d', 'e']) await known(t, server, b, deviceid);
  const { conv } = await server.api.team(team, [a, b]);
  const sent = [];
  for (const n of [1, 2, 3]) sent.push(await ming.send({ team }, { n }));
  await recall(ming, sent[1].mid);
  await server.api.expect(200, 'DELETE', teamPath(team, `/members/${encodeURIComponent(b)}`));
  // This message is recalled after the user has left. Its text is not replayed either.
  await recall(ming, sent[2].mid);
  await server.program.kill();
  await server.start();

  const comes = async (deviceid, from) => {
    const { user, replay } = await resume(t, server, b, { deviceid });
    const expected = [[1, { n: 1 }], [2, null], [3, null], [4, { mid: sent[1].mid }], [5, { team, uid: b }]];
    assert.deepEqual(replay.map(({ seq, data }) => [seq, data]), expected.slice(from - 1), deviceid);
    return user;
  };
  const user = await comes('d', 1);
  await ack(user, conv, 3);
  user.peer.close();
  await server.program.stop();
  const run = async (...args) => {
    const program = new Program(GATEWAY, [...args, '--config', server.file], { cwd: server.directory });
    assert.equal((await program.exited).code, 0, program.output);
  };
  const file = join(server.directory, 'backup.db');
  await run('backup', file);
  await run('restore', file);
  await server.start();
  await comes('d', 4);
  await comes('e', 1);
});
