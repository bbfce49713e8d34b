// A short chaos run: a few seconds of load with two kills. A second run checks that the checks can fail, and
// a third one has several nodes.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { NO_CLUSTER } from '../lib/cluster.js';

const main = fileURLToPath(new URL('main.js', import.meta.url));
const SHORT = ['--rounds', '2', '--seconds', '8', '--clients', '12', '--teams', '2', '--rate', '60'];

/** Runs the command and resolves with {code, output}. */
function chaos(t, ...more) {
  const child = spawn(process.execPath, [main, ...SHORT, ...more], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill());
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  return new Promise((resolve, reject) => child.on('error', reject).on('close', (code) => resolve({ code, output })));
}

test('no message is lost, duplicated or out of order', async (t) => {
  const { code, output } = await chaos(t);
  assert.equal(code, 0, output);
  t.diagnostic(output.slice(output.indexOf('---- checked')));
});

test('a client that acknowledges before its handler has run is detected', async (t) => {
  const { code, output } = await chaos(t, '--seconds', '3', '--rounds', '1', '--plant', 'early-ack', '--patience', '5', '--keep', 'no');
  assert.equal(code, 1, output);
  assert.match(output, /FAILED.*early \d+/);
});

test('no message is lost, duplicated or out of order, and nobody is notified wrongly, on several nodes', { skip: NO_CLUSTER }, async (t) => {
  const { code, output } = await chaos(t, '--cluster', '--rounds', '3');
  assert.equal(code, 0, output);
  t.diagnostic(output.slice(output.indexOf('---- checked')));
});
