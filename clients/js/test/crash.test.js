// kill -9 of the gateway while clients send and receive: all sent messages are stored once and in order, and
// delivered once and in order.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../../../tests/lib/inbox.js';
import { startGateway } from '../../../tests/lib/program.js';
import { device, someone, versions } from './lib/device.js';

const KILLS = 3;
const AT_A_TIME = 60;

let gateway;
before(async () => {
  gateway = await startGateway();
});
after(() => gateway?.close());

for (const version of versions) {
  test(`${version}: nothing is lost or duplicated when the gateway is killed while clients send and receive`, async (t) => {
    const [alice, bob] = await Promise.all([
      device(t, gateway, someone('爱丽丝'), { version, timeoutMs: 2_000 }),
      device(t, gateway, someone('鲍勃'), { version, timeoutMs: 2_000, handle: () => new Promise(setImmediate) }),
    ]);
    const receipts = [];
    let n = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const sends = Array.from({ length: AT_A_TIME }, () => alice.client.send({ user: bob.client.uid }, 3, { n: ++n }));
      const some = receipts.length + AT_A_TIME / 2;
      for (const send of sends) send.then((receipt) => receipts.push(receipt), assert.ifError);
      await eventually(() => receipts.length >= some, 'half of the answers');
      await gateway.program.kill();
      const offline = alice.client.send({ user: bob.client.uid }, 3, { n: ++n });
      await gateway.start();
      receipts.push(await offline);
      await Promise.all(sends);
    }
    assert.deepEqual(alice.client.pending, []);
    const heard = await bob.messages.takeMany(n);
    assert.deepEqual(heard.map(({ seq }) => seq), Array.from({ length: n }, (_, i) => i + 1));
    assert.deepEqual(heard.map(({ data }) => data.n), Array.from({ length: n }, (_, i) => i + 1), 'the messages are in the order of the sends');
    const { messages } = await bob.client.history(heard[0].conv, { after: 0, limit: 500 });
    assert.deepEqual(messages.map(({ mid }) => mid), heard.map(({ mid }) => mid), 'the history has each message once');
    assert.deepEqual(new Set(receipts.map(({ mid }) => mid)), new Set(heard.map(({ mid }) => mid)));
    assert.deepEqual([bob.messages.untaken, alice.all], [[], []]);
  });
}
