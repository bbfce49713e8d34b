// Runs the example program of the README unchanged, in two processes.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { eventually } from '../../../tests/lib/inbox.js';
import { startGateway } from '../../../tests/lib/program.js';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

test('the example program of the README runs unchanged', async (t) => {
  const gateway = await startGateway();
  const directory = mkdtempSync(join(tmpdir(), 'mynah-readme-'));
  const children = [];
  t.after(async () => {
    await Promise.all(children.map((child) => new Promise((resolve) => child.once('close', resolve).kill())));
    rmSync(directory, { recursive: true });
    await gateway.close();
  });

  const [, program] = /```js\n(.*?)```/s.exec(readFileSync(here('../README.md'), 'utf8'));
  assert.ok(program.trim().split('\n').length <= 20, 'the program has at most twenty lines');
  writeFileSync(join(directory, 'chat.mjs'), program.replace('http://127.0.0.1:3001', gateway.url));
  mkdirSync(join(directory, 'node_modules'));
  symlinkSync(here('..'), join(directory, 'node_modules/mynah-client'));
  symlinkSync(here('../node_modules/socket.io-client'), join(directory, 'node_modules/socket.io-client'));

  const run = (...args) => {
    const child = spawn(process.execPath, ['chat.mjs', ...args], { cwd: directory, stdio: ['pipe', 'pipe', 'inherit'] });
    children.push(child);
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
    return { shows: (text) => eventually(() => output.includes(text), `"${text}" in the output of ${args[0]}`), type: (text) => child.stdin.write(`${text}\n`) };
  };
  const [alice, bob] = [run('alice', 'bob'), run('bob', 'alice')];
  await Promise.all([alice.shows('(connected)'), bob.shows('(connected)')]);
  alice.type('你好');
  await bob.shows('alice: 你好');
  await alice.shows('(stored as message 1)');
  await gateway.program.kill();
  await Promise.all([alice, bob].map((one) => one.shows('(connecting)')));
  bob.type('还在吗');
  await gateway.start();
  await alice.shows('bob: 还在吗');
});
