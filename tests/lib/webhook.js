// A webhook for push notifications, which checks what it receives and answers as the test wants.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import { Inbox } from './inbox.js';

export class Webhook {
  #server;
  #secret;
  #calls = new Inbox('the webhook');
  /**
   * Chooses the answer to each notification: a status, a status and a body, 'hang', or a promise of one of
   * these.
   */
  answer = () => 200;
  /** All received notifications, whatever the answer was. */
  all = [];
  hanging = 0;

  static async start(secret) {
    const hook = new Webhook();
    hook.#secret = secret;
    hook.#server = createServer((request, response) => hook.#take(request, response));
    await new Promise((resolve) => hook.#server.listen(0, '127.0.0.1', resolve));
    hook.url = `http://127.0.0.1:${hook.#server.address().port}/push?来=1`;
    return hook;
  }

  async #take(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    const notification = { method: request.method, headers: request.headers, bytes, at: Date.now() };
    try {
      notification.body = JSON.parse(bytes.toString('utf8'));
    } catch (error) {
      notification.body = { error: String(error) };
    }
    const [status, body] = [await this.answer(notification.body)].flat();
    notification.status = status;
    this.all.push(notification);
    this.#calls.push(notification);
    if (status === 'hang') this.hanging++;
    else response.writeHead(status).end(body && JSON.stringify(body));
  }

  /** Waits for the next notification for this user (of `kind`, if it is given) and verifies its signature. */
  async next(uid, kind) {
    const fits = ({ body }) => body.uid === uid && (kind === undefined || body.kind === kind);
    const notification = await this.#calls.take(fits, `a notification for ${uid}`);
    this.verify(notification);
    return notification;
  }

  for(uid) {
    return this.all.filter(({ body }) => body.uid === uid);
  }

  verify({ method, headers, bytes }) {
    assert.equal(method, 'POST');
    assert.match(headers['content-type'], /^application\/json/);
    const [, t, v1] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(headers['x-mynah-signature']) ?? assert.fail(`signature ${headers['x-mynah-signature']}`);
    assert.ok(Math.abs(Date.now() / 1000 - Number(t)) < 300, 'signed now');
    assert.equal(v1, createHmac('sha256', this.#secret).update(`${t}.`).update(bytes).digest('hex'));
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
