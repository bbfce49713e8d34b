// The gateway's HTTP API, as a backend calls it.

import assert from 'node:assert/strict';

/**
 * Makes a call. The answer has `status`, `headers`, `text`, and `body`, which is the parsed text if it is
 * JSON.
 */
export async function call(url, method, path, { body, key, headers = {} } = {}) {
  const all = { ...headers };
  if (key !== undefined) all.authorization = `Bearer ${key}`;
  let sent = body;
  if (body !== undefined && typeof body !== 'string' && !Buffer.isBuffer(body)) sent = JSON.stringify(body);
  if (sent !== undefined) all['content-type'] ??= 'application/json';
  const response = await fetch(url + path, { method, headers: all, body: sent, redirect: 'manual' });
  const text = await response.text();
  const isJson = /\bjson\b/.test(response.headers.get('content-type') ?? '');
  return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : undefined };
}

export class Api {
  constructor(url, key) {
    this.url = url;
    this.key = key;
  }

  call(method, path, body, more = {}) {
    return call(this.url, method, path, { key: this.key, body, ...more });
  }

  /** Makes a call, checks that the answer has `status`, and returns its body. */
  async expect(status, method, path, body) {
    const answer = await this.call(method, path, body);
    assert.equal(answer.status, status, `${method} ${path} ${JSON.stringify(body)?.slice(0, 300)} -> ${answer.text.slice(0, 500)}`);
    if (status >= 400) {
      assert.match(answer.headers.get('content-type'), /^application\/problem\+json/, `${method} ${path}`);
      assert.equal(answer.body.status, status);
    }
    return answer.body;
  }

  send(message) {
    return this.expect(200, 'POST', '/v1/messages', message);
  }

  /** Sends a message to one user and returns the result for that user. */
  async sendTo(uid, message) {
    const { results } = await this.send({ ...message, to: { user: uid } });
    assert.equal(results.length, 1);
    assert.equal(results[0].uid, uid);
    return results[0];
  }

  user(uid) {
    return this.expect(200, 'GET', `/v1/users/${encodeURIComponent(uid)}`);
  }

  team(name, members, more = {}) {
    return this.expect(200, 'PUT', `/v1/teams/${encodeURIComponent(name)}`, { members, ...more });
  }

  async history(conv, query = 'limit=500') {
    return this.expect(200, 'GET', `/v1/conversations/${encodeURIComponent(conv)}/messages?${query}`);
  }
}
