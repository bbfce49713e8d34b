// Two well-behaved clients, in their own thread, which write to each other during the floods. Every message
// must be answered, and must be delivered to the other client once and in order. Neither connection may be
// closed.

import { parentPort, workerData } from 'node:worker_threads';
import { event, user } from './wire.js';

const GAP_MS = 25;
const MOST_OPEN = 200;
/** The time limit for each step. After it the server counts as hanging. */
const PATIENCE_MS = 30_000;

const { port } = workerData;
const failures = [];
const fail = (what) => failures.length < 20 && failures.push(what);
const times = [];
let stopping = false;

class Side {
  sent = 0;
  answered = 0;
  heard = 0;
  seq = 0;
  open = new Map();

  constructor(name, other) {
    Object.assign(this, { name, other });
  }

  async enter() {
    this.ws = await user(port, this.name, { from: '127.0.0.1', hear: (text) => this.hear(text) });
    if (!this.ws) throw new Error(`${this.name} could not register`);
    this.ws.socket.on('close', () => stopping || fail(`${this.name} was disconnected`));
  }

  send() {
    if (this.open.size >= MOST_OPEN) return;
    this.sent += 1;
    this.open.set(this.sent, performance.now());
    this.ws.text(event({ type: 101, data: { type: 3, to: { user: this.other }, cid: `${this.sent}`, data: { n: this.sent } } }, this.sent));
  }

  hear(text) {
    const answer = /^43([1-9]\d*)(\[.*)$/s.exec(text);
    if (answer) {
      const [id, [result]] = [Number(answer[1]), JSON.parse(answer[2])];
      if (!this.open.has(id)) fail(`${this.name}: there was an answer ${id} without a request`);
      if (result.code !== 0) fail(`${this.name}: ${id} was answered ${JSON.stringify(result)}`);
      this.open.delete(id);
      this.answered += 1;
    } else if (text.startsWith('42')) {
      const push = JSON.parse(JSON.parse(text.slice(2))[1]);
      if (push.type !== 3) return;
      this.heard += 1;
      if (push.data.n !== this.heard) fail(`${this.name}: message ${push.data.n} was received instead of ${this.heard}`);
      if (push.seq <= this.seq) fail(`${this.name}: seq ${push.seq} was received after ${this.seq}`);
      this.seq = push.seq;
      const sent = sides.find((side) => side !== this).open.get(push.data.n);
      if (sent !== undefined) times.push(performance.now() - sent);
    }
  }
}

const sides = [new Side('pair-a', 'pair-b'), new Side('pair-b', 'pair-a')];
for (const side of sides) await side.enter();
const timer = setInterval(() => sides.forEach((side) => side.send()), GAP_MS);
parentPort.postMessage('ready');

parentPort.once('message', async () => {
  clearInterval(timer);
  const end = performance.now() + PATIENCE_MS;
  const complete = () => sides.every((side, i) => side.open.size === 0 && sides[1 - i].heard === side.sent);
  while (!complete() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  stopping = true;
  for (const { name, open } of sides) if (open.size > 0) fail(`${name}: ${open.size} messages were never answered`);
  sides.forEach((side, i) => sides[1 - i].heard === side.sent || fail(`${side.name} sent ${side.sent} messages, of which ${sides[1 - i].heard} were received`));
  sides.forEach(({ ws }) => ws.socket.destroy());
  times.sort((a, b) => a - b);
  const at = (share) => Math.round((times[Math.floor((times.length - 1) * share)] ?? 0) * 10) / 10;
  parentPort.postMessage({
    failures,
    counts: { messages: sides[0].sent + sides[1].sent, 'median ms': at(0.5), '99% ms': at(0.99), 'worst ms': at(1) },
  });
});
