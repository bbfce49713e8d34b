// The batching of acknowledgements and the count of unread messages, without a connection.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Acks } from '../dist/esm/core/acks.js';
import { Unread } from '../dist/esm/core/unread.js';
import { chance, seeds } from './lib/chance.js';

for (const seed of seeds(100)) {
  test(`seed ${seed}: acknowledgements ascend, wait at most the configured time, and are complete`, () => {
    const dice = chance(seed);
    const acks = new Acks({ waitMs: 200, most: 50 });
    const [noted, told, since] = [new Map(), new Map(), new Map()];
    let now = 0;
    const take = (all) => {
      for (const { conv, seq } of acks.take(now, all)) {
        assert.ok(seq > (told.get(conv) ?? 0) && seq === noted.get(conv), 'the acknowledgement has the highest noted seq');
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
      for (const [waiting, from] of since) assert.ok(now - from < 200 && noted.get(waiting) - (told.get(waiting) ?? 0) < 50, 'it waits at most the configured time and number of messages');
      assert.equal(acks.wait(now) === undefined, since.size === 0);
    }
    take(true);
    assert.deepEqual(told, noted);
  });
}

test('unread: replayed messages of conversations that were not listed count once', () => {
  const unread = new Unread();
  unread.begin(5, [{ conv: 'a', head: 1, unread: 1 }], true);
  for (const conv of ['b', 'c']) assert.equal(unread.see(conv, 1, true), true);
  assert.equal(unread.total, 5, 'the total of the gateway includes them');
  unread.resumed();
  unread.see('c', 2, true);
  unread.see('d', 7, true);
  assert.equal(unread.total, 7, 'these messages are new');
  assert.equal(unread.settle(), false, 'the counts of b, c and d are not known');
  unread.learn('b', 1, 1);
  unread.learn('c', 2, 2);
  unread.learn('d', 6, 1);
  assert.equal(unread.settle(), false, 'the answer about d is older than the messages that were received since');
  unread.learn('d', 7, 3);
  assert.equal(unread.settle(), true);
  assert.equal(unread.total, 7);
  for (const [conv, seq] of [['a', 1], ['b', 1], ['c', 2], ['d', 7]]) assert.equal(unread.read(conv, seq), true);
  assert.equal(unread.total, 0);
  unread.see('new', 1, true);
  assert.equal(unread.total, 1);
});

test('unread: the total is the count of the gateway plus the messages since', () => {
  const unread = new Unread();
  unread.begin(10, [{ conv: 'a', head: 5, unread: 3 }, { conv: 'b', head: 2, unread: 0 }], true);
  assert.equal(unread.total, 10);
  unread.see('a', 4, true);
  assert.equal(unread.total, 10, 'the message is replayed, and the total of the gateway includes it');
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
  assert.equal(unread.read('a', 8), false, 'only the gateway knows how many messages are still unread');
  unread.learn('a', 9, 1);
  assert.equal(unread.total, 9);
  unread.learn('a', 7, 100);
  assert.equal(unread.total, 9, 'an older answer changes nothing');
  unread.leave('a', 10);
  unread.learn('a', 9, 1);
  assert.equal(unread.total, 8, 'messages of a team that the user has left do not count');
  unread.see('a', 11, true);
  assert.equal(unread.total, 9, 'after the user has joined again, messages count again');
});
