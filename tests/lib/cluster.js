// Several nodes with one PostgreSQL and one Redis, behind a load balancer without affinity.

import { rmSync } from 'node:fs';
import { Api } from './api.js';
import { eventually } from './inbox.js';
import { NO_POSTGRES, Postgres } from './postgres.js';
import { API_KEY, freshDirectory, startGateway } from './program.js';
import { Proxy } from './proxy.js';
import { NO_REDIS, Redis } from './redis.js';

/** Why tests with several nodes are skipped, or false. */
export const NO_CLUSTER = NO_POSTGRES || NO_REDIS;

export const CLUSTER_SECRET = 'secret-of-the-cluster-of-the-tests';
/** What is lost if the machine fails is of no use after the tests. */
export const FAST = { settings: ['fsync=off', 'full_page_writes=off'] };

/**
 * With MYNAH_TEST_NODES=1 there is one node, without `[cluster]`, which stands for all: to see what the tests
 * and the load balancer do alone.
 */
export const IS_ONE = process.env.MYNAH_TEST_NODES === '1';

let last = 0;

export class Cluster {
  nodes = [];

  /**
   * Starts `nodes` nodes; one alone has no `[cluster]`. Without `postgres` or `redis`, the cluster starts its
   * own and ends it. `config` is that of every node; `configs[i]` are further sections of node `i`. With
   * `checks`, the load balancer asks each node whether it is ready.
   */
  static async start({ nodes = 3, config = {}, configs = [], postgres, redis, checks, env } = {}) {
    const cluster = new Cluster();
    cluster.name = `test-${process.pid}-${++last}`;
    try {
      cluster.postgres = postgres ?? (cluster.ownPostgres = await Postgres.start(FAST));
      if (nodes > 1) cluster.redis = redis ?? (cluster.ownRedis = await Redis.start());
      cluster.database = cluster.postgres.database();
      Object.assign(cluster, { config, env, isMany: nodes > 1 && !IS_ONE });
      if (IS_ONE) cluster.nodes.fill(await cluster.add(), 0, (cluster.nodes.length = nodes));
      else for (let i = 0; i < nodes; i++) await cluster.add(configs[i]);
      cluster.proxy = await Proxy.start(() => cluster.nodes.map(({ port }) => port), { checks });
    } catch (error) {
      await cluster.close().catch(() => {});
      throw error;
    }
    cluster.url = cluster.proxy.url;
    cluster.port = cluster.proxy.port;
    cluster.api = new Api(cluster.url, API_KEY);
    await cluster.ready();
    return cluster;
  }

  /** The configuration of a node. */
  whole(more = {}) {
    const { cluster, store, ...sections } = { ...this.config, ...more };
    const whole = { ...sections, store: { url: this.postgres.url(this.database), ...store } };
    return this.isMany ? { ...whole, cluster: { redis_url: this.redis.url, name: this.name, secret: CLUSTER_SECRET, ...cluster } } : whole;
  }

  /** Starts one more node. */
  async add(more) {
    const node = await startGateway({ config: this.whole(more), directory: freshDirectory(), env: this.env });
    this.nodes.push(node);
    return node;
  }

  /** Waits until all running nodes are ready. */
  async ready(ms) {
    await eventually(async () => (await Promise.all(this.nodes.filter(({ isEnded }) => !isEnded).map(isReady))).every(Boolean), 'all nodes to be ready', ms);
  }

  /** Kills a node, like a crash of its machine. `again` starts it with the same port. */
  async kill(node) {
    node.isEnded = true;
    await node.program.kill();
  }

  /** Stops a node as an operator does: it drains, and ends. */
  async drain(node) {
    node.isEnded = true;
    const end = await node.program.stop();
    if (end.code !== 0) throw new Error(`a node ended with ${JSON.stringify(end)}:\n${node.program.output}`);
  }

  async again(node) {
    await node.start();
    node.isEnded = false;
    await eventually(() => isReady(node), 'the node to be ready', 30_000);
  }

  /** Stops a node with SIGSTOP, as on a machine that is suspended. `resume` continues it. */
  suspend(node) {
    node.program.signal('SIGSTOP');
  }

  resume(node) {
    node.program.signal('SIGCONT');
  }

  /** For tests that know one program: all nodes are ended and started again together. */
  get program() {
    const all = (act) => Promise.all([...new Set(this.nodes)].map(({ program }) => act(program)));
    return {
      kill: () => all((program) => program.kill()),
      stop: async () => (await all((program) => program.stop())).find(({ code }) => code !== 0) ?? { code: 0, signal: null },
      signal: (name) => void all((program) => program.signal(name)),
      pid: this.nodes[0].program.pid,
      output: this.nodes.map(({ program }) => program.output).join('\n'),
    };
  }

  async start() {
    await Promise.all([...new Set(this.nodes)].map((node) => node.start()));
    await this.ready();
  }

  /** Ends everything. Fails if a node ends with an error. */
  async close() {
    await this.proxy?.close();
    for (const node of this.nodes) this.resume(node);
    const ends = await Promise.allSettled([...new Set(this.nodes)].filter(({ isEnded }) => !isEnded).map((node) => node.close()));
    if (this.database && !this.ownPostgres) this.postgres.drop(this.database);
    await this.ownRedis?.close();
    await this.ownPostgres?.close();
    for (const { directory } of this.nodes) rmSync(directory, { recursive: true, force: true });
    for (const { reason } of ends) if (reason) throw reason;
  }
}

async function isReady({ url }) {
  try {
    return (await fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(2_000) })).ok;
  } catch {
    return false;
  }
}

/**
 * The cluster of `with-cluster.js` for a test that knows one gateway: {url, port, api, program, start,
 * close}.
 */
export async function startAsOne({ config, env }) {
  const [directory, postgres, redis] = process.env.MYNAH_TEST_CLUSTER.split(':');
  return Cluster.start({ config, env, postgres: new Postgres(directory, Number(postgres)), redis: new Redis(Number(redis)) });
}
