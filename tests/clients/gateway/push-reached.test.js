// Which users are notified when clients vanish, restart, or receive the message on another device
// (docs/PROTOCOL.md#who-is-notified).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../../lib/inbox.js';
import { startGateway } from '../../lib/program.js';
import { rawSocket } from '../../lib/raw.js';
import { signIn, someone } from '../../lib/user.js';
import { Webhook } from '../../lib/webhook.js';

const SECRET = 'a-secret';
let gateway;
let hook;
before(async () => {
  hook = await Webhook.start(SECRET);
  const push = { webhook: { url: encodeURI(hook.url), secret: SECRET }, ack_wait_ms: 500, delay_ms: 200 };
  const engine = { ping_interval_ms: 300, ping_timeout_ms: 300 };
  gateway = await startGateway({ config: { push, engine } });
});
after(async () => {
  hook.close();
  await gateway.close();
});

/**
 * A phone that has lost its network: it has registered, but neither reads nor answers heartbeats any more.
 */
async function vanished(t, uid, { acknowledges }) {
  const raw = await rawSocket(t, gateway.url);
  raw.send(`42${JSON.stringify(['message', JSON.stringify({ type: 1, data: { uid, deviceid: 'd' } })])}`);
  await raw.heard.take((text) => `${text}`.includes('code\\":0'), 'the answer to the register');
  if (acknowledges) {
    const { conv } = await gateway.api.sendTo(uid, { type: 5, data: { n: 0 }, push: false });
    const ack = JSON.stringify({ type: 103, data: { conv, seq: 1 }, req: 1 });
    raw.send(`42${JSON.stringify(['message', ack])}`);
    await raw.heard.take((text) => `${text}`.includes('req\\":1'), 'the answer to the ack');
  }
  raw.socket.pause();
  return raw;
}

/** Waits for a notification that is sent after all earlier ones. */
async function somethingLater() {
  const uid = someone('later');
  await gateway.api.sendTo(uid, { type: 5, data: {} });
  await hook.next(uid);
}

for (const acknowledges of [true, false]) {
  test(`the user of a vanished phone is notified, if its client ${acknowledges ? 'acknowledges' : 'never acknowledges'}`, async (t) => {
    const uid = someone('vanished');
    await vanished(t, uid, { acknowledges });
    const { mid } = await gateway.api.sendTo(uid, { type: 5, data: { text: 'are you there?' } });
    assert.equal((await hook.next(uid)).body.mid, mid);
    await somethingLater();
    assert.equal(hook.for(uid).length, 1, 'once');
  });
}

test('a user whose client acknowledges is not notified, nor one whose client never does and closes the connection', async (t) => {
  const [reads, older] = [someone('reads'), someone('older')];
  const reader = await signIn(t, gateway, reads);
  const { conv } = await gateway.api.sendTo(reads, { type: 5, data: { n: 1 } });
  await reader.next(5);
  assert.equal((await reader.ask(103, { conv, seq: 1 })).code, 0);
  await gateway.api.sendTo(reads, { type: 5, data: { n: 2 } });
  await reader.next(5);
  assert.equal((await reader.ask(106, { conv, seq: 2 })).code, 0);
  const user = await signIn(t, gateway, older);
  await gateway.api.sendTo(older, { type: 5, data: {} });
  await user.next(5);
  user.peer.socket.disconnect();
  for (let i = 0; i < 4; i++) await somethingLater();
  assert.deepEqual([hook.for(reads).length, hook.for(older).length], [0, 0]);
});

test('nobody is notified of a deleted team, a team that the user has left, or a recalled message', async (t) => {
  const [boss, gone, away] = [someone('boss'), someone('gone'), someone('away')];
  const team = someone('team');
  await gateway.api.team(team, [boss, gone, away]);
  const user = await signIn(t, gateway, boss);
  const recalled = await user.send({ team }, { text: 'salaries' });
  assert.equal((await user.ask(108, { mid: recalled.mid })).code, 0);
  const stays = await user.send({ team }, { text: 'hello' });
  await gateway.api.call('DELETE', `/v1/teams/${team}/members/${gone}`);
  assert.equal((await hook.next(away)).body.mid, stays.mid);
  await user.send({ team }, { text: 'never mind' });
  await gateway.api.call('DELETE', `/v1/teams/${team}`);
  await somethingLater();
  assert.deepEqual([hook.for(gone).length, hook.for(away).length], [0, 1]);
});

test('failures of the webhook are logged and counted, and waiting jobs are counted', async () => {
  const metric = async (name) => {
    const { text } = await gateway.api.call('GET', '/metrics');
    const line = text.split('\n').find((line) => line.startsWith(name));
    return Number(line?.split(' ').at(-1) ?? 0);
  };
  const uid = someone('failing');
  const shown = new URL(encodeURI(hook.url));
  const target = `${shown.protocol}//${shown.host}${shown.pathname}`;
  hook.answer = (body) => (body.uid === uid ? 503 : 200);
  for (let n = 0; n < 3; n++) await gateway.api.sendTo(uid, { type: 5, data: { n } });
  await eventually(async () => (await metric(`mynah_target_failures_total{target="${target}"}`)) >= 3, 'failures to be counted');
  await eventually(async () => (await metric('mynah_push_pending')) === 3, 'the waiting jobs to be counted');
  const lines = () => gateway.program.output.split('\n');
  const failures = lines().filter((line) => line.includes('WARN') && line.includes(`${target} failed: it answered 503`));
  assert.equal(failures.length, 1, gateway.program.output);
  assert.match(failures[0], /failing since \d{4}-\d\d-\d\dT/);
  assert.ok(!gateway.program.output.includes(shown.search), 'no query');
  hook.answer = () => 200;
  await eventually(() => hook.for(uid).filter(({ status }) => status === 200).length === 3, 'all notifications to be accepted');
  await eventually(async () => (await metric('mynah_push_pending')) === 0, 'no waiting job');
  await eventually(() => lines().filter((line) => line.includes(`${target} works again`)).length === 1, 'the log line');
});
