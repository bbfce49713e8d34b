// Kinds 108 and 109: a sender recalls a message.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { RECALL, RECALLED, ack, listed, quiet, range, read, recall, refused, resume, seqs, sync } from '../../lib/delivery.js';
import { eventually } from '../../lib/inbox.js';
import { everyClient } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';
import { Webhook } from '../../lib/webhook.js';

let gateway;
before(async () => (gateway = await startGateway({ config: { login: { policy: 'multi' } } })));
after(() => gateway.close());

const path = (team, more = '') => `/v1/teams/${encodeURIComponent(team)}${more}`;
const pair = async (t) => [await signIn(t, gateway, someone('甲'), { deviceid: 'd' }), await signIn(t, gateway, someone('乙'), { deviceid: 'd' })];

describe('every client', { concurrency: 5 }, () => {
  for (const client of everyClient) {
    test(`socket.io-client ${client.version} ${client.transport} recalls a message`, async (t) => {
      const [a, b] = [someone('写'), someone('读')];
      const ming = await signIn(t, gateway, a, { client, deviceid: '手机' });
      const pad = await signIn(t, gateway, a, { deviceid: '平板' });
      const hong = await signIn(t, gateway, b, { client, deviceid: 'd', format: 'object' });
      const sent = await ming.send({ user: b }, { text: '说错了 🙈' }, { cid: '错' });
      const { mid, conv, ts } = sent;
      await ming.send({ user: b }, { text: '没错' });
      const [pushed] = await hong.frames.takeMany(2, ({ type }) => type === 3);
      await pad.frames.takeMany(2, ({ type }) => type === 3);

      const answer = await recall(ming, mid);
      const notice = { type: RECALLED, data: { mid }, mid: answer.mid, conv, seq: 3, from: a, ts: answer.ts };
      assert.deepEqual(answer, { code: 0, mid: notice.mid, conv, seq: 3, ts: notice.ts });
      assert.ok(notice.mid > mid && notice.ts >= ts);
      for (const user of [hong, pad, ming]) assert.deepEqual({ ...(await user.next(RECALLED)) }, notice);

      const shown = { ...pushed, data: null, recalled: true };
      for (const messages of [
        (await sync(hong, conv, { after: 0 })).messages,
        (await sync(ming, conv, { before: 4 })).messages.reverse(),
        (await gateway.api.history(conv)).messages,
        (await gateway.api.history(conv, 'before=4')).messages.reverse(),
      ]) {
        assert.deepEqual(messages[0], shown);
        assert.deepEqual([messages[1].data, 'recalled' in messages[1]], [{ text: '没错' }, false]);
        assert.deepEqual(messages[2], notice);
        assert.equal(messages.length, 3);
      }
      const row = await listed(hong, conv);
      assert.deepEqual([row.head, row.unread, row.last], [3, 1, notice]);
      assert.equal((await gateway.api.user(b)).unread, 1);

      await refused(ming, 409, RECALL, { mid });
      await refused(hong, 403, RECALL, { mid });
      await refused(ming, 403, RECALL, { mid: notice.mid });
      await refused(hong, 403, RECALL, { mid: notice.mid });
      const again = await ming.send({ user: b }, { text: '重发' }, { cid: '错' });
      assert.deepEqual([again.mid, again.duplicate], [mid, true], 'the cid still identifies the message');
      assert.equal((await listed(hong, conv)).head, 3, 'a refused recall stores nothing');
      await quiet(gateway, ming, pad, hong);
    });
  }
});

test('a recall of another user\'s message, of an unknown mid, or of an invalid mid is refused', async (t) => {
  const [ming, hong] = await pair(t);
  const { mid, conv } = await ming.send({ user: hong.uid }, { text: '我的' });
  await hong.next(3);
  await refused(hong, 403, RECALL, { mid });
  await refused(await signIn(t, gateway, someone('路人')), 403, RECALL, { mid });
  await refused(ming, 404, RECALL, { mid: `${mid.slice(0, -6)}000000` });
  for (const wrong of [undefined, null, 7, true, [], {}, [mid], 1e30]) await refused(ming, 400, RECALL, { mid: wrong });
  for (const wrong of ['', 'x', mid.slice(1), `${mid}0`, ' ', '你好', `${mid}'; --`, 'x'.repeat(100_000)]) await refused(ming, [400, 404], RECALL, { mid: wrong });
  await quiet(gateway, ming, hong);
  assert.deepEqual((await gateway.api.history(conv)).messages[0].data, { text: '我的' });
});

test('the same recall, sent many times at the same time, is one recall', async (t) => {
  const [ming, hong] = await pair(t);
  const { mid, conv } = await ming.send({ user: hong.uid }, { text: '抢' });
  const answers = await Promise.all(Array.from({ length: 20 }, () => ming.ask(RECALL, { mid })));
  assert.deepEqual(answers.map(({ code }) => code).sort(), [0, ...Array(19).fill(409)]);
  assert.equal((await sync(ming, conv, { after: 0 })).head, 2);
  for (const user of [ming, hong]) await user.next(RECALLED);
  await hong.next(3);
  await quiet(gateway, ming, hong);
});

test('another device of the sender may recall the message', async (t) => {
  const uid = someone();
  const [phone, pad] = [await signIn(t, gateway, uid, { deviceid: '手机' }), await signIn(t, gateway, uid, { deviceid: '平板' })];
  const { mid } = await phone.send({ user: someone() }, { text: '从手机' });
  await recall(pad, mid);
  assert.equal((await phone.next(RECALLED)).data.mid, mid);
});

test('a user may recall what the backend has sent in its name', async (t) => {
  const [ming, hong] = await pair(t);
  const chat = await gateway.api.sendTo(hong.uid, { type: 3, from: ming.uid, data: { text: '代发' } });
  await recall(ming, chat.mid);
  assert.equal((await hong.next(RECALLED)).data.mid, chat.mid);
  const nobody = await gateway.api.sendTo(hong.uid, { type: 5, data: { text: '没有寄件人' } });
  await refused(hong, 403, RECALL, { mid: nobody.mid });
  await refused(ming, 403, RECALL, { mid: nobody.mid });
});

test('a recall after the recall window is refused', async (t) => {
  const server = await startGateway({ config: { limits: { recall_window_ms: 1 } } });
  t.after(() => server.close());
  const [a, b] = [someone(), someone()];
  const ming = await signIn(t, server, a, { deviceid: 'd' });
  const { mid, conv, ts } = await ming.send({ user: b }, { text: '来不及 ⏰' });
  // The test only waits: the ts of new messages shows the server's clock.
  await eventually(async () => (await ming.send({ user: a }, { text: '几点了' })).ts > ts + 1, 'the end of the recall window');
  await refused(ming, 403, RECALL, { mid });
  const { messages, head } = await sync(ming, conv, { after: 0 });
  assert.deepEqual([messages[0].data, 'recalled' in messages[0], head], [{ text: '来不及 ⏰' }, false, 1]);
});

test('in a team every member gets the recall, and a user who has left may not recall', async (t) => {
  const team = someone('队');
  const [ming, hong] = await pair(t);
  const wei = await signIn(t, gateway, someone('丙'), { deviceid: 'd' });
  const stranger = await signIn(t, gateway, someone('路人'), { deviceid: 'd' });
  const { conv } = await gateway.api.team(team, [ming.uid, hong.uid, wei.uid]);
  const sent = await hong.send({ team }, { text: '一' });
  const kept = await hong.send({ team }, { text: '二' });
  for (const user of [ming, wei]) await user.frames.takeMany(2, ({ type }) => type === 15);
  await recall(hong, sent.mid);
  for (const user of [ming, hong, wei]) {
    const frame = await user.next(RECALLED);
    assert.deepEqual([frame.data, frame.conv, frame.seq, frame.from], [{ mid: sent.mid }, conv, 3, hong.uid]);
  }
  await gateway.api.expect(200, 'DELETE', path(team, `/members/${encodeURIComponent(hong.uid)}`));
  for (const user of [ming, hong, wei]) await user.next(17);
  await refused(hong, 403, RECALL, { mid: kept.mid });
  await refused(hong, 403, RECALL, { mid: sent.mid });
  await quiet(gateway, ming, hong, wei, stranger);
  assert.equal((await gateway.api.user(ming.uid)).unread, 1);
});

test('a recalled message is replayed without its data, followed by the recall', async (t) => {
  const [ming, hong] = await pair(t);
  const { mid, conv } = await ming.send({ user: hong.uid }, { text: '早' });
  const had = await hong.next(3);
  await ack(hong, conv, 1);
  hong.peer.close();
  const second = await ming.send({ user: hong.uid }, { text: '错' }, { cid: 'c2' });
  await ming.send({ user: hong.uid }, { text: '对' });
  await recall(ming, mid);
  await recall(ming, second.mid);
  const { replay, registered } = await resume(t, gateway, hong.uid, { deviceid: 'd' });
  assert.deepEqual(seqs(replay), [2, 3, 4, 5]);
  const { ts } = replay[0];
  assert.deepEqual({ ...replay[0] }, { type: 3, data: null, recalled: true, mid: second.mid, cid: 'c2', conv, seq: 2, from: ming.uid, ts });
  assert.deepEqual(replay.slice(1).map(({ type, data }) => [type, data]), [[3, { text: '对' }], [RECALLED, { mid: had.mid }], [RECALLED, { mid: second.mid }]]);
  assert.deepEqual([registered.unread, registered.conversations], [1, [{ conv, head: 5, cursor: 1, read: 0, unread: 1 }]]);
});

test('messages of every kind that clients may send can be recalled', async (t) => {
  const [ming, hong] = await pair(t);
  for (const type of [3, 7, 8, 9, 18, 19]) {
    const sent = await ming.send({ user: hong.uid }, { type }, { type });
    const answer = await recall(ming, sent.mid);
    assert.deepEqual([answer.conv, answer.seq], [sent.conv, sent.seq + 1]);
    assert.equal((await hong.next(RECALLED)).data.mid, sent.mid);
  }
  assert.equal((await gateway.api.user(hong.uid)).unread, 0);
});

test('a recall causes no notification', async (t) => {
  const secret = 'secret-of-the-recall-test';
  const hook = await Webhook.start(secret);
  t.after(() => hook.close());
  const server = await startGateway({ config: { push: { webhook: { url: encodeURI(hook.url), secret } } } });
  t.after(() => server.close());
  const ming = await signIn(t, server, someone('甲'), { deviceid: 'd' });
  const away = someone('不在');
  const { mid } = await ming.send({ user: away }, { text: '错' });
  assert.equal((await hook.next(away)).body.mid, mid);
  await recall(ming, mid);
  const marks = [];
  for (let n = 0; n < 5; n++) marks.push((await ming.send({ user: away }, { n })).mid);
  const pushed = [];
  for (const _ of marks) pushed.push((await hook.next(away)).body);
  assert.deepEqual(pushed.map((body) => body.mid).sort(), marks);
  assert.equal(Math.max(...pushed.map((body) => body.unread)), 5);
});

test('a message that is recalled before its notification has arrived is not notified any more', async (t) => {
  const secret = 'secret-of-the-recall-test';
  const hook = await Webhook.start(secret);
  t.after(() => hook.close());
  const push = { webhook: { url: encodeURI(hook.url), secret }, retry_initial_ms: 20, retry_max_ms: 20 };
  const server = await startGateway({ config: { push } });
  t.after(() => server.close());
  hook.answer = () => 503;
  const ming = await signIn(t, server, someone('甲'), { deviceid: 'd' });
  const away = someone('不在');
  const [wrong, right] = [await ming.send({ user: away }, { text: '错' }), await ming.send({ user: away }, { text: '对' })];
  const tries = (mid) => hook.for(away).filter(({ body }) => body.mid === mid).length;
  await eventually(() => tries(wrong.mid) > 0 && tries(right.mid) > 0, 'an attempt for both');
  await recall(ming, wrong.mid);
  const [was, other] = [tries(wrong.mid), tries(right.mid)];
  await eventually(() => tries(right.mid) > other + 10, 'ten more attempts for the other message');
  assert.ok(tries(wrong.mid) <= was + 1, 'at most one attempt was in flight');
  hook.answer = () => 200;
});

test('a recall survives kill -9', async (t) => {
  const server = await startGateway();
  t.after(() => server.close());
  const uid = someone();
  const ming = await signIn(t, server, uid, { deviceid: 'd' });
  const to = someone();
  const mids = [];
  for (const n of range(1, 10)) mids.push((await ming.send({ user: to }, { n })).mid);
  const { conv } = await recall(ming, mids[0]);
  await Promise.all(mids.slice(1, 6).map((mid) => recall(ming, mid)));
  await server.program.kill();
  await server.start();
  const { messages } = await server.api.history(conv);
  assert.deepEqual(messages.map(({ recalled = false, data }) => [recalled, data === null]), [...Array(6).fill([true, true]), ...Array(10).fill([false, false])]);
  assert.deepEqual(seqs(messages), range(1, 16));
  assert.deepEqual(messages.slice(10).map(({ data }) => data.mid).sort(), mids.slice(0, 6));
  assert.equal((await server.api.user(to)).unread, 4);
  const back = await signIn(t, server, uid, { deviceid: 'd' });
  await refused(back, 409, RECALL, { mid: mids[0] });
});

test('a recalled message does not block read positions', async (t) => {
  const [ming, hong] = await pair(t);
  const { mid, conv } = await ming.send({ user: hong.uid }, { text: '错' });
  await recall(ming, mid);
  await read(hong, conv, 1);
  assert.deepEqual([(await listed(hong, conv)).read, (await gateway.api.user(hong.uid)).unread], [1, 0]);
});
