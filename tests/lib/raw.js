// Raw HTTP and WebSocket connections, for bytes that no library would send.

import { connect } from 'node:net';
import WebSocket from 'ws';
import { Inbox, within } from './inbox.js';

/**
 * Sends bytes over TCP. Resolves with all received bytes once the server has closed the connection or `until`
 * matches.
 */
export function exchange(port, parts, until = /$never/) {
  const socket = connect(port, '127.0.0.1');
  let answer = '';
  const done = new Promise((resolve) => {
    socket.on('data', (bytes) => {
      answer += bytes.toString('latin1');
      if (until.test(answer)) resolve(answer);
    });
    // A server may close the connection while the test still writes. What was received before counts.
    socket.on('error', () => resolve(answer));
    socket.on('close', () => resolve(answer));
  });
  socket.on('connect', async () => {
    for (const part of [parts].flat()) {
      if (socket.destroyed) return;
      if (!socket.write(part)) await new Promise((resolve) => socket.once('drain', resolve).once('close', resolve));
    }
  });
  return within(done, 'an answer over TCP').finally(() => socket.destroy());
}

/** A WebSocket that has done the handshake of an Engine.IO 4 (or 3) client and has connected to "/". */
export async function rawSocket(t, url, { eio = 4, query = '' } = {}) {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/socket.io/?EIO=${eio}&transport=websocket${query}`, { perMessageDeflate: false });
  const heard = new Inbox('raw WebSocket');
  const closed = new Promise((resolve) => socket.on('close', (code) => resolve(code)));
  socket.on('message', (bytes, isBinary) => heard.push(isBinary ? bytes : bytes.toString()));
  socket.on('error', () => {});
  t.after(() => socket.terminate());
  await within(new Promise((resolve) => socket.once('open', resolve)), 'a WebSocket');
  await heard.take((text) => text[0] === '0', 'the open packet');
  if (eio === 4) socket.send('40');
  await heard.take((text) => `${text}`.startsWith('40'), 'CONNECT');
  return {
    socket,
    heard,
    closed: () => within(closed, 'the server to close'),
    send: (data) => socket.send(data),
    /** Writes raw bytes, without the framing of the library. */
    write: (bytes) => socket._socket.write(bytes),
  };
}

/** A client frame with any opcode and payload, masked by default. */
export function frame(opcode, payload, { fin = true, mask = true, rsv = 0 } = {}) {
  const body = Buffer.from(payload);
  const length = body.length < 126 ? [body.length] : body.length < 65_536 ? [126, body.length >> 8, body.length & 255] : [127, 0, 0, 0, 0, ...new Uint8Array(new Uint32Array([body.length]).buffer).reverse()];
  length[0] |= mask ? 128 : 0;
  return Buffer.concat([Buffer.from([(fin ? 128 : 0) | (rsv << 4) | opcode, ...length]), mask ? Buffer.alloc(4) : Buffer.alloc(0), body]);
}
