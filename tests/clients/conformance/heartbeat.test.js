// Heartbeats in both directions: Engine.IO 3 clients send pings, Engine.IO 4 clients receive them.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Inbox } from '../../lib/inbox.js';
import { startConformance } from '../../lib/program.js';
import { connect, everyClient, isOld } from '../../lib/peer.js';

let server;
before(async () => (server = await startConformance({ pingInterval: 100, pingTimeout: 20_000 })));
after(() => server.close());

for (const client of everyClient) {
  test(`socket.io-client ${client.version} ${client.transport} stays connected over several heartbeats`, { concurrency: true }, async (t) => {
    const peer = await connect(t, server.url, client);
    await peer.upgraded;
    const beats = new Inbox('heartbeats');
    const kind = isOld(client.version) ? 'pong' : 'ping';
    peer.manager.engine.on('packet', (packet) => packet.type === kind && beats.push(packet.type));
    await beats.takeMany(3);
    assert.deepEqual(await peer.ask('ack-echo', '还在 💓'), ['还在 💓']);
  });
}
