// The renewal of the token of a live connection, against the model of the gateway and in simulated time.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client } from '../dist/esm/client.js';
import { memoryStorage } from '../dist/esm/index.js';
import { chance } from './lib/chance.js';
import { Gateway } from './lib/gateway.js';
import { Time } from './lib/time.js';
import { network } from './lib/wire.js';

const MINUTE = 60_000;

/** A token that expires at this second of the model's clock, which stays near 0. */
const expiring = (exp) => `x.${Buffer.from(JSON.stringify({ sub: 'me', exp })).toString('base64url')}.x`;

async function world(options, seed = 1) {
  const dice = chance(seed);
  const time = new Time(dice.next);
  const gateway = new Gateway(dice, { resume: 100, listed: 100 });
  const client = new Client(network(gateway, time, dice).io, 'http://model', { uid: 'me', storage: memoryStorage(), retry: { firstMs: 1_000, mostMs: 4_000 }, ...options }, time);
  const told = [];
  for (const event of ['connected', 'disconnected', 'error', 'unreachable', 'status']) client.on(event, (value) => void told.push([event, value]));
  await time.pass(1_000, () => client.status === 'connected');
  const connected = told.length;
  /** The events since the client was connected. */
  const since = (...events) => told.slice(connected).filter(([event]) => events.length === 0 || events.includes(event));
  return { gateway, time, client, since };
}

test('a token is renewed a minute before its expiry, without a new replay', async () => {
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
  // The model's clock does not advance, so the second token is valid for two hours.
  await time.pass(119 * MINUTE + 1_000);
  assert.equal(gateway.registers.length, 3);
});

test('a token that is valid for a few seconds is renewed when a quarter of its time is left', async () => {
  let asked = 0;
  const { gateway, time } = await world({ token: () => (asked++ ? expiring(3_600) : expiring(8)) });
  await time.pass(5_000);
  assert.equal(gateway.registers.length, 1);
  await time.pass(2_000);
  assert.equal(gateway.registers.length, 2);
});

test('for a token that is not a JWT, the application may pass the time to live', async () => {
  const { gateway, time } = await world({ token: async () => ({ token: 'opaque', ttlMs: 10 * MINUTE }) });
  await time.pass(35 * MINUTE);
  assert.deepEqual(gateway.registers.map(({ token }) => token), Array(4).fill('opaque'));
});

test('a token that never changes, or whose expiry is unknown, is not renewed', async () => {
  for (const token of [expiring(60), async () => 'opaque', () => 'x.bm9uc2Vuc2U.x', undefined]) {
    const { gateway, time } = await world({ token });
    await time.pass(60 * MINUTE);
    assert.equal(gateway.registers.length, 1);
  }
});

test('a token function that throws, rejects or does not return is called again, and the connection stays open', async () => {
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

test('a token function that does not return at the first connect is called again', async () => {
  let asked = 0;
  const { client, time } = await world({ token: () => (asked++ ? 'opaque' : new Promise(() => {})), timeoutMs: 5_000 });
  assert.equal(client.status, 'connecting');
  await time.pass(10_000);
  assert.equal(client.status, 'connected');
});

test('if a new token is refused, the connection stays open until the old token expires', async () => {
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
  // After 503 the connection may be unregistered, so the client registers with resume.
  assert.equal(gateway.registers[1].resume, true);
  assert.equal(since('connected').length, 1);
  assert.equal(client.status, 'connected');
});

test('after a resume on a live connection missing messages are fetched, even if the answer and the end of the replay came in one turn', async () => {
  for (let seed = 1; seed <= 10; seed++) {
    let asked = 0;
    const { gateway, time, client } = await world({ token: () => expiring(3_600 * ++asked) }, seed);
    const seqs = [];
    client.on('message', ({ seq }) => void seqs.push(seq));
    const take = gateway.take.bind(gateway);
    let refused = false;
    gateway.take = (connection, frame, answer) => {
      if (frame.type !== 1 || refused) return take(connection, frame, answer);
      refused = true;
      answer({ code: 503, error: 'Not now.' });
    };
    await time.pass(60 * MINUTE, () => gateway.registers.length === 2);
    assert.equal(gateway.registers[1].resume, true);
    await time.pass(1_000);
    const [connection] = gateway.connections;
    for (const except of [undefined, connection, undefined]) {
      gateway.append(gateway.conv('pair bob me'), { type: 3, data: {}, from: 'bob' }, except);
    }
    await time.pass(5_000);
    assert.deepEqual(seqs, [1, 2, 3], `seed ${seed}`);
  }
});

test('no token is renewed after the connection was closed', async () => {
  let asked = 0;
  const { gateway, time, client } = await world({ token: () => expiring(3_600 * ++asked) });
  await client.close();
  await time.pass(120 * MINUTE);
  assert.deepEqual([gateway.registers.length, asked], [1, 1]);
});
