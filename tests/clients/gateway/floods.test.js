// Clients that send more frames than they may.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eachGeneration } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { REGISTER, signIn, someone } from '../../lib/user.js';

const limits = { frames_per_second: 10, frames_burst: 20, refused_burst: 50 };

let gateway;
before(async () => (gateway = await startGateway({ config: { limits } })));
after(() => gateway.close());

for (const client of eachGeneration) {
  test(`a client that does not slow down is disconnected, and reconnects by itself: ${client.version} ${client.transport}`, async (t) => {
    const uid = someone('洪水');
    const user = await signIn(t, gateway, uid, { client: { ...client, reconnection: true } });
    await user.peer.upgraded;
    const back = new Promise((resolve) => user.peer.socket.once('connect', resolve));
    for (let i = 0; i < 1_000; i++) user.say({ type: 999, data: { i } });
    const reason = await user.peer.closed();
    assert.match(reason, /^transport/, 'the client was not disconnected for good');
    await back;
    assert.equal((await user.ask(REGISTER, { uid })).code, 0);
  });
}

test('the close frame of a WebSocket has code 1008 and the reason', async (t) => {
  const user = await signIn(t, gateway, someone('洪水'));
  const { ws } = user.peer.manager.engine.transport;
  const closed = new Promise((resolve) => ws.addEventListener('close', resolve, { once: true }));
  for (let i = 0; i < 1_000; i++) user.say({ type: 999 });
  const { code, reason } = await closed;
  assert.deepEqual({ code, reason }, { code: 1008, reason: 'too many frames' });
});
