// The commands `mynah backup` and `mynah restore`.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { resume, written } from '../../lib/delivery.js';
import { eventually } from '../../lib/inbox.js';
import { freshDirectory, GATEWAY, Program, startGateway } from '../../lib/program.js';
import { SECRET, seconds, token } from '../../lib/token.js';
import { REGISTER, signIn, someone, visitor } from '../../lib/user.js';
import { Webhook } from '../../lib/webhook.js';

/** Runs a command of the program with the gateway's configuration. */
async function run(gateway, ...args) {
  const program = new Program(GATEWAY, [...args, '--config', gateway.file], { cwd: gateway.directory });
  const { code } = await program.exited;
  return { code, output: program.output };
}

async function good(gateway, ...args) {
  const { code, output } = await run(gateway, ...args);
  assert.equal(code, 0, output);
  return output;
}

/** Checks that a command fails with this message and does not change the directory. */
async function refused(gateway, pattern, ...args) {
  const before = readdirSync(gateway.directory).sort();
  const { code, output } = await run(gateway, ...args);
  assert.equal(code, 1, output);
  assert.match(output, pattern);
  assert.deepEqual(readdirSync(gateway.directory).sort(), before, 'the directory has the same files as before');
}

const db = (gateway) => join(gateway.data, 'mynah.db');
const mode = (path) => statSync(path).mode & 0o777;
const epochOf = async (t, gateway) => (await signIn(t, gateway, someone())).registered.epoch;
const texts = async (gateway, conv) => (await gateway.api.history(conv)).messages.map(({ data }) => data.text);

async function start(t, options) {
  const gateway = await startGateway(options);
  t.after(() => gateway.close());
  return gateway;
}

test('a backup under load has all messages that were acknowledged before, and can be restored', async (t) => {
  const gateway = await start(t);
  const [a, b] = [someone('甲'), someone('乙')];
  const say = (text) => gateway.api.sendTo(b, { type: 3, from: a, data: { text } });
  const { conv } = await say('之前 1');
  await say('之前 2');
  const epoch = await epochOf(t, gateway);
  let pouring = true;
  const pour = (async () => {
    for (let n = 0; pouring; n++) await gateway.api.sendTo(`别人${n % 50}`, { type: 5, data: { text: 'x'.repeat(2_000) } });
  })();
  const file = join(gateway.directory, '备份.db');
  await good(gateway, 'backup', file);
  pouring = false;
  await pour;
  assert.equal(mode(file), 0o600);
  for (const text of ['之后 1', '之后 2', '之后 3']) await say(text);
  await refused(gateway, /in use by another process/, 'restore', file);
  await gateway.program.stop();

  const output = await good(gateway, 'restore', file);
  const kept = readdirSync(gateway.directory).filter((name) => /^data\.before-restore-\d{8}T\d{6}Z$/.test(name));
  assert.equal(kept.length, 1, output);
  assert.ok(output.includes(kept[0]) && existsSync(join(gateway.directory, kept[0], 'mynah.db')), output);
  assert.equal(mode(gateway.data), 0o700);
  for (const name of readdirSync(gateway.data)) assert.equal(mode(join(gateway.data, name)), 0o600, name);
  await gateway.start();
  assert.deepEqual(await texts(gateway, conv), ['之前 1', '之前 2']);
  const second = await epochOf(t, gateway);
  assert.notEqual(second, epoch);
  assert.ok(output.includes(second), 'the printed epoch is the new one');
  assert.equal((await say('新的')).seq, 3);
  await gateway.program.stop();

  await good(gateway, 'restore', file);
  await gateway.start();
  const third = await epochOf(t, gateway);
  assert.equal(new Set([epoch, second, third]).size, 3, 'each restore has a new epoch');
  await gateway.program.kill();
  await gateway.start();
  assert.equal(await epochOf(t, gateway), third, 'the epoch stays after a restart');
});

test('tokens that were revoked after the backup stay revoked after the restore', async (t) => {
  const gateway = await start(t, { config: { auth: { mode: 'jwt', jwt: { secret: SECRET } } } });
  const iat = seconds() - 100;
  const users = ['甲', '乙', '丙'].map(someone);
  const revoke = (what) => gateway.api.expect(200, 'POST', '/v1/revocations', what);
  const codes = () => Promise.all(users.map(async (sub) => {
    const user = await visitor(t, gateway);
    const { code } = await user.ask(REGISTER, { token: token({ sub, iat }) });
    user.peer.close();
    return code;
  }));
  const file = join(gateway.directory, 'copy.db');
  await revoke({ uid: users[0] });
  await good(gateway, 'backup', file);
  await revoke({ uid: users[1] });
  assert.deepEqual(await codes(), [401, 401, 0]);
  // The newest changes are in SQLite's log.
  await gateway.program.kill();
  assert.match(await good(gateway, 'restore', file), /revocations of tokens stay in force \(2\)/);
  await gateway.start();
  assert.deepEqual(await codes(), [401, 401, 0]);
  await gateway.program.stop();

  writeFileSync(db(gateway), 'no database');
  const output = await good(gateway, 'restore', file);
  assert.match(output, /revocations of the previous data cannot be read .*make new ones .*revoke them again/s);
  await gateway.start();
  assert.deepEqual(await codes(), [401, 0, 0], 'only the revocations in the backup are in force');
});

test('a device that was ahead of the backup receives all messages after the restore', async (t) => {
  const gateway = await start(t);
  const [a, b] = [someone('甲'), someone('乙')];
  const phone = await signIn(t, gateway, b, { deviceid: '手机', resume: true });
  const conv = await written(gateway, a, b, 5);
  const file = join(gateway.directory, 'backup.db');
  await good(gateway, 'backup', file);
  await written(gateway, a, b, 5);
  assert.equal((await phone.ask(106, { conv, seq: 10 })).code, 0);
  await gateway.program.stop();
  await good(gateway, 'restore', file);
  await gateway.start();
  await written(gateway, a, b, 7);
  const { registered, replay } = await resume(t, gateway, b, { deviceid: '手机' });
  assert.deepEqual(replay.map(({ seq }) => seq).slice(-7), [6, 7, 8, 9, 10, 11, 12]);
  const row = registered.conversations.find((one) => one.conv === conv);
  assert.ok(row.head === 12 && row.cursor <= 5 && row.read <= 5 && row.unread === 12 - row.read, JSON.stringify(row));
});

test('a backup can be made without a running server, also after a crash, and changes nothing', async (t) => {
  const gateway = await start(t);
  const conv = await written(gateway, someone(), someone(), 5);
  const epoch = await epochOf(t, gateway);
  await gateway.program.kill();
  const log = readFileSync(join(gateway.data, 'mynah.db-wal'));
  const file = join(gateway.directory, 'backup.db');
  await good(gateway, 'backup', file);
  assert.deepEqual(readFileSync(join(gateway.data, 'mynah.db-wal')), log);
  await gateway.start();
  assert.equal(await epochOf(t, gateway), epoch);
  await gateway.program.stop();
  await good(gateway, 'restore', file);
  await gateway.start();
  assert.equal((await gateway.api.history(conv)).messages.length, 5);
});

test('backup and restore refuse a backup beside the log of another database, and name the log', async (t) => {
  const gateway = await start(t);
  const conv = await written(gateway, someone(), someone(), 5);
  const file = join(gateway.directory, 'backup.db');
  await good(gateway, 'backup', file);
  await gateway.program.kill();
  const log = join(gateway.data, 'mynah.db-wal');
  copyFileSync(log, `${file}-wal`);
  copyFileSync(file, join(gateway.data, 'mynah.db'));
  await refused(gateway, /mynah\.db-wal was left by an earlier run.*move .*mynah\.db-wal away/s, 'backup', join(gateway.directory, 'other.db'));
  await refused(gateway, /backup\.db-wal was left by an earlier run.*move .*backup\.db-wal away/s, 'restore', file);
  rmSync(`${file}-wal`);
  await good(gateway, 'restore', file);
  await gateway.start();
  assert.equal((await gateway.api.history(conv)).messages.length, 5);
});

test('invalid backup commands are refused', async (t) => {
  const gateway = await start(t);
  await written(gateway, someone(), someone(), 1);
  const file = join(gateway.directory, 'backup.db');
  writeFileSync(file, '重要');
  await refused(gateway, /exists already.*--force/s, 'backup', file);
  assert.equal(readFileSync(file, 'utf8'), '重要');
  await good(gateway, 'backup', file, '--force');
  assert.match(readFileSync(file, 'latin1'), /^SQLite format 3/);
  assert.equal(mode(file), 0o600);
  await refused(gateway, /cannot be created/, 'backup', join(gateway.directory, 'none', 'x.db'));
  await refused(gateway, /must not be in the data directory/, 'backup', join(gateway.data, 'mynah.db'), '--force');
  await refused(gateway, /there is no store in/, 'backup', join(gateway.directory, 'y.db'), '--data', join(gateway.directory, 'empty'));
  const elsewhere = join(gateway.directory, 'elsewhere');
  symlinkSync(join(gateway.directory, 'mynah.toml'), elsewhere);
  await refused(gateway, /exists already/, 'backup', elsewhere);
});

test('a backup replaces files only', { skip: process.getuid() !== 0 && 'only root can create a device file' }, async (t) => {
  const gateway = await start(t);
  const [directory, pipe, device, link] = ['directory', 'pipe', 'device', 'link'].map((name) => join(gateway.directory, name));
  mkdirSync(directory);
  execFileSync('mkfifo', [pipe]);
  execFileSync('mknod', [device, 'c', '1', '3']);
  symlinkSync(device, link);
  for (const path of [directory, pipe, device, link, '/dev/stdout']) {
    const before = lstatSync(path).ino;
    await refused(gateway, /is a directory, a device or a pipe; name a file/, 'backup', path, '--force');
    await refused(gateway, /is a directory, a device or a pipe; name a file/, 'backup', path);
    assert.equal(lstatSync(path).ino, before);
  }
});

test('a backup can have any name', async (t) => {
  const gateway = await start(t);
  await written(gateway, someone(), someone(), 5);
  const out = mkdtempSync(join(gateway.directory, 'out-'));
  const latin1 = Buffer.concat([Buffer.from(`${out}/caf`), Buffer.from([0xe9]), Buffer.from('.db')]);
  // Node passes arguments as UTF-8 only.
  execFileSync('sh', ['-c', `"$0" backup "$(printf '%s/caf\\351.db' "$1")" --config "$2"`, GATEWAY, out, gateway.file], { cwd: gateway.directory, env: { PATH: process.env.PATH } });
  const name = 'it\'s "one"?mode=memory&x#%41.db';
  await good(gateway, 'backup', join(out, name));
  assert.deepEqual(readdirSync(out, 'buffer').map(String).sort(), [String(latin1.subarray(out.length + 1)), name].sort());
  for (const path of [latin1, join(out, name)]) {
    assert.equal(mode(path), 0o600);
    assert.match(readFileSync(path, 'latin1'), /^SQLite format 3/);
  }
});

test('simultaneous backups to one file do not mix', async (t) => {
  const gateway = await start(t);
  await written(gateway, someone(), someone(), 50);
  const out = mkdtempSync(join(gateway.directory, 'out-'));
  const file = join(out, 'backup.db');
  // The next backup removes the file of a backup that was killed.
  writeFileSync(join(out, 'backup.db.unfinished-4194305-x'), '');
  for (let round = 0; round < 3; round++) {
    await Promise.all(Array.from({ length: 4 }, () => good(gateway, 'backup', file, '--force')));
    assert.match(execFileSync('sqlite3', [file, 'PRAGMA integrity_check; SELECT count(*) FROM messages']).toString(), /^ok\n50\n$/);
    assert.deepEqual(readdirSync(out), ['backup.db']);
  }
});

test('of simultaneous restores to a new directory, one creates it', async (t) => {
  const gateway = await start(t);
  await written(gateway, someone(), someone(), 5);
  const file = join(gateway.directory, 'backup.db');
  await good(gateway, 'backup', file);
  const out = mkdtempSync(join(gateway.directory, 'out-'));
  const all = await Promise.all(Array.from({ length: 4 }, () => run(gateway, 'restore', file, '--data', join(out, 'new'))));
  // A later restore has replaced the directory of another one, and has kept that.
  const kept = all.filter(({ output }) => output.includes('before-restore')).length;
  const done = all.filter(({ code }) => code === 0).length;
  assert.equal(done, kept + 1, all.map(({ output }) => output).join('\n'));
  assert.equal(readdirSync(out).length, done, readdirSync(out).join(' '));
});

test('a refused restore does not change the directory', async (t) => {
  const gateway = await start(t);
  const conv = await written(gateway, someone(), someone(), 200);
  const file = join(gateway.directory, 'backup.db');
  await good(gateway, 'backup', file);
  const epoch = await epochOf(t, gateway);
  await gateway.program.stop();
  const whole = readFileSync(file);
  const bad = join(gateway.directory, 'bad.db');
  const torn = Buffer.from(whole);
  torn.fill(0x5a, 4_096 * 4, 4_096 * 8);
  const newer = Buffer.from(whole);
  newer.writeInt32BE(99, 60);
  const negative = Buffer.from(whole);
  negative.writeInt32BE(-3, 60);
  for (const [content, pattern] of [
    [torn, /damaged|malformed/],
    [whole.subarray(0, whole.length / 2), /damaged|malformed/],
    [newer, /format 99/],
    ['no database', /not a backup of Mynah/],
    ['', /not a backup of Mynah/],
    [negative, /bad\.db has format -3, which was never released; use another backup\n$/],
  ]) {
    writeFileSync(bad, content);
    await refused(gateway, pattern, 'restore', bad);
  }
  execFileSync('sqlite3', [join(gateway.directory, 'other.db'), 'CREATE TABLE mine (x)']);
  await refused(gateway, /not a backup of Mynah/, 'restore', join(gateway.directory, 'other.db'));
  await refused(gateway, /cannot be copied/, 'restore', join(gateway.directory, 'none.db'));
  await refused(gateway, /is a directory; name the backup, or the mynah\.db in it/, 'restore', gateway.data);
  await gateway.start();
  assert.equal(await epochOf(t, gateway), epoch);
  assert.equal((await gateway.api.history(conv)).messages.length, 200);
});

test('a restore keeps the present API keys, and a backup contains none', async (t) => {
  const gateway = await start(t, { config: { auth: { api_keys: [] } } });
  const file = join(gateway.directory, 'backup.db');
  await good(gateway, 'api-key', 'add', 'before');
  await good(gateway, 'backup', file);
  await good(gateway, 'api-key', 'remove', 'before');
  const added = (await good(gateway, 'api-key', 'add', 'after')).match(/mynah_[0-9a-f]{64}/)[0];
  const first = readFileSync(join(gateway.data, 'api-key'), 'utf8').trim();
  for (const key of [first, added]) assert.ok(!readFileSync(file, 'latin1').includes(key));
  await gateway.program.stop();
  await good(gateway, 'restore', file);
  await gateway.start();
  const list = await good(gateway, 'api-key', 'list');
  assert.ok(list.includes('after') && !list.includes('before'), list);
  assert.equal(readFileSync(join(gateway.data, 'api-key'), 'utf8').trim(), first);
});

test('a backup can be restored to an empty place, and so can a store that a restore has moved aside', async (t) => {
  const gateway = await start(t);
  const conv = await written(gateway, someone(), someone(), 3);
  const file = join(gateway.directory, 'backup.db');
  await good(gateway, 'backup', file);
  await gateway.program.kill();
  rmSync(gateway.data, { recursive: true });
  const output = await good(gateway, 'restore', file);
  assert.doesNotMatch(output, /before/);
  await gateway.start();
  assert.equal((await gateway.api.history(conv)).messages.length, 3);
  const epoch = await epochOf(t, gateway);
  // The newest messages are in SQLite's log only, as after a crash.
  await written(gateway, someone(), someone(), 2);
  await gateway.program.kill();
  await good(gateway, 'restore', file);
  const kept = readdirSync(gateway.directory).find((name) => name.startsWith('data.before-restore-'));
  await good(gateway, 'restore', join(gateway.directory, kept, 'mynah.db'));
  await gateway.start();
  assert.equal((await gateway.api.history(conv)).messages.length, 3);
  assert.notEqual(await epochOf(t, gateway), epoch);
  // After a rollback of the disk: a restore of the existing store gives it a new epoch.
  const third = await epochOf(t, gateway);
  await gateway.program.kill();
  await good(gateway, 'restore', db(gateway));
  await gateway.start();
  assert.equal((await gateway.api.history(conv)).messages.length, 3);
  assert.notEqual(await epochOf(t, gateway), third);
  assert.equal(readdirSync(gateway.directory).filter((name) => name.startsWith('data.before-restore-')).length, 3);
});

test('notifications that were pending in the backup are not sent again', async (t) => {
  const receiver = await Webhook.start('s');
  t.after(() => receiver.close());
  receiver.answer = () => 503;
  const gateway = await start(t, { config: { push: { retry_initial_ms: 60_000, retry_max_ms: 60_000, webhook: { url: encodeURI(receiver.url), secret: 's' } } } });
  await gateway.api.sendTo(someone(), { type: 5, data: { text: '旧' } });
  await eventually(() => receiver.all.length > 0, 'a first attempt');
  const file = join(gateway.directory, 'backup.db');
  await good(gateway, 'backup', file);
  await gateway.program.stop();
  await good(gateway, 'restore', file);
  const jobs = execFileSync('sqlite3', [join(gateway.data, 'mynah.db'), 'SELECT count(*) FROM push_jobs WHERE dead = 0']);
  assert.equal(jobs.toString().trim(), '0');
  await gateway.start();
});

test('a killed restore leaves the old or the new directory, and a killed backup leaves no partial file', async (t) => {
  const gateway = await start(t);
  const conv = await written(gateway, someone(), someone(), 5);
  const file = join(gateway.directory, 'backup.db');
  await good(gateway, 'backup', file);
  const old = await written(gateway, someone(), someone(), 2);
  await gateway.program.stop();
  const messages = (path) => execFileSync('sqlite3', [path, 'PRAGMA integrity_check; SELECT count(*) FROM messages']).toString();
  const begun = Date.now();
  await good(gateway, 'backup', join(gateway.directory, 'whole.db'));
  const takes = Date.now() - begun;
  for (let n = 0; n < 16; n++) {
    const half = join(gateway.directory, `half-${n}.db`);
    for (const args of [['backup', half], ['restore', file]]) {
      const program = new Program(GATEWAY, [...args, '--config', gateway.file], { cwd: gateway.directory });
      const timer = setTimeout(() => program.signal('SIGKILL'), (takes * n) / 8);
      await program.exited;
      clearTimeout(timer);
    }
    if (existsSync(half)) assert.match(messages(half), /^ok\n[57]\n$/);
    assert.match(messages(db(gateway)), /^ok\n[57]\n$/, `after kill ${n}`);
  }
  await good(gateway, 'restore', file);
  await gateway.start();
  assert.equal((await gateway.api.history(conv)).messages.length, 5);
  await gateway.api.expect(404, 'GET', `/v1/conversations/${old}/messages`);
});

test('if the parent directory cannot be written, the old database is kept inside the data directory', { skip: (process.getuid() !== 0 || !existsSync('/usr/bin/setpriv')) && 'only root with setpriv can become another user' }, async (t) => {
  const gateway = await start(t);
  const conv = await written(gateway, someone(), someone(), 5);
  const file = join(gateway.directory, 'backup.db');
  await good(gateway, 'backup', file);
  await written(gateway, someone(), someone(), 2);
  const epoch = await epochOf(t, gateway);
  await gateway.program.kill();
  const nobody = 65_534;
  chmodSync(gateway.directory, 0o755);
  for (const path of [gateway.data, file, ...readdirSync(gateway.data).map((name) => join(gateway.data, name))]) chownSync(path, nobody, nobody);
  const program = new Program('/usr/bin/setpriv', ['--reuid', `${nobody}`, '--regid', `${nobody}`, '--clear-groups', GATEWAY, 'restore', file, '--config', gateway.file], { cwd: gateway.directory });
  assert.equal((await program.exited).code, 0, program.output);
  const [kept] = readdirSync(gateway.data).filter((name) => name.startsWith('before-restore-'));
  const count = (path) => execFileSync('sqlite3', [path, 'SELECT count(*) FROM messages']).toString().trim();
  assert.deepEqual([count(join(gateway.data, kept, 'mynah.db')), count(db(gateway))], ['7', '5']);
  await gateway.start();
  assert.equal((await gateway.api.history(conv)).messages.length, 5);
  const second = await epochOf(t, gateway);
  assert.ok(second !== epoch && program.output.includes(second), program.output);
});

const disk = process.env.MYNAH_TEST_SMALL_DISK;

test('a disk that becomes full during a backup or restore leaves no partial result', { skip: !disk && 'MYNAH_TEST_SMALL_DISK is not set' }, async (t) => {
  const small = join(disk, `backup-${process.pid}`);
  mkdirSync(small);
  t.after(() => rmSync(small, { recursive: true, force: true }));
  const gateway = await start(t, { directory: freshDirectory() });
  for (let n = 0; n < 10; n++) await gateway.api.send({ type: 5, to: { users: Array.from({ length: 60 }, (_, i) => `u${i}`) }, data: { text: 'x'.repeat(60_000) } });
  await refused(gateway, /the disk of [^ ]*backup-\d+ is full/, 'backup', join(small, 'backup.db'));
  assert.deepEqual(readdirSync(small), []);
  const file = join(gateway.directory, 'backup.db');
  await good(gateway, 'backup', file);
  await gateway.program.stop();
  const target = join(small, 'data');
  await refused(gateway, /space/, 'restore', file, '--data', target);
  assert.deepEqual(readdirSync(small), []);
  await gateway.start();
});
