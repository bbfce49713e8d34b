// One device's life against the model: it is cut off, crashes, is restarted and closed while others write, and everything that it
// is told is checked at once. What must come at the end is checked by `end`.

import assert from 'node:assert/strict';
import { Client } from '../../dist/esm/client.js';
import { Gateway } from './gateway.js';
import { Time } from './time.js';
import { network } from './wire.js';

const ME = 'me';

export class Life {
  kept = new Map();
  /** Every value that was written, whatever became of it. */
  written = new Set();
  runs = 0;
  /** cid or id -> what `send` was told, and in which order per destination. */
  #sent = [];
  /** conversation -> number handed over last in this run. */
  #handed = new Map();
  /** conversation -> numbers whose handlers finished, over all runs. */
  finished = new Map();
  /** conversation -> up to where this device is not told anything. */
  #base = new Map();
  running = undefined;
  errors = [];

  /** `sabotage` says which keys are never written, for seeing that a life can go wrong. */
  constructor(chance, { troubles = 0.05, slowHandlers = 0.3, limits, sabotage } = {}) {
    this.chance = chance;
    this.time = new Time(chance.next);
    this.gateway = new Gateway(chance, { troubles, ...limits });
    this.gateway.acknowledged = (...args) => this.#acknowledged(...args);
    this.network = network(this.gateway, this.time, chance);
    this.slowHandlers = slowHandlers;
    this.sabotage = sabotage;
  }

  get client() {
    return this.running?.client;
  }

  position(conv) {
    const [seq, epoch] = (this.kept.get(`mynah:${ME}:at:${conv}`) ?? '').split(' ');
    return epoch === this.gateway.epoch ? Number(seq) : undefined;
  }

  /** A storage that takes its time, and to which a process that is gone cannot write. */
  #storage(run) {
    const soon = () => (this.chance.happens(0.5) ? undefined : new Promise((resolve) => this.time.later(this.chance.below(8), resolve)));
    return {
      get: async (key) => {
        await soon();
        return this.kept.get(key);
      },
      set: async (key, value) => {
        await soon();
        if (run.gone) return;
        this.written.add(value);
        if (!this.sabotage?.(key)) this.kept.set(key, value);
      },
      remove: async (key) => {
        await soon();
        if (!run.gone) this.kept.delete(key);
      },
    };
  }

  start() {
    const run = { gone: false };
    this.runs++;
    this.#handed.clear();
    run.client = new Client(this.network.io, 'http://model', { uid: ME, storage: this.#storage(run), timeoutMs: 400, retry: { firstMs: 10, mostMs: 100 }, page: 3, acks: { waitMs: 20, most: 4 } }, this.time);
    run.client.on('message', (message) => this.#message(run, message));
    run.client.on('error', (error) => run.gone || this.errors.push(error));
    run.client.on('sent', ({ cid, id, receipt }) => run.gone || this.#sent.push({ cid, id, receipt }));
    this.running = run;
  }

  /** The process ends without a word. */
  crash() {
    this.running.gone = true;
    this.network.forget();
    this.running = undefined;
  }

  async close() {
    const { client } = this.running;
    let closed = false;
    client.close().then(() => (closed = true));
    assert.ok(await this.time.pass(5_000, () => closed), 'close takes its time, and ends');
    this.crash();
  }

  async #message(run, message) {
    if (run.gone) return;
    const { conv: id, seq, from, data } = message;
    const conv = this.gateway.convs.get(id);
    assert.ok(!(from === ME && data?.by === 'this'), `own ${id} ${seq} came as a message`);
    const before = this.#handed.get(id) ?? this.position(id) ?? this.#base.get(id) ?? 0;
    const floor = Math.max(before, conv.floors.get(ME) ?? 0);
    assert.ok(seq > before, `${id}: ${seq} came after ${before}`);
    for (let missing = floor + 1; missing < seq; missing++) {
      const skipped = conv.messages[missing - 1];
      assert.ok(missing <= conv.deleted || skipped.data?.by === 'this', `${id}: ${seq} came after ${before}, and ${missing} did not`);
    }
    this.#handed.set(id, seq);
    if (this.chance.happens(this.slowHandlers)) await new Promise((resolve) => this.time.later(this.chance.below(60), resolve));
    if (run.gone) return;
    if (!this.finished.has(id)) this.finished.set(id, new Set());
    this.finished.get(id).add(seq);
  }

  /** What is acknowledged is written down, or the gateway knew it. */
  #acknowledged({ uid }, conv, seq, cursor) {
    if (uid === ME) assert.ok(seq <= Math.max(this.position(conv.id) ?? 0, cursor), `${conv.id}: ${seq} is acknowledged, ${this.position(conv.id)} is written`);
  }

  /** What the gateway has now is not told to a device that it does not know yet. */
  known() {
    for (const conv of this.gateway.convs.values()) this.#base.set(conv.id, conv.messages.length);
  }

  /** Everything calms down: then everything has come, and everything was sent. */
  async end(accepted) {
    this.gateway.troubles = 0;
    if (!this.running) this.start();
    // Retention makes less unread, which a client is told at its next register.
    if (this.gateway.forgot) this.network.cut();
    const missing = () => [...this.gateway.convs.values()].flatMap((conv) => this.#missing(conv));
    const done = () => this.client.status === 'connected' && missing().length === 0 && this.client.pending.length === 0 && this.gateway.behind(ME).length === 0 && this.client.unread === this.gateway.unread(ME);
    const ok = await this.time.pass(120_000, done);
    assert.deepEqual(missing(), [], 'everything that others wrote has come');
    assert.deepEqual(this.client.pending, [], 'the outbox is empty');
    assert.equal(this.client.unread, this.gateway.unread(ME), 'unread messages');
    assert.ok(ok, `everything is acknowledged: ${JSON.stringify(this.gateway.behind(ME))}`);
    assert.deepEqual(this.errors.map(String), []);
    for (const { to, n } of accepted) {
      const all = [...this.gateway.convs.values()].flatMap((conv) => conv.messages);
      assert.equal(all.filter(({ data }) => data?.by === 'this' && data.n === n).length, 1, `message ${n} to ${JSON.stringify(to)} is in the record once`);
    }
    for (const conv of this.gateway.convs.values()) {
      const own = conv.messages.filter(({ data }) => data?.by === 'this').map(({ data }) => data.n);
      assert.deepEqual(own, [...own].sort((a, b) => a - b), `${conv.id}: sent in order`);
    }
  }

  #missing(conv) {
    if (!this.gateway.members(conv).includes(ME)) return [];
    const from = Math.max(this.#base.get(conv.id) ?? 0, conv.floors.get(ME) ?? 0, conv.deleted);
    const had = this.finished.get(conv.id) ?? new Set();
    return conv.messages.filter(({ seq, data }) => seq > from && data?.by !== 'this' && !had.has(seq)).map(({ seq }) => `${conv.id} ${seq}`);
  }
}
