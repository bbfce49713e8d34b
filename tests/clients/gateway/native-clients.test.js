// Handshakes of clients in other languages and of old clients, replayed byte for byte as far as the server
// can see.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Inbox, within } from '../../lib/inbox.js';
import { connect } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';
import WebSocket from 'ws';

let gateway;
before(async () => (gateway = await startGateway()));
after(() => gateway.close());

/**
 * Does a handshake by polling and opens a WebSocket for the same session. Resolves with what the server sends
 * on it.
 */
async function upgrade(t, open, websocket, protocols = []) {
  const response = await fetch(gateway.url + open);
  const body = await response.text();
  assert.equal(response.status, 200, body);
  const [, sid] = /"sid":"([^"]+)"/.exec(body);
  const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}${websocket}${sid}`, protocols);
  t.after(() => socket.terminate());
  const heard = new Inbox(open);
  socket.on('message', (text) => heard.push(String(text)));
  await within(new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject)), 'a WebSocket');
  return { socket, hear: (start) => heard.take((text) => text.startsWith(start), start) };
}

const register = (uid) => `42["message",${JSON.stringify(JSON.stringify({ type: 1, data: { uid } }))}]`;

for (const { name, open, websocket, probes, connects } of [
  { name: 'cocos2d-x 3', open: '/socket.io/1/?EIO=2&transport=polling&b64=true', websocket: '/socket.io/1/websocket/?EIO=2&transport=websocket&sid=' },
  { name: '.NET SocketIOClient 4.0', open: '/socket.io/?EIO=4&transport=polling', websocket: '/socket.io/?EIO=4&transport=websocket&sid=', connects: true },
  { name: 'socket.io-client-swift 15.2', open: '/socket.io/?transport=polling&b64=1', websocket: '/socket.io/?transport=websocket&sid=', probes: true },
]) {
  test(`${name} can register and receives messages`, async (t) => {
    const uid = someone('小张');
    const { socket, hear } = await upgrade(t, open, websocket);
    if (probes) {
      socket.send('2probe');
      await hear('3probe');
    }
    socket.send('5');
    if (connects) socket.send('40');
    await hear('40');
    socket.send(register(uid));
    assert.match(await hear('42'), /\\"code\\":0/);
    const friend = await signIn(t, gateway, someone('小红'));
    assert.equal((await friend.send({ user: uid }, { text: '你好 😀' })).code, 0);
    const [, frame] = JSON.parse((await hear('42')).slice(2));
    assert.equal(JSON.parse(frame).data.text, '你好 😀');
  });
}

test('of the WebSocket subprotocols that a client offers, the server selects the first', async (t) => {
  const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`, ['chat', 'v2']);
  t.after(() => socket.terminate());
  await within(new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject)), 'a WebSocket');
  assert.equal(socket.protocol, 'chat');
  const peer = await connect(t, gateway.url, { protocols: ['chat'] });
  assert.equal(peer.socket.connected, true);
});

test('paths below engine.path, and engine.path without its trailing slash, are served', async (t) => {
  for (const path of ['/socket.io', '/socket.io//', '//socket.io/', '/socket.io/x/', '/socket.io/socket.io/']) {
    const response = await fetch(`${gateway.url}${path}?EIO=4&transport=polling`);
    assert.equal(response.status, 200, path);
    assert.match(await response.text(), /^0\{"sid"/, path);
  }
  for (const path of ['/socket.iox/', '/x/socket.io/', '/socket']) {
    assert.equal((await fetch(`${gateway.url}${path}?EIO=4&transport=polling`)).status, 404, path);
  }
});
