// Many users send, read, recall, connect and disconnect at the same time. At the end, all counts must agree
// with the history.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ACK, READ, RECALL, list, sync } from '../../lib/delivery.js';
import { eventually } from '../../lib/inbox.js';
import { eachGeneration } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';

const COUNTED = new Set([3, 5, 7, 15]);
const STEPS = 120;

let gateway;
before(async () => (gateway = await startGateway({ config: { login: { policy: 'multi' }, limits: { frames_per_second: 0, frames_burst: 0 } } })));
after(() => gateway.close());

/** Pseudo-random numbers that are the same in each run (xorshift). */
function dice(seed) {
  let state = seed;
  return (sides) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % sides;
  };
}

/** All messages of a conversation. */
async function record(conv, server = gateway) {
  const messages = [];
  for (let more = true; more; ) {
    const page = await server.api.history(conv, `after=${messages.length}&limit=500`);
    messages.push(...page.messages);
    ({ more } = page);
  }
  return messages;
}

for (const seed of [20_140_528, 20_261_123]) {
  test(`all counts are right after many concurrent requests (seed ${seed})`, async (t) => {
    const team = someone('队');
    const people = await Promise.all(eachGeneration.map((client, i) => signIn(t, gateway, someone(`人${i}`), { client, deviceid: 'd' })));
    const uids = people.map(({ uid }) => uid);
    await gateway.api.team(team, uids);
    // The positions that each user has acknowledged and read: conv -> seq.
    const said = people.map(() => ({ cursors: new Map(), reads: new Map() }));
    const mids = people.map(() => []);
    const recalled = new Set();
    const codes = new Map();
    const note = (where, conv, seq) => where.set(conv, Math.max(seq, where.get(conv) ?? 0));

    await Promise.all(
      people.map(async (user, i) => {
        const roll = dice(seed + 7_919 * i);
        for (let step = 0; step < STEPS; step++) {
          const other = uids[(i + 1 + roll(uids.length - 1)) % uids.length];
          const what = roll(10);
          if (what < 5) {
            const [to, type] = [[{ team }, 15], [{ user: other }, 3], [{ user: other }, 7], [{ user: other }, 18], [{ user: user.uid }, 3]][roll(5)];
            const { code, mid } = await user.send(to, { step }, { type });
            assert.equal(code, 0);
            mids[i].push(mid);
          } else if (what === 5) {
            await gateway.api.sendTo(other, { type: 5, data: { step } });
          } else if (what === 6 && mids[i].length) {
            const mid = mids[i][roll(mids[i].length)];
            const { code } = await user.ask(RECALL, { mid });
            assert.equal(code, recalled.has(mid) ? 409 : 0);
            recalled.add(mid);
          } else {
            const frames = user.frames.untaken.filter(({ conv }) => conv);
            if (!frames.length) continue;
            const { conv, seq } = frames[roll(frames.length)];
            const type = what === 7 ? ACK : READ;
            const { code } = await user.ask(type, { conv, seq });
            assert.equal(code, 0);
            if (type === READ) note(said[i].reads, conv, seq);
            note(said[i].cursors, conv, seq);
            codes.set(type, (codes.get(type) ?? 0) + 1);
          }
        }
      }),
    );
    assert.ok(recalled.size > 10 && codes.get(ACK) > 10 && codes.get(READ) > 20, 'the test made enough requests');

    const records = new Map();
    for (const [i, user] of people.entries()) {
      const { conversations } = await list(user, { limit: 500 });
      let total = 0;
      for (const { conv, head, cursor, read, unread, last } of conversations) {
        if (!records.has(conv)) records.set(conv, await record(conv));
        const messages = records.get(conv);
        const position = said[i].reads.get(conv) ?? 0;
        const due = messages.filter((one) => COUNTED.has(one.type) && one.seq > position && one.from !== user.uid && !one.recalled).length;
        assert.deepEqual([head, read, unread], [messages.length, position, due], `${user.uid} in ${conv}`);
        assert.deepEqual(last, messages.at(-1));
        // The user's own messages may have moved the cursor further.
        assert.ok(cursor >= (said[i].cursors.get(conv) ?? 0) && cursor <= head);
        total += unread;
        const { messages: newest } = await sync(user, conv, { before: head + 1, limit: 100 });
        assert.deepEqual(newest, messages.slice(-100).reverse());
      }
      assert.equal((await gateway.api.user(user.uid)).unread, total);
      const again = await signIn(t, gateway, user.uid, { deviceid: '又一台', resume: true });
      assert.equal(again.registered.unread, total);
      const listed = conversations.filter(({ unread }) => unread > 0);
      assert.deepEqual(again.registered.conversations.map(({ conv, unread }) => [conv, unread]), listed.map(({ conv, unread }) => [conv, unread]));
    }
    for (const messages of records.values()) {
      for (const { type, mid, data, recalled: gone } of messages) {
        assert.equal(gone === true, recalled.has(mid), 'exactly the recalled messages have lost their data');
        assert.equal(data === null, gone === true);
        if (type === 109) assert.ok(recalled.has(data.mid));
      }
    }
    assert.equal([...records.values()].flat().filter(({ type }) => type === 109).length, recalled.size);
    t.diagnostic(`${[...records.values()].flat().length} messages, ${recalled.size} recalled`);
  });
}

test('all counts are right after kill -9 during many concurrent requests', async (t) => {
  const server = await startGateway({ config: { limits: { frames_per_second: 0, frames_burst: 0 } } });
  t.after(() => server.close());
  const team = someone('队');
  const uids = eachGeneration.map((_, i) => someone(`人${i}`));
  await server.api.team(team, uids);
  for (let round = 1; round <= 3; round++) {
    const people = await Promise.all(uids.map((uid, i) => signIn(t, server, uid, { client: eachGeneration[i], deviceid: 'd', resume: true })));
    let answers = 0;
    const work = people.map(async (user, i) => {
      const roll = dice(round * 1_000 + i + 1);
      const mids = [];
      for (;;) {
        const to = roll(3) ? { user: uids[roll(uids.length)] } : { team };
        const heard = user.frames.untaken.filter(({ conv }) => conv);
        const { conv, seq } = heard[roll(heard.length || 1)] ?? {};
        const asked = [
          () => user.send(to, { i }).then(({ mid }) => mids.push(mid)),
          () => conv && user.ask(READ, { conv, seq }),
          () => conv && user.ask(ACK, { conv, seq }),
          () => mids.length && user.ask(RECALL, { mid: mids[roll(mids.length)] }),
        ][roll(4)];
        await asked();
        answers++;
      }
    });
    const ended = Promise.allSettled(work);
    await eventually(() => answers > 400, '400 answers');
    await server.program.kill();
    await ended;
    await server.start();
    for (const uid of uids) {
      const { conversations } = await server.api.expect(200, 'GET', `/v1/users/${encodeURIComponent(uid)}/conversations?limit=500`);
      let total = 0;
      for (const { conv, head, read, unread } of conversations) {
        const messages = await record(conv, server);
        const due = messages.filter((one) => COUNTED.has(one.type) && one.seq > read && one.from !== uid && !one.recalled).length;
        assert.deepEqual([head, unread], [messages.length, due], `${uid} in ${conv} in round ${round}`);
        const mids = messages.filter(({ type }) => type === 109).map(({ data }) => data.mid);
        assert.deepEqual(new Set(mids), new Set(messages.filter(({ recalled }) => recalled).map(({ mid }) => mid)), 'a recall is applied completely or not at all');
        assert.equal(mids.length, new Set(mids).size);
        total += unread;
      }
      assert.equal((await server.api.user(uid)).unread, total);
    }
  }
});
