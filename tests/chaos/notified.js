// Notifications in a run of several nodes: the webhook, users who are always offline, and the check. A user
// who is always offline is notified of every message. A user whose device has acknowledged a message is not
// notified of it afterwards.

import { createHmac } from 'node:crypto';
import { Webhook } from '../lib/webhook.js';

const SECRET = 'secret-of-the-chaos';
const OFFLINE = 10;
const EVERY_MS = 150;
/** An attempt that was decided before a node was stopped may arrive when it continues. */
const IN_FLIGHT_MS = 15_000;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Notified {
  /** mid -> uid of the messages to users who are offline. */
  #due = new Map();

  static async start(chance) {
    const self = new Notified();
    self.hook = await Webhook.start(SECRET);
    self.hook.answer = () => (chance.isOne(0.05) ? 503 : 200);
    return self;
  }

  get config() {
    return { push: { webhook: { url: encodeURI(this.hook.url), secret: SECRET }, delay_ms: 1_000, ack_wait_ms: 3_000, retry_initial_ms: 200 } };
  }

  /** Sends to users who are offline until `isOver()`. */
  async load({ backend, chance, isOver }) {
    for (let n = 0; !isOver(); n++) {
      await sleep(EVERY_MS);
      const uid = `离线${chance.int(1, OFFLINE)}`;
      const { status, body } = await backend.insist('POST', '/v1/messages', { type: 5, to: { user: uid }, data: { n }, cid: `o${n}` });
      if (status === 200) this.#due.set(body.results[0].mid, uid);
    }
  }

  get #accepted() {
    return this.hook.all.filter(({ status }) => status === 200);
  }

  /** What users who are offline were not notified of. */
  missing() {
    const told = new Set(this.#accepted.map(({ body }) => body.mid));
    return [...this.#due].filter(([mid]) => !told.has(mid)).map(([mid, uid]) => `a notification of ${mid} for ${uid}`);
  }

  /** The fault `notified-late`: one more notification, a minute after the message was acknowledged. */
  plant(name, { record, world }) {
    if (name !== 'notified-late') return;
    for (const { uid, devices } of world.users) {
      for (const { conv, seq, at } of devices.flatMap(({ acks }) => acks)) {
        const message = record.get(conv)?.messages.find((one) => one.seq === seq && one.from !== uid);
        if (!message) continue;
        const bytes = Buffer.from(JSON.stringify({ uid, mid: message.mid, conv, seq }));
        const t = Math.floor(Date.now() / 1_000);
        const v1 = createHmac('sha256', SECRET).update(`${t}.`).update(bytes).digest('hex');
        const headers = { 'content-type': 'application/json', 'x-mynah-signature': `t=${t},v1=${v1}` };
        this.hook.all.push({ method: 'POST', headers, bytes, body: JSON.parse(bytes), status: 200, at: at + 60_000 });
        return;
      }
    }
  }

  check({ record, world }, fail) {
    const messages = new Map([...record.values()].flatMap((conv) => conv.messages.map((message) => [message.mid, { ...message, conv }])));
    const told = new Map();
    for (const call of this.hook.all) {
      const { uid, mid, conv, seq } = call.body;
      try {
        this.hook.verify(call);
      } catch (error) {
        fail('notified', `a notification is not signed: ${error.message}`, call.body);
      }
      if (call.status === 200) told.set(`${uid} ${mid}`, (told.get(`${uid} ${mid}`) ?? 0) + 1);
      const user = world.users.find((one) => one.uid === uid);
      if (!user) {
        if (this.#due.size > 0 && !uid.startsWith('离线')) fail('notified', `${uid} was notified, who is nobody`, call.body);
        continue;
      }
      const message = messages.get(mid);
      if (!message) fail('notified', `${uid} was notified of a message that is not in the history`, call.body);
      else if (message.from === uid) fail('notified', `${uid} was notified of its own message`, call.body);
      const ack = user.devices.flatMap(({ acks }) => acks).find((one) => one.conv === conv && one.seq >= seq && one.at + IN_FLIGHT_MS < call.at);
      if (ack) fail('notified', `${uid} was notified ${call.at - ack.at} ms after the message was acknowledged`, call.body);
    }
    const again = [...told.values()].reduce((sum, times) => sum + times - 1, 0);
    return { offline: this.#due.size, calls: this.hook.all.length, again };
  }

  close() {
    this.hook.close();
  }
}
