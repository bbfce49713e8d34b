// Controls a headless Chromium over its DevTools protocol: typing, clicking, reading the page, and
// screenshots.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import WebSocket from 'ws';
import { PATIENCE_MS, within } from './inbox.js';
import { Program } from './program.js';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--lang=en-US',
  '--remote-debugging-port=0',
  'about:blank',
];

export async function startBrowser() {
  const profile = mkdtempSync(join(tmpdir(), 'mynah-chromium-'));
  const program = new Program(CHROMIUM, [`--user-data-dir=${profile}`, ...FLAGS]);
  const [, address] = await program.printed(/DevTools listening on (ws:\S+)/);
  const browser = new Browser(await connect(address), program, profile);
  return browser;
}

function connect(address) {
  const socket = new WebSocket(address, { perMessageDeflate: false });
  return new Promise((resolve, reject) => socket.once('open', () => resolve(socket)).once('error', reject));
}

class Browser {
  #socket;
  #program;
  #profile;
  #calls = new Map();
  #tabs = new Map();
  #last = 0;

  constructor(socket, program, profile) {
    this.#socket = socket;
    this.#program = program;
    this.#profile = profile;
    socket.on('message', (text) => this.#receive(JSON.parse(text)));
  }

  #receive({ id, result, error, method, params, sessionId }) {
    if (id === undefined) return this.#tabs.get(sessionId)?.heard(method, params);
    const { resolve, reject } = this.#calls.get(id);
    this.#calls.delete(id);
    if (error) reject(new Error(error.message));
    else resolve(result);
  }

  call(method, params = {}, sessionId = undefined) {
    const id = ++this.#last;
    this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    return new Promise((resolve, reject) => this.#calls.set(id, { resolve, reject }));
  }

  /** Opens a page in its own window. Tabs of the same `context` share their storage. */
  async tab(url, { width = 1320, height = 820, context } = {}) {
    const browserContextId = context ?? (await this.context());
    const { targetId } = await this.call('Target.createTarget', { url: 'about:blank', browserContextId, newWindow: true });
    const { sessionId } = await this.call('Target.attachToTarget', { targetId, flatten: true });
    const tab = new Tab((method, params) => this.call(method, params, sessionId), url);
    this.#tabs.set(sessionId, tab);
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await tab.call(`${domain}.enable`);
    await tab.resize(width, height);
    await tab.call('Emulation.setFocusEmulationEnabled', { enabled: true });
    await tab.goto(url);
    return tab;
  }

  /** Makes a context with its own storage, like the browser of another user. */
  async context() {
    return (await this.call('Target.createBrowserContext')).browserContextId;
  }

  async close() {
    await this.call('Browser.close').catch(() => {});
    await this.#program.exited;
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

class Tab {
  /** The errors of the page: errors on the console, exceptions, and requests to other origins. */
  complaints = [];
  #url;
  #loaded;

  constructor(call, url) {
    this.call = call;
    this.#url = url;
  }

  heard(method, params) {
    if (method === 'Page.loadEventFired') this.#loaded?.();
    if (method === 'Runtime.exceptionThrown') this.complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === 'Runtime.consoleAPICalled' && params.type === 'error') this.complaints.push(params.args.map((arg) => arg.value ?? arg.description).join(' '));
    if (method === 'Log.entryAdded' && params.entry.level === 'error') this.complaints.push(`${params.entry.text} ${params.entry.url ?? ''}`);
    if (method === 'Network.requestWillBeSent' && !params.request.url.startsWith(new URL(this.#url).origin)) this.complaints.push(`asked a stranger: ${params.request.url}`);
  }

  async goto(url) {
    const loaded = new Promise((resolve) => (this.#loaded = resolve));
    await this.call('Page.navigate', { url });
    await within(loaded, `${url} to load`);
  }

  reload() {
    return this.call('Page.reload');
  }

  resize(width, height) {
    return this.call('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
  }

  dark(on) {
    return this.call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: on ? 'dark' : 'light' }] });
  }

  /** Runs a function in the page with these arguments and returns its result. */
  async evaluate(fn, ...args) {
    const expression = `(${fn})(...${JSON.stringify(args)})`;
    const { result, exceptionDetails } = await this.call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Waits until the function returns a truthy value in the page. */
  async until(fn, ...args) {
    const trace = new Error(`the page did not reach this state: ${fn} of ${JSON.stringify(args)}`);
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
      // A navigation ends the evaluation; the next one runs in the new page.
      const value = await this.evaluate(fn, ...args).catch(() => undefined);
      if (value) return value;
      if (Date.now() > end) {
        trace.message += `; errors of the page: ${JSON.stringify(this.complaints)}; it shows: ${await this.evaluate(() => document.body.innerText).catch(String)}`;
        throw trace;
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  /** Waits until an element is visible and shows `text`. */
  shows(selector, text = '') {
    return this.until(
      (sel, part) => [...document.querySelectorAll(sel)].some((one) => one.checkVisibility() && (one.innerText ?? '').includes(part)),
      selector,
      text,
    );
  }

  texts(selector) {
    return this.evaluate((sel) => [...document.querySelectorAll(sel)].map((one) => one.innerText), selector);
  }

  /** Clicks on an element; `meanwhile` is called between the press of the button and its release. */
  async click(selector, meanwhile = async () => {}) {
    const place = await this.until((sel) => {
      const found = document.querySelector(sel);
      if (!found?.checkVisibility()) return undefined;
      found.scrollIntoView({ block: 'nearest' });
      const { x, y, width, height } = found.getBoundingClientRect();
      const at = { x: x + width / 2, y: y + height / 2 };
      const top = document.elementFromPoint(at.x, at.y);
      return found.contains(top) && at;
    }, selector);
    const button = (type) => this.call('Input.dispatchMouseEvent', { type, ...place, button: 'left', clickCount: 1 });
    await button('mousePressed');
    await meanwhile();
    await button('mouseReleased');
  }

  async type(selector, text) {
    await this.click(selector);
    await this.call('Input.insertText', { text });
  }

  async press(key) {
    const code = { Enter: 13 }[key];
    for (const type of ['keyDown', 'keyUp']) await this.call('Input.dispatchKeyEvent', { type, key, code: key, windowsVirtualKeyCode: code, text: type === 'keyDown' ? '\r' : undefined });
  }

  /** Takes a screenshot, if `MYNAH_PICTURES` names a directory for them. */
  async picture(name) {
    if (!process.env.MYNAH_PICTURES) return;
    const { data } = await this.call('Page.captureScreenshot', { format: 'png' });
    writeFileSync(join(process.env.MYNAH_PICTURES, `${name}.png`), Buffer.from(data, 'base64'));
  }
}
