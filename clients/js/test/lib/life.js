// The life of one device against the model of the gateway. The device is disconnected, crashes, is restarted
// and closed while others write. Each delivered message is checked at once; `end` checks that nothing is
// missing.

import assert from 'node:assert/strict';
import { Client } from '../../dist/esm/client.js';
import { Gateway } from './gateway.js';
import { Time } from './time.js';
import { network } from './wire.js';

const ME = 'me';

export class Life {
  kept = new Map();
  /** Every value that the client has written to its storage, even if it was removed later. */
  written = new Set();
  runs = 0;
  /** The events `sent`. */
  #sent = [];
  /** conversation -> the seq that was delivered last in this run. */
  #handed = new Map();
  /** conversation -> the seqs whose handlers have finished, over all runs. */
  finished = new Map();
  /** conversation -> the head when the device became known to the gateway; it gets only later messages. */
  #base = new Map();
  running = undefined;
  errors = [];

  /** `sabotage` selects keys that are never written, to see that the checks detect the loss. */
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

  /** A slow storage. A crashed process cannot write to it. */
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

  /** Ends the process without a disconnect. */
  crash() {
    this.running.gone = true;
    this.network.forget();
    this.running = undefined;
  }

  async close() {
    const { client } = this.running;
    let closed = false;
    client.close().then(() => (closed = true));
    assert.ok(await this.time.pass(5_000, () => closed), 'close resolves');
    this.crash();
  }

  async #message(run, message) {
    if (run.gone) return;
    const { conv: id, seq, from, data } = message;
    const conv = this.gateway.convs.get(id);
    assert.ok(!(from === ME && data?.by === 'this'), `${id}: the device's own message ${seq} was delivered`);
    const before = this.#handed.get(id) ?? this.position(id) ?? this.#base.get(id) ?? 0;
    const floor = Math.max(before, conv.floors.get(ME) ?? 0);
    assert.ok(seq > before, `${id}: ${seq} was delivered after ${before}`);
    for (let missing = floor + 1; missing < seq; missing++) {
      const skipped = conv.messages[missing - 1];
      assert.ok(missing <= conv.deleted || skipped.data?.by === 'this', `${id}: ${seq} was delivered after ${before}, but ${missing} was not`);
    }
    this.#handed.set(id, seq);
    if (this.chance.happens(this.slowHandlers)) await new Promise((resolve) => this.time.later(this.chance.below(60), resolve));
    if (run.gone) return;
    if (!this.finished.has(id)) this.finished.set(id, new Set());
    this.finished.get(id).add(seq);
  }

  /** Checks that an acknowledged position was saved before, or is not beyond the gateway's cursor. */
  #acknowledged({ uid }, conv, seq, cursor) {
    if (uid === ME) assert.ok(seq <= Math.max(this.position(conv.id) ?? 0, cursor), `${conv.id}: ${seq} was acknowledged, but only ${this.position(conv.id)} is saved`);
  }

  /** The device has registered for the first time: earlier messages are not delivered to it. */
  known() {
    for (const conv of this.gateway.convs.values()) this.#base.set(conv.id, conv.messages.length);
  }

  /**
   * Ends all faults, and checks that then all messages are delivered and all accepted sends are in the
   * history.
   */
  async end(accepted) {
    this.gateway.troubles = 0;
    if (!this.running) this.start();
    // Retention lowers the number of unread messages, which a client learns at its next register.
    if (this.gateway.forgot) this.network.cut();
    const missing = () => [...this.gateway.convs.values()].flatMap((conv) => this.#missing(conv));
    const done = () => this.client.status === 'connected' && missing().length === 0 && this.client.pending.length === 0 && this.gateway.behind(ME).length === 0 && this.client.unread === this.gateway.unread(ME);
    const ok = await this.time.pass(120_000, done);
    assert.deepEqual(missing(), [], 'all messages of others were delivered');
    assert.deepEqual(this.client.pending, [], 'the outbox is empty');
    assert.equal(this.client.unread, this.gateway.unread(ME), 'the number of unread messages is that of the gateway');
    assert.ok(ok, `not everything is acknowledged: ${JSON.stringify(this.gateway.behind(ME))}`);
    assert.deepEqual(this.errors.map(String), []);
    for (const { to, n } of accepted) {
      const all = [...this.gateway.convs.values()].flatMap((conv) => conv.messages);
      assert.equal(all.filter(({ data }) => data?.by === 'this' && data.n === n).length, 1, `message ${n} to ${JSON.stringify(to)} is in the history once`);
    }
    for (const conv of this.gateway.convs.values()) {
      const own = conv.messages.filter(({ data }) => data?.by === 'this').map(({ data }) => data.n);
      assert.deepEqual(own, [...own].sort((a, b) => a - b), `${conv.id}: the messages were sent in order`);
    }
  }

  #missing(conv) {
    if (!this.gateway.members(conv).includes(ME)) return [];
    const from = Math.max(this.#base.get(conv.id) ?? 0, conv.floors.get(ME) ?? 0, conv.deleted);
    const had = this.finished.get(conv.id) ?? new Set();
    return conv.messages.filter(({ seq, data }) => seq > from && data?.by !== 'this' && !had.has(seq)).map(({ seq }) => `${conv.id} ${seq}`);
  }
}
