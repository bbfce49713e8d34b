// The two ways in which the server ends a connection (docs/PROTOCOL.md#1-transport), byte for byte: for the
// forms of polling that no client of these tests uses (no EIO, JSONP with EIO 4), and for clients on OkHttp,
// which does not notice a close frame.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { Inbox, within } from '../../lib/inbox.js';
import { startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';

let gateway;
before(async () => (gateway = await startGateway()));
after(() => gateway.close());

const register = (uid) => `42["message",${JSON.stringify(JSON.stringify({ type: 1, data: { uid, deviceid: 'old' } }))}]`;

/** A polling session that has registered `uid`. */
class Polling {
  #base;
  #query;

  static async register(query, uid) {
    const session = new Polling();
    Object.assign(session, { isJsonp: /\bj=/.test(query), is4: /EIO=4/.test(query) });
    session.#base = gateway.url;
    session.#query = `/socket.io/?transport=polling&b64=1&${query}`;
    const [open] = (await session.poll()).packets;
    session.#query += `&sid=${JSON.parse(open.slice(1)).sid}`;
    if (session.is4) await session.post('40');
    await session.until('40');
    await session.post(register(uid));
    assert.match((await session.until('42')).at(-1), /\\"code\\":0/);
    return session;
  }

  async poll() {
    const response = await within(fetch(this.#base + this.#query), 'a poll');
    const text = await response.text();
    if (response.status !== 200) return { status: response.status, ...JSON.parse(text), packets: [] };
    const payload = this.isJsonp ? JSON.parse(/^___eio\[\d+\]\((.*)\);$/s.exec(text)[1]) : text;
    return { status: 200, packets: this.is4 ? payload.split('\x1e') : [...split(payload)] };
  }

  async post(packet) {
    const payload = this.is4 ? packet : `${packet.length}:${packet}`;
    const body = this.isJsonp ? new URLSearchParams({ d: payload.replaceAll('\\n', '\\\\n') }) : payload;
    assert.equal((await fetch(this.#base + this.#query, { method: 'POST', body })).status, 200);
  }

  /** Polls until a packet begins with `start`. Resolves with all packets up to that one. */
  async until(start) {
    const packets = [];
    while (!packets.some((packet) => packet.startsWith(start))) {
      const answer = await this.poll();
      assert.equal(answer.status, 200, JSON.stringify(answer));
      packets.push(...answer.packets);
    }
    return packets;
  }
}

/** The packets of a text payload of Engine.IO 3, whose lengths count UTF-16 units. */
function* split(payload) {
  while (payload) {
    const colon = payload.indexOf(':');
    const end = colon + 1 + Number(payload.slice(0, colon));
    yield payload.slice(colon + 1, end);
    payload = payload.slice(end);
  }
}

for (const query of ['', 'EIO=2', 'EIO=3', 'EIO=3&j=0', 'EIO=4', 'EIO=4&j=0']) {
  describe(`polling with "${query}"`, () => {
    test('is told that it was displaced, and gets a close packet, after which it does not reconnect', async (t) => {
      const uid = someone('小王');
      const old = await Polling.register(query, uid);
      await signIn(t, gateway, uid, { deviceid: 'new' });
      const [told, disconnect, close, ...more] = (await old.until('1')).filter((packet) => packet !== '6');
      assert.match(told, /^42.*\\"type\\":12,/);
      assert.deepEqual([disconnect, close, more], ['41', '1', []]);
    });

    test('gets a refused poll when the server stops, so that it reconnects', async () => {
      const session = await Polling.register(query, someone('小李'));
      const ends = session.poll();
      await gateway.program.stop();
      // The poll may not have reached the server before it stopped.
      const end = await ends.catch(() => ({ status: 0, packets: [] }));
      await gateway.start();
      if (session.isJsonp && end.status === 200) assert.deepEqual(end.packets, ['1']);
      else assert.ok([0, 503].includes(end.status) || (end.status === 400 && end.code === 1), JSON.stringify(end));
      const again = await session.poll();
      assert.deepEqual([again.status, again.code], [400, 1]);
    });
  });
}

describe('a WebSocket on OkHttp', () => {
  /** A registered client. `closed` resolves with the code of the close frame, or 1006 if there was none. */
  async function okhttp(t, uid) {
    const url = `${gateway.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`;
    const socket = new WebSocket(url, { headers: { 'user-agent': 'okhttp/3.12.12' } });
    t.after(() => socket.terminate());
    const heard = new Inbox('OkHttp');
    socket.on('message', (text) => heard.push(String(text)));
    const closed = new Promise((resolve) => socket.on('close', resolve));
    await heard.take((text) => text.startsWith('0'), 'the open packet');
    socket.send('40');
    await heard.take((text) => text.startsWith('40'), 'CONNECT');
    socket.send(register(uid));
    await heard.take((text) => text.includes('\\"code\\":0'), 'the response');
    return { heard, closed: () => within(closed, 'the end') };
  }

  test('ends without a close frame if the client is expected to reconnect', async (t) => {
    const uid = someone('小李');
    const stale = await okhttp(t, uid);
    await signIn(t, gateway, uid, { deviceid: 'old' });
    assert.equal(await stale.closed(), 1006);
    assert.deepEqual(stale.heard.untaken, []);
  });

  test('ends with a close frame after a displacement', async (t) => {
    const uid = someone('小王');
    const old = await okhttp(t, uid);
    await signIn(t, gateway, uid, { deviceid: 'new' });
    assert.equal(await old.closed(), 1005);
    assert.deepEqual(old.heard.untaken.slice(-2), ['41', '1']);
  });
});
