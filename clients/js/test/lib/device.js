// A client of the package under test on a user's device. It records all messages and events in order.

import { createRequire } from 'node:module';
import { connect, memoryStorage } from 'mynah-client';
import { Inbox, within } from '../../../../tests/lib/inbox.js';

// The versions of socket.io-client are installed for tests/clients.
const require = createRequire(new URL('../../../../tests/lib/peer.js', import.meta.url));

export const versions = ['2.5.0', '3.1.3', '4.8.4'];
export const NEWEST = '4.8.4';

/** `io` of one version, as its users import it. */
export function ioOf(version) {
  const exported = require(`socket.io-client-${version}`);
  return exported.io ?? exported;
}

let last = 0;
export const someone = (name = '小明') => `${name}-${process.pid}-${++last}`;

export class Device {
  /** The messages in the order of their delivery. */
  all = [];

  constructor(t, url, { version = NEWEST, storage = memoryStorage(), handle = () => {}, ...options }) {
    this.storage = storage;
    this.client = connect(ioOf(version), url, {
      storage,
      retry: { firstMs: 20, mostMs: 200 },
      acks: { waitMs: 20 },
      ...options,
      socket: { transports: ['websocket'], reconnectionDelay: 20, reconnectionDelayMax: 50, ...options.socket },
    });
    const name = `${options.uid} ${version}`;
    this.messages = new Inbox(`messages of ${name}`);
    this.told = new Inbox(`events of ${name}`);
    for (const event of ['event', 'read', 'recall', 'sent', 'failed', 'unread', 'epoch', 'displaced', 'signedOut', 'status', 'connected', 'disconnected', 'error'])
      this.client.on(event, (value) => this.told.push({ event, value }));
    this.client.on('message', async (message) => {
      await handle(message);
      this.all.push(message);
      this.messages.push(message);
    });
    t.after(() => this.client.close());
  }

  /** Waits for the next event of this name whose value fits. */
  async hear(event, fits = () => true) {
    return (await this.told.take((item) => item.event === event && fits(item.value), event)).value;
  }

  async connected() {
    await this.hear('connected');
    return this;
  }

  /** Waits for the next delivered message that fits. */
  message(fits = () => true, what = 'a message') {
    return this.messages.take(fits, what);
  }

  close() {
    return within(this.client.close(), 'close');
  }
}

/** A connected device. */
export function device(t, gateway, uid, options = {}) {
  return new Device(t, gateway.url ?? gateway, { uid, ...options }).connected();
}

/** The texts of messages. */
export const texts = (messages) => messages.map(({ data }) => data?.text);
