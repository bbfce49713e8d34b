// A cluster under test, and its faults. Every node reaches PostgreSQL, Redis and the other nodes over wires
// of its own, so that a cut between machines can be made without any right. It has the interface of
// `Gateway`.

import { readFileSync } from 'node:fs';
import { Cluster, FAST, IS_ONE } from '../lib/cluster.js';
import { Postgres } from '../lib/postgres.js';
import { Proxy } from '../lib/proxy.js';
import { Redis } from '../lib/redis.js';
import { Wire } from './wire.js';

const NODES = IS_ONE ? 1 : 3;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const portOf = (wire) => new URL(wire.url).port;

export class Nodes {
  logs = [];
  /** The largest resident memory of a node that was seen, in MiB. */
  mostMiB = 0;
  counts = { kills: 0, stops: 0, drains: 0, 'Redis restarts': 0, flushes: 0, 'PostgreSQL restarts': 0, cuts: 0 };
  nodes = [];
  #env = {};
  #watch;
  #die;
  /** Rejects if a node ends unexpectedly. */
  death = new Promise((_, reject) => (this.#die = reject));

  static async start({ config }) {
    const self = new Nodes();
    const cluster = new Cluster();
    self.cluster = cluster;
    cluster.postgres = cluster.ownPostgres = await Postgres.start(FAST);
    cluster.redis = cluster.ownRedis = await Redis.start();
    cluster.database = cluster.postgres.database();
    Object.assign(cluster, { name: 'chaos', config, env: self.#env, isMany: !IS_ONE });
    for (let i = 0; i < NODES; i++) await self.#add();
    cluster.proxy = await Proxy.start(() => cluster.nodes.map(({ port }) => port), { checks: true });
    await cluster.ready();
    self.#watch = setInterval(() => self.#weigh(), 250);
    return self;
  }

  /** One more node, with wires to all that it needs. */
  async #add() {
    const { cluster } = this;
    const wires = {
      postgres: await Wire.open(() => cluster.postgres.port),
      redis: await Wire.open(() => cluster.redis.port),
      // What the other nodes send to this one.
      inward: await Wire.open(() => wires.node.port),
    };
    const url = cluster.postgres.url(cluster.database).replace(`:${cluster.postgres.port}/`, `:${portOf(wires.postgres)}/`);
    const redis_url = cluster.redis.url.replace(`:${cluster.redis.port}`, `:${portOf(wires.redis)}`);
    const node = await cluster.add({ store: { url }, cluster: { redis_url, advertise: `127.0.0.1:${portOf(wires.inward)}` } });
    wires.node = node;
    node.wires = [wires.postgres, wires.redis, wires.inward];
    this.nodes.push(node);
    this.#began(node);
  }

  #began(node) {
    const { program } = node;
    this.logs.push(program);
    node.isEnded = false;
    program.exited.then((end) => {
      if (!node.isEnded) this.#die(new Error(`a node ended unexpectedly with ${JSON.stringify(end)}:\n${program.output.slice(-2_000)}`));
    });
  }

  get port() {
    return this.cluster.proxy.port;
  }

  get url() {
    return this.cluster.proxy.url;
  }

  /** The output of all runs of all nodes. */
  get output() {
    return this.logs.map((program, i) => `---- life ${i + 1}, process ${program.pid}\n${program.output}`).join('\n');
  }

  #weigh() {
    for (const { program } of this.nodes) {
      try {
        const [, kib] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${program.pid}/status`, 'utf8')) ?? [];
        if (kib) this.mostMiB = Math.max(this.mostMiB, Math.round(Number(kib) / 1024));
      } catch {
        // The process is being killed, or this system has no /proc.
      }
    }
  }

  async #again(node) {
    await node.start();
    this.#began(node);
  }

  /** Kills every node at once and starts all again, with a changed configuration. */
  async kill(downMs, { env = {} } = {}) {
    this.counts.kills++;
    await Promise.all(this.nodes.map((node) => this.cluster.kill(node)));
    await sleep(downMs);
    Object.assign(this.#env, env);
    await Promise.all(this.nodes.map((node) => this.#again(node)));
    await this.cluster.ready(30_000);
  }

  /** A plan of faults, one after another, each between two and the next with a pause. */
  plan({ chance, options }) {
    const plan = [];
    for (let i = 0; i < options.rounds; i++) {
      const way = WAYS[i % WAYS.length];
      plan.push({ way, node: chance.int(0, NODES - 1), ms: chance.between(0, 1_500), pause: chance.between(200, 2_500) });
    }
    return plan;
  }

  /** Carries out the plan. Resolves when it is finished and all nodes run. */
  async suffer({ plan, note }) {
    for (const { way, node, ms, pause } of plan) {
      await sleep(pause);
      note(`cluster: ${way}`);
      await FAULTS[way](this, this.nodes[node], ms);
    }
  }

  async killOne(node, downMs) {
    this.counts.kills++;
    await this.cluster.kill(node);
    await sleep(downMs);
    await this.#again(node);
  }

  async drain(node) {
    this.counts.drains++;
    await this.cluster.drain(node);
    await this.#again(node);
    await this.cluster.ready(30_000);
  }

  /** Ends all nodes as an operator does, and then everything else. */
  async end() {
    clearInterval(this.#watch);
    for (const node of this.nodes) node.isEnded = true;
    const ends = await Promise.all(this.nodes.map(({ program }) => program.stop()));
    for (const { wires } of this.nodes) for (const wire of wires) wire.close();
    await this.cluster.close();
    return ends.find(({ code }) => code !== 0) ?? ends[0];
  }
}

const FAULTS = {
  kill: (all, node, ms) => all.killOne(node, ms),
  async 'hang for long'(all, node, ms) {
    all.counts.stops++;
    all.cluster.suspend(node);
    await sleep(11_000 + ms);
    all.cluster.resume(node);
  },
  async hang(all, node, ms) {
    all.counts.stops++;
    all.cluster.suspend(node);
    await sleep(2_500 + ms);
    all.cluster.resume(node);
  },
  async 'hang and kill'(all, node, ms) {
    all.counts.stops++;
    all.cluster.suspend(node);
    await sleep(ms);
    await all.killOne(node, ms);
  },
  async 'restart of Redis'(all, node, ms) {
    all.counts['Redis restarts']++;
    await all.cluster.redis.end();
    await sleep(ms * 3);
    await all.cluster.redis.run();
  },
  async FLUSHALL(all, node, ms) {
    for (let i = 0; i < 3; i++) {
      all.counts.flushes++;
      all.cluster.redis.flush();
      await sleep(ms);
    }
  },
  async 'restart of PostgreSQL'(all, node, ms) {
    all.counts['PostgreSQL restarts']++;
    await all.cluster.postgres.end(ms > 750 ? 'SIGQUIT' : 'SIGINT');
    await sleep(ms);
    await all.cluster.postgres.run();
  },
  async 'rolling restart'(all) {
    for (const node of all.nodes) await all.drain(node);
  },
  /** The node can reach nothing and is reached by no node; nothing is answered. Its clients reach it. */
  async 'cut off'(all, node, ms) {
    all.counts.cuts++;
    for (const wire of node.wires) for (const way of ['up', 'down']) wire.stall(way);
    await sleep(4_000 + ms * 4);
    for (const wire of node.wires) {
      if (ms > 750) wire.cut();
      wire.heal();
    }
  },
  /** Only Redis cannot be reached, or only the other nodes. */
  async 'cut in part'(all, node, ms) {
    all.counts.cuts++;
    const wire = node.wires[ms > 750 ? 1 : 2];
    for (const way of ['up', 'down']) wire.stall(way);
    await sleep(3_000 + ms);
    wire.heal();
  },
};

const WAYS = ['kill', 'restart of Redis', 'rolling restart', 'FLUSHALL', 'hang', 'restart of PostgreSQL', 'cut off', 'hang and kill', 'cut in part', 'hang for long'];
