// PostgreSQL servers for the tests: each on a free port, in a new directory, ended by its own handle. The
// gateways connect as a role without any right but to its own database.

import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './inbox.js';
import { freePort, Program } from './program.js';

const INSTALLED = '/usr/lib/postgresql';
const versions = existsSync(INSTALLED) ? readdirSync(INSTALLED).filter((name) => Number(name) >= 13) : [];
const bin = process.env.MYNAH_POSTGRES_BIN ?? versions.map((name) => join(INSTALLED, name, 'bin')).findLast((path) => existsSync(join(path, 'initdb')));

/** Why tests with PostgreSQL are skipped, or false. */
export const NO_POSTGRES = bin ? false : 'PostgreSQL is not installed';

/** PostgreSQL does not run as root. */
export const nobody = process.getuid() === 0 ? { uid: 65_534, gid: 65_534 } : {};
const PASSWORD = 'password-of-the-tests';

/** A server, or the place of one that another process has started. */
export class Postgres {
  /** The directory of the server's socket, and its port. */
  constructor(directory, port) {
    Object.assign(this, { directory, port });
  }

  /** Starts a server. `certificate` is a directory with cert.pem and key.pem. */
  static async start({ certificate, settings = [] } = {}) {
    const directory = mkdtempSync(join(tmpdir(), 'mynah-postgres-'));
    chmodSync(directory, 0o755);
    const data = join(directory, 'data');
    const password = join(directory, 'password');
    mkdirSync(data);
    writeFileSync(password, PASSWORD);
    if (nobody.uid) for (const path of [directory, data, password]) chownSync(path, nobody.uid, nobody.gid);
    const kept = ['-A', 'scram-sha-256', '--auth-local=trust', `--pwfile=${password}`];
    execFileSync(join(bin, 'initdb'), ['-D', data, '-U', 'postgres', '-E', 'UTF8', '--locale=C', '--no-sync', ...kept], { ...nobody, cwd: directory });
    const postgres = new Postgres(directory, await freePort());
    postgres.settings = settings;
    if (certificate) {
      for (const name of ['cert.pem', 'key.pem']) copyFileSync(join(certificate, name), join(data, name));
      chmodSync(join(data, 'key.pem'), 0o600);
      if (nobody.uid) chownSync(join(data, 'key.pem'), nobody.uid, nobody.gid);
      postgres.settings = [...settings, 'ssl=on', 'ssl_cert_file=cert.pem', 'ssl_key_file=key.pem'];
    }
    await postgres.run();
    postgres.sql(`CREATE ROLE mynah LOGIN PASSWORD '${PASSWORD}'`);
    return postgres;
  }

  /** Starts the server, again if it was ended. */
  async run() {
    const settings = ['listen_addresses=127.0.0.1', 'max_connections=300', 'shared_buffers=64MB', ...this.settings];
    const args = ['-D', join(this.directory, 'data'), '-p', `${this.port}`, '-k', this.directory, ...settings.flatMap((it) => ['-c', it])];
    this.program = new Program(join(bin, 'postgres'), args, { cwd: this.directory, ...nobody });
    await eventually(() => {
      try {
        return this.sql('SELECT 1');
      } catch {
        return false;
      }
    }, 'PostgreSQL');
  }

  /** Runs statements as superuser, and returns what they print. */
  sql(text, database = 'postgres') {
    const args = ['-h', this.directory, '-p', `${this.port}`, '-U', 'postgres', '-d', database, '-qAt', '-v', 'ON_ERROR_STOP=1', '-c', text];
    return execFileSync(join(bin, 'psql'), args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  /** The URL of a database for `role`. */
  url(database, { role = 'mynah', password = PASSWORD, host = '127.0.0.1', query = 'sslmode=disable' } = {}) {
    return `postgres://${role}:${password}@${host}:${this.port}/${database}?${query}`;
  }

  /** Makes a database that belongs to the role of the gateways. Returns its name. */
  database(more = '') {
    const name = `test_${process.pid}_${++last}`;
    this.sql(`CREATE DATABASE ${name} OWNER mynah TEMPLATE template0 ${more}`);
    return name;
  }

  drop(name) {
    this.sql(`DROP DATABASE ${name} WITH (FORCE)`);
  }

  /** Ends the server like a crash, or with another signal. */
  async end(signal = 'SIGQUIT') {
    this.program.signal(signal);
    await this.program.exited;
  }

  async close() {
    await this.end();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

let last = 0;

/** The server that `with-postgres.js` has started for all tests, if there is one. */
export const shared = () => {
  const [directory, port] = (process.env.MYNAH_TEST_POSTGRES ?? '').split(':');
  return port && new Postgres(directory, Number(port));
};
