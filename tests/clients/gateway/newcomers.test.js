// Which earlier messages a new member of a team sees, and that a user who has left sees none.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RECALL, SYNC, list, quiet, range, read, recall, refused, resume, seqs, sync } from '../../lib/delivery.js';
import { eachGeneration } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';

const gateways = {};
before(async () => {
  const start = async (name, history_for_new_members) => (gateways[name] = await startGateway({ config: { teams: { history_for_new_members } } }));
  await Promise.all([start('after', false), start('everything', true)]);
});
after(() => Promise.all(Object.values(gateways).map((gateway) => gateway.close())));

const path = (team, more = '') => `/v1/teams/${encodeURIComponent(team)}${more}`;
const add = (gateway, team, uid) => gateway.api.expect(200, 'POST', path(team, '/members'), { uids: [uid] });
const remove = (gateway, team, uid) => gateway.api.expect(200, 'DELETE', path(team, `/members/${encodeURIComponent(uid)}`));

/** A team with three messages of one member, and a user with a known device who is not a member yet. */
async function scene(t, gateway, client) {
  const team = someone('队');
  const old = await signIn(t, gateway, someone('老'), { client, deviceid: 'd' });
  const fresh = await signIn(t, gateway, someone('新'), { client, deviceid: 'd' });
  const { conv } = await gateway.api.team(team, [old.uid]);
  for (const n of [1, 2, 3]) await old.send({ team }, { n, text: '从前 📜' });
  return { team, conv, old, fresh };
}

for (const client of eachGeneration) {
  const name = `socket.io-client ${client.version} ${client.transport}`;

  test(`${name}: a new member sees the messages after joining`, async (t) => {
    const gateway = gateways.after;
    const { team, conv, old, fresh } = await scene(t, gateway, client);
    await refused(fresh, 403, SYNC, { conv, after: 0 });
    await add(gateway, team, fresh.uid);
    await old.send({ team }, { n: 5 });
    assert.deepEqual([(await fresh.next(16)).seq, (await fresh.next(15)).seq], [4, 5]);
    for (const asked of [{ after: 0 }, { after: 2 }, { after: 3 }, { after: 0, limit: 2 }]) {
      const { messages, head, more } = await sync(fresh, conv, asked);
      assert.deepEqual([seqs(messages), head, more], [[4, 5], 5, false], JSON.stringify(asked));
    }
    for (const [asked, expected] of [[{ before: 6 }, [5, 4]], [{ before: 5, limit: 1 }, [4]], [{ before: 4 }, []], [{ before: 2 }, []]]) {
      const { messages, head, more } = await sync(fresh, conv, asked);
      assert.deepEqual([seqs(messages), head, more], [expected, 5, false], JSON.stringify(asked));
    }
    const [row] = (await list(fresh)).conversations;
    assert.deepEqual([row.conv, row.head, row.unread, row.last.data, row.team], [conv, 5, 1, { n: 5 }, team]);
    assert.equal((await gateway.api.user(fresh.uid)).unread, 1);
    fresh.peer.close();
    const { replay, registered } = await resume(t, gateway, fresh.uid, { client, deviceid: 'd' });
    assert.deepEqual(replay.map(({ seq, type }) => [seq, type]), [[4, 16], [5, 15]]);
    assert.deepEqual([registered.unread, registered.conversations.map((one) => [one.conv, one.head, one.cursor, one.unread])], [1, [[conv, 5, 3, 1]]]);
    assert.deepEqual(seqs((await sync(old, conv, { after: 0 })).messages), range(1, 5), 'an earlier member sees all messages');
  });

  test(`${name}: with history_for_new_members a new member sees all messages, and earlier ones are not unread`, async (t) => {
    const gateway = gateways.everything;
    const { team, conv, old, fresh } = await scene(t, gateway, client);
    await add(gateway, team, fresh.uid);
    await old.send({ team }, { n: 5 });
    await fresh.next(15);
    const { messages, head } = await sync(fresh, conv, { after: 0 });
    assert.deepEqual([seqs(messages), head, messages[0].data.n], [range(1, 5), 5, 1]);
    assert.deepEqual(seqs((await sync(fresh, conv, { before: 4 })).messages), [3, 2, 1]);
    const [row] = (await list(fresh)).conversations;
    assert.deepEqual([row.conv, row.head, row.unread], [conv, 5, 1]);
    await read(fresh, conv, 5);
    assert.equal((await gateway.api.user(fresh.uid)).unread, 0);
  });
}

for (const [name, first] of [['after', 8], ['everything', 1]]) {
  test(`a user who leaves and joins again is a new member (${name})`, async (t) => {
    const gateway = gateways[name];
    const { team, conv, old, fresh } = await scene(t, gateway);
    await add(gateway, team, fresh.uid);
    const mine = await fresh.send({ team }, { n: 5, text: '先走了' });
    await remove(gateway, team, fresh.uid);
    await refused(fresh, 403, SYNC, { conv, after: 0 });
    await refused(fresh, 403, RECALL, { mid: mine.mid });
    assert.deepEqual((await list(fresh)).conversations, []);
    await old.send({ team }, { n: 7 });
    for (const type of [16, 17]) await fresh.next(type);
    await quiet(gateway, fresh);
    fresh.peer.close();
    const away = await resume(t, gateway, fresh.uid, { deviceid: 'd' });
    const rest = away.replay.filter((frame) => frame.conv === conv);
    assert.deepEqual([rest.at(-1).type, rest.at(-1).data], [17, { team, uid: fresh.uid }], 'the device has not acknowledged the user\'s own 17');
    assert.equal(rest.some(({ data }) => data.n === 7), false, 'nothing of the team that the user has left');
    await add(gateway, team, fresh.uid);
    await old.send({ team }, { n: 9 });
    assert.deepEqual([(await away.user.next(16)).seq, (await away.user.next(15)).seq], [8, 9]);
    const { messages } = await sync(away.user, conv, { after: 0 });
    assert.deepEqual(seqs(messages), range(first, 9));
    assert.equal((await gateway.api.user(fresh.uid)).unread, 1);
    const back = await resume(t, gateway, fresh.uid, { deviceid: 'd' });
    const again = back.replay.filter((frame) => frame.conv === conv);
    assert.equal(again.at(-1).seq, 9);
    if (name === 'after') assert.deepEqual(seqs(again), [8, 9]);
  });
}

test('members who are named when a team is created see all of its messages', async (t) => {
  const gateway = gateways.after;
  const { team, conv, old, fresh } = await scene(t, gateway);
  await gateway.api.team(team, [old.uid, fresh.uid]);
  await fresh.next(16);
  assert.deepEqual(seqs((await sync(fresh, conv, { after: 0 })).messages), [4]);
  assert.deepEqual(seqs((await sync(old, conv, { after: 0 })).messages), [1, 2, 3, 4]);
  await gateway.api.team(team, [old.uid, fresh.uid], { name: '新名字' });
  assert.deepEqual(seqs((await sync(old, conv, { after: 0 })).messages), [1, 2, 3, 4], 'replacing a team by an equal one changes nothing');
});

test('the recall of a message from before a member joined does not lower the unread count of that member', async (t) => {
  for (const gateway of Object.values(gateways)) {
    const { team, conv, old, fresh } = await scene(t, gateway);
    await add(gateway, team, fresh.uid);
    const before = await sync(old, conv, { after: 0, limit: 1 });
    await old.send({ team }, { n: 5 });
    assert.equal((await gateway.api.user(fresh.uid)).unread, 1);
    await recall(old, before.messages[0].mid);
    assert.equal((await gateway.api.user(fresh.uid)).unread, 1);
    assert.equal((await fresh.next(109)).seq, 6, 'the new member gets the recall like every member');
  }
});

test('the API returns all messages, whenever members joined', async (t) => {
  const gateway = gateways.after;
  const { team, conv, fresh } = await scene(t, gateway);
  await add(gateway, team, fresh.uid);
  assert.deepEqual(seqs((await gateway.api.history(conv)).messages), [1, 2, 3, 4]);
});
