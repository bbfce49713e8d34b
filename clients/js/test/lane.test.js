// One conversation's order, in every order of arrival.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lane } from '../dist/esm/core/lane.js';
import { chance, seeds } from './lib/chance.js';

const drain = (lane) => {
  const taken = [];
  for (let item = lane.next(); item; item = lane.next()) taken.push(item.message === undefined ? `own ${item.seq}` : item.seq);
  return taken;
};

for (const seed of seeds(200)) {
  test(`seed ${seed}: once, in order, and nothing that exists is passed over`, () => {
    const dice = chance(seed);
    const head = 1 + dice.below(60);
    const start = dice.below(head);
    const deleted = new Set(Array.from({ length: dice.below(10) }, () => 1 + dice.below(head)));
    const own = new Set(Array.from({ length: dice.below(10) }, () => 1 + dice.below(head)));
    const exists = Array.from({ length: head }, (_, i) => i + 1).filter((seq) => !deleted.has(seq));
    const item = (seq) => ({ seq, message: own.has(seq) ? undefined : { seq } });

    const lane = new Lane();
    const taken = [];
    let begun = false;
    let asked = 0;
    const begin = () => {
      if (!begun) lane.begin(start);
      begun = true;
    };
    for (let step = 0; step < 300; step++) {
      const seq = dice.one(exists);
      if (dice.happens(0.1)) begin();
      else if (seq !== undefined && dice.happens(0.6)) lane.see(seq, item(seq).message);
      else if (dice.happens(0.3)) lane.note(dice.below(head + 1));
      if (dice.happens(0.3)) taken.push(...drain(lane));
      const after = lane.wants();
      if (after !== undefined && dice.happens(0.2)) {
        const part = exists.filter((other) => other > after).slice(0, 1 + dice.below(5));
        const more = part.length > 0 && part.at(-1) < exists.at(-1);
        // What comes between the question and its answer changes nothing.
        if (seq !== undefined) lane.see(seq, item(seq).message);
        lane.fetched(part.map(item), more ? part.at(-1) : head);
      }
    }
    begin();
    lane.note(head);
    for (;;) {
      taken.push(...drain(lane));
      const after = lane.wants();
      if (after === undefined) break;
      assert.ok(asked++ < 200, 'it comes to an end');
      const part = exists.filter((other) => other > after).slice(0, 3);
      lane.fetched(part.map(item), part.length > 0 && part.at(-1) < exists.at(-1) ? part.at(-1) : head);
    }
    const expected = exists.filter((seq) => seq > start).map((seq) => (own.has(seq) ? `own ${seq}` : seq));
    assert.deepEqual(taken, expected);
    assert.equal(lane.taken, head, 'it stands at the end, also behind what was deleted');
  });
}

test('nothing is handed over before it is known where to begin', () => {
  const lane = new Lane();
  lane.see(5, {});
  assert.deepEqual([drain(lane), lane.wants(), lane.lowest], [[], undefined, { seq: 5, own: false }]);
  lane.begin(4);
  assert.deepEqual(drain(lane), [5]);
});

test('a gap is asked for from where it begins, and over when the record says so', () => {
  const lane = new Lane();
  lane.begin(2);
  lane.see(6, {});
  assert.deepEqual([drain(lane), lane.wants()], [[], 2]);
  lane.fetched([{ seq: 4, message: {} }], 5);
  assert.deepEqual([drain(lane), lane.wants()], [[4, 6], undefined]);
});

test('what finds no room is fetched later, and a fetched part always finds room', () => {
  const lane = new Lane();
  lane.begin(0);
  for (let seq = 2; seq <= 2_000; seq++) lane.see(seq, {});
  assert.equal(lane.head, 2_000);
  lane.fetched(Array.from({ length: 500 }, (_, i) => ({ seq: i + 1, message: {} })), 500);
  const first = drain(lane);
  assert.deepEqual([first.length, lane.wants()], [1_001, 1_001], 'a thousand waited');
  lane.fetched(Array.from({ length: 999 }, (_, i) => ({ seq: i + 1_002, message: {} })), 2_000);
  assert.deepEqual([drain(lane).length, lane.wants()], [999, undefined]);
});
