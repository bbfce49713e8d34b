// Sockets without manners, and the least of a WebSocket client: enough to speak Engine.IO 4, and to break every rule of it.

import { randomBytes } from 'node:crypto';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';

/** A loopback address that is not the well-behaved clients'. */
export const anyAddress = () => `127.0.1.${1 + Math.floor(Math.random() * 250)}`;

/** Connections that are kept, each from an address of its own. */
const agents = Array.from({ length: 50 }, () => new Agent({ keepAlive: true, localAddress: anyAddress() }));

const ignored = () => {};

/** A call from any address; resolves with {status, text}, of which the status is undefined where the connection broke. */
export function call(url, { method = 'GET', headers, body } = {}) {
  return new Promise((resolve) => {
    let status;
    let text = '';
    const done = () => resolve({ status, text });
    const asked = request(url, { method, headers, agent: agents[Math.floor(Math.random() * agents.length)] }, (answer) => {
      status = answer.statusCode;
      answer.setEncoding('utf8').on('data', (data) => (text += data)).on('close', done).on('error', done);
    });
    asked.on('error', done);
    // A connection that is kept may be cut when its call is over.
    asked.on('socket', (socket) => socket.listeners('error').includes(ignored) || socket.on('error', ignored));
    asked.end(body);
  });
}

const gone = new WeakMap();

/** A TCP connection whose end is no error. */
export function tcp(port, { from = anyAddress(), hears = false } = {}) {
  const socket = connect({ port, host: '127.0.0.1', localAddress: from });
  socket.setNoDelay(true);
  socket.on('error', () => {});
  gone.set(socket, new Promise((resolve) => socket.once('close', resolve)));
  if (!hears) socket.resume();
  return socket;
}

/** Settles when the socket is closed, by whomever. */
export const closed = (socket) => gone.get(socket);

/** Writes bytes and resolves with what came back until the server closed, `ms` went by, or `until` matched. */
export function exchange(port, bytes, { ms = 1_000, until } = {}) {
  const socket = tcp(port, { hears: true });
  let answer = '';
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(done, ms);
    socket.on('data', (data) => {
      answer += data.toString('latin1');
      if (until?.test(answer)) done();
    });
    socket.on('close', done);
    socket.on('connect', () => socket.write(bytes));
  });
}

/** A frame as a client sends it, unless told to break the rules. */
export function frame(opcode, payload, { fin = true, masked = true, rsv = 0, length } = {}) {
  const body = Buffer.from(payload);
  const size = length ?? body.length;
  const head = [(fin ? 128 : 0) | (rsv << 4) | opcode];
  const bit = masked ? 128 : 0;
  if (size < 126) head.push(bit | size);
  else if (size < 65_536) head.push(bit | 126, size >> 8, size & 255);
  else {
    const long = Buffer.alloc(8);
    long.writeBigUInt64BE(BigInt(size));
    head.push(bit | 127, ...long);
  }
  return Buffer.concat([Buffer.from(head), masked ? Buffer.alloc(4) : Buffer.alloc(0), body]);
}

export const upgradeRequest = (query = '', headers = '') =>
  `GET /socket.io/?EIO=4&transport=websocket${query} HTTP/1.1\r\nHost: flood\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n${headers}\r\n`;

/** A WebSocket; resolves once the server agreed, with undefined when it did not: `refused` is told the answer then, `ended` the code of a close. */
export function webSocket(port, { from, query, headers, hear, refused, ended } = {}) {
  const socket = tcp(port, { from, hears: true });
  let waiting = Buffer.alloc(0);
  let open = false;
  return new Promise((resolve) => {
    socket.on('close', () => resolve(undefined));
    socket.on('connect', () => socket.write(upgradeRequest(query, headers)));
    socket.on('data', (data) => {
      waiting = Buffer.concat([waiting, data]);
      if (!open) {
        const end = waiting.indexOf('\r\n\r\n');
        if (end < 0) return;
        if (!waiting.subarray(0, 20).includes(' 101 ')) {
          refused?.(waiting.toString('latin1'));
          return socket.destroy();
        }
        open = true;
        waiting = waiting.subarray(end + 4);
        resolve({ socket, text: (text) => socket.write(frame(1, text)), bytes: (bytes) => socket.write(bytes) });
      }
      for (;;) {
        const [opcode, payload, rest] = parsed(waiting);
        if (payload === undefined) return;
        waiting = rest;
        if (opcode === 8 && payload.length > 1) ended?.(payload.readUInt16BE());
        if (opcode === 1) {
          const text = payload.toString();
          if (text === '2') socket.write(frame(1, '3'));
          else hear?.(text);
        }
      }
    });
  });
}

function parsed(bytes) {
  if (bytes.length < 2) return [];
  let length = bytes[1] & 127;
  let at = 2;
  if (length === 126) {
    if (bytes.length < 4) return [];
    length = bytes.readUInt16BE(2);
    at = 4;
  } else if (length === 127) {
    if (bytes.length < 10) return [];
    length = Number(bytes.readBigUInt64BE(2));
    at = 10;
  }
  if (bytes.length < at + length) return [];
  return [bytes[0] & 15, bytes.subarray(at, at + length), bytes.subarray(at + length)];
}

/** An event with a frame, as a Socket.IO packet; with `id` it has a callback. */
export const event = (body, id = '') => `42${id}${JSON.stringify(['message', body])}`;

/** A client that has joined and registered; undefined when it was not let in. */
export async function user(port, uid, { device = uid, hear, hears = true, ...options } = {}) {
  let entered;
  const inside = new Promise((resolve) => (entered = resolve));
  const ws = await webSocket(port, {
    ...options,
    hear: (text) => {
      if (text.startsWith('430[')) entered(JSON.parse(text.slice(3))[0].code === 0);
      hear?.(text);
    },
  });
  if (!ws) return undefined;
  ws.socket.once('close', () => entered(false));
  ws.text('40');
  ws.text(event({ type: 1, data: { uid, deviceid: device } }, 0));
  if (!(await inside)) {
    ws.socket.destroy();
    return undefined;
  }
  if (!hears) ws.socket.pause();
  return ws;
}
