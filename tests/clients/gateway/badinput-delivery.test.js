// Invalid requests of kinds 101 to 110, and invalid registers with `resume`. Each is answered as
// docs/PROTOCOL.md says, changes nothing, and does not affect that connection or two other users.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { ACK, LIST, LISTED, READ, RECALL, RESPONSE, SYNC, SYNCED, list, listed, quiet, range, refused, resume, seqs, sync, written } from '../../lib/delivery.js';
import { eachGeneration } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { REGISTER, REGISTERED, SEND, SENT, signIn, someone, visitor } from '../../lib/user.js';

let gateway;
const innocent = [];
let said = 0;
before(async () => {
  gateway = await startGateway({ config: { login: { policy: 'multi' } } });
  const forever = { after() {} };
  for (const client of eachGeneration.slice(-2)) innocent.push(await signIn(forever, gateway, someone('无辜'), { client, deviceid: 'd' }));
});
after(async () => {
  for (const user of innocent) user.peer.close();
  await gateway?.close();
});
afterEach(async () => {
  const [a, b] = innocent;
  const { code, conv, seq } = await a.send({ user: b.uid }, { text: `没事吧？${++said} 😌` });
  assert.deepEqual([code, seq], [0, said], 'no seq is skipped');
  assert.equal((await b.next(3)).seq, said);
  assert.equal((await b.ask(READ, { conv, seq })).code, 0);
  assert.deepEqual((await a.next(107)).data, { conv, seq, by: b.uid });
  assert.deepEqual(seqs((await sync(a, conv, { after: said - 1 })).messages), [said]);
});

/** A user in a conversation of five messages, who has acknowledged and read two of them. */
async function reader(t, client) {
  const user = await signIn(t, gateway, someone('乙'), { client, deviceid: 'd' });
  const conv = await written(gateway, someone('甲'), user.uid, 5);
  await user.frames.takeMany(5, ({ type }) => type === 3);
  assert.equal((await user.ask(READ, { conv, seq: 2 })).code, 0);
  const unchanged = async () => {
    const { head, cursor, read, unread } = await listed(user, conv);
    assert.deepEqual([head, cursor, read, unread], [5, 2, 2, 3]);
  };
  return { user, conv, unchanged };
}

const noSeq = ['-1', '-9223372036854775808', '-9223372036854775809', `-1${'0'.repeat(30)}`, '1.5', '-0.5', '"3"', '"x"', '""', 'null', 'true', 'false', '[]', '[3]', '{}', '{"seq":3}'];
const future = ['6', '4294967296', '9223372036854775807', '9223372036854775808', '18446744073709551615', '18446744073709551616', `1${'0'.repeat(30)}`, '9'.repeat(400)];

describe('positions', () => {
  for (const client of eachGeneration) {
    test(`an invalid seq is answered 400 (socket.io-client ${client.version} ${client.transport})`, async (t) => {
      const { user, conv, unchanged } = await reader(t, client);
      for (const type of [ACK, READ]) {
        for (const seq of noSeq) {
          user.say(`{"type":${type},"req":${JSON.stringify(seq)},"data":{"conv":"${conv}","seq":${seq}}}`);
          const frame = await user.next(RESPONSE);
          assert.deepEqual([frame.req, frame.data.code], [seq, 400], `kind ${type} seq ${seq}`);
          user.say(`{"type":${type},"data":{"conv":"${conv}","seq":${seq}}}`);
        }
        await refused(user, 400, type, { conv });
        await refused(user, 400, type, { seq: 3 });
      }
      await unchanged();
      await quiet(gateway, user);
    });
  }

  test('numbers with a fraction of 0 are integers, and a seq beyond the head counts as the head', async (t) => {
    const { user, conv, unchanged } = await reader(t);
    for (const type of [ACK, READ]) {
      for (const seq of ['-1e30', '-1.0']) {
        user.say(`{"type":${type},"req":1,"data":{"conv":"${conv}","seq":${seq}}}`);
        assert.equal((await user.next(RESPONSE)).data.code, 400, seq);
      }
    }
    await unchanged();
    for (const type of [ACK, READ]) {
      for (const seq of ['1e30', '1E400', '3.0', '0e0']) {
        user.say(`{"type":${type},"req":1,"data":{"conv":"${conv}","seq":${seq}}}`);
        const { code } = (await user.next(RESPONSE)).data;
        assert.ok(code === 0 || code === 400, `${seq}: ${code}`);
      }
    }
    const { cursor, read, head } = await listed(user, conv);
    assert.ok(cursor <= head && read <= head && head === 5, `${cursor} ${read} ${head}`);
  });

  for (const [name, type] of [['acks', ACK], ['reads', READ]]) {
    test(`${name} beyond the head count up to the head`, async (t) => {
      for (const seq of future) {
        const { user, conv } = await reader(t);
        user.say(`{"type":${type},"req":"r","data":{"conv":"${conv}","seq":${seq}}}`);
        assert.equal((await user.next(RESPONSE)).data.code, 0, seq);
        const row = await listed(user, conv);
        assert.deepEqual([row.cursor, row.head, row.unread], [5, 5, type === READ ? 0 : 3], seq);
        user.peer.close();
      }
    });
  }

  test('kind 104 with invalid positions and limits is refused', async (t) => {
    const { user, conv, unchanged } = await reader(t);
    for (const one of noSeq.filter((seq) => seq !== 'null')) {
      for (const edge of ['after', 'before']) {
        user.say(`{"type":104,"req":1,"data":{"conv":"${conv}","${edge}":${one}}}`);
        assert.equal((await user.next(SYNCED)).data.code, 400, `${edge} ${one}`);
      }
      user.say(`{"type":104,"req":1,"data":{"conv":"${conv}","after":0,"limit":${one}}}`);
      assert.equal((await user.next(SYNCED)).data.code, 400, `limit ${one}`);
      user.say(`{"type":110,"req":1,"data":{"limit":${one}}}`);
      assert.equal((await user.next(LISTED)).data.code, 400, `limit ${one}`);
    }
    for (const limit of ['0', '501', '1000000000', '18446744073709551616', `1${'0'.repeat(30)}`, '1e9']) {
      user.say(`{"type":104,"req":1,"data":{"conv":"${conv}","before":9,"limit":${limit}}}`);
      assert.equal((await user.next(SYNCED)).data.code, 400, `limit ${limit}`);
      user.say(`{"type":110,"req":1,"data":{"limit":${limit}}}`);
      assert.equal((await user.next(LISTED)).data.code, 400, `limit ${limit}`);
    }
    for (const edges of ['', ',"after":1,"before":2', ',"after":null', ',"before":null', ',"after":null,"before":null']) {
      user.say(`{"type":104,"req":1,"data":{"conv":"${conv}"${edges}}}`);
      assert.equal((await user.next(SYNCED)).data.code, 400, edges);
    }
    await unchanged();
    await quiet(gateway, user);
  });
});

test('a conv that is invalid or does not exist is refused', async (t) => {
  const { user, unchanged } = await reader(t);
  const requests = [[ACK, { seq: 1 }], [READ, { seq: 1 }], [SYNC, { after: 0 }]];
  for (const conv of [null, undefined, 7, 1.5, true, [], {}, ['x']]) for (const [type, rest] of requests) await refused(user, 400, type, { conv, ...rest });
  for (const conv of ['', ' ', 'x', '0'.repeat(32), 'f'.repeat(32), '你好', '\u0000', "' OR 1=1 --", '../..', '%', 'x'.repeat(100_000), '💥'.repeat(10_000)]) {
    for (const [type, rest] of requests) await refused(user, [400, 403], type, { conv, ...rest });
  }
  await unchanged();
  await quiet(gateway, user);
});

test('data that is not an object is refused', async (t) => {
  const { user, unchanged } = await reader(t);
  const responses = { [ACK]: RESPONSE, [READ]: RESPONSE, [SYNC]: SYNCED, [RECALL]: RESPONSE, [SEND]: SENT, [REGISTER]: REGISTERED };
  for (const [type, response] of Object.entries(responses)) {
    for (const data of ['', ',"data":null', ',"data":[]', ',"data":[{}]', ',"data":"x"', ',"data":7', ',"data":true', ',"data":{}']) {
      user.say(`{"type":${type},"req":"r"${data}}`);
      const frame = await user.next(response);
      assert.deepEqual([frame.req, frame.data.code], ['r', 400], `kind ${type} ${data}`);
    }
  }
  for (const data of [',"data":[]', ',"data":"x"', ',"data":7']) {
    user.say(`{"type":${LIST},"req":"r"${data}}`);
    assert.equal((await user.next(LISTED)).data.code, 400, data);
  }
  await unchanged();
  await quiet(gateway, user);
});

test('a cid of nearly a megabyte is refused, and a larger one closes only that connection', async (t) => {
  const { user, unchanged } = await reader(t);
  const to = { user: someone() };
  await refused(user, 400, SEND, { type: 3, to, cid: 'c'.repeat(950_000), data: {} });
  await unchanged();
  user.say({ type: SEND, data: { type: 3, to, cid: 'c'.repeat(1_048_576), data: {} } });
  assert.match(await user.peer.closed(), /transport (close|error)/);
  const back = await resume(t, gateway, user.uid, { deviceid: 'd' });
  assert.deepEqual(seqs(back.replay), [3, 4, 5]);
  assert.equal((await list(back.user)).conversations.length, 1, 'nothing was stored');
});

test('resume with the deviceid of another user shows none of that user\'s messages', async (t) => {
  const { user, conv } = await reader(t);
  for (const more of [{}, { platform: 'ios' }, { type: 'admin' }]) {
    const thief = await resume(t, gateway, someone('贼'), { deviceid: 'd', ...more });
    assert.deepEqual([thief.replay, thief.registered.conversations, thief.registered.unread], [[], [], 0]);
    await refused(thief.user, 403, ACK, { conv, seq: 5 });
    await quiet(gateway, thief.user);
  }
  assert.equal((await listed(user, conv)).cursor, 2);
});

test('resume that is not a boolean, and an invalid deviceid, are refused', async (t) => {
  const { user, unchanged } = await reader(t);
  for (const wrong of ['yes', 'true', 1, 0, [], {}]) await refused(user, 400, REGISTER, { uid: user.uid, deviceid: 'd', resume: wrong });
  for (const deviceid of ['', 'x'.repeat(129), '字'.repeat(43), 'a\nb', 'a\u0000', 7, true, [], {}]) {
    await refused(user, 400, REGISTER, { uid: user.uid, deviceid, resume: true });
  }
  await unchanged();
  await quiet(gateway, user);
});

test('many devices of one user are bounded or all kept, and the user can continue', async (t) => {
  const uid = someone('千机');
  const count = 300;
  const visitors = await Promise.all(range(1, 10).map(() => visitor(t, gateway)));
  for (let n = 0; n < count; n += visitors.length) {
    const answers = await Promise.all(visitors.map((one, i) => one.ask(REGISTER, { uid, deviceid: `设备${n + i}`, resume: true })));
    for (const { code } of answers) assert.equal(code, 0);
  }
  for (const one of visitors) one.peer.close();
  await written(gateway, someone(), uid, 2);
  const { replay, user } = await resume(t, gateway, uid, { deviceid: `设备${count - 1}` });
  assert.deepEqual(seqs(replay), [1, 2]);
  assert.equal((await user.send({ user: uid }, { text: '还好' })).code, 0);
});

test('a flood of requests is answered 429 in the form of each request, and changes nothing beyond the limit', async (t) => {
  const { user, conv } = await reader(t);
  const codes = await Promise.all(range(1, 4_000).map(() => user.ask(ACK, { conv, seq: 3 })));
  assert.deepEqual(new Set(codes.map(({ code }) => code)), new Set([0, 429]));
  for (const { code, error } of codes) if (code === 429) assert.match(error, /^[A-Z].*\.$/);
});

test('the same requests, repeated, out of order and partly invalid, leave exact counts', async (t) => {
  const { user, conv } = await reader(t);
  const asked = [];
  for (const n of range(1, 150)) {
    asked.push(user.ask(ACK, { conv, seq: (n * 7) % 5 }), user.ask(READ, { conv, seq: (n * 3) % 5 }), user.ask(SYNC, { conv, after: n, limit: n % 3 }));
    user.say('{"type":103,"data":{"conv":');
    user.say({ type: READ, data: { conv, seq: -n } });
  }
  const codes = (await Promise.all(asked)).map(({ code }) => code);
  assert.deepEqual(new Set(codes), new Set([0, 400]));
  const { head, cursor, read, unread } = await listed(user, conv);
  assert.deepEqual([head, cursor, read, unread], [5, 4, 4, 1]);
  await quiet(gateway, user);
});
