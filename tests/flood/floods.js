// The floods. Each function takes {port, url, key, over, scale, keep, metric}, runs until `over()` returns
// true, and resolves with its counts; `wrong` is a list of violations. Sockets that are given to `keep` stay
// open until the end of the run, so that the server has to close them.

import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { oneAddress, registers } from './limits.js';
import { SMUGGLED, smuggled } from './requests.js';
import { call, closed, event, exchange, frame, tcp, upgradeRequest, user, webSocket } from './wire.js';

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const pick = (list) => list[Math.floor(Math.random() * list.length)];
const bearer = (key) => ({ authorization: `Bearer ${key}`, 'content-type': 'application/json' });

/** The status of the answer; undefined if the connection broke. */
const ask = (url, options) => call(url, options).then(({ status }) => status);
/** The sid of a session that a polling handshake opened; undefined if it failed. */
const handshake = (url, eio = 4) => call(`${url}/socket.io/?EIO=${eio}&transport=polling`).then(({ text }) => /"sid":"([^"]+)"/.exec(text)?.[1]);

/** Runs `round` again and again, in `count` parallel loops. */
async function crowd({ over }, count, round) {
  await Promise.all(Array.from({ length: count }, async (_, index) => {
    while (!over()) await round(index);
  }));
}

async function slowHeads({ port, over, scale }) {
  const text = `GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nX-Slow: ${'a'.repeat(4_000)}`;
  const sockets = Array.from({ length: scale }, () => tcp(port));
  for (let at = 0; !over(); at += 1) {
    for (const socket of sockets) if (socket.writable) socket.write(text[at % text.length]);
    await pause(100);
  }
  sockets.forEach((socket) => socket.destroy());
  return { sockets: sockets.length };
}

async function slowBodies({ port, over, scale, url }) {
  const sockets = Array.from({ length: scale / 4 }, (_, index) => {
    const socket = tcp(port);
    const path = index % 2 ? '/signout' : '/socket.io/?EIO=4&transport=polling';
    socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n`);
    return socket;
  });
  // These slow bodies belong to open sessions.
  const sessions = await Promise.all(Array.from({ length: 50 }, () => handshake(url)));
  for (const sid of sessions) {
    const socket = tcp(port);
    socket.write(`POST /socket.io/?EIO=4&transport=polling&sid=${sid} HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n`);
    sockets.push(socket);
  }
  while (!over()) {
    for (const socket of sockets) if (socket.writable) socket.write('x');
    await pause(100);
  }
  sockets.forEach((socket) => socket.destroy());
  return { sockets: sockets.length };
}

async function halfOpen({ port, scale, keep, over, url }) {
  const silent = Array.from({ length: scale }, () => tcp(port));
  const half = Array.from({ length: scale / 4 }, () => tcp(port));
  for (const socket of half) socket.write(upgradeRequest().slice(0, -2));
  // These clients complete the WebSocket handshake, but do not connect to the namespace.
  const lurkers = await Promise.all(Array.from({ length: scale / 8 }, () => webSocket(port)));
  // These clients open a session by polling and abandon it.
  let forgotten = 0;
  await crowd({ over }, 20, async () => {
    if (await handshake(url)) forgotten += 1;
  });
  keep(...silent, ...half, ...lurkers.filter(Boolean).map(({ socket }) => socket));
  return { silent: silent.length, 'half a head': half.length, 'never joined': lurkers.length, 'forgotten sessions': forgotten };
}

async function slowReaders({ port, url, key, over, scale, metric }) {
  const uids = Array.from({ length: scale / 10 }, (_, index) => `slow-${index}`);
  // A quarter of the readers open a session by polling and never poll.
  const readers = await Promise.all(uids.map((uid, index) => (index % 4 ? user(port, uid, { hears: false }) : mute(url, uid))));
  const before = await metric('mynah_slow_readers_total');
  let calls = 0;
  await crowd({ over }, 4, async (index) => {
    // Stored messages are also read from the database. Messages that are not stored are faster.
    const type = index === 0 ? 6 : 1001;
    const text = 'x'.repeat(index === 0 ? 3_000 : 50_000);
    const sent = await ask(`${url}/v1/messages`, { method: 'POST', headers: bearer(key), body: JSON.stringify({ type, to: { users: uids }, data: { text }, push: false }) });
    if (sent === 200) calls += 1;
    // The answers to these requests are not read either.
    for (const reader of readers) for (let n = 0; n < 5 && reader?.socket.writable; n += 1) reader.text(event({ type: 110, data: { limit: 500 } }, 7));
  });
  readers.forEach((reader) => reader?.socket.destroy());
  const closings = (await metric('mynah_slow_readers_total')) - before;
  return { readers: uids.length, 'messages to each': calls, closed: closings, wrong: closings > 0 ? [] : ['no slow reader was closed'] };
}

/** Connects and registers by polling, and never polls for frames. */
async function mute(url, uid) {
  const sid = await handshake(url);
  const path = `${url}/socket.io/?EIO=4&transport=polling&sid=${sid}`;
  for (const body of ['40', event({ type: 1, data: { uid } })]) await ask(path, { method: 'POST', body });
  return undefined;
}

const garbageText = () => pick([
  '40', '41', '2', '3', '5', '6', '1', '0{"sid":"x"}', '4', '42', '42[]', '42["message"]', '42[1]', '42["message",', '429999999999999999999["message",{}]',
  '451-["message",{"_placeholder":true,"num":0}]', '45999999-["message"]', '451-["x",{"_placeholder":true,"num":9}]', '43["x"]', '4399999[{}]', '40/admin,', '42/x,["message",1]',
  event('not json'), event({ type: 'x' }), event({ type: 1e308 }), event([]), event({ type: 101, data: { data: null } }), event({ type: 104, data: { conv: 'x', after: -1 } }),
  `42["message","${'\\u0000'.repeat(50)}"]`, '42["message","\\ud800"]', `4${randomBytes(20).toString('latin1')}`,
]);

const garbageFrame = () => pick([
  () => frame(1, garbageText()),
  () => frame(2, randomBytes(50)),
  () => frame(1, randomBytes(50)),
  () => frame(1, '4', { rsv: 1 + Math.floor(Math.random() * 7) }),
  () => frame(3 + Math.floor(Math.random() * 5), 'x'),
  () => frame(8, randomBytes(1)),
  () => frame(8, Buffer.from([3, 0xed])),
  () => frame(9, randomBytes(126)),
  () => frame(9, 'x', { fin: false }),
  () => frame(0, 'x'),
  () => frame(1, 'x', { masked: false }),
  () => frame(1, 'x', { length: 2 ** 53 }),
  () => frame(1, 'x', { length: 65_536 * 65_536 - 1 }),
  () => randomBytes(300),
])();

async function garbage({ port, over, url }) {
  const counts = { 'before a request': 0, 'in a WebSocket': 0, 'in a polling body': 0 };
  await Promise.all([
    crowd({ over }, 10, async () => {
      await exchange(port, pick([randomBytes(200), `GET ${randomBytes(50).toString('latin1')} HTTP/1.1\r\n\r\n`, '\0'.repeat(1_000), '\r\n'.repeat(10_000), '\x16\x03\x01\x02\0\x01'.repeat(30)]), { ms: 200 });
      counts['before a request'] += 1;
    }),
    crowd({ over }, 20, async (index) => {
      const ws = index % 2 ? await webSocket(port) : await user(port, `garbage-${index}`);
      if (!ws) return;
      for (let n = 0; n < 50 && ws.socket.writable; n += 1) {
        ws.bytes(garbageFrame());
        if (n % 10 === 9) await pause(1);
      }
      counts['in a WebSocket'] += 1;
      ws.socket.destroy();
    }),
    crowd({ over }, 10, async () => {
      const eio = pick([3, 4]);
      const sid = await handshake(url, eio);
      for (let n = 0; n < 5; n += 1) {
        const body = pick([randomBytes(100), '\x1e'.repeat(1_000), `99999999999:4`, `5:4hell`, '-1:4', Buffer.from([0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 255, 52]), Buffer.from([0xff, 0xfe]), `d=${'%'.repeat(100)}`, garbageText(), '4['.repeat(100), 'b!!!!']);
        const type = pick(['text/plain;charset=UTF-8', 'application/octet-stream', 'application/x-www-form-urlencoded', 'x']);
        await ask(`${url}/socket.io/?EIO=${eio}&transport=polling&sid=${sid}${pick(['', '&j=0', '&j=x'])}`, { method: 'POST', body, headers: { 'content-type': type } });
        counts['in a polling body'] += 1;
      }
    }),
  ]);
  return counts;
}

async function churn(flood) {
  let lives = 0;
  await crowd(flood, 30, async () => {
    const ws = await user(flood.port, `churn-${lives}`);
    lives += 1;
    if (lives % 3 === 0) ws?.socket.resetAndDestroy();
    else ws?.socket.destroy();
  });
  return { lives };
}

async function storm(flood) {
  let lives = 0;
  const counts = { 'by one device': 0, 'by many devices': 0 };
  await crowd(flood, 30, async (index) => {
    const one = index % 2 === 0;
    lives += 1;
    const ws = await user(flood.port, one ? 'storm-one' : 'storm-many', { device: one ? 'd' : `d${lives % 1_000}` });
    if (!ws) return;
    counts[one ? 'by one device' : 'by many devices'] += 1;
    // A displaced client reconnects at once. The others wait a little to be displaced.
    await Promise.race([closed(ws.socket), pause(50)]);
    ws.socket.destroy();
  });
  return counts;
}

async function giantJson({ port, url, key, over }) {
  const deep = (open, close, levels) => open.repeat(levels) + close.repeat(levels);
  const giants = [
    `42["message",${deep('[', ']', 400_000)}]`,
    `42["message",${'{"a":'.repeat(150_000)}1${'}'.repeat(150_000)}]`,
    `42["message","${'{\\"a\\":'.repeat(100_000)}"]`,
    `42["message",{"type":101,"data":{"type":3,"to":{"user":"x"},"data":{${Array.from({ length: 60_000 }, (_, n) => `"${n}":1`).join(',')}}}}]`,
    `42["message",${'9'.repeat(900_000)}]`,
    `42["${'m'.repeat(900_000)}",1]`,
    `42[${'1,'.repeat(400_000)}1]`,
    event({ type: 101, data: { type: 3, to: { user: 'x' }, cid: 'c'.repeat(500_000), data: {} } }, 5),
    event({ type: 1, req: 'r'.repeat(900_000), data: {} }),
    event({ type: 1, data: { uid: 'u'.repeat(900_000) } }, 6),
  ];
  const bodies = [
    `{"messages":${deep('[', ']', 3_000_000)}}`,
    `{"messages":[${'{"type":6},'.repeat(500_000)}1]}`,
    `{"type":6,"to":{"users":[${'"a",'.repeat(1_500_000)}1]},"data":{}}`,
    `{"type":6,"to":{"user":"x"},"data":${'{"a":'.repeat(1_000_000)}1${'}'.repeat(1_000_000)}}`,
    ' '.repeat(9_000_000),
  ];
  let frames = 0;
  let calls = 0;
  const wrong = [];
  await Promise.all([
    crowd({ over }, 6, async (index) => {
      const ws = await user(port, `giant-${index}`);
      for (let n = 0; n < 3 && ws?.socket.writable && !over(); n += 1) {
        const giant = pick(giants);
        // The message is sent in one frame, or in fragments.
        if (n % 2) ws.text(giant);
        else for (let at = 0; at < giant.length; at += 50_000) ws.bytes(frame(at === 0 ? 1 : 0, giant.slice(at, at + 50_000), { fin: at + 50_000 >= giant.length }));
        frames += 1;
        await pause(20);
      }
      ws?.socket.destroy();
    }),
    crowd({ over }, 2, async () => {
      const path = pick(['/v1/messages', '/v1/messages/batch', '/v1/users/online', '/signout']);
      const headers = Math.random() < 0.5 ? bearer(key) : bearer('wrong');
      const status = await ask(url + path, { method: 'POST', headers, body: pick(bodies) });
      if (status >= 500) wrong.push(`${path} answered ${status}`);
      calls += 1;
    }),
  ]);
  return { frames, calls, wrong };
}

async function tinyFrames({ port, over }) {
  const many = (bytes, times) => Buffer.concat(Array.from({ length: times }, () => bytes));
  const bursts = [
    many(frame(1, '3'), 5_000),
    many(frame(1, '42["message",1]'), 2_000),
    many(frame(1, event({ type: 101 }, 9)), 1_000),
    many(frame(9, ''), 5_000),
    many(frame(10, ''), 5_000),
    Buffer.concat([frame(1, '4', { fin: false }), many(frame(0, '', { fin: false }), 20_000)]),
    many(frame(1, ''), 2_000),
    many(frame(1, '40'), 2_000),
    many(frame(1, event({ type: 110 }, 3)), 500),
  ];
  let frames = 0;
  await crowd({ over }, 12, async (index) => {
    const ws = await user(port, `tiny-${index}`);
    for (let n = 0; n < 20 && ws?.socket.writable && !over(); n += 1) {
      ws.bytes(pick(bursts));
      frames += 1;
      while (ws.socket.writableLength > 0 && !ws.socket.destroyed && !over()) await pause(5);
    }
    ws?.socket.destroy();
  });
  return { bursts: frames };
}

async function compressed({ port, url, key, over }) {
  const bomb = gzipSync(Buffer.alloc(50_000_000));
  const wrong = [];
  let tries = 0;
  await crowd({ over }, 6, async (index) => {
    tries += 1;
    if (index % 2) {
      const sid = await handshake(url);
      // If the request is refused before it is written completely, the connection may be closed.
      const status = (path, headers) => ask(url + path, { method: 'POST', headers: { ...headers, 'content-encoding': 'gzip' }, body: bomb });
      const polled = await status(`/socket.io/?EIO=4&transport=polling&sid=${sid}`, {});
      const called = await status('/v1/messages', bearer(key));
      if (polled === 200 || called === 200) wrong.push(`compressed bodies were answered ${polled} and ${called}`);
    } else {
      // The server does not accept the extension, and closes a connection that uses it anyway.
      const ws = await webSocket(port, { headers: 'Sec-WebSocket-Extensions: permessage-deflate\r\n' });
      ws?.bytes(frame(1, bomb.subarray(0, 40_000), { rsv: 4 }));
      if (ws && (await Promise.race([closed(ws.socket), pause(5_000).then(() => 'open')])) === 'open') wrong.push('a compressed frame was accepted');
    }
  });
  return { tries, wrong: wrong.slice(0, 5) };
}

async function notUtf8(flood) {
  const wrong = [];
  let tries = 0;
  await crowd(flood, 10, async () => {
    tries += 1;
    const ws = await webSocket(flood.port);
    if (!ws) return;
    ws.bytes(frame(1, pick([Buffer.from([0x34, 0xff]), Buffer.from([0x34, 0xc0, 0x80]), Buffer.from([0x34, 0xed, 0xa0, 0x80]), Buffer.from([0x34, 0xf4, 0x90, 0x80, 0x80])])));
    if ((await Promise.race([closed(ws.socket), pause(5_000).then(() => 'open')])) === 'open') wrong.push('text that is not valid UTF-8 was accepted');
  });
  return { tries, wrong: wrong.slice(0, 5) };
}

async function smuggling({ port }) {
  const wrong = [];
  await Promise.all(SMUGGLED.map(async ([name, bytes, most]) => {
    const answer = await exchange(port, Buffer.from(bytes, 'latin1'), { ms: 1_500 });
    const what = smuggled(answer, most);
    if (what) wrong.push(`${name}: ${what}`);
  }));
  return { requests: SMUGGLED.length, wrong };
}

async function largeMessages({ url, key, over }) {
  const text = 'x'.repeat(30_000);
  let sent = 0;
  const refused = new Set();
  await crowd({ over }, 16, async () => {
    const body = JSON.stringify({ to: { user: `reader ${sent % 400}` }, type: 5, data: { text } });
    const status = await ask(`${url}/v1/messages`, { method: 'POST', headers: bearer(key), body });
    if (status === 200) sent += 1;
    else refused.add(status);
  });
  return { sent, wrong: [...refused].map((status) => `a message was answered ${status}`) };
}

export const FLOODS = {
  'slow heads': slowHeads,
  'slow bodies': slowBodies,
  'half-open': halfOpen,
  'slow readers': slowReaders,
  garbage,
  churn,
  storm,
  registers,
  'one address': oneAddress,
  'giant JSON': giantJson,
  'tiny frames': tinyFrames,
  compressed,
  'not UTF-8': notUtf8,
  smuggling,
  'large messages': largeMessages,
};

