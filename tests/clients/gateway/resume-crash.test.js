// Repeated kill -9 under load: every acknowledged message is stored exactly once, and a device that resumes
// receives it in order and without gaps.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ACK, RESUMED, range, seqs } from '../../lib/delivery.js';
import { eventually } from '../../lib/inbox.js';
import { eachGeneration } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { REGISTER, signIn, someone, visitor } from '../../lib/user.js';

const ROUNDS = 8;
const ANSWERS_A_ROUND = 120;

let gateway;
before(async () => (gateway = await startGateway({ config: { limits: { resume_messages: 100_000 } } })));
after(() => gateway?.close());

/** A device that resumes after each crash, drops duplicates by `mid`, and acknowledges now and then. */
class Device {
  /** conv -> its messages, in the order of their first delivery. */
  got = new Map();
  mids = new Set();
  twice = 0;

  constructor(uid, client) {
    this.uid = uid;
    this.client = client;
  }

  take(frame) {
    const { conv, seq, mid } = frame;
    if (conv === undefined) return;
    if (this.mids.has(mid)) return void this.twice++;
    this.mids.add(mid);
    const messages = this.got.get(conv) ?? this.got.set(conv, []).get(conv);
    assert.equal(seq, messages.length + 1, `${this.uid}: a message of ${conv} was skipped or overtaken`);
    messages.push(frame);
    // Not everything is acknowledged, so that there is always something to replay after a crash.
    if (seq % 7 === 0) this.user.say({ type: ACK, data: { conv, seq: seq - 2 } });
  }

  /** Registers. Messages are handled as they arrive. */
  async come(t) {
    this.user = await visitor(t, gateway, this.client);
    this.user.peer.socket.on('message', (raw) => {
      try {
        this.take(JSON.parse(raw));
      } catch (error) {
        this.trouble ??= error;
      }
    });
    this.user.say({ type: REGISTER, data: { uid: this.uid, deviceid: '手机', resume: true } });
    await this.user.next(RESUMED);
  }
}

test(`acknowledged messages survive kill -9 (${ROUNDS} times) and reach devices that resume`, async (t) => {
  const team = someone('队');
  const devices = eachGeneration.map((client, i) => new Device(someone(`读者${i}`), client));
  await gateway.api.team(team, devices.map(({ uid }) => uid));
  for (const device of devices) await device.come(t);
  const confirmed = new Map();
  let n = 0;
  const epochs = new Set();

  for (let round = 1; round <= ROUNDS; round++) {
    const target = confirmed.size + ANSWERS_A_ROUND;
    const writers = await Promise.all(eachGeneration.slice(-3).map((client, i) => signIn(t, gateway, `写者${i}-${process.pid}`, { client, deviceid: 'd' })));
    let running = true;
    const work = [
      ...writers.map((user, i) => async () => {
        for (; running; ) {
          const mine = ++n;
          const to = { user: devices[(mine + i) % devices.length].uid };
          const answer = await user.send(to, { n: mine }, { cid: `c${mine}` }).catch(() => undefined);
          // If there is no answer, the message was not acknowledged. The loop ends with the connection.
          if (!answer) return;
          assert.equal(answer.code, 0);
          confirmed.set(answer.mid, { ...answer, n: mine });
        }
      }),
      async () => {
        for (; running; ) {
          const mine = ++n;
          const answer = await gateway.api.call('POST', '/v1/messages', { type: 15, to: { team }, data: { n: mine } }).catch(() => undefined);
          if (answer?.status !== 200) return;
          confirmed.set(answer.body.mid, { ...answer.body, n: mine });
        }
      },
    ];
    const all = Promise.all(work.map((write) => write()));
    await eventually(() => confirmed.size >= target, `${ANSWERS_A_ROUND} answers`);
    await gateway.program.kill();
    running = false;
    await all;
    await gateway.start();
    // Half of the devices reconnect while the others are still offline. The next round writes to both halves.
    for (const [i, device] of devices.entries()) if (i % 2 === round % 2 || round === ROUNDS) await device.come(t);
    for (const user of writers) epochs.add(user.registered.epoch);
  }

  assert.equal(epochs.size, 1);
  const records = new Map();
  const record = async (conv) => {
    if (records.has(conv)) return records.get(conv);
    const messages = [];
    for (let more = true; more; ) {
      const page = await gateway.api.history(conv, `after=${messages.length}&limit=500`);
      messages.push(...page.messages);
      ({ more } = page);
    }
    assert.deepEqual(seqs(messages), range(1, messages.length), 'seq has no gaps and no duplicates');
    assert.equal(new Set(messages.map(({ data }) => data.n)).size, messages.length, 'no message is stored twice');
    records.set(conv, messages);
    return messages;
  };
  for (const [mid, { conv, seq, n: number }] of confirmed) {
    const kept = (await record(conv))[seq - 1];
    assert.deepEqual([kept?.mid, kept?.data.n], [mid, number], `message ${number} was acknowledged and is lost`);
  }
  for (const device of devices) {
    const { conversations } = await gateway.api.expect(200, 'GET', `/v1/users/${encodeURIComponent(device.uid)}/conversations`);
    assert.equal(conversations.length, 4, 'three writers and the team');
    const behind = () => conversations.some(({ conv, head }) => (device.got.get(conv)?.length ?? 0) < head);
    await eventually(() => device.trouble || !behind(), `${device.uid} to have received everything`);
    if (device.trouble) throw device.trouble;
    for (const { conv } of conversations) {
      const idOf = ({ mid, data }) => [mid, data.n];
      assert.deepEqual(device.got.get(conv).map(idOf), (await record(conv)).map(idOf), 'the delivered messages equal the stored ones');
    }
    assert.equal(device.got.size, 4);
  }
  assert.ok(devices.some(({ twice }) => twice > 0), 'some messages were delivered again after a crash');
  t.diagnostic(`${confirmed.size} answers, ${devices.reduce((sum, { twice }) => sum + twice, 0)} messages delivered again`);
});
