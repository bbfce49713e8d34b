// Acknowledgements and unread messages: what is counted and told, without a connection.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Acks } from '../dist/esm/core/acks.js';
import { Unread } from '../dist/esm/core/unread.js';
import { chance, seeds } from './lib/chance.js';

for (const seed of seeds(100)) {
  test(`seed ${seed}: acknowledgements rise, wait their time and no longer, and leave nothing out`, () => {
    const dice = chance(seed);
    const acks = new Acks({ waitMs: 200, most: 50 });
    const [noted, told, since] = [new Map(), new Map(), new Map()];
    let now = 0;
    const take = (all) => {
      for (const { conv, seq } of acks.take(now, all)) {
        assert.ok(seq > (told.get(conv) ?? 0) && seq === noted.get(conv), 'the newest that was noted');
        told.set(conv, seq);
        since.delete(conv);
      }
    };
    for (let step = 0; step < 400; step++) {
      const conv = dice.one(['a', 'b']);
      noted.set(conv, (noted.get(conv) ?? 0) + 1);
      if (!since.has(conv)) since.set(conv, now);
      acks.note(conv, noted.get(conv), now);
      now += dice.below(30);
      take(false);
      for (const [waiting, from] of since) assert.ok(now - from < 200 && noted.get(waiting) - (told.get(waiting) ?? 0) < 50, 'it waits its time and no longer');
      assert.equal(acks.wait(now) === undefined, since.size === 0);
    }
    take(true);
    assert.deepEqual(told, noted);
  });
}

test('unread: what is replayed of conversations that were not listed counts once', () => {
  const unread = new Unread();
  unread.begin(5, [{ conv: 'a', head: 1, unread: 1 }], true);
  for (const conv of ['b', 'c']) assert.equal(unread.see(conv, 1, true), true);
  assert.equal(unread.total, 5, 'the gateway counted them before');
  unread.resumed();
  unread.see('c', 2, true);
  unread.see('d', 7, true);
  assert.equal(unread.total, 7, 'these are new');
  assert.equal(unread.settle(), false, 'the numbers of b, c and d are not known');
  unread.learn('b', 1, 1);
  unread.learn('c', 2, 2);
  unread.learn('d', 6, 1);
  assert.equal(unread.settle(), false, 'what was said of d is older than what came');
  unread.learn('d', 7, 3);
  assert.equal(unread.settle(), true);
  assert.equal(unread.total, 7);
  for (const [conv, seq] of [['a', 1], ['b', 1], ['c', 2], ['d', 7]]) assert.equal(unread.read(conv, seq), true);
  assert.equal(unread.total, 0);
  unread.see('new', 1, true);
  assert.equal(unread.total, 1);
});

test('unread: what the gateway said, and what came since', () => {
  const unread = new Unread();
  unread.begin(10, [{ conv: 'a', head: 5, unread: 3 }, { conv: 'b', head: 2, unread: 0 }], true);
  assert.equal(unread.total, 10);
  unread.see('a', 4, true);
  assert.equal(unread.total, 10, 'replayed, and counted before');
  unread.resumed();
  unread.see('a', 6, true);
  unread.see('a', 6, true);
  unread.see('a', 7, false);
  unread.see('new', 1, true);
  assert.equal(unread.total, 12);
  assert.equal(unread.read('a', 7), true);
  assert.equal(unread.total, 8);
  unread.see('a', 8, true);
  unread.see('a', 9, true);
  assert.equal(unread.read('a', 8), false, 'how many of them count only the gateway knows');
  unread.learn('a', 9, 1);
  assert.equal(unread.total, 9);
  unread.learn('a', 7, 100);
  assert.equal(unread.total, 9, 'an older answer changes nothing');
  unread.leave('a', 10);
  unread.learn('a', 9, 1);
  assert.equal(unread.total, 8, 'what was left is out of reach');
  unread.see('a', 11, true);
  assert.equal(unread.total, 9, 'joined again');
});
