// The package in Chromium: the built files, IndexedDB as the storage, and a page that is reloaded.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { startBrowser } from '../../../tests/lib/browser.js';
import { eventually } from '../../../tests/lib/inbox.js';
import { startGateway } from '../../../tests/lib/program.js';
import { device, someone, texts } from './lib/device.js';

const chromium = process.env.CHROMIUM ?? '/usr/bin/chromium';
const skip = existsSync(chromium) ? false : 'SKIPPED: Chromium was not found. Set the environment variable CHROMIUM to its path.';

/** Serves the files of the package and of socket.io-client over HTTP. */
async function serve() {
  const places = { '/esm/': '../dist/esm/', '/socket.io/': '../node_modules/socket.io-client/dist/' };
  const server = createServer(({ url }, response) => {
    const place = Object.keys(places).find((start) => url.startsWith(start));
    const file = place && new URL(url.slice(place.length), new URL(places[place], import.meta.url));
    if (url === '/') response.setHeader('content-type', 'text/html').end('<!doctype html><link rel="icon" href="data:,"><title>Test</title>');
    else if (file && existsSync(file)) response.setHeader('content-type', 'text/javascript').end(readFileSync(file));
    else response.writeHead(404).end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

/** Runs in the page: connects, and records the events on `window`. */
async function begin(url, uid, offline) {
  const [{ connect, indexedDbStorage }, { io }] = await Promise.all([import('/esm/index.js'), import('/socket.io/socket.io.esm.min.js')]);
  window.messages = [];
  window.sent = [];
  window.client = connect(io, offline ? 'http://127.0.0.1:9' : url, { uid, storage: indexedDbStorage(), retry: { firstMs: 20 } });
  window.client.on('message', (message) => void window.messages.push(message));
  window.client.on('sent', ({ data }) => void window.sent.push(data.text));
}

test('in a browser, messages and the outbox survive reloads with IndexedDB', { skip }, async (t) => {
  const [gateway, site, browser] = await Promise.all([startGateway(), serve(), startBrowser()]);
  t.after(async () => {
    await browser.close();
    site.close();
    await gateway.close();
  });
  const uid = someone();
  const bob = await device(t, gateway, someone());
  const tab = await browser.tab(site.url);
  await tab.evaluate(begin, gateway.url, uid, false);
  await tab.until(() => window.client.status === 'connected');
  const first = await tab.evaluate(() => window.client.deviceid);
  await bob.client.send({ user: uid }, 3, { text: '一' });
  await tab.until(() => window.messages.length === 1);
  await tab.evaluate((to) => window.client.send({ user: to }, 3, { text: '回' }).then(({ seq }) => seq), bob.client.uid);
  assert.deepEqual(texts([await bob.message()]), ['回']);

  await tab.goto(site.url);
  await tab.evaluate(begin, gateway.url, uid, true);
  await tab.evaluate((to) => void window.client.send({ user: to }, 3, { text: '离线' }), bob.client.uid);
  // The page may have been reloaded before it removed the sent message. Then that message is sent again with
  // the same cid, and is stored only once.
  await tab.until(() => window.client.pending.some(({ data }) => data.text === '离线'));
  await tab.evaluate(() => window.client.close());
  await bob.client.send({ user: uid }, 3, { text: '二' });

  await tab.goto(site.url);
  await tab.evaluate(begin, gateway.url, uid, false);
  await tab.until(() => window.messages.length > 0 && window.sent.includes('离线'));
  assert.deepEqual(texts([await bob.message()]), ['离线'], 'the message that was written offline was sent');
  assert.deepEqual(texts(await tab.evaluate(() => window.messages)), ['二'], 'the handled message was not delivered again');
  assert.equal(await tab.evaluate(() => window.client.deviceid), first);
  await eventually(() => tab.evaluate(() => window.client.pending.length === 0), 'an empty outbox');
});
