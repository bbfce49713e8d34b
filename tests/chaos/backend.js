// The application's backend. It sends messages through the API, and adds and removes team members. A call
// that is not answered is repeated with the same cid, until there is a definite answer.

import { API_KEY } from '../lib/program.js';

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const LIMIT_MS = 2_500;

export class Backend {
  counts = { calls: 0, again: 0, moves: 0 };
  /** The number of calls in flight. */
  busy = 0;
  #url;
  #ledger;

  constructor(url, ledger) {
    this.#url = url;
    this.#ledger = ledger;
  }

  /** Makes one call; undefined if there is no answer in time. */
  async call(method, path, body) {
    try {
      const response = await fetch(this.#url() + path, {
        method,
        headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
        body: body && JSON.stringify(body),
        signal: AbortSignal.timeout(LIMIT_MS),
      });
      const text = await response.text();
      return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
    } catch {
      return undefined;
    }
  }

  /** Repeats a call until the answer is not a temporary error. */
  async insist(method, path, body) {
    this.busy++;
    this.counts.calls++;
    try {
      for (;;) {
        const answer = await this.call(method, path, body);
        if (answer && answer.status < 500 && answer.status !== 429) return answer;
        this.counts.again++;
        await sleep(100);
      }
    } finally {
      this.busy--;
    }
  }

  /** Sends a message. `from` may be absent if the kind allows it. */
  async send({ to, kind, from, data }) {
    const entry = this.#ledger.begin({ by: 'backend', uid: from, to, kind, data });
    const answer = await this.insist('POST', '/v1/messages', { type: kind, to, from, data: entry.data, cid: `b${entry.n}` });
    if (answer.status === 200) this.#ledger.kept(entry, answer.body.results ?? [answer.body]);
    else this.#ledger.refused(entry, answer.status);
  }

  async move(team, uid, isIn) {
    this.counts.moves++;
    const path = `/v1/teams/${encodeURIComponent(team)}/members`;
    if (isIn) await this.insist('POST', path, { uids: [uid] });
    else await this.insist('DELETE', `${path}/${encodeURIComponent(uid)}`);
  }

  async get(path) {
    const answer = await this.insist('GET', path);
    if (answer.status !== 200) throw new Error(`GET ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }
}
