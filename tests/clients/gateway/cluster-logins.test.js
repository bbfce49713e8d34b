// Devices of one user that register on different nodes at the same instant (docs/PROTOCOL.md#4-registering).
// MYNAH_TEST_LOGINS is the number of races for each policy.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Cluster, NO_CLUSTER } from '../../lib/cluster.js';
import { eventually } from '../../lib/inbox.js';
import { REGISTER, REGISTERED, someone, visitor } from '../../lib/user.js';

const RACES = Number(process.env.MYNAH_TEST_LOGINS ?? 100);
/** How many races run at the same time. */
const LANES = 10;
const DISPLACED = 12;
const SOON_MS = 30_000;

const POLICIES = {
  single: { login: {}, devices: [{ deviceid: 'a' }, { deviceid: 'b' }], remain: ([one]) => ['a', 'b'].includes(one), left: 1 },
  'per-platform': {
    login: { policy: 'per-platform' },
    devices: [{ deviceid: 'a', platform: 'ios' }, { deviceid: 'b', platform: 'ios' }, { deviceid: 'c', platform: 'web' }],
    remain: (ids) => ids.includes('c'),
    left: 2,
  },
  multi: { login: { policy: 'multi', max_devices: 2 }, devices: [{ deviceid: 'a' }, { deviceid: 'b' }, { deviceid: 'c' }], remain: () => true, left: 2 },
};

for (const [policy, { login, devices, remain, left }] of Object.entries(POLICIES)) {
  describe(policy, { skip: NO_CLUSTER }, () => {
    let cluster;
    before(async () => (cluster = await Cluster.start({ config: { login } })));
    after(() => cluster?.close());

    /** Registers these devices at once, each on another node. Resolves with their clients. */
    async function race(t, uid, all, turn) {
      const users = await Promise.all(all.map((_, i) => visitor(t, cluster.nodes[(turn + i) % cluster.nodes.length])));
      for (const [i, user] of users.entries()) user.say({ type: REGISTER, data: { uid, ...all[i] } });
      await Promise.all(users.map((user) => registered(user)));
      return users;
    }

    /** Waits for the answer. A connection that its own device replaces may be closed before it is written. */
    async function registered(user) {
      await eventually(() => user.frames.untaken.length > 0 || !user.peer.socket.connected, 'the answer');
      if (user.frames.untaken.length === 0) return;
      user.registered = (await user.next(REGISTERED)).data;
      assert.equal(user.registered.code, 0, JSON.stringify(user.registered));
    }

    const remaining = (uid, count) =>
      eventually(async () => {
        const lists = await Promise.all(cluster.nodes.map(async ({ api }) => (await api.user(uid)).connections.map(({ sid }) => sid).sort()));
        return lists.every((sids) => sids.length === count && `${sids}` === `${lists[0]}`) && lists[0];
      }, `all nodes to name the same ${count} connections of ${uid}`, SOON_MS);

    test(`of ${devices.length} devices at once, the right ones remain, and the others get kind 12`, async (t) => {
      const lasts = new Map();
      const run = async (turn) => {
        const uid = someone('同时');
        const users = await race(t, uid, devices, turn);
        const sids = await remaining(uid, left);
        assert.ok(users.every((user) => user.registered), 'all are answered');
        const winners = users.filter(({ registered: { sid } }) => sids.includes(sid));
        const ids = winners.map(({ registered: { deviceid } }) => deviceid);
        assert.ok(remain(ids), `${ids} remain`);
        for (const user of users) {
          if (winners.includes(user)) continue;
          const { data } = await user.next(DISPLACED);
          assert.equal(data.reason, 'replaced');
          assert.ok(devices.some(({ deviceid }) => deviceid === data.deviceid && deviceid !== user.registered.deviceid), data.deviceid);
          if (devices.length === 2) assert.equal(data.deviceid, ids[0], 'it names the one that remains');
          assert.equal(await user.peer.closed(), 'io server disconnect');
          assert.deepEqual(user.frames.untaken, [], 'no frame follows kind 12');
        }
        const { delivered } = await cluster.api.sendTo(uid, { type: 5, data: { turn } });
        assert.equal(delivered, true);
        for (const user of winners) {
          assert.equal((await user.next(5)).data.turn, turn);
          await user.hearsNothing();
        }
        lasts.set(`${ids}`, (lasts.get(`${ids}`) ?? 0) + 1);
        for (const user of users) user.peer.close();
      };
      let next = 0;
      const lane = async () => {
        while (next < RACES) await run(next++);
      };
      await Promise.all(Array.from({ length: LANES }, lane));
      t.diagnostic(`${RACES} races; these remained: ${JSON.stringify(Object.fromEntries(lasts))}`);
    });

    test('of one device on two nodes, one connection remains, and none gets kind 12', async (t) => {
      for (let turn = 0; turn < Math.min(RACES, 30); turn++) {
        const uid = someone('一台');
        const users = await race(t, uid, [{ deviceid: 'a' }, { deviceid: 'a' }], turn);
        const [sid] = await remaining(uid, 1);
        const loser = users.find((user) => user.registered?.sid !== sid);
        assert.equal(await loser.peer.closed(), 'transport close');
        assert.deepEqual(loser.frames.untaken, []);
        await users.find((user) => user !== loser).hearsNothing();
        for (const user of users) user.peer.close();
      }
    });

    test('devices that register on one node after another displace each other everywhere', async (t) => {
      const uid = someone('轮流');
      let before = [];
      for (let turn = 0; turn < 12; turn++) {
        const [user] = await race(t, uid, [{ deviceid: `d${turn}`, platform: 'ios' }], turn);
        before.push(user);
        const most = policy === 'multi' ? 2 : 1;
        if (before.length > most) {
          const old = before.shift();
          assert.equal((await old.next(DISPLACED)).data.deviceid, `d${turn}`);
          assert.equal(await old.peer.closed(), 'io server disconnect');
        }
        await remaining(uid, before.length);
      }
      for (const user of before) await user.hearsNothing();
    });
  });
}
