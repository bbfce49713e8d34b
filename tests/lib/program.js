// Starts the programs under test. Each has a free port that it chooses itself, and a new directory. A program
// is ended only by its own process handle.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { within } from './inbox.js';
import { Api } from './api.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const targetDir = process.env.CARGO_TARGET_DIR ?? join(root, 'target');

/** The programs. `scripts/test` builds them and sets these variables. */
export const GATEWAY = process.env.MYNAH_BIN ?? join(targetDir, 'debug/mynah');
const CERTIFICATE = process.env.MYNAH_CERTIFICATE ?? join(targetDir, 'debug/examples/certificate');
export const CONFORMANCE = process.env.MYNAH_CONFORMANCE ?? join(targetDir, 'debug/examples/conformance');

/** Writes a new certificate for 127.0.0.1 and its key to a directory, as cert.pem and key.pem. */
export function certify(directory) {
  execFileSync(CERTIFICATE, [directory]);
}

export const API_KEY = 'key-of-the-tests-0123456789abcdef';

const children = new Set();
const killAll = () => {
  for (const child of children) child.kill('SIGKILL');
};
process.on('exit', killAll);
// If the test run is interrupted, the programs are ended too.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    killAll();
    process.kill(process.pid, signal);
  });
}

/**
 * This environment without variables that begin with MYNAH_: the programs take those for configuration keys.
 */
export const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MYNAH_')));

/** A running program. */
export class Program {
  #child;
  #output = '';
  /** Resolves with {code, signal} when the program has ended. */
  exited;

  constructor(path, args, { env = {}, cwd, uid, gid } = {}) {
    if (!existsSync(path)) throw new Error(`${path} does not exist: build it with scripts/test or cargo build`);
    this.#child = spawn(path, args, { cwd, uid, gid, env: { ...environment, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    children.add(this.#child);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (text) => {
        this.#output += text;
        this.#child.emit('output');
      });
    }
    this.exited = new Promise((resolve, reject) => {
      this.#child.on('error', reject);
      this.#child.on('close', (code, signal) => {
        children.delete(this.#child);
        resolve({ code, signal });
      });
    });
  }

  get pid() {
    return this.#child.pid;
  }

  /** Everything that the program has printed. */
  get output() {
    return this.#output;
  }

  /** Waits for the first match of `pattern` in the output of the program. */
  printed(pattern) {
    const found = new Promise((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(this.#output);
        if (match) resolve(match);
        return match;
      };
      if (look()) return;
      this.#child.on('output', look);
      this.exited.then(() => look() || reject(new Error(`ended before it printed ${pattern}:\n${this.#output}`)), reject);
    });
    return within(found, `${pattern} in the output`, 60_000).catch((error) => {
      error.message += `\n${this.#output}`;
      throw error;
    });
  }

  signal(name) {
    this.#child.kill(name);
  }

  /** Ends the program with SIGTERM, as an operator does, and waits for its end. */
  async stop() {
    this.signal('SIGTERM');
    return within(this.exited, `the end of process ${this.pid}`, 30_000);
  }

  /** Ends the program with SIGKILL, like a crash. */
  async kill() {
    this.signal('SIGKILL');
    return this.exited;
  }
}

/** Makes a new directory in the system's temporary directory. */
export function freshDirectory() {
  return mkdtempSync(join(tmpdir(), 'mynah-test-'));
}

/** A port for a program that cannot choose one itself. */
export async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/**
 * Starts the conformance example. By default the heartbeats are slow, so that no test fails on a busy
 * machine.
 */
export async function startConformance({ pingInterval = 25_000, pingTimeout = 20_000 } = {}) {
  const args = ['--port', '0', '--ping-interval', `${pingInterval}`, '--ping-timeout', `${pingTimeout}`];
  const program = new Program(CONFORMANCE, args);
  const [, port] = await program.printed(/127\.0\.0\.1:([1-9]\d*)/);
  return { program, port: Number(port), url: `http://127.0.0.1:${port}`, close: () => program.kill() };
}

/**
 * Starts a gateway with `config` (sections and keys as in the file). `close` removes the directory. With
 * MYNAH_TEST_POSTGRES (`with-postgres.js`) it gets a database of its own, unless its test needs the
 * `embedded` store. With MYNAH_TEST_CLUSTER (`with-cluster.js`) it is a cluster.
 */
export async function startGateway({ config = {}, directory = freshDirectory(), env, embedded = false } = {}) {
  if (process.env.MYNAH_TEST_CLUSTER && !embedded && !config.store?.url) return (await import('./cluster.js')).startAsOne({ config, env });
  const postgres = !embedded && !config.store?.url && process.env.MYNAH_TEST_POSTGRES ? (await import('./postgres.js')).shared() : undefined;
  const database = postgres?.database();
  const file = join(directory, 'mynah.toml');
  const whole = {
    ...config,
    server: { listen: '127.0.0.1:0', ...config.server },
    store: { path: join(directory, 'data'), ...(database && { url: postgres.url(database) }), ...config.store },
    auth: { api_keys: [API_KEY], ...config.auth },
  };
  writeFileSync(file, toml(whole));
  const gateway = { directory, file, data: whole.store.path };

  /** Starts the program. A restart uses the same port and directory. */
  gateway.start = async () => {
    const program = new Program(GATEWAY, ['--config', file, ...again()], { cwd: directory, env });
    const [, port] = await program.printed(/listening[^\n]*127\.0\.0\.1:([1-9]\d*)/i);
    const [, api] = await program.printed(/API +(http\S+)\/v1 /);
    const url = `${whole.server.tls ? 'https' : 'http'}://127.0.0.1:${port}`;
    Object.assign(gateway, { program, port: Number(port), url, api: new Api(api, API_KEY) });
  };
  const again = () => (gateway.port ? ['--listen', `127.0.0.1:${gateway.port}`] : []);
  gateway.close = async () => {
    const end = await gateway.program.stop();
    rmSync(directory, { recursive: true, force: true });
    if (database) postgres.drop(database);
    if (end.code !== 0) throw new Error(`the gateway ended with ${JSON.stringify(end)}:\n${gateway.program.output}`);
  };
  await gateway.start();
  return gateway;
}

/**
 * The part of TOML that configuration files need: sections, arrays of sections, strings, numbers, booleans,
 * lists.
 */
export function toml(sections) {
  const lines = [];
  const write = (name, value) => {
    if (Array.isArray(value) && typeof value[0] === 'object') {
      for (const row of value) {
        lines.push(`[[${name}]]`);
        for (const [key, item] of Object.entries(row)) lines.push(`${key} = ${JSON.stringify(item)}`);
      }
      return;
    }
    const entries = Object.entries(value);
    const isSection = (item) => item !== null && typeof item === 'object' && !Array.isArray(item);
    lines.push(`[${name}]`);
    for (const [key, item] of entries) if (!isSection(item)) lines.push(`${key} = ${JSON.stringify(item)}`);
    for (const [key, item] of entries) if (isSection(item)) write(`${name}.${key}`, item);
  };
  for (const [name, value] of Object.entries(sections)) write(name, value);
  return `${lines.join('\n')}\n`;
}
