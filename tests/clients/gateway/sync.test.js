// Kinds 104 and 105: a participant reads a part of a conversation.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { SYNC, SYNCED, list, range, refused, seqs, sync, written } from '../../lib/delivery.js';
import { everyClient } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';

let gateway;
before(async () => (gateway = await startGateway()));
after(() => gateway.close());

const page = ({ messages, head, more }) => [seqs(messages), head, more];

describe('pages', { concurrency: 5 }, () => {
  for (const client of everyClient) {
    test(`socket.io-client ${client.version} ${client.transport} reads forwards and backwards`, async (t) => {
      const [a, b] = [someone('写'), someone('读')];
      const hong = await signIn(t, gateway, b, { client, format: client.transport === 'polling' ? 'object' : 'string' });
      const ming = await signIn(t, gateway, a, { client });
      const conv = await written(gateway, a, b, 20);
      const { mid } = await ming.send({ user: b }, { n: 21, text: '最后 🏁' }, { cid: '末' });
      const pushed = await hong.frames.takeMany(21, ({ type }) => type === 3);
      assert.equal(pushed[20].mid, mid);

      const forward = [];
      for (let more = true; more; ) {
        const answer = await sync(hong, conv, { after: forward.length, limit: 8 });
        assert.deepEqual([answer.conv, answer.head], [conv, 21]);
        assert.ok(answer.messages.length <= 8);
        forward.push(...answer.messages);
        ({ more } = answer);
      }
      assert.deepEqual(forward, pushed.map((frame) => ({ ...frame })), 'the stored messages equal the pushed ones');
      const back = [];
      for (let more = true; more; ) {
        const answer = await sync(hong, conv, { before: back.at(-1)?.seq ?? 22, limit: 8 });
        back.push(...answer.messages);
        ({ more } = answer);
      }
      assert.deepEqual(back.reverse(), forward);
      assert.deepEqual((await gateway.api.history(conv)).messages, forward, 'the backend reads the same messages');
      assert.deepEqual((await sync(ming, conv, { after: 0, limit: 500 })).messages, forward, 'both users read the same messages');
    });
  }
});

test('pages at the beginning and the end of a conversation are correct', async (t) => {
  const [a, b] = [someone(), someone()];
  const user = await signIn(t, gateway, b);
  const conv = await written(gateway, a, b, 10);
  for (const [asked, ...expected] of [
    [{ after: 0, limit: 10 }, range(1, 10), 10, false],
    [{ after: 0, limit: 9 }, range(1, 9), 10, true],
    [{ after: 0 }, range(1, 10), 10, false],
    [{ after: 9, limit: 1 }, [10], 10, false],
    [{ after: 8, limit: 1 }, [9], 10, true],
    [{ after: 10 }, [], 10, false],
    [{ after: 11 }, [], 10, false],
    [{ after: Number.MAX_SAFE_INTEGER }, [], 10, false],
    [{ before: 11, limit: 10 }, range(10, 1), 10, false],
    [{ before: 11, limit: 9 }, range(10, 2), 10, true],
    [{ before: 10, limit: 1 }, [9], 10, true],
    [{ before: 2, limit: 1 }, [1], 10, false],
    [{ before: 1 }, [], 10, false],
    [{ before: 0 }, [], 10, false],
    [{ before: Number.MAX_SAFE_INTEGER, limit: 2 }, [10, 9], 10, true],
    [{ before: 500, limit: 500 }, range(10, 1), 10, false],
  ]) {
    assert.deepEqual(page(await sync(user, conv, asked)), expected, JSON.stringify(asked));
  }
  // Numbers above 2^53 are written as text here, since JavaScript cannot hold them.
  for (const [text, expected] of [
    ['"after":9223372036854775807', []],
    ['"after":9223372036854775808', []],
    [`"after":1${'0'.repeat(30)}`, []],
    [`"before":1${'0'.repeat(30)}`, range(10, 1)],
    ['"before":18446744073709551615', range(10, 1)],
  ]) {
    user.say(`{"type":104,"req":"大","data":{"conv":"${conv}",${text}}}`);
    const { data } = await user.next(SYNCED);
    assert.deepEqual([data.code, seqs(data.messages ?? [])], [0, expected], text);
  }
});

test('after and before exclude each other, and the limit is 1 to 500', async (t) => {
  const [a, b] = [someone(), someone()];
  const user = await signIn(t, gateway, b);
  const conv = await written(gateway, a, b, 600);
  await user.frames.takeMany(600, ({ type }) => type === 3);
  for (const asked of [{}, { after: 1, before: 3 }, { limit: 5 }, { after: 0, before: 0 }]) await refused(user, 400, SYNC, { conv, ...asked });
  for (const limit of [0, -1, 501, 1e9, 1.5, '10', [], {}, true]) {
    await refused(user, 400, SYNC, { conv, after: 0, limit });
    await refused(user, 400, SYNC, { conv, before: 9, limit });
  }
  assert.deepEqual(page(await sync(user, conv, { after: 0 })), [range(1, 100), 600, true], '100 when absent');
  assert.deepEqual(page(await sync(user, conv, { before: 601 })), [range(600, 501), 600, true]);
  assert.deepEqual(page(await sync(user, conv, { after: 0, limit: 1 })), [[1], 600, true]);
  assert.deepEqual(page(await sync(user, conv, { after: 0, limit: 500 })), [range(1, 500), 600, true]);
  assert.deepEqual(page(await sync(user, conv, { after: 500, limit: 500 })), [range(501, 600), 600, false]);
});

test('the digits of numbers in data are kept', async (t) => {
  const [a, b] = [someone(), someone()];
  const ming = await signIn(t, gateway, a);
  const hong = await signIn(t, gateway, b);
  const data = '{"big":9223372036854775807,"huge":123456789012345678901234567890,"decimal":0.1000000000000000055511151231257827}';
  ming.say(`{"type":101,"data":{"type":3,"to":{"user":${JSON.stringify(b)}},"data":${data}}}`);
  const { conv } = await hong.next(3);
  hong.say({ type: SYNC, data: { conv, after: 0 } });
  const { raw } = await hong.next(SYNCED);
  for (const digits of ['9223372036854775807', '123456789012345678901234567890', '0.1000000000000000055511151231257827']) assert.ok(raw.includes(digits), raw);
});

test('pages of large messages are complete in the end', async (t) => {
  const [a, b] = [someone(), someone()];
  const conv = await written(gateway, a, b, 60, (n) => ({ n, text: '大'.repeat(20_000) }));
  const user = await signIn(t, gateway, b);
  for (const [edge, all] of [['after', range(1, 60)], ['before', range(60, 1)]]) {
    const got = [];
    for (let more = true; more; ) {
      const answer = await sync(user, conv, { [edge]: got.at(-1) ?? (edge === 'after' ? 0 : 61), limit: 500 });
      assert.ok(answer.messages.length > 0, 'a page with more: true has messages');
      got.push(...seqs(answer.messages));
      ({ more } = answer);
    }
    assert.deepEqual(got, all);
  }
});

test('a page that is requested while messages arrive has no gap', async (t) => {
  const [a, b] = [someone(), someone()];
  const [ming, hong] = [await signIn(t, gateway, a), await signIn(t, gateway, b)];
  const { conv } = await ming.send({ user: b }, { n: 1 });
  let running = true;
  const writing = (async () => {
    let seq;
    while (running) ({ seq } = await ming.send({ user: b }, { text: '不停 🏃' }));
    return seq;
  })();
  const got = [];
  let head = 0;
  while (got.length < 120) {
    const answer = await sync(hong, conv, { after: got.length, limit: 20 });
    assert.ok(answer.head >= head && answer.head >= (answer.messages.at(-1)?.seq ?? 0), 'the head never decreases');
    ({ head } = answer);
    assert.equal(answer.more, head > got.length + answer.messages.length);
    got.push(...seqs(answer.messages));
    assert.deepEqual(got, range(1, got.length).slice(0, got.length));
    // A loop of empty pages would exceed the rate of frames when the writer is slow.
    if (answer.messages.length === 0) await hong.next(3);
  }
  running = false;
  const last = await writing;
  assert.equal((await sync(hong, conv, { after: last })).head, last);
});

for (const client of [{ version: '1.7.4', transport: 'polling' }, { version: '4.8.4', transport: 'polling' }, { version: '4.8.4', transport: 'websocket' }]) {
  test(`a client that requests many pages at once is not closed as a slow reader (${client.version} ${client.transport})`, async (t) => {
    const uid = someone();
    // Quotes and Chinese characters take more bytes on some transports.
    const text = '"你'.repeat(5_000);
    const convs = [];
    for (let n = 0; n < 20; n++) convs.push(await written(gateway, someone(), uid, 20, () => ({ text })));
    const user = await signIn(t, gateway, uid, { client, deviceid: 'd' });
    const pages = await Promise.all(convs.map((conv) => sync(user, conv, { after: 0, limit: 20 })));
    for (const [i, { conv, messages }] of pages.entries()) {
      assert.equal(conv, convs[i]);
      assert.deepEqual(seqs(messages), range(1, messages.length));
      assert.equal(messages[0].data.text, text);
    }
    for (const conv of convs) user.say({ type: SYNC, data: { conv, before: 21, limit: 20 } });
    for (const conv of convs) assert.equal((await user.next(SYNCED)).data.conv, conv, 'the requests are answered in order');
    const lists = await Promise.all(convs.map(() => list(user, { limit: 500 })));
    for (const { conversations } of lists) assert.equal(conversations[0].conv, convs[19]);
  });
}
