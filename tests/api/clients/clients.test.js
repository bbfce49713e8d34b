// Clients that are generated from the API's description, in TypeScript and in Python. The test generates
// them, compiles them if necessary, and runs them against the gateway. scripts/api-clients installs the
// generators and sets the path of Python.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { recall } from '../../lib/delivery.js';
import { API_KEY, freshDirectory, startGateway } from '../../lib/program.js';
import { SECRET, token } from '../../lib/token.js';
import { signIn, someone } from '../../lib/user.js';

const run = promisify(execFile);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const VALUES = [{ text: '你好', list: [1, null] }, ['an', { array: true }], 'text', 1.5, true, null];

const directory = freshDirectory();
const description = join(directory, 'openapi.json');
let gateway;
before(async () => {
  gateway = await startGateway({ config: { auth: { mode: 'jwt', jwt: { secret: SECRET } } } });
  writeFileSync(description, (await gateway.api.call('GET', '/v1/openapi.json')).text);
});
after(async () => {
  await gateway.close();
  rmSync(directory, { recursive: true, force: true });
});

/**
 * The environment of the client programs: a pair conversation with data of every type and one recalled
 * message, and one connection.
 */
async function environment(t) {
  const [a, b] = [someone('小明'), someone('小红')];
  const ming = await signIn(t, gateway, a, { token: token({ sub: a }) });
  let last;
  for (const value of [...VALUES, 'recalled']) last = await ming.send({ user: b }, value);
  await recall(ming, last.mid);
  // Shells reserve the variable UID.
  return { ...process.env, URL: gateway.url, KEY: API_KEY, CONV: last.conv, UID: a, UID_OF_TEST: a, VALUES: JSON.stringify(VALUES) };
}

/** Runs a program and returns its output. If the program fails, the error contains all of it. */
async function output(file, args, options) {
  try {
    return (await run(file, args, { ...options, encoding: 'utf8' })).stdout;
  } catch (error) {
    assert.fail(`${file} ${args.join(' ')}\n${error.stdout}\n${error.stderr}`);
  }
}

test('a TypeScript client, generated with openapi-typescript and openapi-fetch, works', async (t) => {
  const cwd = join(directory, 'typescript');
  mkdirSync(cwd);
  for (const file of ['package.json', 'tsconfig.json', 'use.ts']) cpSync(here(`typescript/${file}`), join(cwd, file));
  symlinkSync(here('typescript/node_modules'), join(cwd, 'node_modules'));
  const tool = (path, ...args) => output(process.execPath, [join(cwd, 'node_modules', path), ...args], { cwd });
  await tool('openapi-typescript/bin/cli.js', description, '--output', 'api.d.ts');
  await tool('typescript/bin/tsc', '--project', '.');
  assert.match(await output(process.execPath, ['built/use.js'], { cwd, env: await environment(t) }), /done/);
});

test('a Python client, generated with openapi-python-client, works', async (t) => {
  const python = process.env.MYNAH_API_PYTHON;
  assert.ok(python, 'MYNAH_API_PYTHON must be the path of a Python with openapi-python-client; scripts/api-clients sets it');
  const cwd = join(directory, 'python');
  mkdirSync(cwd);
  const options = ['--path', description, '--output-path', 'mynah_client', '--meta', 'none', '--config', here('python/config.yml')];
  await output(python, ['-m', 'openapi_python_client', 'generate', ...options, '--fail-on-warning'], { cwd });
  cpSync(here('python/use.py'), join(cwd, 'use.py'));
  assert.match(await output(python, ['use.py'], { cwd, env: await environment(t) }), /done/);
});
