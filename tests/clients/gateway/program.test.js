// The program: its first start, configurations that it refuses, and how it ends.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Api, call } from '../../lib/api.js';
import { Inbox, within } from '../../lib/inbox.js';
import { eachGeneration } from '../../lib/peer.js';
import { freshDirectory, GATEWAY, Program, startGateway } from '../../lib/program.js';
import { SECRET } from '../../lib/token.js';
import { signIn, someone, visitor } from '../../lib/user.js';

function directory(t) {
  const made = freshDirectory();
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** Runs the program until it ends. */
async function run(t, args, { env, cwd = directory(t) } = {}) {
  const program = new Program(GATEWAY, args, { env, cwd });
  t.after(() => program.signal('SIGKILL'));
  const end = await within(program.exited, `${args.join(' ')} to end`);
  return { ...end, output: program.output, cwd };
}

test('without a configuration file it starts, creates an API key, and logs that it runs in open mode', async (t) => {
  const cwd = directory(t);
  const program = new Program(GATEWAY, ['--listen', '127.0.0.1:0'], { cwd });
  t.after(() => program.signal('SIGKILL'));
  const [, port] = await program.printed(/listening[^\n]*127\.0\.0\.1:([1-9]\d*)/i);
  await program.printed(/open/i);
  const file = join(cwd, 'mynah-data', 'api-key');
  assert.ok(program.output.includes('api-key'), 'the path of the key file is printed');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const key = readFileSync(file, 'utf8').trim();
  assert.ok(key.length >= 32);
  assert.ok(!program.output.includes(key), 'the key itself is not printed');
  const api = new Api(`http://127.0.0.1:${port}`, key);
  assert.equal((await api.sendTo('小明', { type: 5, data: { text: '你好' } })).delivered, false);
  assert.equal((await call(api.url, 'POST', '/v1/messages', { body: {}, key: `${key}x` })).status, 401);
  assert.deepEqual(await program.stop(), { code: 0, signal: null });

  const again = new Program(GATEWAY, ['--listen', '127.0.0.1:0'], { cwd });
  t.after(() => again.signal('SIGKILL'));
  const [, next] = await again.printed(/listening[^\n]*127\.0\.0\.1:([1-9]\d*)/i);
  assert.equal((await new Api(`http://127.0.0.1:${next}`, key).user('小明')).unread, 1);
  await again.stop();
});

test('in open mode it refuses to listen beyond loopback, and names the settings that change this', async (t) => {
  for (const listen of ['0.0.0.0:0', '[::]:0']) {
    const { code, output } = await run(t, ['--listen', listen]);
    assert.notEqual(code, 0);
    assert.match(output, /open/);
    assert.match(output, /allow_open_beyond_loopback|auth\.mode/);
  }
});

test('in mode jwt it may listen on any address, and refuses to start without a key', async (t) => {
  for (const [env, way] of [
    [{ MYNAH_AUTH__MODE: 'jwt' }, /auth\.jwt\.secret.*auth\.jwt\.public_key_file.*auth\.jwt\.jwks_url/s],
    [{ MYNAH_AUTH__MODE: 'jwt', MYNAH_AUTH__JWT__SECRET: 'short' }, /at least 32 bytes, not 5/],
    [{ MYNAH_AUTH__MODE: 'jwt', MYNAH_AUTH__JWT__SECRET_FILE: 'missing' }, /secret_file.*missing/],
    [{ MYNAH_AUTH__MODE: 'jwt', MYNAH_AUTH__JWT__PUBLIC_KEY: 'x' }, /BEGIN PUBLIC KEY/],
    [{ MYNAH_AUTH__MODE: 'webhook' }, /auth\.webhook\.url/],
  ]) {
    for (const args of [[], ['check-config']]) {
      const { code, output } = await run(t, [...args, '--listen', '127.0.0.1:0'], { env });
      assert.notEqual(code, 0);
      assert.match(output, way);
    }
  }
  const env = { MYNAH_AUTH__MODE: 'jwt', MYNAH_AUTH__JWT__SECRET: SECRET };
  assert.equal((await run(t, ['check-config', '--listen', '0.0.0.0:0'], { env })).code, 0);
  const program = new Program(GATEWAY, ['--listen', '127.0.0.1:0'], { cwd: directory(t), env });
  t.after(() => program.signal('SIGKILL'));
  await program.printed(/listening/);
  assert.match(program.output, /token.*auth\.mode = "jwt": HS256/);
  assert.doesNotMatch(program.output, /Open mode/);
  assert.ok(!program.output.includes(SECRET));
  await program.stop();
});

test('mynah token makes tokens that the gateway accepts', async (t) => {
  const gateway = await startGateway({ config: { auth: { mode: 'jwt', jwt: { secret: SECRET, audience: 'mynah', issuer: 'me' } } } });
  t.after(() => gateway.close());
  const made = async (...args) => run(t, ['token', '--config', gateway.file, ...args]);
  const { code, output } = await made('小明', '--device', 'phone', '--platform', 'ios', '--kinds', '3,15', '--ttl', '5m');
  assert.equal(code, 0);
  assert.match(output, /^[\w-]+\.[\w-]+\.[\w-]+\n$/, 'only the token is printed');
  const claims = JSON.parse(Buffer.from(output.split('.')[1], 'base64url'));
  const { sub, device, platform, kinds, aud, iss, exp, iat, jti } = claims;
  assert.deepEqual({ sub, device, platform, kinds, aud, iss }, { sub: '小明', device: 'phone', platform: 'ios', kinds: [3, 15], aud: 'mynah', iss: 'me' });
  assert.equal(exp - iat, 300);
  assert.ok(jti.length > 16);
  const user = await visitor(t, gateway);
  assert.equal((await user.ask(1, { token: output.trim() })).deviceid, 'phone');
  for (const wrong of [['a', '--ttl', '0s'], ['a', '--ttl', '5'], ['a', '--kinds', 'x'], ['']]) assert.notEqual((await made(...wrong)).code, 0);
  const without = await run(t, ['token', 'alice']);
  assert.notEqual(without.code, 0);
  assert.match(without.output, /auth\.jwt\.secret/);
});

test('a second program cannot open the same data directory', async (t) => {
  const gateway = await startGateway();
  t.after(() => gateway.close());
  const { code, output } = await run(t, ['--listen', '127.0.0.1:0', '--data', gateway.data]);
  assert.notEqual(code, 0);
  assert.match(output, /lock|another|already|in use/i);
  assert.equal((await gateway.api.sendTo('u', { type: 5, data: { n: 1 } })).seq, 1);
});

test('unknown keys and wrong values in the configuration are errors that name the key', async (t) => {
  for (const [text, name] of [
    ['[server]\nlissten = "127.0.0.1:0"\n', /lissten/],
    ['[nonsense]\na = 1\n', /nonsense/],
    ['[login]\npolicy = "some"\n', /policy/],
    ['[limits]\nmessage_bytes = "many"\n', /message_bytes/],
    ['[[kinds]]\nnumber = 5\nname = "X"\nconversation = "none"\n', /kind|number/i],
    ['not toml', /toml|expected|mynah\.toml/i],
  ]) {
    const cwd = directory(t);
    const file = join(cwd, 'mynah.toml');
    writeFileSync(file, text);
    const { code, output } = await run(t, ['--config', file, '--listen', '127.0.0.1:0'], { cwd });
    assert.notEqual(code, 0, text);
    assert.match(output, name);
    assert.notEqual((await run(t, ['check-config', '--config', file], { cwd })).code, 0, `check-config of ${text}`);
  }
  const cwd = directory(t);
  const file = join(cwd, 'good.toml');
  writeFileSync(file, '[login]\npolicy = "multi"\n');
  assert.equal((await run(t, ['check-config', '--config', file], { cwd })).code, 0);
  assert.notEqual((await run(t, ['--config', join(cwd, 'missing.toml')])).code, 0);
});

test('environment variables override the configuration file', async (t) => {
  const gateway = await startGateway({ config: { login: { policy: 'single' } }, env: { MYNAH_LOGIN__POLICY: 'multi' } });
  t.after(() => gateway.close());
  const uid = someone();
  const one = await signIn(t, gateway, uid, { deviceid: 'a' });
  await signIn(t, gateway, uid, { deviceid: 'b' });
  assert.equal((await gateway.api.user(uid)).connections.length, 2);
  await one.hearsNothing();
});

test('a database that is damaged or is no Mynah database is reported with a clear error', async (t) => {
  const gateway = await startGateway();
  await gateway.api.sendTo('u', { type: 5, data: { n: 1 } });
  await gateway.program.stop();
  const broken = readdirSync(gateway.data).filter((name) => !/key|lock/.test(name));
  assert.ok(broken.length > 0);
  for (const name of broken) writeFileSync(join(gateway.data, name), Buffer.alloc(8192, 'this is no store. '));
  const { code, output } = await run(t, ['--config', gateway.file]);
  assert.notEqual(code, 0);
  assert.match(output, /database|store|corrupt|not a/i);
  assert.doesNotMatch(output, /panicked/);
  rmSync(gateway.directory, { recursive: true, force: true });
});

for (const client of eachGeneration) {
  test(`socket.io-client ${client.version} reconnects by itself after a restart of the gateway`, async (t) => {
    const gateway = await startGateway({ config: { server: { grace_ms: 5_000 } } });
    t.after(() => gateway.close());
    const uid = someone();
    const user = await signIn(t, gateway, uid, { client: { ...client, reconnection: true } });
    await user.peer.upgraded;
    const back = new Inbox('reconnect');
    user.peer.socket.on('connect', () => back.push('connect'));
    const [reason, end] = await Promise.all([user.peer.closed(), gateway.program.stop()]);
    assert.match(reason, /^transport (close|error)$/, 'the client got no disconnect packet, so it reconnects');
    assert.deepEqual(end, { code: 0, signal: null });
    await gateway.start();
    await back.take();
    assert.equal((await user.ask(1, { uid })).code, 0);
    assert.equal((await gateway.api.user(uid)).online, true);
  });
}

test('when the program stops, every request in flight is answered or refused, and the exit status is 0', async (t) => {
  const gateway = await startGateway();
  const sent = [];
  let stopped = false;
  const writers = Array.from({ length: 4 }, async () => {
    while (!stopped) {
      const answer = await gateway.api.call('POST', '/v1/messages', { type: 5, to: { user: '停' }, data: { text: '停 ✋' } }).catch(() => undefined);
      if (answer?.status === 200) sent.push(answer.body.results[0].mid);
      else if (!answer) return;
    }
  });
  while (sent.length < 50) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(await gateway.program.stop(), { code: 0, signal: null });
  stopped = true;
  await Promise.all(writers);
  await gateway.start();
  const { conversations } = await gateway.api.expect(200, 'GET', `/v1/users/${encodeURIComponent('停')}/conversations`);
  const kept = new Set();
  for (let after = 0; ; after += 500) {
    const { messages } = await gateway.api.history(conversations[0].conv, `after=${after}&limit=500`);
    for (const { mid } of messages) kept.add(mid);
    if (messages.length < 500) break;
  }
  for (const mid of sent) assert.ok(kept.has(mid));
  await gateway.close();
});
