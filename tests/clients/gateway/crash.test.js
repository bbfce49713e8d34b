// kill -9 while many clients send: every message that was answered with 200 or code 0 is stored once and in
// order, and its notification is sent.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../../lib/inbox.js';
import { eachGeneration } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';
import { Webhook } from '../../lib/webhook.js';

const ROUNDS = 3;
const ANSWERS_A_ROUND = 300;

let gateway;
let hook;
before(async () => {
  hook = await Webhook.start('secret-of-the-crash-test');
  const push = { webhook: { url: encodeURI(hook.url), secret: 'secret-of-the-crash-test' }, retry_initial_ms: 50, retry_max_ms: 200 };
  gateway = await startGateway({ config: { push } });
});
after(async () => {
  hook?.close();
  await gateway?.close();
});

test('acknowledged messages survive kill -9 under load', async (t) => {
  /** conv -> mid -> {seq, n} of all acknowledged messages. */
  const confirmed = new Map();
  let answers = 0;
  const keep = ({ mid, conv, seq, n }) => {
    if (!confirmed.has(conv)) confirmed.set(conv, new Map());
    confirmed.get(conv).set(mid, { seq, n });
    answers++;
  };
  const away = someone('不在');
  const team = someone('队');
  await gateway.api.team(team, [away]);
  const epochs = new Set();
  let n = 0;

  for (let round = 1; round <= ROUNDS; round++) {
    const target = answers + ANSWERS_A_ROUND;
    const users = await Promise.all(eachGeneration.map((client, i) => signIn(t, gateway, `写者${i}-${process.pid}`, { client })));
    for (const { registered } of users) epochs.add(registered.epoch);
    let running = true;
    const writers = [
      ...users.map((user) => async () => {
        while (running) {
          const mine = ++n;
          // If there is no answer, the message was not acknowledged. The loop ends with the connection.
          const answer = await user.send({ user: away }, { n: mine, 文: '负载 🔥' }, { cid: `c${mine}` }).catch(() => undefined);
          if (!answer) return;
          assert.equal(answer.code, 0);
          keep({ ...answer, n: mine });
        }
      }),
      ...[0, 1, 2].map(() => async () => {
        while (running) {
          const mine = ++n;
          const to = mine % 2 ? { user: away } : { team };
          const type = mine % 2 ? 5 : 15;
          const answer = await gateway.api.call('POST', '/v1/messages', { type, to, data: { n: mine, 文: '负载 🔥' } }).catch(() => undefined);
          if (answer?.status !== 200) return;
          keep({ ...(answer.body.results?.[0] ?? answer.body), n: mine });
        }
      }),
    ];
    const all = Promise.all(writers.map((write) => write()));
    await eventually(() => answers >= target, `${ANSWERS_A_ROUND} answers`);
    await gateway.program.kill();
    running = false;
    await all;
    await gateway.start();
  }

  assert.equal(epochs.size, 1, 'the epoch did not change');
  for (const [conv, sent] of confirmed) {
    const messages = [];
    for (let more = true; more; ) {
      const page = await gateway.api.history(conv, `after=${messages.length}&limit=500`);
      messages.push(...page.messages);
      more = page.messages.length === 500;
    }
    assert.deepEqual(messages.map(({ seq }) => seq), messages.map((_, i) => i + 1), 'seq has no gaps and no duplicates');
    assert.equal(new Set(messages.map(({ data }) => data.n)).size, messages.length, 'no message is stored twice');
    for (let i = 1; i < messages.length; i++) assert.ok(messages[i].ts >= messages[i - 1].ts, 'ts never decreases');
    const record = new Map(messages.map((message) => [message.mid, message]));
    for (const [mid, { seq, n: number }] of sent) {
      assert.ok(record.has(mid), `message ${number} was acknowledged and is lost`);
      assert.deepEqual([record.get(mid).seq, record.get(mid).data.n], [seq, number]);
    }
  }
  const wanted = [...confirmed.values()].flatMap((sent) => [...sent.keys()]);
  const missing = () => {
    const pushed = new Set(hook.for(away).map(({ body }) => body.mid));
    return wanted.filter((mid) => !pushed.has(mid));
  };
  // A user gets one notification at a time. This may take long, as long as it makes progress.
  for (let left = wanted.length; left > 0; ) {
    const before = left;
    await eventually(() => (left = missing().length) < before, `another of ${before} notifications`);
  }
  t.diagnostic(`${answers} answers in ${ROUNDS} crashes`);
});
