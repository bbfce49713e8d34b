// All requests in all forms, for every client version, and the errors that all requests have in common.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ACK, LIST, LISTED, READ, READ_PUSH, RECALL, RECALLED, RESPONSE, SYNC, SYNCED, inEveryForm, quiet, refused, seqs } from '../../lib/delivery.js';
import { eachGeneration, everyClient } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { REGISTER, SENT, signIn, someone, visitor } from '../../lib/user.js';

let gateway;
let notify;
before(async () => {
  [gateway, notify] = await Promise.all([startGateway(), startGateway({ config: { login: { displaced: 'notify' } } })]);
});
after(() => Promise.all([gateway, notify].map((one) => one.close())));

const path = (team, more = '') => `/v1/teams/${encodeURIComponent(team)}${more}`;
const same = (answers, expected) => answers.forEach((answer) => assert.deepEqual(answer, expected));

describe('requests in every form', { concurrency: 5 }, () => {
  for (const client of everyClient) {
    for (const format of ['string', 'object']) {
      test(`socket.io-client ${client.version} ${client.transport} sends every request, format ${format}`, async (t) => {
        const [a, b] = [someone('问'), someone('答')];
        const ming = await signIn(t, gateway, a, { client, deviceid: '手机', format });
        const hong = await signIn(t, gateway, b, { client, deviceid: '平板' });
        ming.format = format;
        const sent = [];
        for (let n = 1; n <= 7; n++) sent.push(await ming.send({ user: b }, { text: `第${n}条 🌊` }, { cid: `c${n}` }));
        const [{ conv }] = sent;
        const pushed = await hong.frames.takeMany(7, ({ type }) => type === 3);

        const synced = await inEveryForm(ming, SYNC, SYNCED, () => ({ conv, after: 2, limit: 3 }));
        same(synced, { code: 0, conv, messages: pushed.slice(2, 5).map((frame) => ({ ...frame })), head: 7, more: true });
        const lists = await inEveryForm(ming, LIST, LISTED, () => ({ limit: 1 }));
        same(lists, { code: 0, conversations: [{ conv, kind: 'pair', peer: b, head: 7, cursor: 7, read: 0, unread: 0, last: { ...pushed[6] } }], next: null });
        same(await inEveryForm(ming, ACK, RESPONSE, () => ({ conv, seq: 7 })), { code: 0 });
        same(await inEveryForm(ming, READ, RESPONSE, () => ({ conv, seq: 7 })), { code: 0 });
        assert.deepEqual((await hong.next(READ_PUSH)).data, { conv, seq: 7, by: a });

        const mids = sent.map(({ mid }) => mid);
        const recalls = await inEveryForm(ming, RECALL, RESPONSE, () => ({ mid: mids.shift() }));
        for (const { code } of recalls) assert.equal(code, 0);
        // The last request has no `req`: it was carried out, but not answered.
        for (const user of [ming, hong]) {
          const heard = await user.frames.takeMany(7, ({ type }) => type === RECALLED, 'a recall');
          assert.deepEqual(heard.map(({ data }) => data.mid), sent.map(({ mid }) => mid));
          assert.deepEqual(seqs(heard), [8, 9, 10, 11, 12, 13, 14]);
        }
        await quiet(gateway, ming, hong);
      });
    }
  }
});

describe('refused requests', { concurrency: 5 }, () => {
  const requests = (conv, mid) => [
    [101, SENT, { type: 3, to: { user: '谁' }, data: {} }],
    [ACK, RESPONSE, { conv, seq: 1 }],
    [SYNC, SYNCED, { conv, after: 0 }],
    [READ, RESPONSE, { conv, seq: 1 }],
    [RECALL, RESPONSE, { mid }],
    [LIST, LISTED, {}],
  ];
  const known = async (t, server) => {
    const other = await signIn(t, server, someone('别人'), { deviceid: 'd' });
    return { other, ...(await other.send({ user: other.uid }, { text: '自己的' })) };
  };

  for (const client of eachGeneration) {
    test(`every request before a register is answered 401 (socket.io-client ${client.version} ${client.transport})`, async (t) => {
      const { conv, mid } = await known(t, gateway);
      const user = await visitor(t, gateway, client);
      for (const [type, response, data] of requests(conv, mid)) {
        for (const answer of await inEveryForm(user, type, response, () => data)) {
          assert.equal(answer.code, 401, `kind ${type}`);
          assert.match(answer.error, /^[A-Z`"].*\.$/);
        }
      }
      const uid = someone();
      assert.equal((await user.ask(REGISTER, { uid, deviceid: 'd' })).code, 0);
      assert.equal((await user.send({ user: uid }, { text: '现在可以了' })).code, 0);
    });
  }

  test('a displaced connection that stays open is not registered any more', async (t) => {
    const uid = someone();
    const old = await signIn(t, notify, uid, { deviceid: '旧' });
    const { conv, mid } = await old.send({ user: uid }, { text: '自己的' });
    const fresh = await signIn(t, notify, uid, { deviceid: '新' });
    await old.next(12);
    for (const [type, , data] of requests(conv, mid)) await refused(old, 401, type, data);
    for (const [type, , data] of requests(conv, mid)) assert.equal((await fresh.ask(type, data)).code, 0, `kind ${type}`);
  });

  test('conversations of other users and conversations that do not exist are answered alike', async (t) => {
    const { other, conv, mid } = await known(t, gateway);
    const user = await signIn(t, gateway, someone(), { deviceid: 'd' });
    const notices = (await gateway.api.sendTo(other.uid, { type: 5, data: { text: '给别人' } })).conv;
    const team = someone('队');
    const { conv: theirs } = await gateway.api.team(team, [other.uid]);
    const answers = new Set();
    for (const one of [conv, notices, theirs, `${conv.slice(0, -4)}0000`, `${conv}0`, '没有', '']) {
      for (const [type, data] of [[ACK, { seq: 1 }], [READ, { seq: 1 }], [SYNC, { after: 0 }]]) {
        await refused(user, 403, type, { conv: one, ...data });
        answers.add((await user.ask(type, { conv: one, ...data })).error);
      }
    }
    assert.equal(answers.size, 1, 'the error texts are equal too');
    await refused(user, 403, RECALL, { mid });
    await refused(user, 404, RECALL, { mid: `${mid.slice(0, -4)}0000` });
    await other.next(5);
    await quiet(gateway, other);
    assert.equal((await gateway.api.user(other.uid)).unread, 1);
  });

  test('requests of a user who has left a team are refused, and so are all requests after the team was deleted', async (t) => {
    const team = someone('队');
    const [a, b] = [someone('甲'), someone('乙')];
    const stays = await signIn(t, gateway, a, { deviceid: 'd' });
    const leaves = await signIn(t, gateway, b, { deviceid: 'd' });
    const { conv } = await gateway.api.team(team, [a, b]);
    const mine = await leaves.send({ team }, { text: '再见' });
    await stays.next(15);
    await gateway.api.expect(200, 'DELETE', path(team, `/members/${encodeURIComponent(b)}`));
    for (const user of [stays, leaves]) await user.next(17);
    const asked = [[ACK, { conv, seq: 1 }], [READ, { conv, seq: 1 }], [SYNC, { conv, after: 0 }], [RECALL, { mid: mine.mid }]];
    for (const [type, data] of asked) await refused(leaves, 403, type, data);
    await quiet(gateway, stays, leaves);

    assert.equal((await gateway.api.call('DELETE', path(team))).status, 204);
    // The members of a deleted team get the same frame as removed members.
    assert.deepEqual((await stays.next(17)).data, { team, uid: a });
    const code = (type) => (type === RECALL ? 404 : 403);
    for (const user of [stays, leaves]) for (const [type, data] of asked) await refused(user, code(type), type, data);
    await gateway.api.team(team, [a, b]);
    for (const [type, data] of asked) await refused(stays, code(type), type, data);
    await quiet(gateway, stays, leaves);
  });

  test('kinds of responses and pushes are not accepted as requests', async (t) => {
    const user = await signIn(t, gateway, someone(), { deviceid: 'd' });
    for (const type of [2, 3, 15, 100, 102, 105, 107, 109, 111, 112, 113]) await refused(user, 404, type, {});
    user.say({ type: 112, req: 1, data: {} });
    const frame = await user.next(RESPONSE);
    assert.deepEqual([frame.req, frame.data.code], [1, 404]);
    await quiet(gateway, user);
  });
});
