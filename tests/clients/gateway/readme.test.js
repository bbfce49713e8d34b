// Runs the commands of the README exactly as they are written there, and compares the output with what the
// README shows.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { call } from '../../lib/api.js';
import { eventually, within } from '../../lib/inbox.js';
import { open } from '../../lib/peer.js';
import { GATEWAY, Program, environment, freshDirectory } from '../../lib/program.js';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const readme = readFileSync(here('../../../README.md'), 'utf8');

const directory = freshDirectory();
const programs = join(directory, 'bin');
before(() => {
  mkdirSync(programs);
  symlinkSync(GATEWAY, join(programs, 'mynah'));
});
after(() => rmSync(directory, { recursive: true, force: true }));

/** A section of the README: its JavaScript, and its indented command lines without comments. */
function section(title) {
  const [, text] = new RegExp(`\n## ${title}\n(.*?)\n## `, 's').exec(readme) ?? assert.fail(`the README has no section "${title}"`);
  const scripts = [...text.matchAll(/```js\n(.*?)```/gs)].map(([, script]) => script);
  const lines = text.replace(/```.*?```/gs, '').split('\n').filter((line) => line.startsWith('    ')).map((line) => line.trim());
  return { scripts, lines };
}

/** Starts the program in its own directory and on its own port. */
async function started(t, name, before = async () => {}) {
  const cwd = join(directory, name);
  mkdirSync(cwd);
  await before(cwd);
  const program = new Program(GATEWAY, ['--listen', '127.0.0.1:0'], { cwd });
  t.after(() => program.stop());
  const [, url] = await program.printed(/is listening on (http:\S+)/);
  return { cwd, url };
}

/** Runs a command line of the README in a shell. */
function shell(line, { cwd, url }) {
  const env = { ...environment, PATH: `${programs}:${process.env.PATH}` };
  const command = url ? line.replaceAll('http://127.0.0.1:3001', url) : line;
  return new Promise((resolve) => {
    execFile('bash', ['-c', command], { cwd, env, encoding: 'utf8' }, (error, stdout, stderr) => resolve({ code: error?.code ?? 0, stdout, stderr }));
  });
}

/** Compares two values, but ignores the parts that differ in each run. */
function alike(actual, expected, path = '') {
  if (typeof expected === 'object' && expected !== null) {
    assert.deepEqual(Object.keys(actual), Object.keys(expected), path);
    for (const key of Object.keys(expected)) alike(actual[key], expected[key], `${path}.${key}`);
  } else if (/\.(sid|epoch|mid|conv|ts|since)$/.test(path)) assert.equal(typeof actual, typeof expected, path);
  else assert.deepEqual(actual, expected, path);
}

test('the commands of the section "Five minutes" work', async (t) => {
  const { scripts: [alice, bob], lines } = section('Five minutes');
  const server = await started(t, 'server');
  const clients = join(directory, 'clients');
  mkdirSync(join(clients, 'node_modules'), { recursive: true });
  symlinkSync(here('../../node_modules/socket.io-client-4.8.4'), join(clients, 'node_modules/socket.io-client'));
  for (const [name, script] of Object.entries({ alice, bob })) writeFileSync(join(clients, `${name}.mjs`), script.replace('http://127.0.0.1:3001', server.url));
  const node = (file) => {
    const program = new Program(process.execPath, [file], { cwd: clients });
    t.after(() => program.signal('SIGKILL'));
    return program;
  };
  const frames = (program) => program.output.split('\n').filter((line) => line.startsWith('<- ')).map((line) => JSON.parse(line.slice(3)));
  const kinds = (program) => frames(program).map(({ type }) => type);
  const until = (program, type) => eventually(() => kinds(program).includes(type), `a frame of kind ${type} in ${program.output}`);

  // The variables of the backend's shell are kept between its commands.
  const setup = lines.find((line) => line.startsWith('KEY='));
  const curl = async (line) => JSON.parse((await shell(`${setup}; ${line.replace('curl', 'curl --silent --fail-with-body')}`, server)).stdout);
  const calls = lines.flatMap((line, index) => (line.startsWith('curl') ? [{ line, answer: lines[index + 1]?.startsWith('{') ? JSON.parse(lines[index + 1]) : undefined }] : []));
  assert.equal(calls.length, 6);

  let laptop = node('alice.mjs');
  await until(laptop, 112);
  const shown = lines.filter((line) => line.startsWith('<- ')).map((line) => JSON.parse(line.slice(3)));
  alike(frames(laptop), shown);
  // Socket.IO begins with polling. The README shows the state after the upgrade.
  const onWebSocket = () => eventually(async () => (await curl(calls[0].line)).connections[0]?.transport === 'websocket', 'the upgrade');
  await onWebSocket();
  for (const { line, answer } of calls.slice(0, 4)) alike(await curl(line), answer);
  await until(laptop, 15);
  assert.deepEqual(kinds(laptop), [2, 112, 6, 15]);

  const first = node('bob.mjs');
  assert.equal((await within(first.exited, 'bob')).code, 0);
  const mids = [...first.output.matchAll(/mid: '([^']+)'/g)].map(([, mid]) => mid);
  assert.deepEqual([mids.length, new Set(mids).size], [2, 1], first.output);
  assert.equal(first.output.match(/duplicate: true/g)?.length, 1, first.output);
  await until(laptop, 3);

  const stop = async () => {
    await onWebSocket();
    laptop.signal('SIGINT');
    await laptop.exited;
  };
  await stop();
  const second = node('bob.mjs');
  await within(second.exited, 'bob, again');
  assert.equal(second.output.match(/duplicate: true/g)?.length, 1, second.output);
  laptop = node('alice.mjs');
  await until(laptop, 112);
  assert.deepEqual(kinds(laptop), [2, 3, 112]);
  await stop();
  laptop = node('alice.mjs');
  await until(laptop, 112);
  assert.deepEqual(kinds(laptop), [2, 112]);

  const { conversations } = await curl(calls[4].line);
  assert.deepEqual(conversations.map(({ kind }) => kind).sort(), ['notices', 'pair', 'team']);
  assert.equal(conversations.find(({ kind }) => kind === 'pair').head, 2);
  alike(await curl(calls[5].line), calls[5].answer);
  await within(laptop.exited, 'the end of the client after the sign-out');
  assert.match(laptop.output, /io server disconnect/);
});

test('the commands about tokens work', async (t) => {
  const [make, serve, token] = section('Tokens').lines;
  assert.match(serve, /^mynah +#/);
  const server = await started(t, 'tokens', async (cwd) => assert.equal((await shell(make, { cwd })).code, 0));
  const { stdout } = await shell(token, server);
  const peer = open(t, server.url);
  await peer.connected();
  assert.equal((await peer.ask('message', { type: 1, data: { uid: 'alice' } }))[0].code, 401);
  assert.equal((await peer.ask('message', { type: 1, data: { token: stdout.trim() } }))[0].uid, 'alice');
});

test('the commands about API keys work', async (t) => {
  const { lines } = section('API keys');
  const server = await started(t, 'keys');
  const first = readFileSync(join(server.cwd, 'mynah-data/api-key'), 'utf8').trim();
  const made = [];
  for (const line of lines) {
    const { code, stdout, stderr } = await shell(line, server);
    assert.equal(code, 0, `${line}: ${stderr}`);
    if (/ (add|rotate) /.test(line)) made.push(/^mynah_[0-9a-f]{64}$/.exec(stdout.trim())?.[0] ?? assert.fail(`${line} printed ${stdout}`));
  }
  const team = async (key) => (await call(server.url, 'PUT', '/v1/teams/t', { key, body: { members: ['a'] } })).status;
  const user = async (key) => (await call(server.url, 'GET', '/v1/users/a', { key })).status;
  const [admin, old, billing] = made;
  assert.deepEqual([await team(admin), await team(billing), await user(billing), await user(old), await team(first)], [200, 403, 200, 200, 401]);

  // The last key with the scope manage cannot be removed without --force.
  const refused = await shell('mynah api-key remove admin', server);
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /last key that may manage.*--force/s);
  assert.equal(await team(admin), 200);
  assert.equal((await shell('mynah api-key remove admin --force', server)).code, 0);
  assert.equal(await team(admin), 401);
});

test('the key of the first start cannot be removed while no other key has the scope manage', async (t) => {
  const server = await started(t, 'first-key');
  await shell('mynah api-key add billing --scopes send,read', server);
  const refused = await shell('mynah api-key remove api-key', server);
  assert.match(refused.stderr, /api-key is the last key that may manage/);
  await shell('mynah api-key add admin --scopes manage', server);
  const removed = await shell('mynah api-key remove api-key', server);
  assert.equal(removed.code, 0);
  assert.match(removed.stderr, /The key of the first start is removed; 2 named keys are left\./);
});

test('the embedding program in the README is the example hello', () => {
  const [, program] = /```rust\n(.*?)```/s.exec(readme);
  const example = readFileSync(here('../../../crates/gateway/examples/hello.rs'), 'utf8');
  assert.equal(example.slice(example.indexOf('\n\n') + 2), program);
});
