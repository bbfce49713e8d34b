// Redis servers for the tests: each on a free port, in a new directory, without persistence, ended by its own
// handle.

import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { eventually } from './inbox.js';
import { freePort, freshDirectory, Program } from './program.js';

const find = (name) => [...(process.env.PATH ?? '').split(delimiter), '/usr/bin'].map((path) => join(path, name)).find(existsSync);
const server = find('redis-server');
const cli = find('redis-cli');

/** Why tests with Redis are skipped, or false. */
export const NO_REDIS = server && cli ? false : 'Redis is not installed';

/** A server, or the place of one that another process has started. */
export class Redis {
  constructor(port, { password, settings = [] } = {}) {
    Object.assign(this, { port, password, settings });
  }

  static async start(options) {
    const redis = new Redis(await freePort(), options);
    redis.directory = freshDirectory();
    await redis.run();
    return redis;
  }

  /** Starts the server, again and empty if it was ended. */
  async run() {
    const kept = ['--save', '', '--appendonly', 'no', ...(this.password ? ['--requirepass', this.password] : [])];
    this.program = new Program(server, ['--bind', '127.0.0.1', '--port', `${this.port}`, '--dir', this.directory, ...kept, ...this.settings]);
    await eventually(() => {
      try {
        return this.ask('PING') === 'PONG';
      } catch {
        return false;
      }
    }, 'Redis');
  }

  get url() {
    return `redis://${this.password ? `:${this.password}@` : ''}127.0.0.1:${this.port}`;
  }

  /** Runs a command and returns its answer as text. */
  ask(...command) {
    const env = { ...process.env, ...(this.password && { REDISCLI_AUTH: this.password }) };
    return execFileSync(cli, ['-h', '127.0.0.1', '-p', `${this.port}`, ...command], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], env }).trim();
  }

  /** Ends the server like a crash, or with another signal. */
  async end(signal = 'SIGKILL') {
    this.program.signal(signal);
    await this.program.exited;
  }

  /** Ends the server and starts an empty one. */
  async restart() {
    await this.end();
    await this.run();
  }

  flush() {
    this.ask('FLUSHALL');
  }

  async close() {
    await this.end();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
