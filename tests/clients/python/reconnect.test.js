// The two ways in which the server ends a connection (docs/PROTOCOL.md#1-transport), with python-socketio. It
// stays disconnected only after a close packet of Engine.IO, and reconnects when the connection ends without
// one.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Program, startGateway } from '../../lib/program.js';
import { python } from '../../lib/python.js';
import { signIn, someone } from '../../lib/user.js';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));

// The installation blocks this process, possibly for minutes. So it must be done before anything is waited
// for.
const environments = ['4', '5'].map((version) => {
  try {
    return { version, interpreter: python(`socketio-${version}`, here(`requirements-${version}.txt`)), missing: false };
  } catch (error) {
    const missing = `python-socketio ${version} could not be installed from PyPI: ${error.message}`;
    console.error(`!!!!\n!!!! SKIPPED python-socketio ${version}\n!!!! ${missing}\n!!!!`);
    return { version, missing };
  }
});

let gateway;
before(async () => (gateway = await startGateway()));
after(() => gateway.close());

/** Waits until the client has printed exactly `lines`. */
const printed = (client, ...lines) => client.printed(new RegExp(`^${lines.join('\n')}\n`));

for (const { version, interpreter, missing } of environments) {
  for (const transport of ['polling', 'websocket']) {
    describe(`python-socketio ${version} ${transport}`, { skip: missing }, () => {
      const start = (t, data) => {
        const frame = JSON.stringify({ type: 1, data });
        const client = new Program(interpreter, [here('client.py'), gateway.url, transport, frame]);
        t.after(() => client.kill());
        return client;
      };

      test('reconnects when the same device connects again elsewhere', async (t) => {
        const uid = someone('小李');
        const client = start(t, { uid, deviceid: '手机' });
        await printed(client, 'registered');
        await signIn(t, gateway, uid, { deviceid: '手机' });
        await printed(client, 'registered', 'disconnected', 'registered');
      });

      test('reconnects after a restart of the server', async (t) => {
        const client = start(t, { uid: someone('小李') });
        await printed(client, 'registered');
        await gateway.program.stop();
        await gateway.start();
        await printed(client, 'registered', 'disconnected', 'registered');
      });

      test('does not reconnect when another device has displaced it', async (t) => {
        const uid = someone('小李');
        const client = start(t, { uid, deviceid: '旧手机' });
        await printed(client, 'registered');
        await signIn(t, gateway, uid, { deviceid: '新手机' });
        // Two threads of the library detect the end, one of them by the DISCONNECT of Socket.IO, and both may
        // report it.
        await printed(client, 'registered', '(disconnected\n)?disconnected', 'gave up');
        assert.deepEqual((await gateway.api.user(uid)).connections.map((one) => one.deviceid), ['新手机']);
      });
    });
  }
}
