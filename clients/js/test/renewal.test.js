// Renewing the token of a live connection, against the model of the gateway and with time that passes only when told.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client } from '../dist/esm/client.js';
import { memoryStorage } from '../dist/esm/index.js';
import { chance } from './lib/chance.js';
import { Gateway } from './lib/gateway.js';
import { Time } from './lib/time.js';
import { network } from './lib/wire.js';

const MINUTE = 60_000;

/** A token that expires at this second of the model's clock, which stands still near 0. */
const expiring = (exp) => `x.${Buffer.from(JSON.stringify({ sub: 'me', exp })).toString('base64url')}.x`;

async function world(options) {
  const dice = chance(1);
  const time = new Time(dice.next);
  const gateway = new Gateway(dice, { resume: 100, listed: 100 });
  const client = new Client(network(gateway, time, dice).io, 'http://model', { uid: 'me', storage: memoryStorage(), retry: { firstMs: 1_000, mostMs: 4_000 }, ...options }, time);
  const told = [];
  for (const event of ['connected', 'disconnected', 'error', 'unreachable', 'status']) client.on(event, (value) => void told.push([event, value]));
  await time.pass(1_000, () => client.status === 'connected');
  const connected = told.length;
  /** What the application was told since it was connected. */
  const since = (...events) => told.slice(connected).filter(([event]) => events.length === 0 || events.includes(event));
  return { gateway, time, client, since };
}

test('a token is renewed a minute before its end, without a new replay', async () => {
  let asked = 0;
  const { gateway, time, client, since } = await world({ token: () => expiring(3_600 * ++asked) });
  await time.pass(58 * MINUTE);
  assert.equal(gateway.registers.length, 1);
  await time.pass(2 * MINUTE, () => gateway.registers.length === 2);
  assert.deepEqual(gateway.registers.map(({ token, resume }) => [token, resume]), [[expiring(3_600), true], [expiring(7_200), undefined]]);
  gateway.write('bob', { user: 'me' }, {});
  await time.pass(1_000);
  assert.equal(client.unread, 1);
  assert.deepEqual(since(), []);
  // And so on: the model's clock stands still, so the second token is good for two hours.
  await time.pass(119 * MINUTE + 1_000);
  assert.equal(gateway.registers.length, 3);
});

test('a token that lives for a moment is renewed when a quarter of it is left', async () => {
  let asked = 0;
  const { gateway, time } = await world({ token: () => (asked++ ? expiring(3_600) : expiring(8)) });
  await time.pass(5_000);
  assert.equal(gateway.registers.length, 1);
  await time.pass(2_000);
  assert.equal(gateway.registers.length, 2);
});

test('the application may say how long a token is good that cannot be read', async () => {
  const { gateway, time } = await world({ token: async () => ({ token: 'opaque', ttlMs: 10 * MINUTE }) });
  await time.pass(35 * MINUTE);
  assert.deepEqual(gateway.registers.map(({ token }) => token), Array(4).fill('opaque'));
});

test('what never changes, or has no end that can be read, is not renewed', async () => {
  for (const token of [expiring(60), async () => 'opaque', () => 'x.bm9uc2Vuc2U.x', undefined]) {
    const { gateway, time } = await world({ token });
    await time.pass(60 * MINUTE);
    assert.equal(gateway.registers.length, 1);
  }
});

test('an application that fails, or says nothing, is asked again, and the connection stays', async () => {
  let asked = 0;
  const token = () => {
    asked++;
    if (asked === 2) throw new Error('no network');
    if (asked === 3) return Promise.reject(new Error('no session'));
    if (asked === 4) return new Promise(() => {});
    return expiring(3_600 * asked);
  };
  const { gateway, time, client, since } = await world({ token, timeoutMs: 5_000 });
  await time.pass(59 * MINUTE + 30_000, () => gateway.registers.length === 2);
  assert.equal(asked, 5);
  assert.deepEqual(since().map(([event, error]) => [event, error.message]), [
    ['unreachable', 'no network'],
    ['unreachable', 'no session'],
    ['unreachable', 'The application did not give a token within 5000 ms.'],
  ]);
  assert.equal(client.status, 'connected');
});

test('an application that says nothing when it connects is asked again', async () => {
  let asked = 0;
  const { client, time } = await world({ token: () => (asked++ ? 'opaque' : new Promise(() => {})), timeoutMs: 5_000 });
  assert.equal(client.status, 'connecting');
  await time.pass(10_000);
  assert.equal(client.status, 'connected');
});

test('a new token that is refused does not end the connection before the old one does', async () => {
  let asked = 0;
  const { gateway, time, client, since } = await world({ token: () => expiring(3_600 * ++asked) });
  const take = gateway.take.bind(gateway);
  const codes = [401, 403, 503];
  gateway.take = (connection, frame, answer) => {
    if (frame.type === 1 && codes.length > 0) answer({ code: codes.shift(), error: 'Not this one.' });
    else take(connection, frame, answer);
  };
  await time.pass(59 * MINUTE + 30_000, () => gateway.registers.length === 2);
  await time.pass(1_000);
  assert.deepEqual(since('unreachable', 'disconnected', 'status', 'error').map(([event, error]) => [event, error.code]), [['unreachable', 401], ['unreachable', 403], ['unreachable', 503]]);
  // After 503 the gateway may have lost the registration, so this device resumes.
  assert.equal(gateway.registers[1].resume, true);
  assert.equal(since('connected').length, 1);
  assert.equal(client.status, 'connected');
});

test('nothing is renewed after the end of a connection', async () => {
  let asked = 0;
  const { gateway, time, client } = await world({ token: () => expiring(3_600 * ++asked) });
  await client.close();
  await time.pass(120 * MINUTE);
  assert.deepEqual([gateway.registers.length, asked], [1, 1]);
});
