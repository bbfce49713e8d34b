// The epoch: it changes when the store has lost history that clients know, and only then. The files of the
// data directory: their permissions, what happens when they are removed, and that recalled text is
// overwritten in them.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { recall, resume, written } from '../../lib/delivery.js';
import { eventually } from '../../lib/inbox.js';
import { freshDirectory, GATEWAY, Program, startGateway } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';

async function start(t, options) {
  const gateway = await startGateway(options);
  t.after(() => gateway.close());
  return gateway;
}

const epochOf = async (t, gateway) => (await signIn(t, gateway, someone())).registered.epoch;
const db = (gateway) => join(gateway.data, 'mynah.db');
const copyOf = (gateway) => join(gateway.directory, 'copy.db');
const seqs = async (gateway, conv) => (await gateway.api.history(conv)).messages.length;

/**
 * Keeps a read transaction open, so that later writes stay in SQLite's log, until the returned function is
 * called.
 */
async function holdLog(t, gateway) {
  const reader = spawn('sqlite3', [db(gateway)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(reader, 'close');
  t.after(() => reader.kill('SIGKILL'));
  reader.stdin.write('BEGIN; SELECT count(*) FROM messages;\n');
  await once(reader.stdout, 'data');
  return () => {
    reader.kill('SIGKILL');
    return ended;
  };
}

/** A gateway with ten messages, a copy of its database with five, and what was known of it. */
async function copied(t) {
  const gateway = await start(t);
  const [a, b] = [someone('甲'), someone('乙')];
  await signIn(t, gateway, b, { deviceid: '手机' });
  const conv = await written(gateway, a, b, 5);
  execFileSync('sqlite3', [db(gateway), `VACUUM INTO '${copyOf(gateway)}'`]);
  await written(gateway, a, b, 5);
  return { gateway, a, b, conv, epoch: await epochOf(t, gateway) };
}

describe('a database that is older than the newest one has a new epoch', { concurrency: 2 }, () => {
  for (const [name, put] of [
    ['written over', (gateway) => copyFileSync(copyOf(gateway), db(gateway))],
    ['renamed into its place', (gateway) => renameSync(copyOf(gateway), db(gateway))],
    ['put into its place after the old one was deleted', (gateway) => (rmSync(db(gateway)), copyFileSync(copyOf(gateway), db(gateway)))],
  ]) {
    test(`a copy of the database that was ${name}`, async (t) => {
      const { gateway, a, b, conv, epoch } = await copied(t);
      await gateway.program.stop();
      put(gateway);
      await gateway.start();
      const second = await epochOf(t, gateway);
      assert.notEqual(second, epoch);
      assert.match(gateway.program.output, /new epoch/);
      assert.equal(await seqs(gateway, conv), 5);
      await written(gateway, a, b, 2);
      const { replay } = await resume(t, gateway, b, { deviceid: '手机' });
      assert.deepEqual(replay.map(({ seq }) => seq).slice(-2), [6, 7], 'the device receives the new messages');
      await gateway.program.kill();
      await gateway.start();
      assert.equal(await epochOf(t, gateway), second, 'the new epoch stays');
    });
  }

  test('a copy after a crash, without SQLite\'s log', async (t) => {
    const { gateway, conv, epoch } = await copied(t);
    await gateway.program.kill();
    for (const end of ['', '-wal', '-shm']) rmSync(db(gateway) + end, { force: true });
    copyFileSync(copyOf(gateway), db(gateway));
    await gateway.start();
    assert.notEqual(await epochOf(t, gateway), epoch);
    assert.equal(await seqs(gateway, conv), 5);
  });

  test('a copy in which only the read positions are older', async (t) => {
    const gateway = await start(t);
    const [a, b] = [someone('甲'), someone('乙')];
    const conv = await written(gateway, a, b, 5);
    const epoch = await epochOf(t, gateway);
    execFileSync('sqlite3', [db(gateway), `VACUUM INTO '${copyOf(gateway)}'`]);
    const reader = await signIn(t, gateway, b, { deviceid: '手机' });
    assert.equal((await reader.ask(106, { conv, seq: 5 })).code, 0);
    await gateway.program.kill();
    for (const end of ['-wal', '-shm']) rmSync(db(gateway) + end, { force: true });
    copyFileSync(copyOf(gateway), db(gateway));
    await gateway.start();
    assert.notEqual(await epochOf(t, gateway), epoch);
  });

  test('a truncated log of SQLite', async (t) => {
    const gateway = await start(t);
    const [a, b] = [someone('甲'), someone('乙')];
    const conv = await written(gateway, a, b, 5);
    await gateway.program.stop();
    await gateway.start();
    const epoch = await epochOf(t, gateway);
    const letGo = await holdLog(t, gateway);
    await written(gateway, a, b, 5);
    await gateway.program.kill();
    await letGo();
    truncateSync(`${db(gateway)}-wal`, 0);
    await gateway.start();
    assert.notEqual(await epochOf(t, gateway), epoch);
    const { body } = await gateway.api.call('GET', `/v1/conversations/${conv}/messages`);
    assert.ok((body.messages?.length ?? 0) < 10, 'the newest messages are lost');
  });

  test('a directory that was copied elsewhere, or without its witness file', async (t) => {
    const { gateway, conv, epoch } = await copied(t);
    await gateway.program.stop();
    const original = `${gateway.data}.original`;
    renameSync(gateway.data, original);
    cpSync(original, gateway.data, { recursive: true, preserveTimestamps: true });
    await gateway.start();
    const second = await epochOf(t, gateway);
    assert.notEqual(second, epoch);
    assert.equal(await seqs(gateway, conv), 10);
    await gateway.program.stop();
    rmSync(join(gateway.data, 'mynah.witness'));
    await gateway.start();
    assert.ok(![epoch, second].includes(await epochOf(t, gateway)));
  });
});

test('the epoch survives a crash, a stop, a rename of the directory and a read with sqlite3', async (t) => {
  const gateway = await start(t);
  const [a, b] = [someone('甲'), someone('乙')];
  const epoch = await epochOf(t, gateway);
  for (const end of ['kill', 'stop', 'kill', 'kill']) {
    await written(gateway, a, b, 20);
    await gateway.program[end]();
    await gateway.start();
    assert.equal(await epochOf(t, gateway), epoch, `after ${end}`);
  }
  for (const end of ['kill', 'stop']) {
    await written(gateway, a, b, 20);
    await gateway.program[end]();
    const elsewhere = join(gateway.directory, `elsewhere-${end}`);
    renameSync(gateway.data, elsewhere);
    const program = new Program(GATEWAY, ['--config', gateway.file, '--data', elsewhere, '--listen', '127.0.0.1:0'], { cwd: gateway.directory });
    const [, port] = await program.printed(/listening[^\n]*127\.0\.0\.1:([1-9]\d*)/i);
    assert.equal(await epochOf(t, { url: `http://127.0.0.1:${port}` }), epoch, 'after the directory was renamed');
    await program.kill();
    renameSync(elsewhere, gateway.data);
    execFileSync('sqlite3', [db(gateway), 'SELECT count(*) FROM messages']);
    await gateway.start();
    assert.equal(await epochOf(t, gateway), epoch, 'after a read with sqlite3');
  }
});

test('the epoch survives crashes during the start, while a long log is being moved into the database', async (t) => {
  const gateway = await start(t);
  const [a, b] = [someone('甲'), someone('乙')];
  await written(gateway, a, b, 5);
  const epoch = await epochOf(t, gateway);
  const letGo = await holdLog(t, gateway);
  const conv = await written(gateway, a, b, 200, () => ({ text: 'x'.repeat(60_000) }));
  await gateway.program.kill();
  await letGo();
  assert.ok(statSync(`${db(gateway)}-wal`).size > 10_000_000);
  for (let n = 0; n < 40; n++) {
    const program = new Program(GATEWAY, ['--config', gateway.file], { cwd: gateway.directory });
    const timer = setTimeout(() => program.signal('SIGKILL'), n * 5);
    assert.notEqual((await program.exited).code, 1, program.output);
    clearTimeout(timer);
  }
  await gateway.start();
  assert.equal(await epochOf(t, gateway), epoch);
  assert.equal((await gateway.api.history(conv)).head, 205);
});

test('a log that was left beside another database is not applied to it', async (t) => {
  const { gateway, conv, epoch } = await copied(t);
  await gateway.program.kill();
  assert.ok(statSync(`${db(gateway)}-wal`).size > 0);
  copyFileSync(copyOf(gateway), db(gateway));
  const refused = new Program(GATEWAY, ['--config', gateway.file], { cwd: gateway.directory });
  assert.equal((await refused.exited).code, 1);
  assert.match(refused.output, /mynah\.db-wal was left by an earlier run.*mynah restore/s);
  assert.deepEqual(readFileSync(db(gateway)), readFileSync(copyOf(gateway)), 'the database file was not changed');
  renameSync(`${db(gateway)}-wal`, join(gateway.directory, 'log'));
  await gateway.start();
  assert.equal(await seqs(gateway, conv), 5);
  assert.notEqual(await epochOf(t, gateway), epoch);
});

test('a log that was left beside a backup is not applied to it, also without the witness file', async (t) => {
  const gateway = await start(t);
  const conv = await written(gateway, someone(), someone(), 5);
  const backup = join(gateway.directory, 'backup.db');
  assert.equal((await new Program(GATEWAY, ['backup', backup, '--config', gateway.file], { cwd: gateway.directory }).exited).code, 0);
  await written(gateway, someone(), someone(), 5);
  await gateway.program.kill();
  copyFileSync(backup, db(gateway));
  // After a power failure, the times of files are not reliable either.
  rmSync(join(gateway.data, 'mynah.witness'));
  const refused = new Program(GATEWAY, ['--config', gateway.file], { cwd: gateway.directory });
  assert.equal((await refused.exited).code, 1);
  assert.match(refused.output, /mynah\.db-wal was left by an earlier run.*mynah\.db is a backup.*move .*mynah\.db-wal away/s);
  assert.deepEqual(readFileSync(db(gateway)), readFileSync(backup), 'the database file was not changed');
  renameSync(`${db(gateway)}-wal`, join(gateway.directory, 'log'));
  await gateway.start();
  assert.equal(await seqs(gateway, conv), 5);
});

test('the log of the server reports a missing database', async (t) => {
  const gateway = await start(t);
  await written(gateway, someone(), someone(), 1);
  await gateway.program.stop();
  rmSync(db(gateway));
  await gateway.start();
  await gateway.program.printed(/WARN.*has contained a store.*mynah\.db is missing or empty.*mynah restore/);
});

describe('files that are removed while the server runs', { concurrency: 2 }, () => {
  for (const [name, remove] of [
    ['the directory', (gateway) => rmSync(gateway.data, { recursive: true })],
    ['the database', (gateway) => rmSync(db(gateway))],
    ['the log', (gateway) => rmSync(`${db(gateway)}-wal`)],
    // The next new connection of the store that reads makes another log, to which nothing is written.
    ['SQLite\'s log is removed before a new connection reads', async (gateway, t) => (rmSync(`${db(gateway)}-wal`), await Promise.all(Array.from({ length: 8 }, () => signIn(t, gateway, someone()).catch(() => {}))))],
    ['the database is replaced by a copy', (gateway) => (copyFileSync(db(gateway), copyOf(gateway)), renameSync(copyOf(gateway), db(gateway)))],
  ]) {
    test(`${name}: sends are refused, and the log says why`, async (t) => {
      const gateway = await start(t);
      const user = await signIn(t, gateway, someone());
      assert.equal((await user.send({ user: someone() }, {})).code, 0);
      await remove(gateway, t);
      const { code, error } = await user.send({ user: someone() }, {});
      assert.equal(code, 503, error);
      assert.equal((await gateway.api.call('POST', '/v1/messages', { type: 5, to: { user: 'x' }, data: {} })).status, 503);
      assert.equal((await gateway.api.call('GET', '/health/ready')).status, 503);
      await gateway.program.printed(/ERROR.*files of the store were deleted, moved or replaced/);
      if (existsSync(gateway.data)) assert.ok(!readdirSync(gateway.data).includes('mynah.db') || name.includes('replaced') || name.includes('log'));
    });
  }

  test('a data directory that is moved back is used again', async (t) => {
    const gateway = await start(t);
    const [a, b] = [someone(), someone()];
    const conv = await written(gateway, a, b, 1);
    renameSync(gateway.data, `${gateway.data}.away`);
    const message = { type: 3, from: a, to: { user: b }, data: {} };
    assert.equal((await gateway.api.call('POST', '/v1/messages', message)).status, 503);
    renameSync(`${gateway.data}.away`, gateway.data);
    await eventually(async () => (await gateway.api.call('GET', '/health/ready')).status === 200, 'readiness');
    assert.equal((await gateway.api.send(message)).results[0].seq, 2);
    assert.equal(await seqs(gateway, conv), 2, 'no refused message was stored');
  });
});

test('the files are readable by their owner only, and wider permissions are narrowed', async (t) => {
  const directory = freshDirectory();
  mkdirSync(join(directory, 'data'), { mode: 0o755 });
  const umask = process.umask(0o022);
  t.after(() => process.umask(umask));
  const gateway = await start(t, { directory, config: { auth: { api_keys: [] } } });
  const modes = () => Object.fromEntries(readdirSync(gateway.data).map((name) => [name, (statSync(join(gateway.data, name)).mode & 0o777).toString(8)]));
  const names = ['mynah.db', 'mynah.db-shm', 'mynah.db-wal', 'mynah.lock', 'mynah.witness'];
  const all = Object.fromEntries(['api-key', ...names].map((name) => [name, '600']));
  assert.deepEqual(modes(), all);
  await gateway.program.kill();
  for (const name of Object.keys(all)) chmodSync(join(gateway.data, name), 0o644);
  await gateway.start();
  assert.deepEqual(modes(), all);
  for (const name of Object.keys(all)) await gateway.program.printed(new RegExp(`${name.replace('.', '\\.')} \\(mode 644\\)`));
});

test('recalled text, and the messages of a deleted team, are soon overwritten in all files', async (t) => {
  const gateway = await start(t);
  const [a, b] = [someone('甲'), someone('乙')];
  const sender = await signIn(t, gateway, a, { deviceid: '手机' });
  const secrets = [];
  const mids = [];
  for (const [n, length] of [10, 3_000, 50_000].entries()) {
    const text = `秘密${n}-${'secret'.repeat(length / 6)}`;
    secrets.push(text.slice(0, 12));
    mids.push((await sender.send({ user: b }, { text })).mid);
  }
  const found = () =>
    ['', '-wal'].flatMap((end) => {
      const content = readFileSync(db(gateway) + end);
      return secrets.filter((secret) => content.includes(secret)).concat(content.includes('secretsecretsecret') ? ['a part'] : []);
    });
  assert.ok(found().length >= 3, 'the text was in the files before');
  for (const mid of mids) await recall(sender, mid);
  await gateway.api.team('队', [a, b]);
  for (let n = 0; n < 3; n++) assert.equal((await sender.send({ team: '队' }, { text: '秘密队-'.repeat(500) })).code, 0);
  secrets.push('秘密队-');
  assert.ok(found().includes('秘密队-'));
  await gateway.api.expect(204, 'DELETE', `/v1/teams/${encodeURIComponent('队')}`);
  await eventually(() => found().length === 0, 'the text to be overwritten');
});
