// The machine's clock is set while the gateway runs, or is wrong at its start, as after a boot without a
// battery. Waits are not lengthened, nothing is forgotten or deleted, and new messages have the right time as
// soon as the clock does.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Clock, noClock } from '../../lib/clock.js';
import { eventually } from '../../lib/inbox.js';
import { freshDirectory, startGateway } from '../../lib/program.js';
import { SECRET, seconds, token } from '../../lib/token.js';
import { REGISTER, signIn, someone, visitor } from '../../lib/user.js';
import { Webhook } from '../../lib/webhook.js';

const HOUR = 3_600;
const DAY = 24 * HOUR;
const options = { skip: noClock };

async function start(t, { config = {}, off = 0, embedded } = {}) {
  const directory = freshDirectory();
  const clock = new Clock(directory);
  clock.set(off);
  const gateway = await startGateway({ config, directory, env: clock.env, embedded });
  t.after(() => gateway.close());
  return { gateway, clock };
}

/** A webhook, and the configuration that names it. */
async function receiver(t) {
  const hook = await Webhook.start('s');
  t.after(() => hook.close());
  const webhook = { url: encodeURI(hook.url), secret: 's' };
  return { hook, config: { push: { webhook, ack_wait_ms: 500, delay_ms: 200, retry_initial_ms: 50, retry_max_ms: 200 } } };
}

const texts = (hook, uid) => hook.for(uid).filter(({ status }) => status === 200).map(({ body }) => body.data.text);

test('notifications are sent without delay after the clock was an hour ahead', options, async (t) => {
  const { hook, config } = await receiver(t);
  const { gateway, clock } = await start(t, { config, off: HOUR });
  const [bob, from] = [someone(), someone()];
  await gateway.api.sendTo(bob, { type: 3, from, data: { text: 'while it is fast' } });
  await eventually(() => texts(hook, bob).length === 1, 'the first');
  clock.set(0);
  await gateway.api.sendTo(bob, { type: 3, from, data: { text: 'when it is right' } });
  await gateway.api.sendTo(bob, { type: 18, from, data: { text: 'a call' } });
  await eventually(() => texts(hook, bob).length === 3, 'the others');
});

test('a clock that is set back does not delay a retry, and a clock that is ahead for a moment expires no notification', options, async (t) => {
  const { hook, config } = await receiver(t);
  const { gateway, clock } = await start(t, { config });
  hook.answer = () => 500;
  const [bob, from] = [someone(), someone()];
  await gateway.api.sendTo(bob, { type: 3, from, data: { text: 'late' } });
  await eventually(() => hook.for(bob).length >= 1, 'an attempt');
  for (const off of [2 * DAY, -2 * DAY, 0]) {
    clock.set(off);
    const before = hook.for(bob).length;
    await eventually(() => hook.for(bob).length >= before + 2, `attempts while the clock is off by ${off} s`);
  }
  hook.answer = () => 200;
  await eventually(() => texts(hook, bob).length === 1, 'the notification');
});

test('after a restart with the corrected clock, no notification is delayed', options, async (t) => {
  const { hook, config } = await receiver(t);
  const { gateway, clock } = await start(t, { config, off: 10 * HOUR });
  hook.answer = () => 500;
  const bob = someone();
  await gateway.api.sendTo(bob, { type: 3, from: someone(), data: { text: 'late' } });
  await eventually(() => hook.for(bob).length >= 1, 'an attempt');
  await gateway.program.kill();
  clock.set(0);
  hook.answer = () => 200;
  await gateway.start();
  await eventually(() => texts(hook, bob).length === 1, 'the notification');
});

test('retention deletes no message when the clock jumps or is wrong at the start, and a jump is logged', options, async (t) => {
  const { gateway, clock } = await start(t, { config: { store: { retention_days: 30 } }, embedded: true });
  const to = { user: someone() };
  const sent = await gateway.api.send({ type: 5, to, data: { n: 0 } });
  const { conv } = sent.results[0];
  for (let n = 1; n < 20; n++) await gateway.api.send({ type: 5, to, data: { n } });
  let due = 20;
  for (const off of [40 * DAY, -40 * DAY]) {
    clock.set(off);
    await gateway.api.send({ type: 5, to, data: { off } });
    clock.set(0);
    // Work that follows a transaction is done before the next transaction.
    await gateway.api.send({ type: 5, to, data: { off } });
    await gateway.api.send({ type: 5, to, data: { off } });
    due += 3;
    assert.equal((await gateway.api.history(conv)).messages.length, due, `after ${off} s`);
  }
  await gateway.program.printed(/WARN.*jumped ahead by 345[56]\d{3} s/);
  await gateway.program.stop();
  clock.set(40 * DAY);
  await gateway.start();
  await gateway.program.printed(/WARN.*not in use for (39|40) days/);
  await gateway.api.send({ type: 5, to, data: { n: 'after the start' } });
  await gateway.api.send({ type: 5, to, data: { n: 'after the start' } });
  assert.equal((await gateway.api.history(conv)).messages.length, due + 2);
});

test('a revoked token stays revoked after the clock was ahead for a moment', options, async (t) => {
  const auth = { mode: 'jwt', jwt: { secret: SECRET } };
  const { gateway, clock } = await start(t, { config: { auth } });
  const revoke = (what) => gateway.api.expect(200, 'POST', '/v1/revocations', what);
  const stolen = token({ sub: someone(), jti: someone('t'), exp: seconds() + DAY });
  const { jti } = JSON.parse(Buffer.from(stolen.split('.')[1], 'base64url'));
  const code = async () => {
    const user = await visitor(t, gateway);
    const answer = await user.ask(REGISTER, { token: stolen });
    user.peer.close();
    return answer.code;
  };
  await revoke({ jti, until: (seconds() + DAY) * 1_000 });
  assert.equal(await code(), 401);
  clock.set(2 * DAY);
  await revoke({ uid: someone() });
  clock.set(0);
  assert.equal(await code(), 401, 'after the clock was corrected');
  await gateway.program.stop();
  clock.set(2 * DAY);
  await gateway.start();
  await revoke({ uid: someone() });
  clock.set(0);
  assert.equal(await code(), 401, 'after a start with a wrong clock');
});

test('the same device can register again after the clock was set back, in mode webhook', options, async (t) => {
  const hook = await Webhook.start('s');
  t.after(() => hook.close());
  const auth = { mode: 'webhook', webhook: { url: encodeURI(hook.url), secret: 's' } };
  const { gateway, clock } = await start(t, { config: { auth } });
  const uid = someone();
  await signIn(t, gateway, uid, { deviceid: 'phone' });
  clock.set(-600);
  // The gateway does not know yet that the old connection is gone.
  await signIn(t, gateway, uid, { deviceid: 'phone' });
});

test('new messages have the right time as soon as the clock is correct', options, async (t) => {
  const { gateway, clock } = await start(t, { embedded: true });
  const alice = await signIn(t, gateway, someone());
  const to = { user: someone() };
  await alice.send(to, {});
  clock.set(DAY);
  const ahead = await alice.send(to, {});
  assert.ok(ahead.ts > Date.now() + (DAY - 600) * 1_000);
  clock.set(0);
  const right = await alice.send(to, {});
  assert.ok(Math.abs(right.ts - Date.now()) < 600_000);
  assert.deepEqual([right.seq, right.mid > ahead.mid], [ahead.seq + 1, true]);
});
