// Registering (docs/PROTOCOL.md#4-registering), for every client version on every transport.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../lib/inbox.js';
import { everyClient } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { REGISTER, REGISTERED, signIn, someone, visitor } from '../../lib/user.js';

let gateway;
before(async () => (gateway = await startGateway()));
after(() => gateway.close());

for (const client of everyClient) {
  describe(`socket.io-client ${client.version} ${client.transport}`, { concurrency: true }, () => {
    test('registers with a string frame and gets a string frame', async (t) => {
      const uid = someone('小明🐦');
      const user = await visitor(t, gateway, client);
      user.say({ type: REGISTER, data: { type: 'user', uid, deviceid: '设备一', platform: 'ios' }, req: '请求-1', unknown: [1] });
      const frame = await user.next(REGISTERED);
      assert.equal(typeof frame.raw, 'string');
      assert.equal(frame.req, '请求-1');
      const { code, uid: named, deviceid, sid, epoch, ts, unread } = frame.data;
      assert.deepEqual({ code, named, deviceid, unread }, { code: 0, named: uid, deviceid: '设备一', unread: 0 });
      assert.match(sid, /^[\w-]{20}$/);
      assert.ok(typeof epoch === 'string' && epoch.length > 0);
      assert.ok(Math.abs(ts - Date.now()) < 60_000);

      const seen = await gateway.api.user(uid);
      assert.equal(seen.uid, uid);
      assert.equal(seen.online, true);
      const [connection] = seen.connections;
      assert.deepEqual([connection.sid, connection.deviceid, connection.platform, connection.type], [sid, '设备一', 'ios', 'user']);
      assert.ok(connection.since <= Date.now() && connection.since > Date.now() - 60_000);
      assert.match(connection.address, /127\.0\.0\.1/);
      await user.peer.upgraded;
      const transport = client.transport === 'polling' ? 'polling' : 'websocket';
      await eventually(async () => (await gateway.api.user(uid)).connections[0].transport === transport, transport);

      user.peer.close();
      await eventually(async () => !(await gateway.api.user(uid)).online, 'the user to be offline');
    });

    test('registers with an object frame and format object, and is answered by callback', async (t) => {
      const user = await visitor(t, gateway, client);
      const number = Number(`${process.pid}${Math.floor(Math.random() * 1e8)}`);
      const answer = await user.ask(REGISTER, { uid: number, format: 'object' }, { asObject: true });
      assert.equal(answer.code, 0);
      assert.equal(answer.uid, String(number));
      await user.hearsNothing('the answer is sent to the callback only');
      user.say({ type: REGISTER, data: { uid: number, format: 'object' }, req: 7 }, { asObject: true });
      const frame = await user.next(REGISTERED);
      assert.equal(typeof frame.raw, 'object');
      assert.equal(frame.req, 7);
      assert.equal(frame.data.code, 0);
    });
  });
}

const refused = [
  ['no uid', {}],
  ['a null uid', { uid: null }],
  ['a boolean uid', { uid: true }],
  ['a fraction as uid', { uid: 1.5 }],
  ['a list as uid', { uid: ['小明'] }],
  ['an object as uid', { uid: { name: '小明' } }],
  ['an empty uid', { uid: '' }],
  ['a uid with a line break', { uid: 'a\nb' }],
  ['a uid with NUL', { uid: 'a\u0000b' }],
  ['a uid with a C1 control character', { uid: 'a\u0085b' }],
  ['a uid of 129 bytes', { uid: 'x'.repeat(129) }],
  ['a uid of 43 characters in 129 bytes', { uid: '字'.repeat(43) }],
  ['a number as type', { uid: '好', type: 7 }],
  ['an object as deviceid', { uid: '好', deviceid: {} }],
  ['a list as platform', { uid: '好', platform: ['ios'] }],
  ['an unknown format', { uid: '好', format: 'xml' }],
  ['a number as format', { uid: '好', format: 1 }],
  ['a string as resume', { uid: '好', resume: 'yes' }],
  ['a list as data', []],
  ['a string as data', 'data'],
  ['null as data', null],
];

for (const [name, data] of refused) {
  test(`${name} is refused with 400, and the earlier registration stays`, async (t) => {
    const uid = someone();
    const user = await signIn(t, gateway, uid);
    const answer = await user.ask(REGISTER, data);
    assert.equal(answer.code, 400);
    assert.match(answer.error, /^[A-Z`"].*\S.*\.$/s, 'the error is an English sentence');
    assert.equal((await gateway.api.sendTo(uid, { type: 5, data: { text: '还在' } })).delivered, true);
    assert.equal((await user.next(5)).data.text, '还在');
  });
}

test('uids are kept exactly as they were sent', async (t) => {
  for (const uid of ['x'.repeat(128), '字'.repeat(42), ' spaces ', 'a/b?c#d%20&=', '...', '😀', 'ЖшЩ', '"quoted"']) {
    const user = await signIn(t, gateway, uid);
    assert.equal(user.uid, uid);
    assert.equal((await gateway.api.expect(200, 'POST', '/v1/users/online', { uids: [uid] })).online[0], uid);
  }
  const user = await visitor(t, gateway);
  user.say('{"type":1,"data":{"uid":9007199254740993}}');
  assert.equal((await user.next(REGISTERED)).data.uid, '9007199254740993');
});

test('registering again changes the options; with another uid, the connection belongs to the other user', async (t) => {
  const [first, second] = [someone('甲'), someone('乙')];
  const user = await signIn(t, gateway, first, { deviceid: 'd' });
  await user.ask(REGISTER, { uid: first, deviceid: 'd', format: 'object' });
  await gateway.api.sendTo(first, { type: 5, data: { n: 1 } });
  assert.equal(typeof (await user.next(5)).raw, 'object');
  assert.equal((await gateway.api.user(first)).connections.length, 1);

  assert.equal((await user.ask(REGISTER, { uid: second, deviceid: 'd' })).uid, second);
  assert.equal((await gateway.api.user(first)).online, false);
  assert.equal((await gateway.api.user(second)).online, true);
  assert.equal((await gateway.api.sendTo(first, { type: 5, data: {} })).delivered, false);
  await user.hearsNothing();
});

test('a connection that is not registered can make no other request', async (t) => {
  const user = await visitor(t, gateway);
  assert.equal((await user.ask(101, { type: 3, to: { user: 'bob' }, data: {} })).code, 401);
});

test('connections without a deviceid are different devices', async (t) => {
  const [one, other] = [await signIn(t, gateway, someone()), await signIn(t, gateway, someone())];
  assert.ok(one.registered.deviceid && other.registered.deviceid);
  assert.notEqual(one.registered.deviceid, other.registered.deviceid);
});
