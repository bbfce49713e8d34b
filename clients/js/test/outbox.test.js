// The outbox: the order of sends with errors, retries and several destinations.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Outbox } from '../dist/esm/core/outbox.js';
import { backoff } from '../dist/esm/core/backoff.js';
import { chance, seeds } from './lib/chance.js';

const message = (n, user = 'bob') => ({ n, cid: `c${n}`, to: { user }, type: 3, data: { n } });
const cids = (messages) => messages.map(({ cid }) => cid);

for (const seed of seeds(200)) {
  test(`seed ${seed}: each destination gets its messages in order, and each message is settled once`, () => {
    const dice = chance(seed);
    const [most, concurrency, users] = [10 + dice.below(20), 1 + dice.below(4), ['a', 'b', 'c']];
    const outbox = new Outbox(most, concurrency);
    const [sent, refused, inFlight] = [new Map(), new Set(), new Map()];
    let [n, now, full] = [0, 0, 0];
    for (let step = 0; step < 500 || outbox.size > 0; step++) {
      now += dice.below(20);
      if (step < 500 && dice.happens(0.4)) {
        const next = message(n, dice.one(users));
        try {
          outbox.add(next);
          n++;
        } catch (error) {
          assert.equal(error.code, 'full');
          assert.equal(outbox.size, most);
          full++;
        }
      }
      for (const taken of outbox.take(now)) {
        assert.ok(![...inFlight.values()].some(({ to }) => to.user === taken.to.user), 'one at a time per destination');
        inFlight.set(taken.cid, taken);
      }
      assert.ok(inFlight.size <= concurrency);
      const one = dice.one([...inFlight.values()]);
      if (!one || dice.happens(0.3)) continue;
      inFlight.delete(one.cid);
      if (dice.happens(0.4)) outbox.again(one.cid, now + dice.below(50));
      else {
        assert.equal(outbox.settle(one.cid), one);
        assert.equal(outbox.settle(one.cid), undefined, 'settled once');
        const list = sent.get(one.to.user) ?? [];
        sent.set(one.to.user, [...list, one.n]);
        if (dice.happens(0.1)) refused.add(one.n);
      }
    }
    const all = [...sent.values()].flat();
    assert.equal(all.length, n);
    for (const list of sent.values()) assert.deepEqual(list, [...list].sort((a, b) => a - b));
  });
}

test('a message that waits for its retry delays its own destination only', () => {
  const outbox = new Outbox(10, 10);
  for (const [n, user] of [[1, 'bob'], [2, 'bob'], [3, 'carol']]) outbox.add(message(n, user));
  assert.deepEqual(cids(outbox.take(0)), ['c1', 'c3']);
  outbox.again('c1', 100);
  outbox.settle('c3');
  assert.deepEqual([outbox.take(99), outbox.wait(40)], [[], 60]);
  assert.deepEqual(cids(outbox.take(100)), ['c1']);
  assert.equal(outbox.attempts('c1'), 2);
  outbox.settle('c1');
  assert.deepEqual(cids(outbox.take(100)), ['c2']);
});

test('a held message keeps its place until it is released', () => {
  const outbox = new Outbox(10, 10);
  outbox.add(message(1), { held: true });
  outbox.add(message(2));
  assert.deepEqual([outbox.take(0), outbox.wait(0)], [[], undefined]);
  outbox.release('c1');
  assert.deepEqual(cids(outbox.take(0)), ['c1']);
});

test('saved messages of an earlier run may exceed the bound, and count towards it', () => {
  const outbox = new Outbox(1, 1);
  outbox.add(message(1), { bounded: false });
  outbox.add(message(2), { bounded: false });
  assert.throws(() => outbox.add(message(3)), { code: 'full' });
  assert.deepEqual(cids(outbox.messages), ['c1', 'c2']);
});

test('the waits double up to the bound, and vary by a quarter in both directions', () => {
  const pace = { firstMs: 100, mostMs: 1_000 };
  assert.deepEqual([1, 2, 3, 4, 5, 50].map((n) => backoff(n, pace, 0.5)), [100, 200, 400, 800, 1_000, 1_000]);
  assert.deepEqual([backoff(1, pace, 0), backoff(1, pace, 1)], [75, 125]);
});
