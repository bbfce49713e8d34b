// Browsers with socket.io-client 1.x. The Node builds of these versions cannot be used here: only the format
// of a browser's timestamp shows that it can read polls in the binary form only.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startBrowser } from '../lib/browser.js';
import { startGateway } from '../lib/program.js';
import { signIn, someone } from '../lib/user.js';

const require = createRequire(import.meta.url);
const TEXTS = ['plain', '你好，世界', '表情 😀👩‍👩‍👧‍👦🐦', 'é\u2028"\\/\n', '长'.repeat(3_000)];
const TRANSPORTS = {
  default: {},
  polling: { transports: ['polling'] },
  JSONP: { transports: ['polling'], forceJSONP: true },
  websocket: { transports: ['websocket'] },
};

/** The browser build of a version, as pages load it. */
function bundle(version) {
  const directory = dirname(require.resolve(`socket.io-client-${version}/package.json`));
  const file = version === '1.7.4' ? 'dist/socket.io.js' : 'socket.io.js';
  return readFileSync(join(directory, file));
}

const VERSIONS = ['1.0.6', '1.1.0', '1.3.7', '1.4.5', '1.7.4'];

let gateway;
let browser;
/** Serves a page for each version, from another origin than the gateway, as old pages do. */
let pages;
before(async () => {
  const scripts = Object.fromEntries(VERSIONS.map((version) => [`/${version}.js`, bundle(version)]));
  pages = createServer((request, response) => {
    const script = scripts[request.url];
    response.setHeader('content-type', script ? 'text/javascript' : 'text/html');
    response.end(script ?? `<!doctype html><meta charset="utf-8"><script src="${request.url}.js"></script>`);
  });
  await new Promise((resolve) => pages.listen(0, '127.0.0.1', resolve));
  [gateway, browser] = await Promise.all([startGateway(), startBrowser()]);
});
after(async () => {
  await browser?.close();
  await gateway?.close();
  pages?.close();
});

for (const version of VERSIONS) {
  describe(`socket.io-client ${version} in a browser`, () => {
    for (const [name, transports] of Object.entries(TRANSPORTS)) {
      /** Opens a page that registers whenever it is connected. */
      const register = async (uid) => {
        const tab = await browser.tab(`http://127.0.0.1:${pages.address().port}/${version}`);
        await tab.evaluate(
          (url, options, frame) => {
            window.heard = [];
            window.sessions = 0;
            window.socket = window.io(url, options);
            window.socket.io.on('open', () => window.sessions++);
            window.socket.on('connect', () => window.socket.emit('message', frame));
            window.socket.on('disconnect', (reason) => (window.ended = reason));
            window.socket.on('message', (text) => window.heard.push(JSON.parse(text)));
          },
          gateway.url,
          { forceNew: true, reconnectionDelay: 10, reconnectionDelayMax: 100, ...transports },
          JSON.stringify({ type: 1, data: { uid, deviceid: 'old' } }),
        );
        await tab.until(() => window.heard.some(({ type, data }) => type === 2 && data.code === 0));
        if (name === 'default') await tab.until(() => window.socket.io.engine.transport.name === 'websocket');
        return tab;
      };

      // In these versions, the JSONP transport fails in an endless loop when the client closes it, or when a
      // request fails because the server has stopped.
      const survivesClose = !(name === 'JSONP' && ['1.0.6', '1.1.0'].includes(version));

      test(`registers once, chats, and does not reconnect after a displacement, ${name}`, async (t) => {
        const friend = await signIn(t, gateway, someone('小红'));
        const uid = someone('小明');
        const tab = await register(uid);
        for (const text of TEXTS) {
          assert.equal((await friend.send({ user: uid }, { text })).code, 0);
          await tab.until((wanted) => window.heard.some(({ type, data }) => type === 3 && data.text === wanted), text);
          const frame = JSON.stringify({ type: 101, data: { type: 3, to: { user: friend.uid }, data: { text } } });
          await tab.evaluate((sent) => void window.socket.emit('message', sent), frame);
          assert.equal((await friend.next(3)).data.text, text);
        }
        assert.equal(await tab.evaluate(() => window.sessions), 1);
        assert.equal((await gateway.api.user(uid)).connections.length, 1);

        await signIn(t, gateway, uid, { deviceid: 'new' });
        await tab.until(() => window.heard.some(({ type }) => type === 12));
        if (survivesClose) await tab.until(() => window.ended === 'io server disconnect' && window.socket.io.skipReconnect);
        assert.deepEqual((await gateway.api.user(uid)).connections.map((one) => one.deviceid), ['new']);
      });

      if (!survivesClose) continue;
      test(`reconnects after a restart of the server, ${name}`, async () => {
        const tab = await register(someone('小明'));
        await gateway.program.stop();
        await gateway.start();
        await tab.until(() => window.heard.filter(({ type, data }) => type === 2 && data.code === 0).length === 2);
        await tab.evaluate(() => void window.socket.close());
      });
    }
  });
}
