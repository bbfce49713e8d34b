// Login policies, displacement, the same device connecting again, and signing out
// (docs/PROTOCOL.md#4-registering).

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../lib/inbox.js';
import { eachGeneration, everyClient } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { call } from '../../lib/api.js';
import { REGISTER, signIn, someone, visitor } from '../../lib/user.js';

const DISPLACED = 12;
const gateways = {};
before(async () => {
  const start = async (name, login) => (gateways[name] = await startGateway({ config: { login } }));
  await Promise.all([
    start('single', {}),
    start('perPlatform', { policy: 'per-platform' }),
    start('multi', { policy: 'multi', max_devices: 2 }),
    start('notify', { displaced: 'notify' }),
  ]);
});
after(() => Promise.all(Object.values(gateways).map((gateway) => gateway.close())));

const devices = async (gateway, uid) => (await gateway.api.user(uid)).connections.map((one) => one.deviceid).sort();

for (const client of everyClient) {
  describe(`socket.io-client ${client.version} ${client.transport}`, { concurrency: true }, () => {
    test('gets kind 12 when it is displaced, is disconnected for good, and does not reconnect', async (t) => {
      const gateway = gateways.single;
      const uid = someone('小王');
      const old = await signIn(t, gateway, uid, { client: { ...client, reconnection: true }, deviceid: '旧手机' });
      await old.peer.upgraded;
      const fresh = await signIn(t, gateway, uid, { deviceid: '新手机', platform: 'android' });
      const { data } = await old.next(DISPLACED);
      assert.deepEqual({ ...data, ts: 0 }, { reason: 'replaced', deviceid: '新手机', platform: 'android', ts: 0 });
      assert.ok(Math.abs(data.ts - Date.now()) < 60_000);
      assert.equal(await old.peer.closed(), 'io server disconnect');
      assert.equal(old.peer.willReconnect, false);
      assert.deepEqual(old.frames.untaken, []);

      assert.deepEqual(await devices(gateway, uid), ['新手机']);
      assert.equal((await gateway.api.sendTo(uid, { type: 5, data: { text: '给新手机' } })).delivered, true);
      assert.equal((await fresh.next(5)).data.text, '给新手机');
    });

    test('registers again as the same device: the stale connection is closed without kind 12', async (t) => {
      const gateway = gateways.single;
      const uid = someone('小李');
      const stale = await signIn(t, gateway, uid, { client, deviceid: '手机' });
      await stale.peer.upgraded;
      const back = await signIn(t, gateway, uid, { client, deviceid: '手机' });
      // For a polling client the refused poll is a transport error. It reconnects after either reason.
      assert.equal(await stale.peer.closed(), client.transport === 'polling' ? 'transport error' : 'transport close');
      assert.deepEqual(stale.frames.untaken, []);
      assert.deepEqual((await gateway.api.user(uid)).connections.map((one) => one.sid), [back.registered.sid]);
      await gateway.api.sendTo(uid, { type: 5, data: {} });
      await back.next(5);
    });

    test('is disconnected for good when the backend signs the user out', async (t) => {
      const gateway = gateways.single;
      const uid = someone('小赵');
      const user = await signIn(t, gateway, uid, { client: { ...client, reconnection: true } });
      await user.peer.upgraded;
      assert.deepEqual(await gateway.api.expect(200, 'POST', `/v1/users/${encodeURIComponent(uid)}/signout`), { closed: 1 });
      assert.equal((await gateway.api.user(uid)).online, false);
      assert.equal(await user.peer.closed(), 'io server disconnect');
      assert.equal(user.peer.willReconnect, false);
    });
  });
}

test('in open mode, a user may sign itself out, as in the replaced module', async (t) => {
  const gateway = gateways.single;
  const uid = someone('小周');
  const user = await signIn(t, gateway, uid);
  const answer = await call(gateway.url, 'POST', '/signout', { body: { uid } });
  assert.equal(answer.status, 200);
  assert.equal(await user.peer.closed(), 'io server disconnect');
  assert.equal((await gateway.api.user(uid)).online, false);
  const again = await gateway.api.expect(200, 'POST', `/v1/users/${encodeURIComponent(uid)}/signout`);
  assert.deepEqual(again, { closed: 0 });
  for (const body of ['', '[]', '{}', '{"uid":[]}', 'no json']) {
    assert.equal((await call(gateway.url, 'POST', '/signout', { body })).status, 400, body);
  }
});

test('per-platform: a user has one connection for each platform', async (t) => {
  const gateway = gateways.perPlatform;
  const uid = someone();
  const phone = await signIn(t, gateway, uid, { deviceid: 'p1', platform: 'ios' });
  const desk = await signIn(t, gateway, uid, { deviceid: 'w1', platform: 'web' });
  await signIn(t, gateway, uid, { deviceid: 'p2', platform: 'ios' });
  assert.equal((await phone.next(DISPLACED)).data.deviceid, 'p2');
  assert.equal(await phone.peer.closed(), 'io server disconnect');
  assert.deepEqual(await devices(gateway, uid), ['p2', 'w1']);
  await desk.hearsNothing();
});

test('multi: beyond max_devices the oldest connection is displaced, and all connections receive pushes', async (t) => {
  const gateway = gateways.multi;
  const uid = someone();
  const users = [];
  for (const { version, transport } of eachGeneration.slice(0, 3)) {
    users.push(await signIn(t, gateway, uid, { client: { version, transport }, deviceid: `d${users.length}` }));
  }
  assert.equal((await users[0].next(DISPLACED)).data.deviceid, 'd2');
  assert.equal(await users[0].peer.closed(), 'io server disconnect');
  assert.deepEqual(await devices(gateway, uid), ['d1', 'd2']);
  assert.equal((await gateway.api.sendTo(uid, { type: 5, data: { text: '大家好' } })).delivered, true);
  for (const user of users.slice(1)) assert.equal((await user.next(5)).data.text, '大家好');
  assert.deepEqual(await gateway.api.expect(200, 'POST', `/v1/users/${uid}/signout`), { closed: 2 });
});

test('multi: the other devices of the sender receive its messages, and the sending connection does not', async (t) => {
  const gateway = gateways.multi;
  const [alice, bob] = [someone('爱丽丝'), someone('鲍勃')];
  const phone = await signIn(t, gateway, alice, { deviceid: 'phone' });
  const desk = await signIn(t, gateway, alice, { deviceid: 'desk', format: 'object' });
  const other = await signIn(t, gateway, bob);
  const { code, mid } = await phone.send({ user: bob }, { text: '两台设备' });
  assert.equal(code, 0);
  for (const user of [desk, other]) {
    const frame = await user.next(3);
    assert.deepEqual([frame.mid, frame.from, frame.data.text], [mid, alice, '两台设备']);
  }
  await phone.hearsNothing();
});

test('notify: the displaced connection stays open, unregistered', async (t) => {
  const gateway = gateways.notify;
  const uid = someone();
  const old = await signIn(t, gateway, uid, { deviceid: 'd1' });
  await signIn(t, gateway, uid, { deviceid: 'd2' });
  await old.next(DISPLACED);
  assert.equal((await old.send({ user: 'x' }, {})).code, 401);
  assert.deepEqual(await devices(gateway, uid), ['d2']);
  // It may register again, and then displaces the other one.
  assert.equal((await old.ask(REGISTER, { uid, deviceid: 'd1' })).code, 0);
  assert.deepEqual(await devices(gateway, uid), ['d1']);
});

test('a connection that closes does not remove the mapping of the connection that replaced it', async (t) => {
  const gateway = gateways.single;
  const uid = someone();
  const old = await signIn(t, gateway, uid, { deviceid: 'd1' });
  const fresh = await signIn(t, gateway, uid, { deviceid: 'd2' });
  old.peer.close();
  await old.peer.closed();
  for (let i = 0; i < 20; i++) assert.equal((await gateway.api.sendTo(uid, { type: 5, data: { n: i } })).delivered, true);
  for (let i = 0; i < 20; i++) assert.equal((await fresh.next(5)).data.n, i);
});

test('a hundred connections register the same uid at once: one stays, and all others get kind 12', async (t) => {
  const gateway = gateways.single;
  const uid = someone();
  const clients = Array.from({ length: 100 }, (_, i) => eachGeneration[i % eachGeneration.length]);
  const users = await Promise.all(clients.map((client) => visitor(t, gateway, client)));
  for (const [i, user] of users.entries()) user.say({ type: REGISTER, data: { uid, deviceid: `设备${i}` } });
  for (const user of users) assert.ok([0, 409].includes((await user.next(2)).data.code));
  const [winner] = await eventually(async () => {
    const { connections } = await gateway.api.user(uid);
    return connections.length === 1 && connections;
  }, 'one connection to remain');
  const losers = users.filter((_, i) => `设备${i}` !== winner.deviceid);
  assert.equal(losers.length, 99);
  await Promise.all(losers.map(async (user) => {
    await user.next(DISPLACED);
    assert.equal(await user.peer.closed(), 'io server disconnect', user.peer.name);
    assert.deepEqual(user.frames.untaken, [], 'no frame follows kind 12');
  }));
  const best = users.find((user) => !losers.includes(user));
  assert.equal((await gateway.api.sendTo(uid, { type: 5, data: { text: '胜者' } })).delivered, true);
  assert.equal((await best.next(5)).data.text, '胜者');
  await best.hearsNothing();
});

test('a connection that closes before its register is handled leaves no registration behind', async (t) => {
  const gateway = gateways.single;
  const uids = Array.from({ length: 40 }, () => someone());
  await Promise.all(uids.map(async (uid, i) => {
    const user = await visitor(t, gateway, eachGeneration[i % eachGeneration.length]);
    user.say({ type: REGISTER, data: { uid } });
    user.peer.close();
  }));
  await eventually(async () => !(await gateway.api.expect(200, 'POST', '/v1/users/online', { uids })).online.length, 'all users to be offline');
});
