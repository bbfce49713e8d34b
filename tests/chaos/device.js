// One device of a user: an application over clients/js, which sends messages and records the delivered ones
// in a log. It is started several times, and ends by `close` or by a crash. The log survives a crash, like
// the effects of an application's handlers.

import { createRequire } from 'node:module';
import { connect } from '../../clients/js/dist/esm/index.js';
import { DeviceStorage } from './storage.js';
import { tapped } from './tap.js';

const require = createRequire(import.meta.url);

export const CLIENTS = ['2.5.0', '3.1.3', '4.8.4'].flatMap((version) => [
  { version, transports: ['websocket'] },
  { version, transports: ['polling'] },
  { version, transports: ['polling', 'websocket'] },
]);

const NEVER = new Promise(() => {});
const turn = () => new Promise(setImmediate);

export class Device {
  /** The messages whose handlers have finished, in order: {mid, conv, seq, type, n, text, recalled}. */
  log = [];
  /** conv -> the seq of the last message in `log`. */
  last = new Map();
  /**
   * conv -> the mid of a message whose position was not written before a crash. It may be delivered once
   * more.
   */
  mayRepeat = new Map();
  /** Acknowledgements and reads beyond the written position: {type, conv, seq, from}. */
  early = [];
  /** The number of acknowledgements and reads. */
  told = 0;
  /** conv -> the highest seq of a read that the gateway has accepted. */
  reads = new Map();
  /** The acknowledgements that the gateway has answered: {conv, seq, at}. */
  acks = [];
  recalled = new Set();
  /** How its connections ended, newest last. */
  ends = [];
  /** The errors that the client reported: text -> how often. */
  errors = new Map();
  counts = { lives: 0, crashes: 0, displaced: 0, signedOut: 0, connects: 0, repeats: 0 };
  status = 'idle';
  client = undefined;
  #socket;
  #running = 0;
  #life = 0;

  constructor({ uid, index, client, wire, ledger, chance, late, slow, plant }) {
    Object.assign(this, { uid, wire, ledger, chance, late, plant });
    this.name = `${uid}/${index}`;
    this.kind = `${client.version} ${client.transports.join('+')}`;
    this.version = client.version;
    this.transports = client.transports;
    this.storage = new DeviceStorage({ slow });
    const exported = require(`socket.io-client-${client.version}`);
    this.io = exported.io ?? exported;
  }

  get isUp() {
    return this.client !== undefined;
  }

  /** Starts the application. */
  start() {
    const life = ++this.#life;
    this.counts.lives++;
    const io = tapped(this.io, {
      heard: (frame) => this.#said(frame),
      answered: (frame, answer) => this.#answered(frame, answer),
      made: (socket) => (this.#socket = socket),
      plant: this.plant,
    });
    this.client = connect(io, this.wire.url, {
      uid: this.uid,
      platform: 'chaos',
      storage: this.storage.open(),
      timeoutMs: 3_000,
      retry: { firstMs: 50, mostMs: 1_000 },
      acks: { waitMs: 50 },
      page: 30,
      socket: { transports: this.transports, reconnectionDelay: 50, reconnectionDelayMax: 500, timeout: 4_000 },
    });
    const on = (event, then) => this.client.on(event, (value) => (life === this.#life ? then(value) : NEVER));
    on('message', (message) => this.#handle(message, life));
    on('status', (status) => (this.status = status));
    on('connected', () => {
      this.counts.connects++;
      this.knownAt ??= Date.now();
      this.firstConnected?.();
    });
    on('disconnected', ({ reason }) => this.ends.push({ at: Date.now(), reason }));
    on('unreachable', ({ message }) => this.ends.push({ at: Date.now(), unreachable: message }));
    on('displaced', () => this.counts.displaced++);
    on('signedOut', () => this.counts.signedOut++);
    on('error', ({ code, message }) => this.errors.set(`${code}: ${message}`, (this.errors.get(`${code}: ${message}`) ?? 0) + 1));
    on('sent', ({ data, receipt }) => this.ledger.kept(this.ledger.get(data.n), [receipt]));
    on('failed', ({ data, error }) => this.ledger.refused(this.ledger.get(data.n), error.code));
    for (const entry of this.ledger.entries) {
      if (entry.by !== this.name) continue;
      // An application with its own message ids repeats a send of which it has no result.
      if (entry.state === 'vanished' && entry.id) this.ledger.again(entry);
      else if (!(entry.state === 'open' && entry.id && this.chance.isOne(0.5))) continue;
      this.#ask(entry);
    }
  }

  async #handle(message, life) {
    this.#running++;
    if (this.chance.isOne(0.2)) await new Promise((resolve) => setTimeout(resolve, this.chance.int(0, 15)));
    if (life !== this.#life) return NEVER;
    for (const handed of this.plant?.handed?.(message) ?? [message]) this.#note(handed);
    this.#running--;
  }

  #note({ mid, conv, seq, type, data, recalled = false }) {
    if (this.mayRepeat.get(conv) === mid) {
      this.counts.repeats++;
      this.mayRepeat.delete(conv);
      return;
    }
    this.mayRepeat.delete(conv);
    this.log.push({ mid, conv, seq, type, n: data?.n, text: data?.text, recalled });
    this.last.set(conv, seq);
  }

  /**
   * An acknowledgement (103) or read (106) must not be beyond the written position. Whether the message was
   * visible to this device is checked later.
   */
  #said({ type, data }) {
    if (type !== 103 && type !== 106) return;
    this.told++;
    const written = this.storage.position(data.conv);
    if (written !== undefined && data.seq <= written) return;
    this.early.push({ type, conv: data.conv, seq: data.seq, from: Math.min(written ?? 0, this.last.get(data.conv) ?? 0) });
  }

  #answered({ type, data }, { code }) {
    if (type === 103 && code === 0) this.acks.push({ conv: data.conv, seq: data.seq, at: Date.now() });
    if (type === 106 && code === 0) this.reads.set(data.conv, Math.max(data.seq, this.reads.get(data.conv) ?? 0));
  }

  send(entry) {
    return this.#ask(this.ledger.begin({ by: this.name, uid: this.uid, ...entry }));
  }

  #ask(entry) {
    const life = this.#life;
    this.client.send(entry.to, entry.kind, entry.data, { id: entry.id }).then(
      (receipt) => life === this.#life && this.ledger.kept(entry, [receipt]),
      // The next client sends what a closed client has not sent.
      ({ code }) => life === this.#life && code !== 'closed' && this.ledger.refused(entry, code),
    );
  }

  async markRead(conv) {
    try {
      await this.client.markRead(conv, this.last.get(conv));
    } catch {
      // The device is offline, or the user is not a member any more.
    }
  }

  async recall(mid) {
    try {
      await this.client.recall(mid);
      this.recalled.add(mid);
    } catch {
      // The device is offline, the message is too old, or it was recalled before.
    }
  }

  /** Ends the application in the middle of its work. */
  crash() {
    this.counts.crashes++;
    this.#life++;
    this.storage.crash();
    const outbox = this.storage.outbox();
    for (const entry of this.ledger.entries) {
      if (entry.by !== this.name) continue;
      if (entry.state === 'open' && !outbox.has(entry.n)) entry.state = 'vanished';
      // The refusal was reported, but the client had not removed the message yet: it sends the message again,
      // and gets another result.
      if (entry.state === 'refused' && outbox.has(entry.n)) entry.state = 'open';
    }
    const written = this.storage.positions();
    for (const [conv, seq] of this.last) if (seq > (written.get(conv) ?? 0)) this.mayRepeat.set(conv, this.log.findLast((one) => one.conv === conv).mid);
    this.wire.cut();
    this.#socket.disconnect();
    this.client = undefined;
    this.#running = 0;
    this.status = 'down';
  }

  /** Ends the application in an orderly way. Running handlers finish. */
  async close() {
    const client = this.client;
    this.client = undefined;
    await client.close();
    while (this.#running > 0) await turn();
    for (let i = 0; i < 20; i++) await turn();
    this.#life++;
    this.storage.crash();
    this.status = 'down';
  }

  get isStopped() {
    return this.status === 'displaced' || this.status === 'signed-out';
  }

  reconnect() {
    this.client?.connect();
  }
}
