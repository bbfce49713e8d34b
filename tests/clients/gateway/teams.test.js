// Teams: kinds 15, 16 and 17, and the API calls that create, change and delete a team.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { everyClient } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';

let gateway;
before(async () => (gateway = await startGateway()));
after(() => gateway.close());

const path = (team, more = '') => `/v1/teams/${encodeURIComponent(team)}${more}`;

for (const client of everyClient) {
  describe(`socket.io-client ${client.version} ${client.transport}`, { concurrency: true }, () => {
    test('sends to a team, and gets kinds 16 and 17 when members join and leave', async (t) => {
      const team = someone('值班组 🚑');
      const [a, b, c] = [someone('甲'), someone('乙'), someone('丙')];
      const [ming, hong, wei] = await Promise.all([a, b, c].map((uid) => signIn(t, gateway, uid, { client })));
      const made = await gateway.api.team(team, [a, b], { name: '值班' });
      assert.deepEqual({ ...made, members: [...made.members].sort() }, { team, name: '值班', members: [a, b].sort(), conv: made.conv });
      for (const user of [ming, hong]) await user.hearsNothing('creating a team sends no frame');

      const sent = await ming.send({ team }, { text: '大家好 👋' });
      assert.deepEqual([sent.code, sent.conv, sent.seq], [0, made.conv, 1]);
      const push = await hong.next(15);
      assert.deepEqual({ ...push, ts: 0 }, { type: 15, data: { text: '大家好 👋' }, mid: sent.mid, conv: made.conv, seq: 1, from: a, ts: 0 });
      assert.equal((await wei.send({ team }, { text: '我也在吗' })).code, 403);

      await gateway.api.expect(200, 'POST', path(team, '/members'), { uids: [c] });
      for (const user of [ming, hong, wei]) {
        const { data, conv, seq } = await user.next(16);
        assert.deepEqual({ data, conv, seq }, { data: { team, uid: c }, conv: made.conv, seq: 2 });
      }
      assert.equal((await wei.send({ team }, { text: '我来了' })).seq, 3);
      for (const user of [ming, hong]) assert.equal((await user.next(15)).data.text, '我来了');

      const left = await gateway.api.expect(200, 'DELETE', path(team, `/members/${encodeURIComponent(b)}`));
      assert.deepEqual([...left.members].sort(), [a, c].sort());
      for (const user of [ming, hong, wei]) assert.deepEqual((await user.next(17)).data, { team, uid: b });
      assert.equal((await hong.send({ team }, { text: '还有人吗' })).code, 403);
      await gateway.api.send({ type: 15, to: { team }, from: a, data: { text: '后台代发' } });
      for (const user of [ming, wei]) assert.equal((await user.next(15)).data.text, '后台代发');
      for (const user of [ming, hong, wei]) await user.hearsNothing();
    });
  });
}

test('a message that the backend sends in the name of a former member does not reach that user, stored or not', async (t) => {
  const team = someone('队');
  const [a, b, c] = [someone('甲'), someone('乙'), someone('丙')];
  const [ming, hong, wei] = await Promise.all([a, b, c].map((uid) => signIn(t, gateway, uid)));
  await gateway.api.team(team, [a, b]);
  await gateway.api.expect(200, 'DELETE', path(team, `/members/${encodeURIComponent(b)}`));
  for (const user of [ming, hong]) await user.next(17);
  for (const from of [b, c]) {
    await gateway.api.send({ type: 15, to: { team }, from, data: { text: '系统' } });
    assert.equal((await ming.next(15)).from, from);
  }
  for (const user of [hong, wei]) await user.hearsNothing();
});

test('replacing the members of a team sends kinds 16 and 17 for the differences', async (t) => {
  const team = someone('team');
  const [a, b, c] = [someone(), someone(), someone()];
  const [first, second, third] = await Promise.all([a, b, c].map((uid) => signIn(t, gateway, uid)));
  const { conv } = await gateway.api.team(team, [a, b]);
  const replaced = await gateway.api.team(team, [a, c]);
  assert.equal(replaced.conv, conv);
  assert.deepEqual((await first.next(16)).data, { team, uid: c });
  assert.deepEqual((await first.next(17)).data, { team, uid: b });
  assert.deepEqual((await second.next(17)).data, { team, uid: b });
  assert.deepEqual((await third.next(16)).data, { team, uid: c });
  await gateway.api.team(team, [a, c]);
  await first.hearsNothing('nothing differs');
  const seen = await gateway.api.expect(200, 'GET', path(team));
  assert.deepEqual([seen.team, [...seen.members].sort(), seen.conv], [team, [a, c].sort(), conv]);
});

test('adding a member twice, or removing a user who is no member, sends nothing', async (t) => {
  const team = someone('team');
  const [a, b] = [someone(), someone()];
  const user = await signIn(t, gateway, a);
  await gateway.api.team(team, [a]);
  await gateway.api.expect(200, 'POST', path(team, '/members'), { uids: [a, a] });
  const answer = await gateway.api.call('DELETE', path(team, `/members/${b}`));
  assert.ok([200, 404].includes(answer.status), answer.text);
  await user.hearsNothing();
});

test('nobody can read or write a deleted team, and its name can be used for a new conversation', async (t) => {
  const team = someone('team');
  const a = someone();
  const user = await signIn(t, gateway, a);
  const { conv } = await gateway.api.team(team, [a]);
  await user.send({ team }, { text: '旧' });
  const gone = await gateway.api.call('DELETE', path(team));
  assert.equal(gone.status, 204);
  await gateway.api.expect(404, 'GET', path(team));
  await gateway.api.expect(404, 'DELETE', path(team));
  await gateway.api.expect(404, 'POST', '/v1/messages', { type: 15, to: { team }, data: {} });
  assert.ok([403, 404].includes((await user.send({ team }, { text: '还在？' })).code));
  const anew = await gateway.api.team(team, [a]);
  assert.notEqual(anew.conv, conv);
  assert.equal((await user.send({ team }, { text: '新' })).seq, 1);
});

test('the answer to the backend has the number of connected members', async (t) => {
  const team = someone('team');
  const [a, b, c] = [someone(), someone(), someone()];
  await signIn(t, gateway, a);
  const { conv } = await gateway.api.team(team, [a, b, c]);
  const { mid, ...rest } = await gateway.api.send({ type: 15, to: { team }, data: { text: '点名' } });
  assert.equal(typeof mid, 'string');
  assert.deepEqual(rest, { conv, seq: 1, online: 1, offline: 2 });
});

test('a team has at most 100,000 members, and a call names at most 10,000 uids', async () => {
  const team = someone('大');
  const uids = (from, count) => Array.from({ length: count }, (_, i) => `m${from + i}`);
  await gateway.api.expect(413, 'PUT', path(team), { members: uids(0, 100_001) });
  await gateway.api.expect(404, 'GET', path(team));
  const made = await gateway.api.team(team, uids(0, 10_000));
  assert.equal(made.members.length, 10_000);
  await gateway.api.expect(413, 'POST', path(team, '/members'), { uids: uids(10_000, 10_001) });
  const sent = await gateway.api.send({ type: 15, to: { team }, data: { text: '人真多' } });
  assert.deepEqual([sent.online, sent.offline], [0, 10_000]);
});

for (const [name, body] of [
  ['no members', {}],
  ['a string as members', { members: '小明' }],
  ['a number among the members', { members: ['小明', 1.5] }],
  ['an empty member', { members: [''] }],
  ['a control character', { members: ['a\u0000'] }],
  ['a number as name', { name: 7, members: [] }],
  ['a list', []],
  ['null', null],
]) {
  test(`a team with ${name} is refused`, () => gateway.api.expect(400, 'PUT', path(someone('team')), body));
}
