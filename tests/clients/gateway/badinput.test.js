// Invalid input. After each item the server answers with an error or closes that connection, and two other
// users continue to chat.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { call } from '../../lib/api.js';
import { eachGeneration, isOld, open } from '../../lib/peer.js';
import { API_KEY, startGateway } from '../../lib/program.js';
import { exchange, frame, rawSocket } from '../../lib/raw.js';
import { signIn, someone, visitor } from '../../lib/user.js';

let gateway;
const innocent = [];
let said = 0;
before(async () => {
  gateway = await startGateway();
  const forever = { after() {} };
  for (const client of eachGeneration.slice(-2)) innocent.push(await signIn(forever, gateway, someone('无辜'), { client }));
});
after(async () => {
  for (const user of innocent) user.peer.close();
  await gateway?.close();
});
afterEach(async () => {
  const [a, b] = innocent;
  const text = `没事吧？${++said} 😌`;
  assert.equal((await a.send({ user: b.uid }, { text })).code, 0);
  assert.equal((await b.next(3)).data.text, text);
  assert.equal((await a.send({ user: b.uid }, { said })).seq, said * 2, 'no seq is skipped');
  await b.next(3);
});

describe('frames', () => {
  const nonsense = ['', 'no json', '{', '[1,2', '"', 'null', '你好', '\u0000', '{"type":1', '{"type":"1","data":{}}', '{"type":1.5}', '{"type":-1}', '{"type":1e99}', '{"type":null}', '{"type":[]}', '{"data":{}}', '[]', '[{"type":1}]', '{"type":65536}', '{"type":18446744073709551617}', '{"type":1,"type":2,"data":7}'];
  for (const client of eachGeneration) {
    test(`malformed frames do not close the connection (socket.io-client ${client.version} ${client.transport})`, async (t) => {
      const uid = someone();
      const user = await signIn(t, gateway, uid, { client });
      for (const text of nonsense) user.say(text);
      for (const value of [null, 0, true, [], {}, { type: {} }, { type: 999_999 }, [[]]]) user.peer.emit('message', value);
      user.peer.emit('message');
      user.peer.emit('message', '{"type":1}', 'two', 3);
      user.peer.emit('别的事件', { a: 1 });
      user.peer.emit('message', Buffer.from('{"type":1}'));
      assert.equal((await user.send({ user: uid }, { text: '还活着' })).code, 0);
      assert.deepEqual((await user.settled()).filter(({ type }) => type !== 2 && type !== 100), []);
    });
  }

  test('malformed requests are answered with an error', async (t) => {
    const user = await signIn(t, gateway, someone());
    for (const text of ['no json', '{', '"x']) {
      const [answer] = await user.peer.ask('message', text);
      assert.equal(answer.code, 400, text);
      assert.equal(typeof answer.error, 'string');
    }
    for (const type of [20, 500, 12_345]) {
      assert.equal((await user.ask(type, {})).code, 404);
      user.say({ type, req: `问-${type}`, data: {} });
      const frame = await user.next(100);
      assert.deepEqual([frame.req, frame.data.code], [`问-${type}`, 404]);
    }
  });

  test('deeply nested data is refused', async (t) => {
    const user = await signIn(t, gateway, someone());
    const deep = '['.repeat(10_000) + ']'.repeat(10_000);
    const objects = '{"a":'.repeat(10_000) + '1' + '}'.repeat(10_000);
    for (const nest of [deep, objects]) {
      const [answer] = await user.peer.ask('message', `{"type":101,"data":{"type":3,"to":{"user":"u"},"data":{"n":${nest}}}}`);
      assert.equal(answer.code, 400);
      const [other] = await user.peer.ask('message', `{"type":1,"data":{"uid":${nest}}}`);
      assert.equal(other.code, 400);
    }
  });

  test('a frame of a megabyte is refused, or closes only that connection', async (t) => {
    const user = await signIn(t, gateway, someone());
    assert.equal((await user.send({ user: 'u' }, { text: 'x'.repeat(900_000) })).code, 413);
    user.say({ type: 101, data: { type: 3, to: { user: 'u' }, data: { text: 'x'.repeat(1_100_000) } } });
    assert.match(await user.peer.closed(), /transport (close|error)/);
  });
});

describe('packets', () => {
  const connected = async (t, eio) => rawSocket(t, gateway.url, { eio });

  for (const [name, send] of [
    ['an unknown Engine.IO packet', (raw) => raw.send('9')],
    ['an empty WebSocket message', (raw) => raw.send('')],
    ['an unknown Socket.IO packet', (raw) => raw.send('49')],
    ['an event that is no list', (raw) => raw.send('42{"a":1}')],
    ['an event without a name', (raw) => raw.send('42[]')],
    ['an event with a reserved name', (raw) => raw.send('42["disconnecting"]')],
    ['broken JSON', (raw) => raw.send('42["message",')],
    ['an ack id beyond every integer', (raw) => raw.send('42184467440737095516161["message"]')],
    ['a second CONNECT', (raw) => raw.send('40')],
    ['an event in a namespace not joined', (raw) => raw.send('42/custom,["message","x"]')],
    ['eleven attachments', (raw) => raw.send(`4511-["message",${Array.from({ length: 11 }, (_, i) => `{"_placeholder":true,"num":${i}}`)}]`)],
    ['a billion attachments', (raw) => raw.send('451000000000-["message",{"_placeholder":true,"num":0}]')],
    ['text while attachments are due', (raw) => (raw.send('451-["message",{"_placeholder":true,"num":0}]'), raw.send('42["message","x"]'))],
    ['bytes that nobody waits for', (raw) => raw.send(Buffer.from([1, 2, 3]))],
    ['a placeholder beyond the attachments', (raw) => (raw.send('451-["message",{"_placeholder":true,"num":5}]'), raw.send(Buffer.from([1])))],
    ['ten thousand levels', (raw) => raw.send(`42["message",${'['.repeat(10_000)}${']'.repeat(10_000)}`)],
    ['invalid UTF-8', (raw) => raw.write(frame(1, [0x34, 0x32, 0x5b, 0x22, 0xff, 0xfe, 0x22, 0x5d]))],
    ['half a surrogate in UTF-8', (raw) => raw.write(frame(1, [0x34, 0x32, 0x5b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x5d]))],
    ['a frame without a mask', (raw) => raw.write(frame(1, '42["message","x"]', { mask: false }))],
    ['a reserved bit', (raw) => raw.write(frame(1, '2', { rsv: 4 }))],
    ['an unknown opcode', (raw) => raw.write(frame(3, 'x'))],
    ['a fragmented ping', (raw) => raw.write(frame(9, 'x', { fin: false }))],
    ['a continuation of nothing', (raw) => raw.write(frame(0, 'x'))],
    ['a length of eight exabytes', (raw) => raw.write(Buffer.from([0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]))],
    ['a message of two megabytes', (raw) => raw.send(`42["message","${'x'.repeat(2_000_000)}"]`)],
  ]) {
    test(`${name} closes the connection`, async (t) => {
      const raw = await connected(t, 4);
      send(raw);
      await raw.closed();
    });
  }

  test('NUL inside a text is kept', async (t) => {
    const raw = await connected(t, 4);
    raw.send('421["message","{\\"type\\":999,\\"data\\":\\"\\\\u0000\\"}"]');
    assert.match(await raw.heard.take((text) => text.startsWith('431')), /404/);
  });

  test('a connection to another namespace is refused as in Socket.IO', async (t) => {
    for (const client of eachGeneration) {
      const peer = open(t, gateway.url, { ...client, namespace: '/admin' });
      if (isOld(client.version)) assert.deepEqual(await peer.hear(':error'), ['Invalid namespace']);
      else assert.equal((await peer.hear(':connect_error'))[0].message, 'Invalid namespace');
    }
  });
});

describe('HTTP', () => {
  const post = (path, type, body, length) => [
    `POST ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${API_KEY}\r\nContent-Type: ${type}\r\nContent-Length: ${length ?? Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n`,
    body,
  ];

  test('an API call with a body of 50 MB is answered 413, with and without a length', async () => {
    const part = Buffer.alloc(1_000_000, 'x');
    for (const path of ['/v1/messages', '/v1/messages/batch', '/signout']) {
      const answer = await exchange(gateway.port, [post(path, 'application/json', '', 50_000_000)[0], ...Array(50).fill(part)], /\r\n\r\n/);
      assert.match(answer, /^HTTP\/1\.1 413 /, path);
    }
    const head = `POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${API_KEY}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`;
    const chunk = Buffer.concat([Buffer.from('f4240\r\n'), part, Buffer.from('\r\n')]);
    assert.match(await exchange(gateway.port, [head, ...Array(50).fill(chunk), '0\r\n\r\n'], /\r\n\r\n/), /^HTTP\/1\.1 413 /);
  });

  test('a polling body of 50 MB is answered 413', async () => {
    const opened = await fetch(`${gateway.url}/socket.io/?EIO=4&transport=polling`);
    const { sid } = JSON.parse((await opened.text()).slice(1));
    const part = Buffer.alloc(1_000_000, 'x');
    const answer = await exchange(gateway.port, [post(`/socket.io/?EIO=4&transport=polling&sid=${sid}`, 'text/plain', '', 50_000_000)[0], ...Array(50).fill(part)], /\r\n\r\n/);
    // The server closes the connection if the client continues to write. Then the answer may be lost.
    assert.match(answer, /^(HTTP\/1\.1 413 |$)/);
  });

  test('deep nesting, invalid UTF-8 and NUL in an API call are answered 400', async () => {
    const deep = '['.repeat(10_000) + ']'.repeat(10_000);
    await gateway.api.expect(400, 'POST', '/v1/messages', `{"type":5,"to":{"user":"u"},"data":{"n":${deep}}}`);
    await gateway.api.expect(400, 'POST', '/v1/messages', deep);
    const { results } = await gateway.api.expect(200, 'POST', '/v1/messages/batch', `{"messages":${deep}}`);
    assert.deepEqual(results.map(({ code }) => code), [400]);
    await gateway.api.expect(400, 'POST', '/v1/messages', Buffer.from('{"type":5,"to":{"user":"u"},"data":{"a":"\xff\xfe"}}', 'latin1'));
    await gateway.api.expect(400, 'POST', '/v1/messages', '{"type":5,"to":{"user":"a\\u0000b"},"data":{}}');
    await gateway.api.expect(400, 'POST', '/v1/messages', '{"type":5,"to":{"user":"u"},"data":{"a":"\u0000"}}');
    await gateway.api.expect(200, 'POST', '/v1/messages', '{"type":5,"to":{"user":"u"},"data":{"a":"\\u0000 你好"}}');
    const answer = await gateway.api.call('GET', '/v1/users/%ff%fe');
    assert.equal(answer.status, 400);
    assert.equal((await gateway.api.call('GET', '/v1/users/a%00b')).status, 400);
    assert.equal((await gateway.api.call('GET', `/v1/users/${'x'.repeat(129)}`)).status, 400);
  });

  test('invalid handshakes are refused as in Engine.IO', async () => {
    for (const [query, code] of [
      ['EIO=4&transport=constructor', 0],
      ['EIO=4&transport=', 0],
      ['EIO=4', 0],
      ['', 0],
      ['EIO=4&transport=polling&sid=nobody', 1],
      ['EIO=5&transport=polling', 5],
      ['EIO=1&transport=polling', 5],
      ['EIO=x&transport=polling', 5],
      ['EIO=4&transport=websocket', 3],
    ]) {
      const answer = await call(gateway.url, 'GET', `/socket.io/?${query}`);
      assert.equal(answer.status, 400, query);
      assert.equal(answer.body.code, code, query);
    }
    const posted = await call(gateway.url, 'POST', '/socket.io/?EIO=4&transport=polling', { body: '40' });
    assert.deepEqual([posted.status, posted.body.code], [400, 2]);
  });

  test('input that is not HTTP is refused', async () => {
    assert.match(await exchange(gateway.port, 'GARBAGE\r\n\r\n'), /^(HTTP\/1\.1 400|$)/);
    assert.match(await exchange(gateway.port, Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x0d, 0x0a, 0x0d, 0x0a])), /^(HTTP\/1\.1 400|$)/);
    assert.match(await exchange(gateway.port, `GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(1_000_000)}\r\n\r\n`), /^(HTTP\/1\.1 4\d\d|$)/);
  });
});

test('a client that stops reading is disconnected, and its messages stay stored', async (t) => {
  const uid = someone('不读');
  const raw = await rawSocket(t, gateway.url);
  raw.send(`420["message",${JSON.stringify(JSON.stringify({ type: 1, data: { uid } }))}]`);
  await raw.heard.take((text) => text.startsWith('430'), 'the answer to registering');
  raw.socket.pause();
  const text = '不看 🙈'.repeat(5_000);
  let sent = 0;
  // First the buffers of the system fill up, then the bounded queue of the connection.
  for (let reached = true; reached && sent < 2_000; sent++) reached = (await gateway.api.sendTo(uid, { type: 5, data: { text } })).delivered;
  assert.ok(sent < 2_000, 'the connection was not closed');
  assert.equal((await gateway.api.user(uid)).online, false);
  assert.equal((await gateway.api.user(uid)).unread, sent);
  raw.socket.resume();
  await raw.closed();
});

test('a flood of frames is answered 429, and other users are not affected', async (t) => {
  const user = await visitor(t, gateway);
  const flood = 4_000;
  const codes = await Promise.all(Array.from({ length: flood }, () => user.peer.ask('message', '{"type":999,"data":{}}')));
  const slow = codes.filter(([{ code }]) => code === 429).length;
  assert.ok(slow > 0 && slow < flood, `${slow} of ${flood} were answered 429`);
});
