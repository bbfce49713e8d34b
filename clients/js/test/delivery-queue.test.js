// The delivery queue: messages of one conversation that arrive in any order are delivered in order.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeliveryQueue } from '../dist/esm/core/delivery-queue.js';
import { chance, seeds } from './lib/chance.js';

const drain = (queue) => {
  const taken = [];
  for (let item = queue.next(); item; item = queue.next()) taken.push(item.message === undefined ? `own ${item.seq}` : item.seq);
  return taken;
};

for (const seed of seeds(200)) {
  test(`seed ${seed}: messages are delivered once and in order, and no existing message is skipped`, () => {
    const dice = chance(seed);
    const head = 1 + dice.below(60);
    const start = dice.below(head);
    const deleted = new Set(Array.from({ length: dice.below(10) }, () => 1 + dice.below(head)));
    const own = new Set(Array.from({ length: dice.below(10) }, () => 1 + dice.below(head)));
    const exists = Array.from({ length: head }, (_, i) => i + 1).filter((seq) => !deleted.has(seq));
    const item = (seq) => ({ seq, message: own.has(seq) ? undefined : { seq } });

    const queue = new DeliveryQueue();
    const taken = [];
    let begun = false;
    let asked = 0;
    const begin = () => {
      if (!begun) queue.begin(start);
      begun = true;
    };
    for (let step = 0; step < 300; step++) {
      const seq = dice.one(exists);
      if (dice.happens(0.1)) begin();
      else if (seq !== undefined && dice.happens(0.6)) queue.see(seq, item(seq).message);
      else if (dice.happens(0.3)) queue.note(dice.below(head + 1));
      if (dice.happens(0.3)) taken.push(...drain(queue));
      const after = queue.wants();
      if (after !== undefined && dice.happens(0.2)) {
        const part = exists.filter((other) => other > after).slice(0, 1 + dice.below(5));
        const more = part.length > 0 && part.at(-1) < exists.at(-1);
        // A push between the request and its answer changes nothing.
        if (seq !== undefined) queue.see(seq, item(seq).message);
        queue.fetched(part.map(item), more ? part.at(-1) : head);
      }
    }
    begin();
    queue.note(head);
    for (;;) {
      taken.push(...drain(queue));
      const after = queue.wants();
      if (after === undefined) break;
      assert.ok(asked++ < 200, 'the number of fetches is bounded');
      const part = exists.filter((other) => other > after).slice(0, 3);
      queue.fetched(part.map(item), part.length > 0 && part.at(-1) < exists.at(-1) ? part.at(-1) : head);
    }
    const expected = exists.filter((seq) => seq > start).map((seq) => (own.has(seq) ? `own ${seq}` : seq));
    assert.deepEqual(taken, expected);
    assert.equal(queue.taken, head, 'the position is the head, even if the last messages were deleted');
  });
}

test('no message is delivered before the start position is known', () => {
  const queue = new DeliveryQueue();
  queue.see(5, {});
  assert.deepEqual([drain(queue), queue.wants(), queue.lowest], [[], undefined, { seq: 5, own: false }]);
  queue.begin(4);
  assert.deepEqual(drain(queue), [5]);
});

test('a gap is fetched from its beginning, and ends where the fetched history ends', () => {
  const queue = new DeliveryQueue();
  queue.begin(2);
  queue.see(6, {});
  assert.deepEqual([drain(queue), queue.wants()], [[], 2]);
  queue.fetched([{ seq: 4, message: {} }], 5);
  assert.deepEqual([drain(queue), queue.wants()], [[4, 6], undefined]);
});

test('messages beyond the capacity are fetched later, and fetched messages are always accepted', () => {
  const queue = new DeliveryQueue();
  queue.begin(0);
  for (let seq = 2; seq <= 2_000; seq++) queue.see(seq, {});
  assert.equal(queue.head, 2_000);
  queue.fetched(Array.from({ length: 500 }, (_, i) => ({ seq: i + 1, message: {} })), 500);
  const first = drain(queue);
  assert.deepEqual([first.length, queue.wants()], [1_001, 1_001], 'a thousand messages were waiting');
  queue.fetched(Array.from({ length: 999 }, (_, i) => ({ seq: i + 1_002, message: {} })), 2_000);
  assert.deepEqual([drain(queue).length, queue.wants()], [999, undefined]);
});
