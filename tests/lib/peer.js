// A socket.io-client of any version, which records everything that it receives in order.

import { createRequire } from 'node:module';
import { Inbox, within } from './inbox.js';

const require = createRequire(import.meta.url);

export const versions = ['1.4.5', '1.7.4', '2.5.0', '3.1.3', '4.8.4'];
export const NEWEST = '4.8.4';

/** The transports of a client. `upgrade` is the default of the clients: polling first, then a WebSocket. */
export const transports = { polling: ['polling'], websocket: ['websocket'], upgrade: ['polling', 'websocket'] };

/** Every client version on every transport. */
export const everyClient = versions.flatMap((version) => Object.keys(transports).map((transport) => ({ version, transport })));

/** Every version once, with different transports: for tests that do not depend on the transport. */
export const eachGeneration = versions.map((version, i) => ({ version, transport: Object.keys(transports)[i % 3] }));

const asQuery = (pairs) => Object.entries(pairs).map((pair) => pair.map(encodeURIComponent).join('=')).join('&');

export const isOld = (version) => /^[12]\./.test(version);

export class Peer {
  #upgrade = Promise.resolve();

  constructor(url, { version = NEWEST, transport = 'websocket', namespace = '/', query, auth, ca, headers, protocols, reconnection = false } = {}) {
    const io = require(`socket.io-client-${version}`);
    this.version = version;
    this.transport = transport;
    this.name = `client ${version} ${transport}`;
    /**
     * Everything received: {event, args}, and the client's own events 'connect', 'disconnect',
     * 'connect_error', 'error'.
     */
    this.heard = new Inbox(this.name);
    const options = { forceNew: true, transports: transports[transport], reconnection, reconnectionDelay: 10, timeout: 30_000 };
    if (query) options.query = version.startsWith('1.') ? asQuery(query) : query;
    if (auth) options.auth = auth;
    if (ca) options.ca = ca;
    if (headers) options.extraHeaders = headers;
    if (protocols) options.protocols = protocols;
    this.socket = io(url + namespace, options);
    this.manager = this.socket.io;

    const onevent = this.socket.onevent;
    this.socket.onevent = (packet) => {
      const [event, ...args] = packet.data;
      onevent.call(this.socket, packet);
      this.heard.push({ event, args });
    };
    for (const event of ['connect', 'disconnect', 'connect_error', 'error'])
      this.socket.on(event, (...args) => this.heard.push({ event: `:${event}`, args }));
  }

  emit(event, ...args) {
    this.socket.emit(event, ...args);
  }

  /**
   * Emits an event with a callback and resolves with the arguments of the callback. Rejects if the connection
   * ends first.
   */
  ask(event, ...args) {
    const answer = new Promise((resolve, reject) => {
      const gone = (reason) => reject(new Error(`${this.name}: ${reason} before the answer to ${event}`));
      this.socket.once('disconnect', gone);
      this.socket.emit(event, ...args, (...acknowledged) => {
        this.socket.off('disconnect', gone);
        resolve(acknowledged);
      });
    });
    return within(answer, `${this.name}: the answer to ${event} ${String(JSON.stringify(args)).slice(0, 200)}`);
  }

  /** Waits for the next event of this name and resolves with its arguments. */
  async hear(event, what = event) {
    return (await this.heard.take((item) => item.event === event, what)).args;
  }

  async connected() {
    const { event, args } = await this.heard.take((item) => [':connect', ':connect_error', ':error'].includes(item.event), 'connect');
    if (event !== ':connect') throw new Error(`${this.name}: ${event} ${args[0]?.message ?? args[0]}`);
    if (this.transport === 'upgrade') {
      const { engine } = this.manager;
      const done = engine.transport.name === 'websocket';
      this.#upgrade = done ? Promise.resolve() : new Promise((resolve) => engine.once('upgrade', resolve));
    }
    return this;
  }

  /** Resolves when the transport is the final one. */
  get upgraded() {
    return within(this.#upgrade, `${this.name}: the upgrade`);
  }

  /** Waits until the client is closed and resolves with the reason that it reports. */
  async closed() {
    return (await this.hear(':disconnect'))[0];
  }

  /** Whether the client will reconnect by itself. It will not after `41`. */
  get willReconnect() {
    return Boolean(this.manager._reconnecting ?? this.manager.reconnecting);
  }

  close() {
    this.socket.close();
    this.manager.engine?.close();
  }
}

/** A connected client, which is closed at the end of the test `t`. */
export async function connect(t, url, options) {
  const peer = open(t, url, options);
  return peer.connected();
}

/** A client that is connecting, which is closed at the end of the test `t`. */
export function open(t, url, options) {
  const peer = new Peer(url, options);
  t.after(() => peer.close());
  return peer;
}
