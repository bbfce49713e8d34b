// Kinds 110 and 111, and the list in kind 2: a user's conversations.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { LIST, ack, list, quiet, range, read, refused, resume, written } from '../../lib/delivery.js';
import { eachGeneration } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';

let gateway;
before(async () => (gateway = await startGateway({ config: { login: { policy: 'multi' }, limits: { frames_per_second: 0, frames_burst: 0 } } })));
after(() => gateway.close());

const path = (team, more = '') => `/v1/teams/${encodeURIComponent(team)}${more}`;

/** Makes `count` users send one message each. Returns the conversations, oldest first. */
async function letters(uid, count) {
  const convs = [];
  for (let start = 0; start < count; start += 1_000) {
    const messages = range(start, Math.min(count, start + 1_000) - 1).map((n) => ({ type: 3, from: `笔友${n}-${uid}`, to: { user: uid }, data: { n } }));
    const { results } = await gateway.api.expect(200, 'POST', '/v1/messages/batch', { messages });
    convs.push(...results.map(({ results: [row] }) => row.conv));
  }
  return convs;
}

/** Reads all pages; `between` runs before each further page. */
async function pages(user, limit, between = () => {}) {
  const rows = [];
  let after;
  for (;;) {
    const { conversations, next } = await list(user, { limit, after });
    assert.ok(conversations.length <= limit);
    assert.ok(next === null || conversations.length > 0, 'a page before the last one is not empty');
    rows.push(...conversations);
    if (next === null) return rows;
    after = next;
    await between(rows);
  }
}

describe('every generation', { concurrency: true }, () => {
  for (const client of eachGeneration) {
    test(`socket.io-client ${client.version} ${client.transport} lists each sort of conversation, newest first`, async (t) => {
      const [a, b] = [someone('甲'), someone('乙')];
      const team = someone('队');
      const user = await signIn(t, gateway, b, { client, deviceid: '手机' });
      assert.deepEqual(await list(user), { code: 0, conversations: [], next: null });
      const other = await signIn(t, gateway, a, { deviceid: 'd' });
      await gateway.api.team(team, [a, b]);
      const expected = [];
      const add = async (kind, to, type, whom) => {
        const sent = await other.send(to, { text: `${kind} 💬` }, { type, cid: kind });
        const last = { type, data: { text: `${kind} 💬` }, mid: sent.mid, cid: kind, conv: sent.conv, seq: 1, from: a, ts: sent.ts };
        expected.unshift({ conv: sent.conv, kind, ...whom, head: 1, cursor: 0, read: 0, unread: 1, last });
      };
      await add('pair', { user: b }, 3, { peer: a });
      await add('pair_doctor', { user: b }, 7, { peer: a });
      await add('pair_teammate', { user: b }, 8, { peer: a });
      await add('pair_doctor_friend', { user: b }, 9, { peer: a });
      await add('team', { team }, 15, { team });
      const notice = await gateway.api.sendTo(b, { type: 5, data: { text: '通知' } });
      const { ts } = await user.next(5);
      const last = { type: 5, data: { text: '通知' }, mid: notice.mid, conv: notice.conv, seq: 1, ts };
      expected.unshift({ conv: notice.conv, kind: 'notices', head: 1, cursor: 0, read: 0, unread: 1, last });
      assert.deepEqual(await list(user), { code: 0, conversations: expected, next: null });

      // A message in the oldest conversation moves it to the front. The row has the positions of this device
      // and user.
      const oldest = expected.pop();
      const reply = await user.send({ user: a }, { text: '回 ↩️' });
      oldest.last = { type: 3, data: { text: '回 ↩️' }, mid: reply.mid, conv: oldest.conv, seq: 2, from: b, ts: reply.ts };
      expected.unshift({ ...oldest, head: 2 });
      await ack(user, expected[1].conv, 1);
      expected[1].cursor = 1;
      await read(user, expected[2].conv, 1);
      Object.assign(expected[2], { cursor: 1, read: 1, unread: 0 });
      assert.deepEqual(await list(user), { code: 0, conversations: expected, next: null });

      const { conversations } = await gateway.api.expect(200, 'GET', `/v1/users/${encodeURIComponent(b)}/conversations`);
      assert.deepEqual(conversations, expected.map((row) => ({ ...row, cursor: 0 })), 'the API has no device and therefore no cursor');
      const seen = (await list(other)).conversations;
      assert.deepEqual(seen.map(({ kind, peer, unread }) => [kind, peer ?? null, unread]), [['pair', b, 1], ['team', null, 0], ['pair_doctor_friend', b, 0], ['pair_teammate', b, 0], ['pair_doctor', b, 0]]);
    });
  }
});

test('pages of every size give the same list', async (t) => {
  const uid = someone();
  const convs = await letters(uid, 101);
  const user = await signIn(t, gateway, uid, { deviceid: 'd' });
  const newest = [...convs].reverse();
  for (const limit of [1, 7, 100, 101, 102, 500]) assert.deepEqual((await pages(user, limit)).map(({ conv }) => conv), newest, `pages of ${limit}`);
  const first = await list(user);
  assert.equal(first.conversations.length, 100, '100 when absent');
  assert.equal(typeof first.next, 'string');
  const second = await list(user, { after: first.next });
  assert.deepEqual([second.conversations.map(({ conv }) => conv), second.next], [newest.slice(100), null]);
  assert.deepEqual((await list(user, { after: first.next })).conversations, second.conversations, 'a page can be requested again');
});

test('pages that end because of their size are followed by further pages', async (t) => {
  const uid = someone();
  const convs = [];
  for (let n = 0; n < 40; n++) convs.unshift(await written(gateway, someone(), uid, 1, () => ({ text: '大'.repeat(20_000) })));
  const user = await signIn(t, gateway, uid, { deviceid: 'd' });
  assert.deepEqual((await pages(user, 500)).map(({ conv }) => conv), convs);
});

test('while messages arrive, no conversation is listed twice, and none without a new message is missed', async (t) => {
  const uid = someone();
  const convs = await letters(uid, 60);
  const user = await signIn(t, gateway, uid, { deviceid: 'd' });
  const rings = new Map();
  let turn = 0;
  const rows = await pages(user, 7, async () => {
    // A conversation that was listed already, one that was not listed yet, and a new one.
    for (const from of [`笔友${59 - turn}-${uid}`, `笔友${turn}-${uid}`, `新笔友${turn}-${uid}`]) {
      const { conv } = await gateway.api.sendTo(uid, { type: 3, from, data: { text: '又来信 ✉️' } });
      rings.set(conv, (await user.next(3)).seq);
    }
    turn++;
  });
  assert.ok(turn >= 5, `${turn} turns`);
  const seen = rows.map(({ conv }) => conv);
  assert.equal(new Set(seen).size, seen.length, 'no conversation is listed twice');
  for (const conv of convs) assert.ok(seen.includes(conv) || rings.has(conv), 'a conversation without a new message is missing');
  assert.equal((await pages(user, 500)).length, 60 + turn);
});

test('invalid limits and positions are refused', async (t) => {
  const uid = someone();
  await letters(uid, 3);
  const user = await signIn(t, gateway, uid, { deviceid: 'd' });
  for (const limit of [0, -1, 501, 1e9, 1.5, '10', [], {}, true]) await refused(user, 400, LIST, { limit });
  for (const after of [7, true, [], {}, 1e30]) await refused(user, 400, LIST, { after });
  for (const after of ['', 'x', '-1', '99999999999999999999999', '你好', '\u0000', 'x'.repeat(100_000)]) {
    const { code, conversations } = await user.ask(LIST, { after });
    assert.ok(code === 400 || code === 404 || (code === 0 && conversations.length <= 3), `${after.slice(0, 20)}: ${code}`);
  }
  const { next } = await list(user, { limit: 1 });
  const stranger = await signIn(t, gateway, someone(), { deviceid: 'd' });
  const { conversations = [] } = await stranger.ask(LIST, { after: next });
  assert.deepEqual(conversations, [], 'a position of another user shows none of that user\'s conversations');
});

test('a team is listed before its first message, and not after the user left it or it was deleted', async (t) => {
  const [a, b] = [someone(), someone()];
  const [left, gone] = [someone('离开'), someone('解散')];
  const user = await signIn(t, gateway, a, { deviceid: 'd' });
  const other = await signIn(t, gateway, b, { deviceid: 'd' });
  const { conv } = await gateway.api.team(left, [a, b]);
  assert.deepEqual((await list(user)).conversations, [{ conv, kind: 'team', team: left, head: 0, cursor: 0, read: 0, unread: 0, last: null }]);
  await gateway.api.team(gone, [a, b]);
  for (const team of [left, gone]) await other.send({ team }, { text: '一' });
  assert.deepEqual((await list(user)).conversations.map(({ team, unread }) => [team, unread]), [[gone, 1], [left, 1]]);
  assert.equal((await gateway.api.user(a)).unread, 2);
  await gateway.api.expect(200, 'DELETE', path(left, `/members/${encodeURIComponent(a)}`));
  assert.equal((await gateway.api.call('DELETE', path(gone))).status, 204);
  assert.deepEqual((await list(user)).conversations, []);
  assert.deepEqual((await list(other)).conversations.map(({ team }) => team), [left]);
  assert.equal((await gateway.api.user(a)).unread, 0, 'messages that cannot be read are not unread');
  // The device has not acknowledged the messages: they are listed again, and none of them is unread.
  const { registered, replay } = await resume(t, gateway, a, { deviceid: 'd' });
  assert.deepEqual(replay.map(({ type, data }) => [type, data.team]), [[17, gone], [15, undefined], [17, left]]);
  assert.deepEqual([registered.unread, registered.conversations.map(({ unread }) => unread)], [0, [0, 0]]);
});

test('kind 2 lists at most 200 conversations, newest first, and says that there are more', async (t) => {
  for (const [count, more] of [[200, false], [201, true], [230, true]]) {
    const uid = someone();
    const device = await signIn(t, gateway, uid, { deviceid: 'd' });
    const convs = await letters(uid, count);
    device.peer.close();
    for (const deviceid of ['d', '新']) {
      const { registered, user, replay } = await resume(t, gateway, uid, { deviceid });
      assert.equal(registered.more, more);
      assert.equal(registered.unread, count);
      const cursor = deviceid === 'd' ? 0 : 1;
      assert.equal(replay.length, deviceid === 'd' ? count : 0);
      assert.deepEqual(registered.conversations, [...convs].reverse().slice(0, 200).map((conv) => ({ conv, head: 1, cursor, read: 0, unread: 1 })));
      assert.deepEqual((await pages(user, 150)).map(({ conv }) => conv), [...convs].reverse());
    }
  }
});

test('kind 2 lists only conversations with unread or unacknowledged messages', async (t) => {
  const uid = someone();
  const device = await signIn(t, gateway, uid, { deviceid: 'd' });
  const [untouched, acked, readOnly, own] = [await written(gateway, someone(), uid, 2), await written(gateway, someone(), uid, 2), await written(gateway, someone(), uid, 2), (await device.send({ user: someone() }, { text: '我' })).conv];
  await ack(device, acked, 2);
  await read(device, readOnly, 2);
  const rows = (one) => new Map(one.registered.conversations.map(({ conv, ...rest }) => [conv, rest]));
  const first = rows(await resume(t, gateway, uid, { deviceid: 'd' }));
  assert.deepEqual(first, new Map([[acked, { head: 2, cursor: 2, read: 0, unread: 2 }], [untouched, { head: 2, cursor: 0, read: 0, unread: 2 }]]));
  assert.equal(first.has(own), false);
  const { user } = await resume(t, gateway, uid, { deviceid: 'd' });
  await read(user, acked, 1);
  await ack(user, untouched, 1);
  assert.deepEqual(rows(await resume(t, gateway, uid, { deviceid: 'd' })), new Map([[acked, { head: 2, cursor: 2, read: 1, unread: 1 }], [untouched, { head: 2, cursor: 1, read: 0, unread: 2 }]]));
});

test('only a register with resume is answered with the list', async (t) => {
  const uid = someone();
  await letters(uid, 2);
  for (const more of [{}, { resume: false }, { resume: null }, { deviceid: 'd' }]) {
    const user = await signIn(t, gateway, uid, more);
    assert.deepEqual(['conversations' in user.registered, 'more' in user.registered, user.registered.unread], [false, false, 2], JSON.stringify(more));
    await quiet(gateway, user);
  }
});

test('ten thousand conversations are resumed and listed without a loss', async (t) => {
  const count = 10_000;
  const uid = someone('忙');
  const device = await signIn(t, gateway, uid, { deviceid: 'd' });
  device.peer.close();
  const convs = await letters(uid, count);
  const newest = [...convs].reverse();
  const got = [];
  for (let complete = false; !complete; ) {
    const { user, registered, replay, resumed } = await resume(t, gateway, uid, { deviceid: 'd' });
    assert.deepEqual([registered.unread, registered.conversations.length, registered.more], [count, 200, true]);
    assert.deepEqual(resumed, { sent: Math.min(500, count - got.length), complete: got.length + 500 >= count });
    ({ complete } = resumed);
    got.push(...replay.map(({ conv }) => conv));
    await Promise.all(replay.map(({ conv, seq }) => ack(user, conv, seq)));
    if (complete) assert.deepEqual((await pages(user, 500)).map(({ conv, cursor, unread }) => [conv, cursor, unread]), newest.map((conv) => [conv, 1, 1]));
    user.peer.close();
  }
  assert.deepEqual([got.length, new Set(got).size], [count, count], 'each message is received once');
});
