// The record in PostgreSQL (store.url): what ends the start, one server for a database, and PostgreSQL that
// fails while the gateway serves (docs/POSTGRES.md).

import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { call } from '../../lib/api.js';
import { eventually, within } from '../../lib/inbox.js';
import { NO_POSTGRES, Postgres } from '../../lib/postgres.js';
import { API_KEY, certify, freshDirectory, GATEWAY, Program, startGateway, toml } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';

const skip = NO_POSTGRES;
const START_MS = 20_000;

let postgres;
let certificate;
before(async () => {
  if (skip) return;
  certificate = freshDirectory();
  certify(certificate);
  chmodSync(certificate, 0o755);
  postgres = await Postgres.start({ certificate });
});
after(() => postgres?.close());

/** Runs the program with this URL, or one of its commands. */
function mynah(t, url, ...args) {
  const directory = freshDirectory();
  const file = join(directory, 'mynah.toml');
  writeFileSync(file, toml({ server: { listen: '127.0.0.1:0' }, store: { url }, auth: { api_keys: [API_KEY] } }));
  const program = new Program(GATEWAY, ['--config', file, ...args], { cwd: directory });
  t.after(() => program.signal('SIGKILL'));
  return program;
}

/** Runs the program, which must end with an error that matches `why` and shows no password. */
async function refused(t, url, why) {
  const program = mynah(t, url);
  const { code } = await within(program.exited, `the end of a start with ${url}`, START_MS);
  assert.equal(code, 1, program.output);
  assert.match(program.output, why);
  assert.doesNotMatch(program.output, /password-of-the-tests|secret-of-nobody/);
  return program.output;
}

async function ready(gateway, status, ms) {
  const begun = Date.now();
  await eventually(async () => (await gateway.api.call('GET', '/health/ready')).status === status, `ready to be ${status}`, ms);
  return Date.now() - begun;
}

test('what cannot be used ends the start with a reason', { skip }, async (t) => {
  const usual = postgres.database();
  await refused(t, postgres.url(usual, { password: 'secret-of-nobody' }), /password authentication failed.*correct the user or the password in store\.url/);
  await refused(t, postgres.url('nowhere'), /"nowhere" does not exist.*create the database/);
  await refused(t, postgres.url(usual).replace(`:${postgres.port}`, ':1'), /no connection to PostgreSQL: .*refused/);
  await refused(t, `mysql://mynah:secret-of-nobody@127.0.0.1/x`, /store\.url is not a PostgreSQL URL.*postgres:\/\//);
  await refused(t, postgres.url(usual, { query: 'sslmode=maybe' }), /sslmode must be disable, prefer, require, verify-ca or verify-full/);
  await refused(t, postgres.url(usual, { query: 'sslmode=verify-full' }), /certificate.*sslrootcert/);
  await refused(t, postgres.url(usual, { query: 'sslmode=verify-ca&sslrootcert=/nowhere.pem' }), /sslrootcert.*\/nowhere\.pem/);
  await refused(t, postgres.url(usual, { query: 'sslmodus=disable' }), /may have sslmode, sslrootcert/);

  const readOnly = postgres.database();
  postgres.sql(`ALTER DATABASE ${readOnly} SET default_transaction_read_only = on`);
  await refused(t, postgres.url(readOnly), /read-only \(a standby\?\); name the primary/);

  const latin = postgres.database("ENCODING 'LATIN1'");
  await refused(t, postgres.url(latin), /encoding LATIN1; create one with ENCODING 'UTF8'/);

  const foreign = postgres.database();
  postgres.sql('CREATE SCHEMA mynah AUTHORIZATION mynah; CREATE TABLE mynah.other (x int)', foreign);
  await refused(t, postgres.url(foreign), /has tables that are not Mynah's/);

  postgres.sql('CREATE DATABASE others');
  await refused(t, postgres.url('others'), /permission denied.*CREATE SCHEMA mynah AUTHORIZATION/);

  // A server that accepts connections and says nothing.
  const silent = createServer(() => {});
  await new Promise((resolve) => silent.listen(0, '127.0.0.1', resolve));
  t.after(() => silent.close());
  await refused(t, postgres.url(usual).replace(`:${postgres.port}`, `:${silent.address().port}`), /PostgreSQL/);

  const gateway = await startGateway({ config: { store: { url: postgres.url(usual) } } });
  await gateway.close();
  postgres.sql("UPDATE mynah.meta SET value = '999' WHERE key = 'version'", usual);
  await refused(t, postgres.url(usual), /version 999.*use the newer program/);
});

test('a role that owns only its schema and a verified certificate are enough', { skip }, async (t) => {
  postgres.sql('CREATE DATABASE shared_by_many');
  postgres.sql('CREATE SCHEMA mynah AUTHORIZATION mynah', 'shared_by_many');
  const query = `sslmode=verify-full&sslrootcert=${certificate}/cert.pem`;
  const gateway = await startGateway({ config: { store: { url: postgres.url('shared_by_many', { query }) } } });
  t.after(() => gateway.close());
  const [from, to] = [someone(), someone('小红')];
  const user = await signIn(t, gateway, to);
  await (await signIn(t, gateway, from)).send({ user: to }, { text: '你好 🐦' });
  assert.equal((await user.next(3)).data.text, '你好 🐦');
  assert.match(gateway.program.output, /data +the database of store\.url/);
});

test('one server uses a database; another one may start when it has ended', { skip }, async (t) => {
  const database = postgres.database();
  const url = postgres.url(database);
  const gateway = await startGateway({ config: { store: { url } } });
  const begun = Date.now();
  await refused(t, url, /in use by another node \(process \d+ on /);
  assert.ok(Date.now() - begun < 15_000);
  const uid = someone();
  const { conv } = await gateway.api.sendTo(uid, { type: 5, data: { n: 1 } });
  await gateway.program.kill();
  const killed = Date.now();
  await gateway.start();
  t.diagnostic(`a new server has started ${Date.now() - killed} ms after kill -9`);
  assert.ok(Date.now() - killed < 15_000, 'it may start within 15 s');
  assert.equal((await gateway.api.history(conv)).messages.length, 1);

  // One that is stopped for long loses its place. When it continues, it writes nothing, and ends.
  const first = gateway.program;
  const { port } = gateway;
  first.signal('SIGSTOP');
  const request = call(gateway.url, 'POST', '/v1/messages', { key: API_KEY, body: { type: 5, to: { user: uid }, data: { n: 2 } } }).catch(() => undefined);
  const second = mynah(t, url);
  await second.printed(/listening/);
  first.signal('SIGCONT');
  const { code } = await within(first.exited, 'the end of the first server');
  assert.equal(code, 1, first.output);
  assert.match(first.output, /another process has taken over the database of store\.url/);
  assert.notEqual((await request)?.status, 200);
  await second.stop();
  gateway.port = port;
  await gateway.start();
  assert.equal((await gateway.api.history(conv)).messages.length, 1, 'it wrote nothing');
  await gateway.close();
});

/** A proxy that can stall: it accepts, but passes nothing on. */
async function stallingProxy(t, port) {
  const sockets = new Set();
  let stalls = false;
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    for (const [one, other] of [[near, far], [far, near]]) {
      sockets.add(one);
      one.on('data', (data) => other.write(data)).on('error', () => other.destroy()).on('close', () => other.destroy());
      if (stalls) one.pause();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const stall = (value) => {
    stalls = value;
    for (const socket of sockets) if (value) socket.pause(); else socket.resume();
  };
  return { port: server.address().port, stall };
}

test('PostgreSQL that hangs or restarts costs 503, and no connection', { skip }, async (t) => {
  const own = await Postgres.start();
  t.after(() => own.close());
  const proxy = await stallingProxy(t, own.port);
  const url = own.url(own.database()).replace(`:${own.port}`, `:${proxy.port}`);
  const gateway = await startGateway({ config: { store: { url } } });
  t.after(() => gateway.close());
  const [from, to] = [someone(), someone('小红')];
  const [sender, user] = [await signIn(t, gateway, from), await signIn(t, gateway, to)];
  let accepted = 0;
  const send = async () => {
    const { code } = await sender.send({ user: to }, { n: accepted });
    if (code === 0) accepted++;
    return code;
  };
  assert.equal(await send(), 0);

  const outage = async (begin, end) => {
    await begin();
    const until503 = await ready(gateway, 503, 8_000);
    assert.equal(await send(), 503);
    assert.equal((await gateway.api.call('GET', `/v1/users/${encodeURIComponent(to)}/conversations`)).status, 503);
    const told = { type: 5, to: { everyone: true }, data: { text: '不用存的' } };
    assert.equal((await gateway.api.send(told)).online, 2, 'what is not stored is sent');
    assert.equal((await user.next(5)).data.text, '不用存的');
    await sender.next(5);
    assert.equal((await gateway.api.call('GET', '/health/live')).status, 200);
    await end();
    const until200 = await ready(gateway, 200, 10_000);
    assert.equal(await send(), 0);
    t.diagnostic(`ready was 503 after ${until503} ms, and 200 within ${until200} ms of the return`);
  };
  await outage(() => proxy.stall(true), () => proxy.stall(false));
  await outage(() => own.end(), () => own.run());
  await outage(() => own.end('SIGINT'), () => own.run());

  for (let n = 0; n < accepted; n++) assert.equal((await user.next(3)).data.n, n, 'in order');
  assert.ok(user.peer.socket.connected && sender.peer.socket.connected);
});

test('API keys are in PostgreSQL, and a change applies within two seconds', { skip }, async (t) => {
  const url = postgres.url(postgres.database());
  const apiKey = async (...args) => {
    const program = mynah(t, url, 'api-key', ...args);
    const { code } = await within(program.exited, `api-key ${args.join(' ')}`);
    assert.equal(code, 0, program.output);
    return /^mynah_[0-9a-f]{64}$/m.exec(program.output)?.[0] ?? program.output;
  };
  assert.doesNotMatch(await apiKey('list'), /first/);
  const early = await apiKey('add', 'early', '--scopes', 'read');
  const gateway = await startGateway({ config: { store: { url } } });
  t.after(() => gateway.close());
  const status = async (key) => (await call(gateway.url, 'GET', '/v1/users/u', { key })).status;
  assert.equal(await status(early), 200);
  const later = await apiKey('add', 'later', '--scopes', 'read');
  await eventually(async () => (await status(later)) === 200, 'the new key', 2_000);
  assert.match(await apiKey('list'), /early[\s\S]*later/);
  await apiKey('remove', 'early');
  await eventually(async () => (await status(early)) === 401, 'the end of the removed key', 2_000);
});

test('backup and restore name the programs of PostgreSQL', { skip }, async (t) => {
  const url = postgres.url(postgres.database());
  for (const [command, why] of [['backup', /pg_dump/], ['restore', /pg_restore/]]) {
    const program = mynah(t, url, command, join(freshDirectory(), 'file'));
    const { code } = await within(program.exited, command);
    assert.equal(code, 1, program.output);
    assert.match(program.output, why);
    assert.doesNotMatch(program.output, /password-of-the-tests/);
  }
});
