// One Socket.IO client of any generation, with everything that it hears kept in order.

import { createRequire } from 'node:module';
import { Inbox, within } from './inbox.js';

const require = createRequire(import.meta.url);

export const versions = ['1.4.5', '1.7.4', '2.5.0', '3.1.3', '4.8.4'];
export const NEWEST = '4.8.4';

/** How a client gets through; `upgrade` is what clients do unless told otherwise. */
export const transports = { polling: ['polling'], websocket: ['websocket'], upgrade: ['polling', 'websocket'] };

/** Every client generation on every transport. */
export const everyClient = versions.flatMap((version) => Object.keys(transports).map((transport) => ({ version, transport })));

/** Every generation once, the transports spread over them: for journeys whose transport does not matter. */
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
    /** Everything heard: {event, args}, and the client's own 'connect', 'disconnect', 'connect_error', 'error'. */
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

  /** Emits with an ack callback and resolves with the list of what was acknowledged; rejects when the connection ends before. */
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

  /** Resolves with the arguments of the next event of this name. */
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

  /** Resolves when the engine has the transport that it will keep. */
  get upgraded() {
    return within(this.#upgrade, `${this.name}: the upgrade`);
  }

  /** The reason that the client reports when it is closed. */
  async closed() {
    return (await this.hear(':disconnect'))[0];
  }

  /** Connections that this client still means to have: false after `41`, when it will not come back by itself. */
  get wantsBack() {
    return Boolean(this.manager._reconnecting ?? this.manager.reconnecting);
  }

  close() {
    this.socket.close();
    this.manager.engine?.close();
  }
}

/** A connected client; closed with the test `t`. */
export async function connect(t, url, options) {
  const peer = open(t, url, options);
  return peer.connected();
}

/** A client on its way; closed with the test `t`. */
export function open(t, url, options) {
  const peer = new Peer(url, options);
  t.after(() => peer.close());
  return peer;
}
