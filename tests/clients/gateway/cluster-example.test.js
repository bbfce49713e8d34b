// The example in examples/cluster: scripts/cluster starts everything behind nginx or HAProxy, users on
// different nodes write to each other, and a signal ends all processes.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Api } from '../../lib/api.js';
import { NO_CLUSTER } from '../../lib/cluster.js';
import { within } from '../../lib/inbox.js';
import { everyClient } from '../../lib/peer.js';
import { freshDirectory, GATEWAY } from '../../lib/program.js';
import { signIn, someone } from '../../lib/user.js';

const script = fileURLToPath(new URL('../../../scripts/cluster', import.meta.url));
const START_MS = 60_000;

for (const balancer of ['nginx', 'haproxy']) {
  const isThere = ['/usr/sbin', '/usr/bin', '/usr/local/sbin', '/usr/local/bin'].some((place) => existsSync(join(place, balancer)));
  test(`scripts/cluster behind ${balancer}`, { skip: NO_CLUSTER || (!isThere && `${balancer} is not installed`) }, async (t) => {
    const directory = freshDirectory();
    execFileSync('chmod', ['755', directory]);
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const child = spawn(script, ['--port', '0', '--dir', directory, '--balancer', balancer], { env: { ...process.env, MYNAH_BIN: GATEWAY }, stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = new Promise((resolve) => child.on('close', resolve));
    t.after(() => child.kill('SIGTERM') && ended);
    let output = '';
    const started = new Promise((resolve, reject) => {
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8').on('data', (text) => {
          output += text;
          if (output.includes('Ctrl-C')) resolve();
        });
      }
      void ended.then(() => reject(new Error(`scripts/cluster has ended:\n${output}`)));
    });
    await within(started, 'scripts/cluster to start', START_MS);
    const [, url] = /chat page +(http:\S+[^/\s])\/? /.exec(output);
    const api = new Api(url, readFileSync(join(directory, 'api-key'), 'utf8').split('\n').find((line) => line.startsWith('mynah_')));
    const gateway = { url, api };
    const nodes = /nodes +(.*?) {2,}each/.exec(output)[1].split(/ +/).map((one) => ({ url: one }));
    const there = await signIn(t, nodes[2], someone('远'));
    for (const client of everyClient) {
      const user = await signIn(t, gateway, someone('例'), { client });
      await user.peer.upgraded;
      assert.equal((await user.send({ user: there.uid }, { text: '你好 🐦' })).code, 0);
      assert.equal((await there.next(3)).from, user.uid);
      assert.equal((await there.send({ user: user.uid }, { text: 'é' })).code, 0);
      assert.equal((await user.next(3)).data.text, 'é');
    }
    assert.equal((await api.call('GET', '/internal/')).status, 404);
    assert.deepEqual((await api.expect(200, 'POST', '/v1/users/online', { uids: [there.uid] })).online, [there.uid]);
    child.kill('SIGTERM');
    await within(ended, 'the end of scripts/cluster', START_MS);
    const left = execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).split('\n').filter((line) => line.includes(directory));
    assert.deepEqual(left, [], 'no process is left');
  });
}
