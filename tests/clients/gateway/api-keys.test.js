// API keys are added, used, replaced and removed while the program runs (docs/PROTOCOL.md#api-keys).

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { call } from '../../lib/api.js';
import { eventually, within } from '../../lib/inbox.js';
import { API_KEY, GATEWAY, Program, startGateway } from '../../lib/program.js';

/** Runs `mynah api-key` while the gateway runs. Returns the key that it prints, if there is one. */
async function apiKey(t, gateway, ...args) {
  const program = new Program(GATEWAY, ['api-key', ...args, '--config', gateway.file], { cwd: gateway.directory });
  t.after(() => program.signal('SIGKILL'));
  const { code } = await within(program.exited, `api-key ${args.join(' ')}`);
  assert.equal(code, 0, program.output);
  return /^mynah_[0-9a-f]{64}$/m.exec(program.output)?.[0] ?? program.output;
}

const message = { type: 5, to: { user: 'u' }, data: { n: 1 } };

test('a key is added, used, replaced and removed while the gateway runs', async (t) => {
  const gateway = await startGateway({ embedded: true, config: { log: { filter: 'trace' } } });
  t.after(() => gateway.close());
  const send = async (key) => (await call(gateway.url, 'POST', '/v1/messages', { key, body: message })).status;
  const read = async (key) => (await call(gateway.url, 'GET', '/v1/users/u', { key })).status;

  const sender = await apiKey(t, gateway, 'add', 'sender', '--scopes', 'send');
  const reader = await apiKey(t, gateway, 'add', 'reader', '--scopes', 'read', '--expires', '90d');
  assert.deepEqual([await send(sender), await read(sender)], [200, 403]);
  assert.deepEqual([await send(reader), await read(reader)], [403, 200]);
  const refused = await call(gateway.url, 'DELETE', '/v1/teams/t', { key: reader });
  assert.match(refused.body.detail, /"manage"/);
  assert.match(refused.headers.get('www-authenticate'), /insufficient_scope/);

  const anew = await apiKey(t, gateway, 'rotate', 'sender', '--grace', '1h');
  assert.notEqual(anew, sender);
  assert.deepEqual([await send(sender), await send(anew)], [200, 200]);
  const last = await apiKey(t, gateway, 'rotate', 'sender');
  assert.deepEqual([await send(sender), await send(anew), await send(last)], [401, 401, 200]);

  const list = await apiKey(t, gateway, 'list');
  for (const name of ['auth.api_keys[1]', 'sender', 'reader']) assert.ok(list.includes(name), list);
  await apiKey(t, gateway, 'remove', 'sender');
  assert.deepEqual([await send(last), await read(reader), await send(API_KEY)], [401, 200, 200]);

  // A file of an earlier version is taken over. An invalid one changes nothing.
  const file = join(gateway.data, 'api-keys.toml');
  const keys = createHash('sha256').update('of-an-earlier-version').digest('hex');
  writeFileSync(file, 'nonsense');
  gateway.program.signal('SIGHUP');
  await gateway.program.printed(/the last valid ones stay in force/);
  for (let i = 0; i < 5; i++) assert.equal(await read(reader), 200);
  writeFileSync(file, `[[keys]]\nname = "earlier"\nsha256 = "${keys}"\nscopes = ["send"]\ncreated = 2026-01-31T12:00:00Z\n`);
  gateway.program.signal('SIGHUP');
  await eventually(() => !existsSync(file), 'the file to be taken over');
  assert.deepEqual([await read('of-an-earlier-version'), await send('of-an-earlier-version')], [403, 200]);

  const { output } = gateway.program;
  assert.equal(output.match(/API keys cannot be read/g)?.length, 1, 'said once');
  // Many calls were refused, but at most one summary is logged per minute.
  assert.ok([1, 2].includes(output.match(/were refused/g)?.length), output);
  for (const secret of [sender, anew, last, reader]) assert.ok(!output.includes(secret), 'the log contains no key');
  const stored = readFileSync(join(gateway.data, 'mynah.db'), 'latin1') + readFileSync(join(gateway.data, 'mynah.db-wal'), 'latin1');
  assert.ok(stored.includes('reader'));
  for (const secret of [sender, anew, last, reader]) assert.ok(!stored.includes(secret) && !list.includes(secret));
});

test('keys survive a crash, and can be added while the gateway is not running', async (t) => {
  const gateway = await startGateway();
  t.after(() => gateway.close());
  const before = await apiKey(t, gateway, 'add', 'before', '--scopes', 'read');
  await gateway.program.kill();
  const between = await apiKey(t, gateway, 'add', 'between', '--scopes', 'read');
  await gateway.start();
  for (const key of [before, between]) assert.equal((await call(gateway.url, 'GET', '/v1/users/u', { key })).status, 200);
});

test('no key is lost if several are added at the same time', async (t) => {
  const gateway = await startGateway();
  t.after(() => gateway.close());
  const names = Array.from({ length: 6 }, (_, i) => `k${i}`);
  const keys = await Promise.all(names.map((name) => apiKey(t, gateway, 'add', name, '--scopes', 'read')));
  for (const key of keys) assert.equal((await call(gateway.url, 'GET', '/v1/users/u', { key })).status, 200);
});

test('the metrics require a key if the configuration says so', async (t) => {
  const gateway = await startGateway({ config: { auth: { metrics_key: true } } });
  t.after(() => gateway.close());
  const key = await apiKey(t, gateway, 'add', 'prometheus', '--scopes', 'metrics');
  assert.equal((await call(gateway.url, 'GET', '/metrics')).status, 401);
  const { text } = await call(gateway.url, 'GET', '/metrics', { key });
  assert.match(text, /^mynah_api_calls_total\{key="prometheus"\} 1$/m);
  assert.equal((await call(gateway.url, 'GET', '/v1/users/u', { key })).status, 403);
});
