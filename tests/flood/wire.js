// Raw sockets and a minimal WebSocket client: it can speak Engine.IO 4, and break each of its rules.

import { randomBytes } from 'node:crypto';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';

/** A loopback address that the well-behaved clients do not use. */
export const anyAddress = () => `127.0.1.${1 + Math.floor(Math.random() * 250)}`;

/** Agents with kept-alive connections, each from its own address. */
const agents = Array.from({ length: 50 }, () => new Agent({ keepAlive: true, localAddress: anyAddress() }));

const ignored = () => {};

/**
 * Makes a call from any address. Resolves with {status, text}; `status` is undefined if the connection broke.
 */
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
    // A kept-alive connection may be closed after its call.
    asked.on('socket', (socket) => socket.listeners('error').includes(ignored) || socket.on('error', ignored));
    asked.end(body);
  });
}

const gone = new WeakMap();

/** A TCP connection. Its errors are ignored. */
export function tcp(port, { from = anyAddress(), hears = false } = {}) {
  const socket = connect({ port, host: '127.0.0.1', localAddress: from });
  socket.setNoDelay(true);
  socket.on('error', () => {});
  gone.set(socket, new Promise((resolve) => socket.once('close', resolve)));
  if (!hears) socket.resume();
  return socket;
}

/** Resolves when the socket is closed by either side. */
export const closed = (socket) => gone.get(socket);

/**
 * Writes bytes. Resolves with all received bytes when the server has closed, after `ms`, or when `until`
 * matches.
 */
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

/** A frame as a client sends it; the options break the rules. */
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

/**
 * Opens a WebSocket. Resolves when the server has accepted it, or with undefined if it has not. `refused` is
 * called with the answer of a refusal, `ended` with the code of a close frame.
 */
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

/** An event with a frame, as a Socket.IO packet. With `id` it has a callback. */
export const event = (body, id = '') => `42${id}${JSON.stringify(['message', body])}`;

/** A connected and registered client; undefined if the server refused it. */
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
